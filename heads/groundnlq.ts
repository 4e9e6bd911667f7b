/**
 * Natural Language Queries with GroundNLQ: the pyramid of ActionFormer, whose blocks look at the words of the question too.
 *
 * Paper: Hou et al., "GroundNLQ @ Ego4D Natural Language Queries Challenge 2023". Official code: houzhijian/GroundNLQ libs/modeling
 * (backbones.py, blocks.py, meta_archs.py), whose checkpoints load, in both layouts of branches (GroundNLQ and GroundNLQ*). Differences: as
 * those of actionformer-graph.ts; a batch may hold several questions, each of which gives what it gives alone.
 */
import type { GraphBuilder } from '../src/graph/builder.js';
import { add, matMul, mul, relu, reshape, scalar, softmax, transpose } from '../src/graph/layers.js';
import type { Value } from '../src/graph/ops.js';
import type { JsonValue } from '../src/json.js';
import { ConfigReader, defined, depthOf, limits } from '../src/models/config.js';
import { noise, type DecodeContext, type Head, type HeadFamily, type SpanAnswer } from '../src/models/head.js';
import type { KeyShapes } from '../src/models/spec.js';
import { tensor } from '../src/tensor.js';
import type { Seconds, Tensor } from '../src/types.js';
import {
  actionFormerJson,
  decodingWith,
  flattened,
  inferActionFormer,
  readActionFormer,
  type ActionFormerConfig,
} from './actionformer-config.js';
import { block, conv, joinedOutputs, norm, pyramidOver, type Pyramid } from './actionformer-graph.js';
import { maskInput, positionsInput } from './actionformer-targets.js';
import { actionFormerHead, candidates, rawMoments } from './actionformer.js';
import { hiddenWhere } from './blocks.js';
import { clipSeconds, gridOf, gridToSeconds, secondsToGrid, type FeatureGrid } from './numerics/grid.js';
import { suppress } from './numerics/nms.js';

const name = 'groundnlq';

/** How seconds become places in training, and places seconds again. */
const offsets = ['official', 'centred'] as const;
type TimeOffset = (typeof offsets)[number];

/** The configuration of the pyramid, and what the words add to it. */
export interface GroundConfig {
  readonly pyramid: ActionFormerConfig;
  /** Width of the vectors of words. */
  readonly textWidth: number;
  /** Transformer blocks over the words. */
  readonly textBlocks: number;
  /** Steps of the pyramid, of the first ones, that look at the words. */
  readonly crossBranches: number;
  /**
   * `official`: seconds become places without the half window that places become seconds with, so that answers come half a window late, as
   * in the released code and its weights. `centred`: with it on both ways.
   */
  readonly timeOffset: TimeOffset;
}

/** What the official code sets for Ego4D, where a configuration leaves it open. */
const usual: Readonly<Record<string, JsonValue>> = {
  embd_dim: 384,
  n_head: 4,
  n_mha_win_size: 9,
  max_seq_len: 2560,
  use_abs_pe: true,
  feat_stride: 16.043,
  num_frames: 16.043,
  default_fps: 30,
  init_loss_norm: 200,
  label_smoothing: 0.1,
  nms_sigma: 0.75,
  pre_nms_topk: 2000,
  duration_thresh: 0.001,
  max_seg_num: 5,
};

/** The official heads, GroundNLQ and GroundNLQ*; words come as given vectors. */
export const groundnlq: HeadFamily = {
  name,
  task: 'nlq',
  summary: 'pyramid of feature rows that attends to the words of a question (GroundNLQ; vectors of words given)',
  weightsKeys: ['state_dict_ema'],
  official: (tensors) => tensors,
  infer,
  spec: (given) => groundHead(readGround(given)),
};

