import { describe, expect, test } from 'vitest';
import { tensor } from '../tensor.js';
import type { DType, Dim } from '../types.js';
import { GraphBuilder, type Graph } from './builder.js';
import { add, identity } from './layers.js';
import { ops, type NoAttrs, type OpAttrs, type OpName, type Value } from './ops.js';

const value = (shape: readonly Dim[], dtype: DType = 'float32'): Value => ({ name: 'x', dtype, shape });
const integers = (...values: number[]): Value => ({
  ...value([values.length], 'int64'),
  constant: tensor('int64', [values.length], BigInt64Array.from(values, BigInt)),
});
/** A constant float32 scalar, and a constant int64 one. */
const number = (x: number): Value => ({ ...value([]), constant: tensor('float32', [], Float32Array.of(x)) });
const place = (x: number): Value => ({
  ...value([], 'int64'),
  constant: tensor('int64', [], BigInt64Array.of(BigInt(x))),
});
const sizes = (...dims: Dim[]): Value => ({ ...value([dims.length], 'int64'), sizes: dims });

interface Rule<A> {
  readonly gives: readonly (readonly [inputs: readonly Value[], attrs: A, ...shapes: (readonly Dim[])[]])[];
  /** Inputs and the message, which follows the name of the node. */
  readonly refuses: readonly (readonly [inputs: readonly Value[], attrs: A, message: string])[];
}

const two: Rule<NoAttrs> = {
  gives: [
    [[value([2, 3]), value([2, 3])], {}, [2, 3]],
    [[value(['batch', 5, 1]), value([4])], {}, ['batch', 5, 4]],
  ],
  refuses: [
    [[value([2, 3]), value([4])], {}, 'elementwise: shapes [2, 3] and [4] do not broadcast'],
    [[value([2]), value([2], 'int64')], {}, 'expected one element type, found float32, int64'],
    [[value([2])], {}, 'expected 2 inputs, found 1'],
  ],
};
const one: Rule<NoAttrs> = {
  gives: [[[value(['batch', 3])], {}, ['batch', 3]]],
  refuses: [[[value([2]), value([2])], {}, 'expected 1 inputs, found 2']],
};
const reduce: Rule<OpAttrs['ReduceMean']> = {
  gives: [
    [[value(['batch', 5, 3])], { axes: [1], keepdims: 0 }, ['batch', 3]],
    [[value(['batch', 5, 3])], { axes: [-1, 1], keepdims: 1 }, ['batch', 1, 1]],
  ],
  refuses: [
    [[value([2, 3])], { axes: [2], keepdims: 0 }, 'expected an axis of 2 axes, not 2, found float32 [2, 3]'],
    [
      [value([2])],
      { axes: [], keepdims: 0 },
      'expected at least one axis (ONNX takes none for all), found float32 [2]',
    ],
  ],
};

/** A body that carries x float32 [2] and gives one float32 [3] a round; it reads y [3] from outside. */
function roundsOf(): Graph {
  const g = new GraphBuilder('body');
  g.input('round', 'int64', []);
  const goesOn = g.input('goesOn', 'bool', []);
  const [x, y] = [g.input('x', 'float32', [2]), g.input('y', 'float32', [3])];
  g.output('on', identity(g, goesOn));
  g.output('next', add(g, x, x));
  g.output('each', add(g, y, y));
  return g.finish();
}
const goesOn = value([], 'bool');

