import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { EgolensError } from '../errors.js';
import { tensor, zeros } from '../tensor.js';
import { GraphBuilder, type Graph } from './builder.js';
import { linear, lookUp, softmax } from './layers.js';
import { onnxBytes, readOnnx } from './onnx.js';
import { ProtoWriter } from './protobuf.js';
import { planWeights } from './weights.js';

function smallGraph(): Graph {
  const g = new GraphBuilder('small');
  const x = g.input('x', 'float32', ['batch', 2, 32]);
  const ids = g.input('ids', 'int64', ['batch', 'n']);
  const table = g.constant(zeros('float32', [64, 16]), 'table');
  g.output('rows', lookUp(g, table, ids));
  g.output(
    'scores',
    softmax(
      g,
      g.scope('head', () => linear(g, x, 'fc', 16)),
    ),
  );
  return g.finish();
}

function bytesOfGraph(graph: Graph): Uint8Array<ArrayBuffer> {
  const shapes = new Map(graph.params.map(({ name, shape }) => [name, shape]));
  return onnxBytes(graph, {
    weightsFile: 'weights.bin',
    plan: planWeights([graph]),
    inline: (name) => zeros('float32', shapes.get(name)!),
  });
}

test('a graph reads back as what it says about itself', () => {
  const summary = readOnnx(bytesOfGraph(smallGraph()), 'small.onnx');
  expect(summary).toMatchObject({
    irVersion: 8,
    producer: 'egolens',
    opsets: { '': 17, 'com.microsoft': 1 },
    name: 'small',
    inputs: [
      { name: 'x', dtype: 'float32', shape: ['batch', 2, 32] },
      { name: 'ids', dtype: 'int64', shape: ['batch', 'n'] },
    ],
    outputs: [
      { name: 'rows', dtype: 'float32', shape: ['batch', 'n', 16] },
      { name: 'scores', dtype: 'float32', shape: ['batch', 2, 16] },
    ],
  });
  expect(Object.fromEntries(summary.operations)).toEqual({ Gather: 1, Gemm: 1, Reshape: 2, Softmax: 1 });
});

test('weights of 1 KiB and more are external, the others stand inside', () => {
  const { initializers } = readOnnx(bytesOfGraph(smallGraph()), 'small.onnx');
  expect(initializers.filter(({ name }) => !name.includes('const_'))).toEqual([
    { name: 'head.fc.weight', dtype: 'float32', shape: [16, 32], external: 'weights.bin' },
    { name: 'head.fc.bias', dtype: 'float32', shape: [16], external: null },
    { name: 'table', dtype: 'float32', shape: [64, 16], external: 'weights.bin' },
  ]);
});

test('equal graphs give equal bytes', () => {
  expect(bytesOfGraph(smallGraph())).toEqual(bytesOfGraph(smallGraph()));
});

// ---- files of others ----------------------------------------------------------------------------------------------

/** ModelProto around a graph, with fields that we do not read before and after. */
const model = (graph: (g: ProtoWriter) => void): Uint8Array =>
  new ProtoWriter()
    .int(1, 9)
    .string(3, 'someone')
    .message(7, graph)
    .message(14, () => undefined)
    .finish();
const tensorOf = (build: (t: ProtoWriter) => void): Uint8Array => model((g) => g.message(5, build));

test('dimensions are read packed or one by one, signed, and types we do not use by their number', () => {
  const packed = tensorOf((t) =>
    t
      .bytes(1, Uint8Array.of(0xac, 2, 3))
      .int(2, 11)
      .string(8, 'w'),
  );
  expect(readOnnx(packed, 'x').initializers).toEqual([
    { name: 'w', dtype: 'type 11', shape: [300, 3], external: null },
  ]);
  const open = model((g) =>
    g.message(11, (v) =>
      v.string(1, 'x').message(2, (type) =>
        type.message(1, (t) =>
          t.int(1, 1).message(2, (s) =>
            s
              .message(1, (d) => d.int(1, -1))
              .message(1, (d) => d.string(2, 'n'))
              .message(1, () => undefined),
          ),
        ),
      ),
    ),
  );
  expect(readOnnx(open, 'x').inputs).toEqual([{ name: 'x', dtype: 'float32', shape: [-1, 'n', '?'] }]);
});

