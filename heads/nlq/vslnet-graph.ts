/**
 * VSLNet as a graph: a video and a question, encoded by one shared encoder, meet in attention both ways; what the question lights up is
 * where the answer starts and ends.
 *
 * Paper: Zhang et al., "Span-based Localizing Network for Natural Language Video Localization", ACL 2020. Official code: EGO4D/episodic-memory
 * NLQ/VSLNet/model/layers.py and VSLNet.py, whose state dicts load as they are. Differences: no dropout; with `maskConvs` padding does not
 * reach what is not padding, so that every item gives what it gives alone (the official batches leak).
 */
import type { GraphBuilder } from '../../src/graph/builder.js';
import {
  add,
  concat,
  convolve,
  layerNorm,
  matMul,
  mul,
  multiply,
  relu,
  reshape,
  scalar,
  sigmoid,
  slice,
  sliceLike,
  softmax,
  split,
  sub,
  sum,
  tanh,
  transpose,
} from '../../src/graph/layers.js';
import type { Value } from '../../src/graph/ops.js';

/** Sizes of the graph, under our names. */
export interface VslnetSizes {
  readonly width: number;
  readonly heads: number;
  /** Most rows, and most words: both take their positions from one table. */
  readonly positions: number;
  readonly predictor: 'transformer' | 'rnn';
  readonly maskConvs: boolean;
}

/** A padded batch of sequences. */
export interface Padded {
  /** [batch, n, width] */
  readonly x: Value;
  /** [batch, n]: 1 for what counts, 0 for padding. */
  readonly mask: Value;
}

/** Everything between the inputs and the answer, by the names of the official modules. Logits of padding are -1e30 less. */
export interface VslnetValues {
  readonly video_affine: Value;
  readonly query_encoded: Value;
  readonly video_encoded: Value;
  readonly cq_attention: Value;
  readonly cq_concat: Value;
  /** [batch, rows], logits of the row being in or near the answer. */
  readonly highlight_logits: Value;
  /** [batch, rows], in (0, 1). */
  readonly h_score: Value;
  readonly start_logits: Value;
  readonly end_logits: Value;
}

const epsilon = 1e-6;
const convLayers = 4;
const kernel = 7;

/**
 * The network behind the word vectors.
 *
 * @param features [batch, rows, any width], sampled to `positions` rows at most
 * @param query word vectors projected to the network's width: [batch, words, width]
 */
export function vslnetValues(g: GraphBuilder, features: Padded, query: Padded, sizes: VslnetSizes): VslnetValues {
  const { width } = sizes;
  const video = pointwise(g, features.x, 'video_affine.linear.conv1d', width);
  const encode = ({ x, mask }: Padded): Value => g.scope('feature_encoder', () => encoder(g, { x, mask }, sizes));
  const seen = { x: encode({ x: video, mask: features.mask }), mask: features.mask };
  const asked = { x: encode(query), mask: query.mask };
  const met = g.scope('cq_attention', () => contextQueryAttention(g, seen, asked));
  const joined = g.scope('cq_concat', () => withPooledQuery(g, met, asked));
  const highlight = maskedLogits(g, pointwise(g, joined, 'highlight_layer.conv1d.conv1d', 1), features.mask);
  const share = sigmoid(g, highlight);
  const lit = { x: mul(g, joined, reshape(g, share, [0, 0, 1])), mask: features.mask };
  const ends = g.scope('predictor', () =>
    sizes.predictor === 'rnn' ? recurrentPredictor(g, lit) : transformerPredictor(g, lit, sizes),
  );
  return {
    video_affine: video,
    query_encoded: asked.x,
    video_encoded: seen.x,
    cq_attention: met,
    cq_concat: joined,
    highlight_logits: highlight,
    h_score: share,
    ...ends,
  };
}

/** A convolution of kernel 1, whose weight the checkpoint holds as [out, in, 1], over x [batch, n, in]: [batch, n, out]. */
export function pointwise(g: GraphBuilder, x: Value, name: string, out: number): Value {
  const width = x.shape[2] as number;
  const weight = reshape(g, g.param(`${name}.weight`, [out, width, 1]), [out, width]);
  return multiply(g, x, weight, g.param(`${name}.bias`, [out]));
}