function infer(keys: KeyShapes): Record<string, JsonValue> {
  const size = (key: string, axis: number): number | undefined => keys.get(key)?.[axis];
  const branches = depthOf(keys, 'backbone.branch.');
  const crossed = Array.from({ length: branches }, (_, i) => keys.has(`backbone.branch.${i}.ln3.weight`)).filter(
    Boolean,
  );
  const { fpn_dim, head_dim, head_num_layers, droppath } = inferActionFormer(keys);
  const arch = [
    ...['vid_embd', 'txt_stem', 'vid_stem'].map((part) => depthOf(keys, `backbone.${part}.`)),
    crossed.length,
    branches - crossed.length,
  ];
  return defined({
    input_vid_dim: size('backbone.vid_embd.0.conv.weight', 1),
    input_txt_dim: size('backbone.txt_embd.0.conv.weight', 1),
    embd_dim: size('backbone.vid_embd.0.conv.weight', 0),
    backbone_arch: arch,
    fpn_dim,
    head_dim,
    head_num_layers,
    droppath,
  });
}

/** Reads a configuration, of the official form or as `config` of the head states it. @throws EgolensError model.config */
export function readGround(given: Readonly<Record<string, unknown>>): GroundConfig {
  // Sections are laid flat; left in, they would be read again, over what is set here.
  const members: Record<string, unknown> = { ...usual, ...without(flattened(given), sections) };
  const reader = new ConfigReader(name, members);
  const [embeddings, text, stem, crossed, plain] = reader.integers('backbone_arch', 5, 0, 32, [2, 4, 4, 0, 6]) as Arch;
  const classes = reader.integer('num_classes', 1, 1, 1);
  const projected = Array.isArray(members['embd_dim']) ? members['embd_dim'].length : 1;
  if (projected !== 1) throw reader.fail('embd_dim', 'one width: there is one stream of features');
  return {
    pyramid: readActionFormer(
      {
        ...members,
        num_classes: classes,
        input_dim: reader.integer('input_vid_dim', 1, limits.width, 2304),
        backbone_arch: [embeddings, stem, crossed + plain],
      },
      name,
    ),
    textWidth: reader.integer('input_txt_dim', 1, limits.width, 512),
    textBlocks: text,
    crossBranches: crossed,
    timeOffset: reader.oneOf('time_offset', offsets, 'official'),
  };
}

const sections = ['official', 'dataset', 'model', 'train_cfg', 'test_cfg'];

function without<T>(members: Readonly<Record<string, T>>, names: readonly string[]): Record<string, T> {
  return Object.fromEntries(Object.entries(members).filter(([member]) => !names.includes(member)));
}

type Arch = [embeddings: number, text: number, stem: number, crossed: number, plain: number];

function jsonOf({
  pyramid,
  textWidth,
  textBlocks,
  crossBranches,
  timeOffset,
}: GroundConfig): Record<string, JsonValue> {
  const json = actionFormerJson(pyramid);
  return {
    ...without(json, ['kinds', 'classes', 'input_dim']),
    input_vid_dim: pyramid.inputs[0]!, // the one stream
    input_txt_dim: textWidth,
    backbone_arch: [pyramid.embeddings, textBlocks, pyramid.stem, crossBranches, pyramid.branches - crossBranches],
    time_offset: timeOffset,
  };
}

/** The head of a configuration that has been read. */
export function groundHead(config: GroundConfig): Head & Required<Pick<Head, 'loss'>> {
  const { pyramid, textWidth } = config;
  const base = actionFormerHead(pyramid);
  const json = jsonOf(config);
  return {
    ...base,
    family: name,
    task: 'nlq',
    config: json,
    inputs: {
      ...base.inputs,
      query: { dtype: 'float32', shape: ['batch', 'words', textWidth], meaning: 'vectors of the words of a question' },
      query_mask: { dtype: 'float32', shape: ['batch', 'words'], meaning: '1 for a word, 0 for padding' },
    },
    kinds: [],
    postprocess: 'groundnlq/1',
    forward: (g, inputs) => joinedOutputs(g, groundValues(g, config, inputs)),
    probe: (random) => ({ ...base.probe(random), ...queryFeeds([noise(random, [3, textWidth])], 4) }),
    decode: (outputs, context) => answersOf(config, json, outputs, context),
  };
}

