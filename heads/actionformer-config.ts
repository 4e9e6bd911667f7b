/** The configuration of ActionFormer heads: that of the official code, nested (a YAML file as JSON) or laid flat. */
import type { JsonValue } from '../src/json.js';
import { ConfigReader, depthOf, limits } from '../src/models/config.js';
import type { KeyShapes } from '../src/models/spec.js';
import { lengthUnit } from './actionformer-sizes.js';
import type { FeatureGrid } from './numerics/grid.js';
import { thinned } from './numerics/grid.js';
import type { SuppressionOptions } from './numerics/nms.js';

/** What `--arch` and head folders call it. */
export const actionformerName = 'actionformer';

type Given = Readonly<Record<string, unknown>>;

/** A configuration that has been checked. */
export interface ActionFormerConfig {
  /** Width of each stream of features. */
  readonly inputs: readonly number[];
  /** Width that each stream is projected to; null: one stream, which goes into the embedding as it is. */
  readonly projections: readonly number[] | null;
  /** Of the transformer. */
  readonly width: number;
  readonly embeddings: number;
  readonly stem: number;
  /** Steps of the pyramid; levels are one more. */
  readonly branches: number;
  readonly heads: number;
  /** Of each level, odd; 1 or less: every time looks at all. */
  readonly windows: readonly number[];
  /** Training length, and the least length of inference. */
  readonly maxLength: number;
  readonly absolutePositions: boolean;
  readonly relativePositions: boolean;
  readonly neck: 'identity' | 'fpn';
  readonly neckWidth: number;
  readonly headWidth: number;
  readonly headLayers: number;
  readonly kernels: { readonly embedding: number; readonly head: number };
  readonly norms: { readonly embedding: boolean; readonly neck: boolean; readonly head: boolean };
  /** Residual branches are multiplied by a vector each. */
  readonly scaledBranches: boolean;
  readonly classes: number;
  /** Least and greatest distance (grid units) to an end of a segment for each level. */
  readonly ranges: readonly (readonly [least: number, greatest: number])[];
  readonly grid: FeatureGrid;
  readonly training: {
    /** Points within so many strides of the middle are positive; null: all inside. */
    readonly centreRadius: number | null;
    readonly lossWeight: number;
    readonly prior: number;
    readonly normaliser: number;
    readonly smoothing: number;
    /** Part of an action that a crop must keep. */
    readonly keep: number;
    /** Shortest and longest crop, as parts of the sequence. */
    readonly crop: readonly [number, number];
  };
  readonly decoding: ActionFormerDecoding;
}

/** What decides between raw outputs and detections. */
export interface ActionFormerDecoding extends SuppressionOptions {
  readonly scoreAbove: number;
  readonly mostOfLevel: number;
  readonly longerThan: number;
}

/** Members of the official sections, laid flat; `official` is how our reference data call the whole. */
export function flattened(given: Given): Record<string, unknown> {
  const sectionOf = (from: Given, name: string): Given => {
    const value = from[name];
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Given) : {}; // checked
  };
  const whole = 'official' in given ? sectionOf(given, 'official') : given;
  const model = sectionOf(whole, 'model');
  const parts = [
    sectionOf(whole, 'dataset'),
    model,
    sectionOf(model, 'train_cfg'),
    sectionOf(model, 'test_cfg'),
    sectionOf(whole, 'train_cfg'),
    sectionOf(whole, 'test_cfg'),
  ];
  return Object.assign({}, given, ...parts) as Record<string, unknown>; // records all
}

/**
 * Reads a configuration. What is left open has the value of the official `core/config.py`, but for the thresholds, which are those of its
 * Ego4D files, and sizes that follow from one another.
 *
 * @throws EgolensError model.config naming the member, what was found and what was expected
 */