/** One row per operation: a row of the op table without one here does not compile. */
const rules: { readonly [O in OpName]: Rule<OpAttrs[O]> } = {
  Add: two,
  Sub: two,
  Mul: two,
  Div: two,
  Max: two,
  Min: two,
  Pow: two,
  Neg: one,
  Reciprocal: one,
  Exp: one,
  Log: one,
  Sqrt: one,
  Abs: one,
  Sign: one,
  Floor: one,
  Erf: one,
  Sin: one,
  Cos: one,
  Sigmoid: one,
  Tanh: one,
  Relu: one,
  Softplus: one,
  Identity: one,
  Greater: two,
  GreaterOrEqual: two,
  Less: two,
  Equal: two,
  Clip: {
    gives: [[[value(['b', 3]), number(0), number(1)], {}, ['b', 3]]],
    refuses: [
      [[value([2]), value([]), number(1)], {}, 'expected constant scalars as bounds, found float32 [2], float32 []'],
      [[value([2]), number(0), { ...number(1), shape: [1] }], {}, 'expected constant scalars as bounds'],
      [[value([2], 'float16'), number(0), number(1)], {}, 'expected one element type, found float16, float32, float32'],
      [[value([2]), number(0)], {}, 'expected 3 inputs, found 2'],
    ],
  },
  Where: {
    gives: [[[value(['b', 1], 'bool'), value([3]), value([2, 1, 1])], {}, [2, 'b', 3]]],
    refuses: [
      [[value([2]), value([2]), value([2])], {}, 'expected a bool condition, found float32 [2]'],
      [[value([2], 'bool'), value([3]), value([3])], {}, 'Where: shapes [2] and [3] do not broadcast'],
      [[value([2], 'bool'), value([2]), value([2], 'int64')], {}, 'expected one element type, found float32, int64'],
    ],
  },
  Gelu: one,
  FastGelu: one,
  QuickGelu: {
    gives: [[[value(['batch', 3])], { alpha: 1.702 }, ['batch', 3]]],
    refuses: [[[], { alpha: 1.702 }, 'expected 1 inputs, found 0']],
  },
  MatMul: {
    gives: [
      [[value([2, 3]), value([3, 4])], {}, [2, 4]],
      [[value(['batch', 6, 'n', 3]), value(['batch', 1, 3, 'm'])], {}, ['batch', 6, 'n', 'm']],
    ],
    refuses: [
      [
        [value([2, 3]), value([2, 3])],
        {},
        'expected [..., m, k] and [..., k, n], found float32 [2, 3], float32 [2, 3]',
      ],
      [[value([3]), value([3, 4])], {}, 'expected [..., m, k] and [..., k, n], found float32 [3], float32 [3, 4]'],
      [[value([2, 2, 3]), value([4, 3, 1])], {}, 'MatMul: shapes [2] and [4] do not broadcast'],
    ],
  },
  Gemm: {
    gives: [
      [[value(['batch*8', 3]), value([5, 3]), value([5])], { transB: 1 }, ['batch*8', 5]],
      [[value([2, 3]), value([3, 5])], { transB: 0 }, [2, 5]],
      [[value(['rows', 3]), value(['rows', 5])], { transA: 1, transB: 0 }, [3, 5]],
      [[value([3, 2]), value([5, 3])], { transA: 1, transB: 1 }, [2, 5]],
    ],
    refuses: [
      [[value([2, 3]), value([3, 5])], { transA: 1, transB: 0 }, 'expected 2 columns to meet 3 rows'],
      [[value([2, 3]), value([3, 5])], { transB: 1 }, 'expected 3 columns to meet 5 rows'],
      [[value([2, 2, 3]), value([5, 3])], { transB: 1 }, 'expected two matrices, found float32 [2, 2, 3]'],
      [[value([1, 3]), value([5, 3]), value([2, 5])], { transB: 1 }, 'expected a bias [n]'],
      [[value([1, 3])], { transB: 1 }, 'expected 2 to 3 inputs, found 1'],
    ],
  },
  Transpose: {
    gives: [[[value(['batch', 2, 3])], { perm: [2, 0, 1] }, [3, 'batch', 2]]],
    refuses: [
      [[value([2, 3])], { perm: [0, 0] }, 'expected a permutation of 2 axes, not [0, 0], found float32 [2, 3]'],
      [[value([2, 3])], { perm: [0] }, 'expected a permutation of 2 axes, not [0]'],
    ],
  },
  Shape: {
    gives: [
      [[value(['batch', 5, 3])], { start: 1, end: 3 }, [2]],
      [[value(['batch', 5, 3])], { start: 2, end: 2 }, [0]],
    ],
    refuses: [[[], { start: 0, end: 1 }, 'expected 1 inputs, found 0']],
  },
  Reshape: {
    gives: [
      [[value(['batch', 6, 4]), integers(0, -1)], {}, ['batch', 24]],
      [[value(['batch', 6, 4]), integers(-1, 4)], {}, ['batch*6', 4]],
      [[value(['batch*6', 4]), integers(-1, 6, 4)], {}, ['batch', 6, 4]],
      [[value(['batch*6', 4]), sizes('batch', 6, 4)], {}, ['batch', 6, 4]],
      [[value([1]), integers()], {}, []],
    ],
    refuses: [
      [[value([2, 3]), integers(4, 2)], {}, 'expected 6 elements, not [4, 2], found float32 [2, 3], int64 [2]'],
      [[value(['batch', 3]), integers(2, -1)], {}, 'expected batch*3 elements, not [2, -1]'],
      [[value([2, 3]), integers(-1, -1)], {}, 'expected one -1 at most and no other size below 0, not [-1, -1]'],
      [[value([2, 3]), integers(-2, -3)], {}, 'expected one -1 at most and no other size below 0, not [-2, -3]'],
      [[value([2, 3]), integers(2, 3, 0)], {}, 'expected 6 elements, not [2, 3, 0]'],
      [[value([2, 3]), value([2], 'int64')], {}, 'expected a constant int64 input, found int64 [2]'],
    ],
  },
  Expand: {
    gives: [
      [[value([1, 1, 3]), sizes('batch', 1, 3)], {}, ['batch', 1, 3]],
      [[value(['b', 1]), integers(4)], {}, ['b', 4]],
    ],
    refuses: [
      [[value([2, 3]), integers(4, 3)], {}, 'Expand: shapes [2, 3] and [4, 3] do not broadcast'],
      [[value([2]), value([1], 'int64')], {}, 'expected a constant int64 input, found int64 [1]'],
    ],
  },
  Slice: {
    gives: [
      [[value(['b', 5, 3]), integers(1), integers(4), integers(1)], {}, ['b', 3, 3]],
      [[value([5, 3]), integers(0, 2), integers(5, 3), integers(0, -1)], {}, [5, 1]],
      [[value([77, 3]), integers(0), sizes('length'), integers(0)], {}, ['length', 3]],
      [[value(['b', 5]), integers(0), sizes(4), integers(1)], {}, ['b', 4]],
      [[value(['b', 8, 5]), integers(1, 0), integers(8, 5), integers(1, 2), integers(3, 2)], {}, ['b', 3, 3]],
      [[value(['(n+3)', 5]), integers(1), integers(-2), integers(0)], {}, ['n', 5]],
    ],
    refuses: [
      [
        [value([5, 3]), integers(2), integers(2), integers(0)],
        {},
        'expected 0 <= start < end <= 5 along axis 0, not 2 and 2, found float32 [5, 3]',
      ],
      [[value([5, 3]), integers(0), integers(6), integers(0)], {}, 'expected 0 <= start < end <= 5 along axis 0'],
      [[value([5, 3]), integers(-1), integers(5), integers(0)], {}, 'expected 0 <= start < end <= 5 along axis 0'],
      [[value(['b', 3]), integers(0), integers(2), integers(0)], {}, 'expected 0 <= start < end <= b along axis 0'],
      [
        [value([5]), integers(1), sizes('n'), integers(0)],
        {},
        'expected a start of 0 and a step of 1 before a symbolic end',
      ],
      [
        [value([5]), integers(0), sizes('n'), integers(0), integers(2)],
        {},
        'expected a start of 0 and a step of 1 before a symbolic end',
      ],
      [[value([5]), integers(0), integers(2), integers(0), integers(-1)], {}, 'expected steps of 1 or more, not [-1]'],
      [
        [value([5]), integers(0), integers(2), integers(0), integers(1, 1)],
        {},
        'expected one start and one end an axis',
      ],
      [[value([5, 3]), integers(0), integers(2), integers(2)], {}, 'expected an axis of 2 axes, not 2'],
      [[value([5, 3]), integers(0, 0), integers(2), integers(0)], {}, 'expected one start and one end an axis'],
      [[value([5]), integers(0), value([1], 'int64'), integers(0)], {}, 'expected a constant int64 input'],
      [[value([5]), integers(0), integers(2)], {}, 'expected 4 to 5 inputs, found 3'],
    ],
  },
  Concat: {
    gives: [
      [[value(['b', 2, 3]), value(['b', 5, 3])], { axis: 1 }, ['b', 7, 3]],
      [[value(['b', 'visible', 3]), value(['b', 'decoded', 3])], { axis: -2 }, ['b', '(decoded+visible)', 3]],
    ],
    refuses: [
      [
        [value([2, 3]), value([2, 4])],
        { axis: 0 },
        'expected shapes that differ only along axis 0, found float32 [2, 3]',
      ],
      [[value([2]), value([2], 'int32')], { axis: 0 }, 'expected one element type, found float32, int32'],
      [[value([2])], { axis: 1 }, 'expected an axis of 1 axes, not 1'],
      [[], { axis: 0 }, 'expected 1 or more inputs, found 0'],
    ],
  },
  Split: {
    gives: [
      [[value(['b', 6]), integers(2, 4)], { axis: -1 }, ['b', 2], ['b', 4]],
      [[value(['b', '(a+c)']), sizes('c', 'a')], { axis: 1 }, ['b', 'c'], ['b', 'a']],
    ],
    refuses: [
      [[value(['b', 6]), integers(2, 3)], { axis: 1 }, 'expected parts that sum to 6, not [2, 3]'],
      [[value(['b', 6]), integers(-2, 8)], { axis: 1 }, 'expected parts that sum to 6, not [-2, 8]'],
      [[value(['b', 6]), value([2], 'int64')], { axis: 1 }, 'expected a constant int64 input'],
    ],
  },
  Cast: {
    gives: [[[value(['b', 2], 'uint8')], { to: 'float32' }, ['b', 2]]],
    refuses: [[[], { to: 'int32' }, 'expected 1 inputs, found 0']],
  },
  Gather: {
    gives: [
      [[value([9, 4]), value(['b', 'n'], 'int64')], { axis: 0 }, ['b', 'n', 4]],
      [[value(['b', 9, 4]), value([], 'int64')], { axis: 1 }, ['b', 4]],
    ],
    refuses: [
      [[value([9, 4]), value([2])], { axis: 0 }, 'expected int64 indices, found float32 [9, 4], float32 [2]'],
      [[value([9, 4]), value([2], 'int64')], { axis: 2 }, 'expected an axis of 2 axes, not 2'],
    ],
  },
  GatherND: {
    gives: [
      [[value(['b', 9, 4]), value(['b', 'n', 1], 'int64')], { batch_dims: 1 }, ['b', 'n', 4]],
      [[value([9, 4, 2]), value([3, 2], 'int64')], { batch_dims: 0 }, [3, 2]],
    ],
    refuses: [
      [[value(['b', 9]), value(['c', 'n', 1], 'int64')], { batch_dims: 1 }, 'expected equal sizes on the first 1 axes'],
      [[value([9, 4]), value([3, 'n'], 'int64')], { batch_dims: 0 }, 'expected int64 indices [..., depth]'],
      [
        [value([9, 4]), value([3, 3], 'int64')],
        { batch_dims: 0 },
        'expected a depth from 1 to the 2 axes after the first 0',
      ],
      [
        [value([9, 4]), value([9], 'int64')],
        { batch_dims: 1 },
        'expected a depth from 1 to the 1 axes after the first 1',
      ],
    ],
  },
  GatherElements: {
    gives: [[[value(['b', 9, 4]), value(['b', 3, 4], 'int64')], { axis: 1 }, ['b', 3, 4]]],
    refuses: [
      [[value([9, 4]), value([3], 'int64')], { axis: 0 }, 'expected int64 indices of 2 axes, found float32 [9, 4]'],
      [[value([9, 4]), value([3, 4], 'int32')], { axis: 0 }, 'expected int64 indices of 2 axes'],
      [[value([9, 4]), value([3, 4], 'int64')], { axis: 2 }, 'expected an axis of 2 axes, not 2'],
    ],
  },
  ScatterND: {
    gives: [
      [[value(['b', 4]), value([3, 1], 'int64'), value([3, 4])], { reduction: 'add' }, ['b', 4]],
      [[value([9, 4]), value(['n', 2], 'int64'), value(['n'])], { reduction: 'none' }, [9, 4]],
    ],
    refuses: [
      [
        [value([9, 4]), value([3, 1], 'int64'), value([3, 5])],
        { reduction: 'add' },
        'expected updates [3, 4], found float32 [9, 4], int64 [3, 1], float32 [3, 5]',
      ],
      [
        [value([9, 4]), value([3, 3], 'int64'), value([3])],
        { reduction: 'add' },
        'expected int64 indices [..., depth], a depth from 1 to 2',
      ],
      [
        [value([9, 4]), value([3, 'n'], 'int64'), value([3, 4])],
        { reduction: 'add' },
        'expected int64 indices [..., depth]',
      ],
      [
        [value([9]), value([3, 1], 'int64'), value([3], 'float16')],
        { reduction: 'add' },
        'expected one element type, found float32, float16',
      ],
    ],
  },
  ScatterElements: {
    gives: [
      [[value([9, 4]), value([3, 4], 'int64'), value([3, 4])], { axis: 0, reduction: 'add' }, [9, 4]],
      [[value(['b', 4]), value(['b', 2], 'int64'), value(['b', 2])], { axis: -1, reduction: 'none' }, ['b', 4]],
    ],
    refuses: [
      [
        [value([9, 4]), value([3, 4], 'int64'), value([3, 3])],
        { axis: 0, reduction: 'add' },
        'expected updates of the shape of the indices',
      ],
      [
        [value([9, 4]), value([3], 'int64'), value([3])],
        { axis: 0, reduction: 'add' },
        'expected int64 indices of 2 axes',
      ],
    ],
  },
  Pad: {
    gives: [
      [[value(['b', 4]), integers(0, 1, 0, 2)], {}, ['b', 7]],
      [[value(['b', 4]), integers(1, 0, 0, 0), number(-1)], {}, ['(b+1)', 4]],
    ],
    refuses: [
      [[value([2, 4]), integers(0, 1)], {}, 'expected 4 widths of 0 or more, not [0, 1], found float32 [2, 4]'],
      [[value([4]), integers(-1, 0)], {}, 'expected 2 widths of 0 or more, not [-1, 0]'],
      [[value([4]), value([2], 'int64')], {}, 'expected a constant int64 input'],
      [[value([4]), integers(1, 0), value([])], {}, 'expected a constant scalar to fill with'],
      [[value([4], 'float16'), integers(1, 0), number(0)], {}, 'expected one element type, found float16, float32'],
    ],
  },
  ArgMax: {
    gives: [
      [[value(['b', 'n', 3], 'int64')], { axis: 1, keepdims: 1 }, ['b', 1, 3]],
      [[value(['b', 5])], { axis: -1, keepdims: 0 }, ['b']],
    ],
    refuses: [
      [[value(['b', 5])], { axis: 2, keepdims: 1 }, 'expected an axis of 2 axes, not 2, found float32 [b, 5]'],
      [[], { axis: 0, keepdims: 1 }, 'expected 1 inputs, found 0'],
    ],
  },
  Softmax: {
    gives: [[[value(['b', 'n', 3])], { axis: -1 }, ['b', 'n', 3]]],
    refuses: [[[value([2])], { axis: 1 }, 'expected an axis of 1 axes, not 1, found float32 [2]']],
  },
  LogSoftmax: {
    gives: [[[value(['b', 'n', 3])], { axis: 1 }, ['b', 'n', 3]]],
    refuses: [[[value([2])], { axis: 1 }, 'expected an axis of 1 axes, not 1, found float32 [2]']],
  },
  CumSum: {
    gives: [[[value(['b', 3]), place(1)], { exclusive: 0, reverse: 0 }, ['b', 3]]],
    refuses: [
      [[value([3]), integers(0)], { exclusive: 0, reverse: 0 }, 'expected one axis, found float32 [3], int64 [1]'],
      [[value([3]), place(1)], { exclusive: 0, reverse: 0 }, 'expected an axis of 1 axes, not 1'],
      [[value([3]), value([], 'int64')], { exclusive: 0, reverse: 0 }, 'expected a constant int64 input'],
    ],
  },
  LayerNormalization: {
    gives: [[[value(['b', 'n', 3]), value([3]), value([3])], { axis: -1, epsilon: 1e-6 }, ['b', 'n', 3]]],
    refuses: [
      [
        [value(['b', 3]), value([3]), value([4])],
        { axis: -1, epsilon: 1 },
        'expected scale and bias [3], found float32 [b, 3]',
      ],
      [
        [value([3]), value([3], 'float16'), value([3])],
        { axis: -1, epsilon: 1 },
        'expected one element type, found float32, float16',
      ],
    ],
  },
  ReduceMax: reduce,
  ReduceMean: reduce,
  ReduceL2: reduce,
  ReduceSumSquare: reduce,
  ReduceLogSumExp: reduce,
  ReduceSum: {
    gives: [[[value(['b', 5, 3]), integers(0, 2)], { keepdims: 0 }, [5]]],
    refuses: [
      [[value(['b', 5]), value([1], 'int64')], { keepdims: 0 }, 'expected a constant int64 input, found int64 [1]'],
      [[value(['b', 5]), integers()], { keepdims: 0 }, 'expected at least one axis'],
    ],
  },
  Conv: {
    gives: [
      // 2 groups of 2 channels; 7 + 1 + 2 values under a kernel of 3 in steps of 2
      [[value(['b', 4, 7]), value([6, 2, 3]), value([6])], { strides: [2], pads: [1, 2], group: 2 }, ['b', 6, 4]],
      [[value(['b', 3, 8, 9]), value([5, 3, 2, 3])], { strides: [2, 3], pads: [0, 0, 0, 0], group: 1 }, ['b', 5, 4, 3]],
      [
        [value(['b', 4, 8, 5, 6]), value([4, 1, 3, 3, 3]), value([4])],
        { strides: [1, 1, 1], pads: [1, 1, 1, 1, 1, 1], group: 4 },
        ['b', 4, 8, 5, 6],
      ],
      // a kernel of 3 that reaches over 5 values
      [[value(['b', 3, 9]), value([5, 3, 3])], { strides: [2], pads: [0, 0], dilations: [2], group: 1 }, ['b', 5, 3]],
      [[value(['b', 4, 'n']), value([4, 1, 7])], { strides: [1], pads: [3, 3], group: 4 }, ['b', 4, 'n']],
      [[value(['b', 4, 'n*6']), value([4, 1, 3])], { strides: [2], pads: [1, 1], group: 4 }, ['b', 4, 'n*3']],
    ],
    refuses: [
      [
        [value(['b', 3, 4]), value([5, 3, 3])],
        { strides: [1], pads: [0, 0], dilations: [2], group: 1 },
        'expected at least 5 values along axis 2, padding included',
      ],
      [
        [value(['b', 4, 7]), value([6, 4, 3, 3])],
        { strides: [1], pads: [0, 0], group: 1 },
        'expected x [b, c, ...space], w [m, c / group, ...kernel], 1 strides, 2 pads, found float32 [b, 4, 7]',
      ],
      [
        [value(['b', 4, 7]), value([6, 4, 3])],
        { strides: [1], pads: [1], group: 1 },
        'expected x [b, c, ...space], w [m, c / group, ...kernel], 1 strides, 2 pads',
      ],
      [[value(['b', 4]), value([6, 4])], { strides: [], pads: [], group: 1 }, 'expected x [b, c, ...space]'],
      [
        [value(['b', 4, 'n']), value([6, 4, 3])],
        { strides: [2], pads: [0, 0], group: 1 },
        'expected a known size, or a stride that divides it, found float32 [b, 4, n]',
      ],
      [
        [value(['b', 'c', 7]), value([6, 4, 3])],
        { strides: [1], pads: [0, 0], group: 1 },
        'expected known channels and kernels, found float32 [b, c, 7]',
      ],
      [
        [value(['b', 4, 7]), value([6, 4, 3])],
        { strides: [1], pads: [0, 0], group: 2 },
        'expected 2 groups of 4 channels',
      ],
      [
        [value(['b', 4, 7]), value([5, 2, 3])],
        { strides: [1], pads: [0, 0], group: 2 },
        'expected 2 groups of 2 channels',
      ],
      [
        [value(['b', 4, 7]), value([6, 4, 3]), value([4])],
        { strides: [1], pads: [0, 0], group: 1 },
        'expected a bias [6]',
      ],
      [
        [value(['b', 4, 2]), value([6, 4, 4])],
        { strides: [1], pads: [1, 0], group: 1 },
        'expected at least 4 values along axis 2, padding included',
      ],
      [
        [value(['b', 4, 7]), value([6, 4, 3], 'float16')],
        { strides: [1], pads: [0, 0], group: 1 },
        'expected one element type, found float32, float16',
      ],
    ],
  },
  ConvTranspose: {
    gives: [
      // (4 - 1) 2 + 3 + 1 - 1 - 2
      [
        [value(['b', 4, 4]), value([4, 3, 3]), value([6])],
        { strides: [2], pads: [1, 2], group: 2, output_padding: [1] },
        ['b', 6, 7],
      ],
      [
        [value(['b', 3, 4, 5]), value([3, 6, 2, 2])],
        { strides: [2, 2], pads: [0, 0, 0, 0], dilations: [1, 3], group: 1, output_padding: [0, 0] },
        ['b', 6, 8, 12],
      ],
    ],
    refuses: [
      [
        [value(['b', 4, 4]), value([3, 3, 3])],
        { strides: [2], pads: [1, 2], group: 1, output_padding: [0] },
        'expected 1 groups of 3 channels, found float32 [b, 4, 4]',
      ],
      [
        [value(['b', 4, 4]), value([4, 3, 3]), value([3])],
        { strides: [2], pads: [1, 2], group: 2, output_padding: [0] },
        'expected a bias [6]',
      ],
      [
        [value(['b', 4, 4]), value([4, 3, 3])],
        { strides: [2], pads: [1, 2], group: 1, output_padding: [] },
        'expected 1 output paddings',
      ],
      [
        [value(['b', 4, 1]), value([4, 3, 3])],
        { strides: [2], pads: [1, 2], group: 1, output_padding: [0] },
        'expected more than 0 values along axis 2 after the padding is cut off',
      ],
      [
        [value(['b', 4, 4]), value([4, 3])],
        { strides: [2], pads: [1, 2], group: 1, output_padding: [0] },
        'expected x [b, c, ...space], w [c, m / group, ...kernel], 1 strides, 2 pads',
      ],
    ],
  },
  MultiHeadAttention: {
    gives: [
      [[value(['b', 'n', 8]), value(['b', 5, 8]), value(['b', 5, 4])], { num_heads: 2, scale: 1 }, ['b', 'n', 4]],
      [
        [value(['b', 'n', 8]), value(['b', 'n', 8]), value(['b', 'n', 4])],
        { num_heads: 2, scale: 1, unidirectional: 1 },
        ['b', 'n', 4],
      ],
    ],
    refuses: [
      [
        [value(['b', 'n', 8]), value(['b', 5, 8]), value(['b', 5, 8])],
        { num_heads: 2, scale: 1, unidirectional: 1 },
        'expected q, k, v [batch, tokens, width], width a multiple of 2 heads, found float32 [b, n, 8]',
      ],
      [
        [value(['b', 4, 8]), value(['b', 5, 8]), value(['b', 6, 8])],
        { num_heads: 2, scale: 1 },
        'expected q, k, v [batch, tokens, width], width a multiple of 2 heads, found float32 [b, 4, 8]',
      ],
      [
        [value(['b', 4, 8]), value(['b', 5, 8]), value(['b', 5, 8])],
        { num_heads: 3, scale: 1 },
        'expected q, k, v [batch, tokens, width], width a multiple of 3 heads',
      ],
      [[value(['b', 4, 8]), value([1, 5, 8]), value([1, 5, 8])], { num_heads: 2, scale: 1 }, 'expected q, k, v'],
      [
        [value(['b', 4, 8]), value(['b', 5, 8]), value(['b', 5, 8])],
        { num_heads: 0, scale: 1 },
        'expected q, k, v [batch, tokens, width], width a multiple of 0 heads',
      ],
    ],
  },
  Loop: {
    gives: [[[place(5), goesOn, value([2]), value([3])], { body: roundsOf(), carried: 1 }, [2], [5, 3]]],
    refuses: [
      [[place(5), goesOn], { body: roundsOf(), carried: 1 }, 'expected 3 or more inputs, found 2'],
      [
        [place(5), value([]), value([2]), value([3])],
        { body: roundsOf(), carried: 1 },
        'expected a number of rounds and a bool condition, both scalars, found int64 [], float32 []',
      ],
      [
        [value([], 'int64'), goesOn, value([2]), value([3])],
        { body: roundsOf(), carried: 1 },
        'expected a constant int64 input',
      ],
      [
        [place(5), goesOn, value([2])],
        { body: roundsOf(), carried: 1 },
        'expected a body without parameters and with 3 inputs, not 4',
      ],
      [
        [place(5), goesOn, value([2]), value([4])],
        { body: roundsOf(), carried: 1 },
        'expected float32 [3] for `y`, found float32 [4]',
      ],
      [
        [place(5), goesOn, value([2]), value([3])],
        { body: { ...roundsOf(), outputs: new Map([...roundsOf().outputs].slice(1)) }, carried: 1 },
        'expected a body that gives a condition and 1 carried values',
      ],
      [[place(5)], { body: roundsOf(), carried: 0 }, 'expected 2 or more inputs, found 1'],
    ],
  },
};