/** What is added to logits of padding: 0 or -1e30, in the shape of the mask. */
function hidden(g: GraphBuilder, mask: Value): Value {
  return mul(g, sub(g, scalar(g, 1), mask), scalar(g, -1e30));
}

/** x [batch, n, 1] as logits [batch, n], those of padding far below all others. */
function maskedLogits(g: GraphBuilder, x: Value, mask: Value): Value {
  return add(g, reshape(g, x, [0, -1]), hidden(g, mask));
}

/** Learned positions, four separable convolutions, self-attention: [batch, n, width]. */
function encoder(g: GraphBuilder, { x, mask }: Padded, { width, heads, positions, maskConvs }: VslnetSizes): Value {
  const table = g.param('pos_embedding.position_embeddings.weight', [positions, width]);
  let y = add(g, x, x.shape[1] === positions ? table : sliceLike(g, table, 0, x, 1));
  const counted = reshape(g, mask, [0, 0, 1]);
  g.scope('conv_block', () => {
    for (let i = 0; i < convLayers; i++) {
      const normed = layerNorm(g, y, `layer_norms.${i}`, epsilon);
      const conv = g.scope(`depthwise_separable_conv.${i}`, () => {
        const channels = transpose(g, maskConvs ? mul(g, normed, counted) : normed, [0, 2, 1]);
        const weight = g.param('0.weight', [width, 1, kernel]);
        const steps = { strides: [1], padding: [(kernel - 1) / 2], groups: width };
        const near = transpose(g, convolve(g, channels, weight, undefined, steps), [0, 2, 1]);
        return relu(g, pointwise(g, near, '1', width));
      });
      y = add(g, conv, y);
    }
  });
  return g.scope('attention_block', () => selfAttention(g, { x: y, mask }, heads));
}

function selfAttention(g: GraphBuilder, { x, mask }: Padded, heads: number): Value {
  const width = x.shape[2] as number;
  const each = width / heads;
  const normed = layerNorm(g, x, 'layer_norm1', epsilon);
  const [q, k, v] = (['query', 'key', 'value'] as const).map((name) => {
    const apart = reshape(g, pointwise(g, normed, `${name}.conv1d`, width), [0, 0, heads, each]);
    return transpose(g, apart, name === 'key' ? [0, 2, 3, 1] : [0, 2, 1, 3]);
  }) as [Value, Value, Value]; // one for each name
  const logits = mul(g, matMul(g, q, k), scalar(g, each ** -0.5)); // [batch, heads, n, n]
  const keys = transpose(g, reshape(g, hidden(g, mask), [0, 0, 1, 1]), [0, 2, 3, 1]);
  const mixed = transpose(g, matMul(g, softmax(g, add(g, logits, keys)), v), [0, 2, 1, 3]);
  const attended = add(g, reshape(g, mixed, [0, 0, width]), x);
  return add(g, pointwise(g, layerNorm(g, attended, 'layer_norm2', epsilon), 'out_layer.conv1d', width), attended);
}

/** Every row with what it finds in the words, and with the rows that the words find: [batch, rows, width]. */
function contextQueryAttention(g: GraphBuilder, context: Padded, query: Padded): Value {
  const [c, q] = [context.x, query.x];
  const width = c.shape[2] as number;
  const ofRow = matMul(g, c, g.param('w4C', [width, 1])); // [batch, rows, 1]
  const ofWord = transpose(g, matMul(g, q, g.param('w4Q', [width, 1])), [0, 2, 1]); // [batch, 1, words]
  const pairs = matMul(g, mul(g, c, g.param('w4mlu', [1, 1, width])), transpose(g, q, [0, 2, 1]));
  const scores = add(g, add(g, pairs, ofRow), ofWord); // [batch, rows, words]
  const words = transpose(g, reshape(g, hidden(g, query.mask), [0, 0, 1]), [0, 2, 1]);
  const overWords = softmax(g, add(g, scores, words), 2);
  const overRows = softmax(g, add(g, scores, reshape(g, hidden(g, context.mask), [0, 0, 1])), 1);
  const found = matMul(g, overWords, q);
  const back = matMul(g, overWords, matMul(g, transpose(g, overRows, [0, 2, 1]), c));
  const all = concat(g, [c, found, mul(g, c, found), mul(g, c, back)], 2);
  return pointwise(g, all, 'cqa_linear.conv1d', width);
}

