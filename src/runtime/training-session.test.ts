import { expect, test } from 'vitest';
import { GraphBuilder } from '../graph/builder.js';
import { add, mul, scalar } from '../graph/layers.js';
import { onnxBytes } from '../graph/onnx.js';
import { tensor } from '../tensor.js';
import { openTrainingSession, type TrainingRun } from './training-session.js';

/** next = state + x, twice = 2 next. */
function counting(count = 2): Uint8Array {
  const g = new GraphBuilder('counting', { params: 'inputs' });
  const next = add(g, g.input('state', 'float32', [count]), g.input('x', 'float32', [count]));
  g.output('next', next);
  g.output('twice', mul(g, next, scalar(g, 2)));
  const inline = () => tensor('float32', [], new Float32Array(1));
  return onnxBytes(g.finish(), { weightsFile: '', plan: { slots: [], inline: [], totalBytes: 0 }, inline });
}

const floats = (...values: number[]) => tensor('float32', [values.length], Float32Array.from(values));
const run = (x: readonly number[]): TrainingRun => ({
  graph: 'counting',
  feeds: { x: floats(...x) },
  fetch: ['twice'],
  keep: { next: 'state' },
});

async function open() {
  const session = await openTrainingSession({ device: 'cpu', threads: 1 });
  await session.open('counting', counting());
  await session.write({ state: floats(1, 2) });
  return session;
}

test('state stays in the worker from run to run', async () => {
  await using session = await open();
  expect(Array.from((await session.run(run([1, 1]))).values['twice']!.data)).toEqual([4, 6]);
  await session.run(run([10, 10]));
  expect(Array.from((await session.read(['state']))['state']!.data)).toEqual([12, 13]);
  await session.clear(['state']);
  expect(Array.from((await session.run(run([1, 2]))).values['twice']!.data)).toEqual([2, 4]);
});

test('state that outgrows the memory set aside for it keeps its values', async () => {
  await using session = await open();
  const count = 100_000;
  const values = floats(...Array.from({ length: count }, (_, i) => i));
  await session.open('large', counting(count));
  await session.write({ state: floats(1, 2), large: values, state2: floats(5, 6) });
  const request = { graph: 'counting', feeds: { x: floats(1, 1) }, fetch: ['twice'], keep: { next: 'state' } };
  expect(Array.from((await session.run(request)).values['twice']!.data)).toEqual([4, 6]);
  expect((await session.read(['large']))['large']!.data[count - 1]).toBe(count - 1);
  // The run makes the second buffer of the state, and in it the memory grows.
  await session.write({ state: floats(...Array.from({ length: count }, () => 1)) });
  const x = floats(...Array.from({ length: count }, (_, i) => i));
  const { values: found, kept } = await session.run({
    graph: 'large',
    feeds: { x },
    fetch: [],
    keep: { next: 'state' },
  });
  expect([found, kept]).toEqual([{}, true]);
  expect(Array.from((await session.read(['state']))['state']!.data.slice(-2))).toEqual([count - 1, count]);
  expect(Array.from((await session.read(['state2']))['state2']!.data)).toEqual([5, 6]);
});

test('a result that is not finite leaves the state as it was', async () => {
  await using session = await open();
  expect((await session.run(run([NaN, 1]))).kept).toBe(false);
  expect(Array.from((await session.read(['state']))['state']!.data)).toEqual([1, 2]);
});

test('what does not exist is device.failed by its name', async () => {
  await using session = await open();
  await expect(session.read(['moment'])).rejects.toMatchObject({
    code: 'device.failed',
    message: 'cpu: no state tensor `moment`',
  });
  await expect(session.run({ ...run([1, 1]), graph: 'other' })).rejects.toMatchObject({ code: 'device.failed' });
  await expect(session.open('broken', new Uint8Array([1, 2, 3]))).rejects.toMatchObject({ code: 'device.failed' });
  expect((await session.run(run([1, 1]))).kept).toBe(true);
});

test('a disposal waits for the run in flight and refuses later ones', async () => {
  const session = await open();
  const runs = Array.from({ length: 50 }, () => session.run(run([1, 1])));
  const outcomes = Promise.allSettled(runs);
  await runs[0];
  await session[Symbol.asyncDispose]();
  const reasons = (await outcomes).flatMap((outcome) =>
    outcome.status === 'rejected' ? [outcome.reason as unknown] : [],
  );
  for (const reason of reasons) expect(reason).toMatchObject({ code: 'run.interrupted' });
  await expect(session.run(run([1, 1]))).rejects.toMatchObject({ code: 'run.interrupted' });
});