export function readActionFormer(given: Given, family = actionformerName): ActionFormerConfig {
  const members = flattened(given);
  const reader = new ConfigReader(family, members);
  for (const [name, only] of Object.entries(onlyValues)) {
    const value = members[name];
    if (value !== undefined && value !== null && value !== only) throw reader.fail(name, JSON.stringify(only));
  }
  const { inputs, projections, width } = readWidths(reader, members);
  const [embeddings, stem, branches] = reader.integers('backbone_arch', 3, 0, 32, [2, 2, 5]) as [
    number,
    number,
    number,
  ];
  if (embeddings < 1 || branches > 15)
    throw reader.fail('backbone_arch', 'an embedding at least, and 15 branches at most');
  const levels = branches + 1;
  const heads = reader.integer('n_head', 1, width, 4);
  if (width % heads !== 0) throw reader.fail('n_head', `a divisor of the width ${width}`);
  const relativePositions = reader.flag('use_rel_pe', false);
  const windows = readWindows(reader, members, levels, relativePositions);
  const maxLength = reader.integer('max_seq_len', 1, limits.tokens, 2304);
  const unit = lengthUnit({ windows });
  if (maxLength % unit !== 0) throw reader.fail('max_seq_len', `a multiple of ${unit}, as levels and windows need it`);
  const neck = reader.oneOf('fpn_type', ['identity', 'fpn'], 'identity');
  const neckWidth = reader.integer('fpn_dim', 1, limits.width, width);
  if (neck === 'identity' && neckWidth !== width) throw reader.fail('fpn_dim', `${width}, as the neck is none`);
  const classes = reader.integer('num_classes', 1, limits.classes, firstOf(members['classes']));
  return {
    inputs,
    projections,
    width,
    embeddings,
    stem,
    branches,
    heads,
    windows,
    maxLength,
    absolutePositions: reader.flag('use_abs_pe', false),
    relativePositions,
    neck,
    neckWidth,
    headWidth: reader.integer('head_dim', 1, limits.width, width),
    headLayers: reader.integer('head_num_layers', 1, 32, 3),
    kernels: { embedding: oddKernel(reader, 'embd_kernel_size'), head: oddKernel(reader, 'head_kernel_size') },
    norms: {
      embedding: reader.flag('embd_with_ln', true),
      neck: reader.flag('fpn_with_ln', true),
      head: reader.flag('head_with_ln', true),
    },
    scaledBranches: reader.nonNegative('droppath', 0.1) > 0,
    classes,
    ranges: readRanges(reader, members, levels),
    grid: thinned(
      {
        stride: reader.positive('feat_stride', 16),
        window: reader.positive('num_frames', 32),
        fps: reader.positive('default_fps', 30),
      },
      reader.integer('downsample_rate', 1, 1024, 1),
    ),
    training: {
      centreRadius:
        reader.oneOf('center_sample', ['radius', 'none'], 'radius') === 'none'
          ? null
          : reader.positive('center_sample_radius', 1.5),
      lossWeight: reader.positive('loss_weight', 1),
      prior: fraction(reader, 'cls_prior_prob', 0.01),
      normaliser: reader.positive('init_loss_norm', 100),
      smoothing: fraction(reader, 'label_smoothing', 0),
      keep: fraction(reader, 'trunc_thresh', 0.3),
      crop: readCrop(reader, members),
    },
    decoding: readDecoding(reader),
  };
}

/** Members of which one value only is built. */
const onlyValues: Readonly<Record<string, JsonValue>> = {
  backbone_type: 'convTransformer',
  scale_factor: 2,
  fpn_start_level: 0,
  force_upsampling: false,
};

function firstOf(value: unknown): number | undefined {
  const first: unknown = Array.isArray(value) ? value[0] : undefined;
  return typeof first === 'number' ? first : undefined;
}

function readWidths(
  reader: ConfigReader,
  members: Given,
): Pick<ActionFormerConfig, 'inputs' | 'projections' | 'width'> {
  if (!Array.isArray(members['input_dim'])) {
    const inputs = [reader.integer('input_dim', 1, limits.width)];
    return { inputs, projections: null, width: reader.integer('embd_dim', 1, limits.width, 512) };
  }
  const inputs = reader.integers('input_dim', 'few', 1, limits.width);
  if (inputs.length === 0) throw reader.fail('input_dim', 'a stream of features at least');
  const projections = reader.integers('embd_dim', inputs.length, 1, limits.width);
  return { inputs, projections, width: projections.reduce((total, own) => total + own, 0) };
}