/** Every row beside the whole question, one vector weighted over its words: [batch, rows, width]. */
function withPooledQuery(g: GraphBuilder, rows: Value, query: Padded): Value {
  const width = rows.shape[2] as number;
  const alpha = matMul(g, query.x, g.param('weighted_pool.weight', [width, 1])); // [batch, words, 1]
  const shares = softmax(g, add(g, alpha, reshape(g, hidden(g, query.mask), [0, 0, 1])), 1);
  const pooled = sum(g, mul(g, query.x, shares), [1], 1); // [batch, 1, width]
  // The official layer reads [row, question]. Cut in two, its weight need not see the question again for every row.
  const weight = reshape(g, g.param('conv1d.conv1d.weight', [width, 2 * width, 1]), [width, 2 * width]);
  const [own, asked] = [0, 1].map((half) => slice(g, weight, 1, half * width, (half + 1) * width));
  const ofQuestion = multiply(g, pooled, asked!, g.param('conv1d.conv1d.bias', [width])); // two halves
  return add(g, multiply(g, rows, own!), ofQuestion);
}

type Ends = Pick<VslnetValues, 'start_logits' | 'end_logits'>;

/** One encoder, twice: the end is looked for in what told the start. */
function transformerPredictor(g: GraphBuilder, { x, mask }: Padded, sizes: VslnetSizes): Ends {
  const encode = (y: Value): Value => g.scope('encoder', () => encoder(g, { x: y, mask }, sizes));
  const start = encode(x);
  const end = encode(start);
  return {
    start_logits: endLogits(g, layerNorm(g, start, 'start_layer_norm', epsilon), { x, mask }, 'start_block'),
    end_logits: endLogits(g, layerNorm(g, end, 'end_layer_norm', epsilon), { x, mask }, 'end_block'),
  };
}

function recurrentPredictor(g: GraphBuilder, { x, mask }: Padded): Ends {
  const counted = reshape(g, mask, [0, 0, 1]);
  const encode = (name: string, y: Value): Value =>
    mul(
      g,
      g.scope(`${name}.lstm`, () => lstm(g, y)),
      counted,
    );
  const start = encode('start_encoder', x);
  const end = encode('end_encoder', start);
  return {
    start_logits: endLogits(g, start, { x, mask }, 'start_block'),
    end_logits: endLogits(g, end, { x, mask }, 'end_block'),
  };
}

function endLogits(g: GraphBuilder, states: Value, { x, mask }: Padded, name: string): Value {
  const width = x.shape[2] as number;
  const inner = relu(g, pointwise(g, concat(g, [states, x], 2), `${name}.0.conv1d`, width));
  return maskedLogits(g, pointwise(g, inner, `${name}.2.conv1d`, 1), mask);
}

/** One layer, forwards, from states of zero: x [batch, n, width], n known, -> [batch, n, width]. Gates as PyTorch has them: i, f, g, o. */
function lstm(g: GraphBuilder, x: Value): Value {
  const [, rows, width] = x.shape as readonly [unknown, number, number];
  const [input, recurrent] = ['ih', 'hh'].map((part) => ({
    weight: g.param(`weight_${part}_l0`, [4 * width, width]),
    bias: g.param(`bias_${part}_l0`, [4 * width]),
  }));
  const outside = multiply(g, x, input!.weight, add(g, input!.bias, recurrent!.bias)); // both were made above
  const states: Value[] = [];
  let [h, c]: (Value | undefined)[] = [];
  for (let at = 0; at < rows; at++) {
    const own = reshape(g, slice(g, outside, 1, at, at + 1), [-1, 4 * width]);
    const gates = h === undefined ? own : add(g, own, multiply(g, h, recurrent!.weight));
    const [i, f, cell, o] = split(g, gates, [width, width, width, width], 1) as [Value, Value, Value, Value];
    const fresh = mul(g, sigmoid(g, i), tanh(g, cell));
    c = c === undefined ? fresh : add(g, mul(g, sigmoid(g, f), c), fresh);
    h = mul(g, sigmoid(g, o), tanh(g, c));
    states.push(reshape(g, h, [-1, 1, width]));
  }
  return concat(g, states, 1);
}
