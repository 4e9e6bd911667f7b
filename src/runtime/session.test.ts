import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Worker } from 'node:worker_threads';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { GraphBuilder } from '../graph/builder.js';
import { add, cast, floats, linear, lookUp, mul, scalar, sum } from '../graph/layers.js';
import { tensor, zeros } from '../tensor.js';
import { BufferPool } from './buffers.js';
import { productsProbe, writeGraph } from './probe-graphs.js';
import { openSession, openStandIn, type Session } from './session.js';

let folder: string;
let affine: string;
let large: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'egolens-session-'));

  // pixels uint8 [batch, 4], shift float32 [batch, 4] -> scaled = 2 pixels + shift [batch, 4], total = its sum [batch]
  const g = new GraphBuilder('affine');
  const pixels = cast(g, g.input('pixels', 'uint8', ['batch', 4]), 'float32');
  const scaled = add(g, mul(g, pixels, scalar(g, 2)), g.input('shift', 'float32', ['batch', 4]));
  g.output('scaled', scaled);
  g.output('total', sum(g, scaled, [1]));
  g.output('whole', cast(g, scaled, 'int32'));
  g.output('half', cast(g, scaled, 'float16'));
  affine = await writeGraph(folder, g.finish());

  const l = new GraphBuilder('large');
  l.output('y', mul(l, l.input('x', 'float32', [1, 3]), floats(l, [1, 0.5, 1e38])));
  large = await writeGraph(folder, l.finish());
});
afterAll(() => rm(folder, { recursive: true }));

const feeds = (batch: number, value = 1) => ({
  pixels: tensor('uint8', [batch, 4], new Uint8Array(batch * 4).fill(value)),
  shift: tensor(
    'float32',
    [batch, 4],
    Float32Array.from({ length: batch * 4 }, (_, i) => i % 4),
  ),
});
const wait = { name: 'wait', dtype: 'uint8', shape: ['batch', 8] } as const;
const given = { name: 'given', dtype: 'float32', shape: ['batch', 2] } as const;
const standIn = (millisecondsPerRun: number, signal?: AbortSignal): Promise<Session> =>
  openStandIn({ millisecondsPerRun, inputs: [wait], outputs: [given], ...(signal ? { signal } : {}) });
const bytes = (data = new Uint8Array(8)) => ({ wait: tensor('uint8', [data.length / 8, 8], data) });