function readWindows(reader: ConfigReader, members: Given, levels: number, isBiased: boolean): readonly number[] {
  const name = 'n_mha_win_size';
  const windows = Array.isArray(members[name])
    ? reader.integers(name, levels, -1, 4095)
    : Array.from({ length: levels }, () => reader.integer(name, -1, 4095, 19));
  const fits = windows.every((window) => window <= 1 || (window >= 3 && (window % 2 === 1 || !isBiased)));
  if (!fits)
    throw reader.fail(
      name,
      isBiased ? 'odd windows of 3 or more, or -1 for all' : 'windows of 3 or more, or -1 for all',
    );
  // An even window sees one more, so that it reaches as far to both sides.
  return windows.map((window) => (window <= 1 ? -1 : 2 * Math.floor(window / 2) + 1));
}

function oddKernel(reader: ConfigReader, name: string): number {
  const kernel = reader.integer(name, 1, 255, 3);
  if (kernel % 2 === 0) throw reader.fail(name, 'an odd number');
  return kernel;
}

function fraction(reader: ConfigReader, name: string, absent: number): number {
  const value = reader.nonNegative(name, absent);
  if (value >= 1) throw reader.fail(name, 'a number from 0 to below 1');
  return value;
}

/** Ranges double from level to level, overlap by half, and the last one is open. */
function usualRanges(levels: number): [number, number][] {
  return Array.from({ length: levels }, (_, level) => [
    level === 0 ? 0 : 2 ** level,
    level === levels - 1 ? 10_000 : 4 * 2 ** level,
  ]);
}

function readRanges(reader: ConfigReader, members: Given, levels: number): ActionFormerConfig['ranges'] {
  const value = members['regression_range'] ?? usualRanges(levels);
  const isPair = (pair: unknown): pair is [number, number] =>
    Array.isArray(pair) &&
    pair.length === 2 &&
    pair.every((end) => typeof end === 'number' && Number.isFinite(end)) &&
    pair[0] < pair[1];
  if (!Array.isArray(value) || value.length !== levels || !value.every(isPair)) {
    throw reader.fail('regression_range', `${levels} pairs of numbers, the smaller one first`);
  }
  return value;
}

function readCrop(reader: ConfigReader, members: Given): readonly [number, number] {
  const value = members['crop_ratio'] ?? [0.9, 1];
  const [from, to] = Array.isArray(value) ? (value as readonly unknown[]) : [];
  if (typeof from !== 'number' || typeof to !== 'number' || !(from > 0 && from <= to && to <= 1)) {
    throw reader.fail('crop_ratio', 'two numbers above 0 and up to 1, the smaller one first');
  }
  return [from, to];
}

function readDecoding(reader: ConfigReader): ActionFormerDecoding {
  const most = 1_000_000;
  return {
    scoreAbove: reader.nonNegative('pre_nms_thresh', 0.001),
    mostOfLevel: reader.integer('pre_nms_topk', 1, most, 5000),
    longerThan: reader.nonNegative('duration_thresh', 0.05),
    method: reader.oneOf('nms_method', ['soft', 'hard', 'none'], 'soft'),
    sigma: reader.positive('nms_sigma', 0.9),
    overlapFrom: reader.nonNegative('iou_threshold', 0.1),
    minScore: reader.nonNegative('min_score', 0.001),
    most: reader.integer('max_seg_num', 1, most, 2000),
    perClass: reader.flag('multiclass_nms', true),
    votingFrom: reader.nonNegative('voting_thresh', 0),
  };
}

/** The decoding of a configuration with the members that the user changed, under their official names. */
export function decodingWith(config: Given, options: Given): ActionFormerDecoding {
  return readDecoding(new ConfigReader(actionformerName, { ...config, ...options }));
}