describe.each(Object.keys(ops) as OpName[])('%s', (op) => {
  const { gives, refuses } = rules[op] as Rule<OpAttrs[OpName]>; // the row belongs to the op by the type of `rules`

  test('gives shapes by its rule', () => {
    for (const [inputs, attrs, ...shapes] of gives) {
      const outputs = new GraphBuilder('g').op(op, inputs, attrs);
      expect(outputs.map(({ shape }) => shape)).toEqual(shapes);
    }
  });

  test('refuses what does not fit, with its scope, what was expected and what was found', () => {
    for (const [inputs, attrs, message] of refuses) {
      const build = (): unknown => {
        const g = new GraphBuilder('g');
        return g.scope('blocks.3', () => g.op(op, inputs, attrs));
      };
      expect(build).toThrow(`blocks.3.${op}_0: ${message}`);
      expect(build).toThrow(
        expect.objectContaining({ code: message.includes('element type') ? 'data.dtype' : 'data.shape' }),
      );
    }
  });
});

test('element types follow the values, except where an operation makes its own', () => {
  const dtypeOf = <O extends OpName>(op: O, inputs: readonly Value[], attrs: OpAttrs[O]): DType =>
    new GraphBuilder('g').op(op, inputs, attrs)[0]!.dtype;
  expect(dtypeOf('Transpose', [value([2, 3], 'uint8')], { perm: [1, 0] })).toBe('uint8');
  expect(dtypeOf('Cast', [value([2], 'uint8')], { to: 'float16' })).toBe('float16');
  expect(dtypeOf('Shape', [value([2])], { start: 0, end: 1 })).toBe('int64');
  expect(dtypeOf('Gather', [value([2], 'int32'), value([], 'int64')], { axis: 0 })).toBe('int32');
  expect(dtypeOf('ArgMax', [value([2, 3])], { axis: 1, keepdims: 0 })).toBe('int64');
  expect(dtypeOf('Less', [value([2]), value([2])], {})).toBe('bool');
  expect(dtypeOf('Where', [value([2], 'bool'), value([2], 'int64'), value([2], 'int64')], {})).toBe('int64');
  expect(dtypeOf('Slice', [value([2, 3], 'uint8'), integers(0), integers(1), integers(1)], {})).toBe('uint8');
});

test('sizes that Shape reads can be joined and split by', () => {
  const g = new GraphBuilder('g');
  const [a, b] = [g.input('a', 'float32', ['batch', 'visible', 4]), g.input('b', 'float32', ['batch', 'decoded', 4])];
  const sizesOf = (x: Value): Value => g.op('Shape', [x], { start: 1, end: 2 })[0]!;
  const lengths = g.op('Concat', [sizesOf(a), sizesOf(b)], { axis: 0 })[0]!;
  const joined = g.op('Concat', [a, b], { axis: 1 })[0]!;
  const parts = g.op('Split', [joined, lengths], { axis: 1 });
  expect(parts.map(({ shape }) => shape)).toEqual([a.shape, b.shape]);
});