describe('on the cpu', () => {
  test('the outputs asked for come back by name, with the values of the graph', async () => {
    await using session = await openSession({ graph: affine, device: 'cpu' });
    expect(session).toMatchObject({ provider: 'cpu', device: 'cpu' });
    expect(session.inputs[0]).toEqual({ name: 'pixels', dtype: 'uint8', shape: ['batch', 4] });
    expect(session.outputs.map(({ name }) => name)).toEqual(['scaled', 'total', 'whole', 'half']);

    const outputs = await session.run(feeds(2, 3), ['total', 'half']);
    expect(outputs).toEqual({
      total: tensor('float32', [2], Float32Array.of(30, 30)),
      half: tensor('float32', [2, 4], Float32Array.of(6, 7, 8, 9, 6, 7, 8, 9)),
    });
  });

  test('weights are read from the file beside the graph', async () => {
    const g = new GraphBuilder('external');
    g.output('y', linear(g, g.input('x', 'float32', ['batch', 64]), 'fc', 64));
    const path = await writeGraph(folder, g.finish(), (_name, size) => new Float32Array(size).fill(0.5));
    await using session = await openSession({ graph: path, device: 'cpu', threads: 1 });
    const { y } = await session.run({ x: tensor('float32', [1, 64], new Float32Array(64).fill(1)) }, ['y']);
    expect(y!.data[63]).toBe(32.5);
  });

  test('held inputs serve many runs, are taken beside the others, and go when they are disposed', async () => {
    await using session = await openSession({ graph: affine, device: 'cpu' });
    const { pixels, shift } = feeds(2, 3);
    const held = session.hold({ pixels });
    expect(pixels.data.length).toBe(0); // handed over
    for (const value of [0, 1]) {
      const own = { shift: tensor('float32', [2, 4], new Float32Array(8).fill(value)) };
      const { total } = await session.run(own, ['total'], { held });
      expect([...total!.data]).toEqual([24 + 4 * value, 24 + 4 * value]);
    }
    await expect(session.run({}, ['total'], { held })).rejects.toMatchObject({ code: 'data.shape' });
    const three = { shift: tensor('float32', [3, 4], new Float32Array(12)) };
    await expect(session.run(three, ['total'], { held })).rejects.toMatchObject({ code: 'data.shape' });
    held[Symbol.dispose]();
    await expect(session.run({ shift }, ['total'], { held })).rejects.toMatchObject({ code: 'device.failed' });
  });

  test('runs are answered in call order, each with its own values', async () => {
    await using session = await openSession({ graph: affine, device: 'cpu' });
    const order: number[] = [];
    const totals = await Promise.all(
      [5, 1, 4].map(async (value) => {
        const { total } = await session.run(feeds(1, value), ['total']);
        order.push(value);
        return total!.data[0];
      }),
    );
    expect(order).toEqual([5, 1, 4]);
    expect(totals).toEqual([46, 14, 38]);
  });

  test('feeds given without transfer stay usable, views included', async () => {
    await using session = await openSession({ graph: affine, device: 'cpu' });
    const stack = new Uint8Array(12).fill(9).fill(2, 4, 8);
    const given = { ...feeds(1), pixels: tensor('uint8', [1, 4], stack.subarray(4, 8)) };
    const { total } = await session.run(given, ['total']);
    expect(total!.data[0]).toBe(22);
    expect(stack.byteLength).toBe(12);
  });

  test.each([
    ['a missing input', { pixels: feeds(1).pixels }, 'data.shape', 'expected inputs `pixels`, `shift`, found `pixels`'],
    ['an unknown input', { ...feeds(1), other: feeds(1).shift }, 'data.shape', 'found `pixels`, `shift`, `other`'],
    [
      'another dtype',
      { ...feeds(1), shift: feeds(1).pixels },
      'data.dtype',
      'input shift: expected float32, found uint8',
    ],
    [
      'another size',
      { ...feeds(1), pixels: zeros('uint8', [1, 5]) },
      'data.shape',
      'input pixels: expected [batch, 4], found [1, 5]',
    ],
    ['another rank', { ...feeds(1), pixels: zeros('uint8', [4]) }, 'data.shape', 'expected [batch, 4], found [4]'],
    ['two batches', { ...feeds(1), shift: feeds(2).shift }, 'data.shape', 'batch is 2, but 1 in pixels'],
    [
      'too few values',
      { ...feeds(1), pixels: { dtype: 'uint8', shape: [2, 4], data: new Uint8Array(4) } as const },
      'data.shape',
      '[2, 4] has 8 elements, found 4',
    ],
  ])('%s is refused before anything runs', async (_case, wrong, code, message) => {
    await using session = await openSession({ graph: affine, device: 'cpu' });
    await expect(session.run(wrong, ['total'])).rejects.toMatchObject({
      code,
      message: expect.stringContaining(message) as string,
    });
    await expect(session.run(feeds(1), ['total'])).resolves.toBeDefined();
  });

  test.each([
    ['an unknown output', ['sum'], 'data.shape', 'found `sum`'],
    ['an output of integers', ['whole'], 'data.dtype', 'output whole: expected float32 or float16, found int32'],
    ['no output', [], 'data.shape', 'at least one'],
  ])('%s cannot be fetched', async (_case, fetch, code, message) => {
    await using session = await openSession({ graph: affine, device: 'cpu' });
    await expect(session.run(feeds(1), fetch)).rejects.toMatchObject({
      code,
      message: expect.stringContaining(message) as string,
    });
  });

  test('an infinite output is data.not_finite, naming output and element, unless the check is off', async () => {
    await using session = await openSession({ graph: large, device: 'cpu' });
    const x = tensor('float32', [1, 3], Float32Array.of(1, 2, 1e10));
    await expect(session.run({ x }, ['y'])).rejects.toMatchObject({
      code: 'data.not_finite',
      message: 'output y [1, 3]: element 2 is Infinity, expected finite numbers',
    });
    const { y } = await session.run({ x }, ['y'], { finite: false });
    expect([...y!.data]).toEqual([1, 1, Infinity]);
  });

  test('a fault of the runtime is device.failed with its own message, at opening and in a run', async () => {
    const g = new GraphBuilder('rows');
    g.output('row', lookUp(g, floats(g, [1, 2, 3, 4], [2, 2]), g.input('index', 'int64', ['n'])));
    await using session = await openSession({ graph: await writeGraph(folder, g.finish()), device: 'cpu' });
    const at = (index: bigint) => session.run({ index: tensor('int64', [1], BigInt64Array.of(index)) }, ['row']);
    await expect(at(9n)).rejects.toMatchObject({
      code: 'device.failed',
      message: expect.stringMatching(/^cpu: .*out of .*bounds/s) as string,
    });
    expect((await at(1n))['row']!.data).toEqual(Float32Array.of(3, 4));

    const broken = join(folder, 'broken.onnx');
    await writeFile(broken, 'no graph');
    await expect(openSession({ graph: broken, device: 'cpu' })).rejects.toMatchObject({
      code: 'device.failed',
      message: expect.stringMatching(/^cpu: .*protobuf/is) as string,
      cause: expect.any(Error) as Error,
    });
  });

  test('buffers of transferred feeds come back to their pool, after a run as well as after a refusal', async () => {
    await using session = await openSession({ graph: affine, device: 'cpu' });
    using pool = new BufferPool(1, 64);
    const { shift } = feeds(2);
    for (const wrong of [false, true, false]) {
      const buffer = await pool.take();
      const both = new Uint8Array(buffer).fill(1); // pixels and shift in one buffer
      new Float32Array(buffer, 32, 8).set(shift.data);
      const packed = {
        pixels: tensor('uint8', [2, 4], both.subarray(0, 8)),
        shift: tensor('float32', [2, 4], new Float32Array(buffer, 32, 8)),
      };
      const run = session.run(packed, [wrong ? 'none' : 'total'], { pool });
      expect(buffer.byteLength).toBe(wrong ? 64 : 0); // detached when it has left
      if (wrong) await expect(run).rejects.toMatchObject({ code: 'data.shape' });
      else expect((await run)['total']!.data[1]).toBe(14);
    }
    expect((await pool.take()).byteLength).toBe(64);
  });

  test('thirty sessions opened and closed leave no thread and little memory behind', async () => {
    const openAndClose = async (): Promise<void> => {
      await using session = await openSession({ graph: affine, device: 'cpu', threads: 2 });
      await session.run(feeds(1), ['total']);
    };
    for (let i = 0; i < 10; i++) await openAndClose();
    const before = process.memoryUsage.rss();
    for (let i = 0; i < 20; i++) await openAndClose();
    expect((process.memoryUsage.rss() - before) / 2 ** 20).toBeLessThan(60);
    expect(process.listenerCount('exit')).toBeLessThan(5);
  });
});