/** The configuration as it goes into model.json: flat, under the official names. */
export function actionFormerJson(config: ActionFormerConfig): Record<string, JsonValue> {
  const { projections, inputs, training, decoding, grid } = config;
  return {
    kinds: ['label'],
    classes: [config.classes],
    num_classes: config.classes,
    input_dim: projections === null ? inputs[0]! : [...inputs], // a stream at least
    embd_dim: projections === null ? config.width : [...projections],
    backbone_arch: [config.embeddings, config.stem, config.branches],
    n_head: config.heads,
    n_mha_win_size: [...config.windows],
    max_seq_len: config.maxLength,
    use_abs_pe: config.absolutePositions,
    use_rel_pe: config.relativePositions,
    fpn_type: config.neck,
    fpn_dim: config.neckWidth,
    head_dim: config.headWidth,
    head_num_layers: config.headLayers,
    embd_kernel_size: config.kernels.embedding,
    head_kernel_size: config.kernels.head,
    embd_with_ln: config.norms.embedding,
    fpn_with_ln: config.norms.neck,
    head_with_ln: config.norms.head,
    droppath: config.scaledBranches ? 0.1 : 0,
    regression_range: config.ranges.map((range) => [...range]),
    feat_stride: grid.stride,
    num_frames: grid.window,
    default_fps: grid.fps,
    center_sample: training.centreRadius === null ? 'none' : 'radius',
    ...(training.centreRadius !== null && { center_sample_radius: training.centreRadius }),
    loss_weight: training.lossWeight,
    cls_prior_prob: training.prior,
    init_loss_norm: training.normaliser,
    label_smoothing: training.smoothing,
    trunc_thresh: training.keep,
    crop_ratio: [...training.crop],
    pre_nms_thresh: decoding.scoreAbove,
    pre_nms_topk: decoding.mostOfLevel,
    duration_thresh: decoding.longerThan,
    nms_method: decoding.method,
    nms_sigma: decoding.sigma,
    iou_threshold: decoding.overlapFrom,
    min_score: decoding.minScore,
    max_seg_num: decoding.most,
    multiclass_nms: decoding.perClass,
    voting_thresh: decoding.votingFrom,
  };
}

/** What the shapes of a checkpoint say; heads of attention, windows and ranges cannot be seen in it. */
export function inferActionFormer(keys: KeyShapes): Record<string, JsonValue> {
  const size = (key: string, axis: number): number | undefined => keys.get(key)?.[axis];
  const streams = depthOf(keys, 'backbone.proj.');
  const ofStream = (axis: number): number[] =>
    Array.from({ length: streams }, (_, i) => size(`backbone.proj.${i}.conv.weight`, axis) ?? 0);
  const found: Record<string, JsonValue | undefined> = {
    input_dim: streams > 0 ? ofStream(1) : size('backbone.embd.0.conv.weight', 1),
    embd_dim: streams > 0 ? ofStream(0) : size('backbone.embd.0.conv.weight', 0),
    backbone_arch: ['embd', 'stem', 'branch'].map((part) => depthOf(keys, `backbone.${part}.`)),
    fpn_type: depthOf(keys, 'neck.lateral_convs.') > 0 ? 'fpn' : 'identity',
    fpn_dim: size('cls_head.head.0.conv.weight', 1),
    head_dim: size('cls_head.cls_head.conv.weight', 1),
    num_classes: size('cls_head.cls_head.conv.weight', 0),
    head_num_layers: 1 + depthOf(keys, 'cls_head.head.'),
    use_rel_pe: [...keys.keys()].some((key) => key.endsWith('.attn.rel_pe')),
    droppath: [...keys.keys()].some((key) => key.endsWith('.drop_path_attn.scale')) ? 0.1 : 0,
  };
  return Object.fromEntries(
    Object.entries(found).flatMap(([key, value]) => (value === undefined ? [] : [[key, value]])),
  );
}