/** Everything that the network computes, by level. */
export function groundValues(g: GraphBuilder, config: GroundConfig, inputs: Readonly<Record<string, Value>>): Pyramid {
  const { pyramid } = config;
  const [features, mask, query, queryMask] = ['features', maskInput, 'query', 'query_mask'].map(
    (one) => inputs[one]!,
  ) as [Value, Value, Value, Value]; // declared
  return pyramidOver(g, pyramid, mask, (masks) => {
    const words: Words = { x: transpose(g, query, [0, 2, 1]), mask: reshape(g, queryMask, [0, 1, -1]) };
    const video = embedding(g, pyramid, transpose(g, features, [0, 2, 1]), masks[0]!, 'vid');
    const positions = inputs[positionsInput];
    const placed = positions === undefined ? video : add(g, video, mul(g, positions, masks[0]!)); // a level at least
    return crossModal(g, config, placed, encodedWords(g, config, words), masks);
  });
}

/** Vectors of words [b, width, words] and which of them count [b, 1, words]. */
interface Words {
  readonly x: Value;
  readonly mask: Value;
}

/** Convolutions with norm: of kernel 3 over times, of kernel 1 over words. */
function embedding(
  g: GraphBuilder,
  { embeddings, width, kernels, norms }: ActionFormerConfig,
  x: Value,
  mask: Value,
  part: 'vid' | 'txt',
): Value {
  const options = { kernel: part === 'vid' ? kernels.embedding : 1, bias: !norms.embedding };
  let y = x;
  for (let i = 0; i < embeddings; i++) {
    const own = mul(g, conv(g, y, `${part}_embd.${i}.conv`, width, options), mask);
    y = relu(g, norms.embedding ? norm(g, own, `${part}_embd_norm.${i}`) : own);
  }
  return y;
}

function encodedWords(g: GraphBuilder, { pyramid, textBlocks }: GroundConfig, { x, mask }: Words): Words {
  let y = embedding(g, pyramid, x, mask, 'txt');
  for (let i = 0; i < textBlocks; i++) {
    const before = y;
    y = g.scope(`txt_stem.${i}`, () => block(g, pyramid, before, mask, { stride: 1, window: -1, clean: true }));
  }
  return { x: y, mask };
}

function crossModal(
  g: GraphBuilder,
  { pyramid, crossBranches }: GroundConfig,
  x: Value,
  words: Words,
  masks: readonly Value[],
): Value[] {
  const level = (before: Value, to: number, stride: number, isCrossed: boolean): Value => {
    const [mask, window] = [masks[to]!, pyramid.windows[to]!]; // one each for every level
    const further: Parameters<typeof block>[5] = (y, scaled) =>
      // The official block has one norm for times and words, and scales both attentions by one vector.
      add(
        g,
        mul(g, y, mask),
        scaled(
          crossAttention(g, pyramid, { x: norm(g, y, 'ln3'), mask }, { ...words, x: norm(g, words.x, 'ln3') }),
          'drop_path_attn',
        ),
      );
    return block(g, pyramid, before, mask, { stride, window }, isCrossed ? further : undefined);
  };
  let y = x;
  for (let i = 0; i < pyramid.stem; i++) {
    const before = y;
    y = g.scope(`vid_stem.${i}`, () => level(before, 0, 1, true));
  }
  const levels = [y];
  for (let i = 0; i < pyramid.branches; i++) {
    levels.push(g.scope(`branch.${i}`, () => level(levels[i]!, i + 1, 2, i < crossBranches))); // the level before
  }
  return levels;
}