describe('an end', () => {
  test('a disposed session finishes the run in flight and refuses those behind it and later ones', async () => {
    const graph = await writeGraph(folder, productsProbe(2, 512));
    const session = await openSession({ graph, device: 'cpu' });
    const x = zeros('float32', [512, 512]);
    await session.run({ x }, ['y']);
    const [inFlight, behind] = [session.run({ x }, ['y']), session.run({ x }, ['y'])];
    await Promise.all([session[Symbol.asyncDispose](), session[Symbol.asyncDispose]()]);
    const interrupted = { code: 'run.interrupted' };
    // The worker may not have begun the first one yet; then that is refused too.
    const first = await inFlight.catch((error: unknown) => error);
    if (first instanceof Error) expect(first).toMatchObject(interrupted);
    await expect(behind).rejects.toMatchObject(interrupted);
    await expect(session.run({ x }, ['y'])).rejects.toMatchObject(interrupted);
  });

  test('an abort refuses queued runs at once with its reason; the one in flight is finished', async () => {
    const controller = new AbortController();
    await using session = await standIn(100, controller.signal);
    using pool = new BufferPool(3, 8);
    const begin = async () => session.run(bytes(new Uint8Array(await pool.take())), ['given'], { pool });
    const first = begin();
    const second = begin();
    await first; // the worker goes on to the second by itself
    const third = session.run(bytes(), ['given']);
    const reason = new Error('enough');
    controller.abort(reason);
    await expect(third).rejects.toBe(reason);
    await expect(session.run(bytes(), ['given'], { pool: { give: () => undefined } })).rejects.toBe(reason);
    const outcome = await second.catch((error: unknown) => error);
    if (outcome instanceof Error) expect(outcome).toBe(reason);
    for (let i = 0; i < 3; i++) expect((await pool.take()).byteLength).toBe(8); // all are back
  });

  test('an aborted signal opens nothing, before and during the opening', async () => {
    const reason = new Error('enough');
    await expect(openSession({ graph: affine, device: 'cpu', signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    const controller = new AbortController();
    const opening = openSession({ graph: affine, device: 'cpu', signal: controller.signal });
    controller.abort(reason);
    await expect(opening).rejects.toBe(reason);
  });

  test('a worker that dies fails its runs with device.failed and replaces the buffers it had', async () => {
    let worker: Worker | undefined;
    process.once('worker', (started) => (worker = started));
    await using session = await standIn(60_000);
    using pool = new BufferPool(1, 8);
    const runs = [
      session.run(bytes(new Uint8Array(await pool.take())), ['given'], { pool }),
      session.run(bytes(), ['given']),
    ];
    await worker!.terminate(); // safe for a stand-in, which is never inside the runtime
    for (const run of runs) await expect(run).rejects.toMatchObject({ code: 'device.failed' });
    expect((await pool.take()).byteLength).toBe(8);
    await expect(session.run(bytes(), ['given'])).rejects.toMatchObject({ code: 'device.failed' });
  });
});

test('a stand-in blocks its worker for the stated time and gives zeros of the asked size', async () => {
  await using session = await standIn(30);
  const start = performance.now();
  const outputs = await Promise.all([1, 2].map((n) => session.run(bytes(new Uint8Array(8 * n)), ['given'])));
  expect(performance.now() - start).toBeGreaterThanOrEqual(59);
  expect(outputs.map(({ given }) => given)).toEqual([zeros('float32', [1, 2]), zeros('float32', [2, 2])]);
});