describe('hostile files', () => {
  const overlong = new Uint8Array(200_000).fill(0x80);
  test.each([
    ['no graph', new ProtoWriter().int(1, 8).finish(), 'input.format', 'found no graph in it'],
    ['a text file', new TextEncoder().encode('# not a model'), 'input.format', 'x: wire type 3 at byte 1'],
    ['a number that never ends', tensorOf((t) => t.bytes(1, overlong)), 'input.format', 'more than ten bytes'],
    [
      'dimensions that end inside a number',
      tensorOf((t) => t.bytes(1, Uint8Array.of(3, 0x80))),
      'input.format',
      'ends inside',
    ],
    ['a million axes', tensorOf((t) => t.bytes(1, new Uint8Array(1e6))), 'limit.size', '64 axes of a tensor, found 65'],
    ['a name of a megabyte', tensorOf((t) => t.bytes(8, new Uint8Array(1e6))), 'limit.size', '4096 bytes in a name'],
  ])('%s', (_, bytes, code, message) => {
    expect(() => readOnnx(bytes, 'x')).toThrow(
      expect.objectContaining({ code, message: expect.stringContaining(message) as string }),
    );
  });

  test('a file of empty entries is refused before it becomes gigabytes of objects', () => {
    const entries = new Uint8Array(400_000);
    for (let i = 0; i < entries.length; i += 2) entries[i] = (5 << 3) | 2; // initializer of length 0
    const bytes = new ProtoWriter().bytes(7, entries).finish();
    expect(() => readOnnx(bytes, 'x')).toThrow(
      expect.objectContaining({
        code: 'limit.size',
        message: '`x`: expected at most 100000 inputs, outputs, weights and operations, found 100001 or more',
      }),
    );
  });

  test('a model with bytes changed or cut off gives a summary or one of our errors', () => {
    const whole = bytesOfGraph(smallGraph());
    fc.assert(
      fc.property(fc.nat(whole.length - 1), fc.nat(255), fc.boolean(), (at, byte, isCut) => {
        const bytes = isCut ? whole.slice(0, at) : whole.slice();
        if (!isCut) bytes[at] = byte;
        try {
          readOnnx(bytes, 'x');
        } catch (error) {
          expect(error).toBeInstanceOf(EgolensError);
          expect(['input.format', 'limit.size']).toContain((error as EgolensError).code);
        }
      }),
      { numRuns: 500 },
    );
  });
});

test('an attribute is written by its kind: lists, integers, and the two floats', () => {
  const g = new GraphBuilder('attributes');
  const x = g.input('x', 'float32', [2, 3]);
  const t = g.op('Transpose', [x], { perm: [1, 0] })[0]!;
  const weights = [tensor('float32', [2], Float32Array.of(1, 1)), tensor('float32', [2], Float32Array.of(0, 0))];
  const affine = weights.map((value) => g.constant(value));
  g.output('y', g.op('LayerNormalization', [t, ...affine], { axis: -1, epsilon: 0.5 })[0]!);
  const text = Buffer.from(bytesOfGraph(g.finish())).toString('latin1');
  // name 1, ints 8 (two varints), type 20 = INTS 7
  expect(text).toContain('\n\x04perm@\x01@\x00\xa0\x01\x07');
  // name 1, i 3 = -1, type 20 = INT 2
  expect(text).toContain('\n\x04axis\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\xa0\x01\x02');
  // name 1, f 2 = 0.5 little-endian, type 20 = FLOAT 1
  expect(text).toContain('\n\x07epsilon\x15\x00\x00\x00?\xa0\x01\x01');
});