/** Times [b, width, t] look at words: [b, width, t]. */
function crossAttention(g: GraphBuilder, { width, heads }: ActionFormerConfig, times: Words, words: Words): Value {
  return g.scope('cross_attn', () => {
    const headed = (x: Value, part: string): Value => {
      const projected = conv(g, x, part, width, { kernel: 1, bias: true });
      return transpose(g, reshape(g, projected, [0, heads, width / heads, -1]), [0, 1, 3, 2]);
    };
    const q = mul(g, headed(times.x, 'query'), scalar(g, (width / heads) ** -0.5)); // [b, heads, t, d]
    const k = transpose(g, headed(words.x, 'key'), [0, 1, 3, 2]);
    const hidden = reshape(g, hiddenWhere(g, words.mask), [0, 1, 1, -1]);
    const mixed = matMul(g, softmax(g, add(g, matMul(g, q, k), hidden)), headed(words.x, 'value'));
    const joined = reshape(g, transpose(g, mixed, [0, 1, 3, 2]), [0, width, -1]);
    return mul(g, conv(g, joined, 'proj', width, { kernel: 1, bias: true }), times.mask);
  });
}

/**
 * The inputs of questions: vectors of their words, padded with zeros.
 *
 * @param queries [words, width] each, of one width
 * @param length words to pad to; default: as many as the longest has
 */
export function queryFeeds(
  queries: readonly Tensor<'float32'>[],
  length = queries.reduce((most, { shape }) => Math.max(most, shape[0] ?? 0), 1),
): { readonly query: Tensor<'float32'>; readonly query_mask: Tensor<'float32'> } {
  const width = queries[0]?.shape[1] ?? 0;
  const data = new Float32Array(queries.length * length * width);
  const mask = new Float32Array(queries.length * length);
  queries.forEach((query, i) => {
    const words = Math.min(query.shape[0] ?? 0, length);
    data.set(query.data.subarray(0, words * width), i * length * width);
    mask.fill(1, i * length, i * length + words);
  });
  return {
    query: tensor('float32', [queries.length, length, width], data),
    query_mask: tensor('float32', [queries.length, length], mask),
  };
}

/** A place of the training grid: seconds as the training of this head counts them. */
export function trainingPlace({ pyramid, timeOffset }: GroundConfig, seconds: Seconds): number {
  return secondsToGrid(seconds, pyramid.grid, timeOffset === 'official' ? 'none' : 'centred');
}

/** Seconds of a place, by the rule that the options or the configuration name. */
function secondsOf({ timeOffset }: GroundConfig, rule: TimeOffset, grid: FeatureGrid, place: number): Seconds {
  // Where training left the half window out, places are right without it; the released code adds it.
  const isLeftOut = timeOffset === 'official' && rule === 'centred';
  return gridToSeconds(place, isLeftOut ? { ...grid, window: 0 } : grid);
}

function answersOf(
  config: GroundConfig,
  json: Readonly<Record<string, JsonValue>>,
  outputs: Readonly<Record<string, Tensor<'float32'>>>,
  { options, clock, durations }: DecodeContext,
): SpanAnswer[][] {
  const { pyramid, timeOffset } = config;
  const decoding = decodingWith(json, options);
  const rule = new ConfigReader(name, options).oneOf('time_offset', offsets, timeOffset);
  const grid = (clock === null ? undefined : gridOf(clock)) ?? pyramid.grid;
  return rawMoments(pyramid, outputs).map((levels, item) => {
    const { start, end, score } = suppress(candidates(pyramid, levels, decoding), decoding);
    const rows = levels[0]!.mask; // a level at least
    let count = 0;
    while (count < rows.length && rows[count] === 1) count++;
    const duration = durations?.[item] ?? ((count - 1) * grid.stride + grid.window) / grid.fps;
    const seconds = (place: number): Seconds => clipSeconds(secondsOf(config, rule, grid, place), duration);
    return Array.from(score, (value, i) => ({
      task: 'nlq',
      start: seconds(start[i]!),
      end: seconds(end[i]!),
      score: value,
    }));
  });
}
