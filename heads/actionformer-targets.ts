/**
 * What the host gives to ActionFormer: padded sequences with mask and positions, and in training the targets of every point of the pyramid.
 *
 * Source: happyharrycn/actionformer_release libs/modeling: meta_archs.py (preprocessing, label_points, losses), blocks.py
 * (get_sinusoid_encoding), loc_generators.py.
 */
import { EgolensError } from '../src/errors.js';
import { shapeText, tensor } from '../src/tensor.js';
import type { Tensor } from '../src/types.js';
import { type ActionFormerConfig } from './actionformer-config.js';
import { paddedLength, pointsOf, strideOf } from './actionformer-sizes.js';

const { fround } = Math;

/** Input of the mask: [b, rows]. */
export const maskInput = 'mask';
/** Input of absolute positions, where the configuration has them. */
export const positionsInput = 'positions';
/** Input of a stream of features, by its number. */
export const streamInput = (index: number, count: number): string => (count === 1 ? 'features' : `features.${index}`);

/** Target inputs of the loss. */
export const targetInputs = {
  classes: 'targets.classes',
  offsets: 'targets.offsets',
  positive: 'targets.positive',
  normaliser: 'targets.normaliser',
} as const;

/** One item: a row of features for each time and stream, [rows, width]. */
export type Streams = readonly Tensor<'float32'>[];

/**
 * The inputs of a batch: sequences of any lengths, padded with zeros to the one that the longest needs.
 *
 * @param length to pad to; default `paddedLength` of the longest
 * @throws EgolensError data.shape for streams that do not fit the configuration or one another
 */
export function sequenceFeeds(
  config: ActionFormerConfig,
  items: readonly Streams[],
  length = paddedLength(config, Math.max(1, ...items.map((streams) => streams[0]?.shape[0] ?? 0))),
): Record<string, Tensor<'float32'>> {
  const { inputs, width } = config;
  const feeds: Record<string, Tensor<'float32'>> = {};
  const mask = new Float32Array(items.length * length);
  items.forEach((streams, item) => {
    mask.fill(1, item * length, item * length + checkedRows(config, streams, length));
  });
  inputs.forEach((own, stream) => {
    const data = new Float32Array(items.length * length * own);
    items.forEach((streams, item) => {
      data.set(streams[stream]!.data, item * length * own); // as many as inputs, checked above
    });
    feeds[streamInput(stream, inputs.length)] = tensor('float32', [items.length, length, own], data);
  });
  feeds[maskInput] = tensor('float32', [items.length, length], mask);
  if (config.absolutePositions) {
    feeds[positionsInput] = tensor('float32', [1, width, length], positionTable(width, config.maxLength, length));
  }
  return feeds;
}

function checkedRows({ inputs }: ActionFormerConfig, streams: Streams, length: number): number {
  const rows = streams[0]?.shape[0] ?? 0;
  const expected = inputs.map((width) => shapeText([rows, width])).join(', ');
  const found = streams.map(({ shape }) => shapeText(shape)).join(', ');
  if (rows >= 1 && rows <= length && found === expected) return rows;
  throw new EgolensError(
    'data.shape',
    `a sequence of features ${found === '' ? 'without streams' : found}; expected ${inputs.length} of 1 to ${length} rows, ${inputs.join(' and ')} wide`,
  );
}

/**
 * Sines and cosines of positions for a sequence of `length`, divided by the root of the width: [width, length]. From the training length on
 * the table is stretched to the sequence, as areas.
 */
export function positionTable(width: number, trained: number, length: number): Float32Array<ArrayBuffer> {
  const table = new Float32Array(width * length);
  const root = fround(width ** 0.5);
  const row = new Float32Array(trained);
  for (let channel = 0; channel < width; channel++) {
    const slowness = 10000 ** ((2 * Math.floor(channel / 2)) / width);
    for (let at = 0; at < trained; at++) {
      const angle = at / slowness;
      row[at] = fround(channel % 2 === 0 ? Math.sin(angle) : Math.cos(angle)) / root;
    }
    if (length <= trained) table.set(row.subarray(0, length), channel * length);
    else stretch(row, table.subarray(channel * length, (channel + 1) * length));
  }
  return table;
}

/** Linear interpolation between the middles of areas (PyTorch's `align_corners` false). */
function stretch(from: Float32Array, to: Float32Array): void {
  const scale = fround(from.length / to.length);
  for (let i = 0; i < to.length; i++) {
    const place = Math.max(0, fround(fround(scale * fround(i + 0.5)) - 0.5));
    const low = Math.min(Math.floor(place), from.length - 1);
    const part = fround(place - low);
    const high = Math.min(low + 1, from.length - 1);
    to[i] = fround(fround(fround(1 - part) * from[low]!) + fround(part * from[high]!));
  }
}

/** A point of the pyramid. */
export interface Point {
  /** Grid units from the first feature. */
  readonly time: number;
  readonly least: number;
  readonly greatest: number;
  readonly stride: number;
}

/** Points of a padded sequence, level after level. */
export function pyramidPoints({ ranges }: Pick<ActionFormerConfig, 'ranges'>, length: number): Point[] {
  return ranges.flatMap(([least, greatest], level) => {
    const stride = strideOf(level);
    return Array.from({ length: length / stride }, (_, i) => ({ time: i * stride, least, greatest, stride }));
  });
}

/** A labelled segment in grid units. */
export interface GridSegment {
  readonly start: number;
  readonly end: number;
  readonly label: number;
}

/** Targets of all points of one item. */
export interface PointTargets {
  /** [points, classes]: 1 for every class of a segment that the point answers for. */
  readonly classes: Float32Array<ArrayBuffer>;
  /** [points, 2]: distances to start and end in strides; zeros where the point answers for nothing. */
  readonly offsets: Float32Array<ArrayBuffer>;
  /** [points]: 1 where it answers for something. */
  readonly positive: Uint8Array;
}

/** Segments that differ in length by less are equally short. */
const similarLengths = fround(1e-3);

/**
 * Which segments each point answers for: those around it, in whose middle it lies, with both ends in the range of its level. Of several the
 * shortest gives the offsets, and all that are as short give classes.
 */
export function assignPoints(
  { classes: count, training: { centreRadius } }: Pick<ActionFormerConfig, 'classes' | 'training'>,
  points: readonly Point[],
  segments: readonly GridSegment[],
): PointTargets {
  const classes = new Float32Array(points.length * count);
  const offsets = new Float32Array(points.length * 2);
  const positive = new Uint8Array(points.length);
  const own = segments.map(({ start, end, label }) => {
    const [a, b] = [fround(start), fround(end)];
    return { a, b, label, length: fround(b - a), middle: fround(0.5 * fround(a + b)) };
  });
  points.forEach(({ time, least, greatest, stride }, at) => {
    const candidates = own.filter(({ a, b, middle }) => {
      const [left, right] = [fround(time - a), fround(b - time)];
      const reach = centreRadius === null ? Infinity : fround(stride * fround(centreRadius));
      const from = Math.max(fround(middle - reach), a);
      const to = Math.min(fround(middle + reach), b);
      const isInside = fround(time - from) > 0 && fround(to - time) > 0;
      const furthest = Math.max(left, right);
      return isInside && furthest >= least && furthest <= greatest;
    });
    if (candidates.length === 0) return;
    const shortest = candidates.reduce((best, one) => (one.length < best.length ? one : best));
    const upTo = fround(shortest.length + similarLengths);
    for (const { length, label } of candidates) if (length <= upTo) classes[at * count + label] = 1;
    offsets[2 * at] = fround(fround(time - shortest.a) / stride);
    offsets[2 * at + 1] = fround(fround(shortest.b - time) / stride);
    positive[at] = 1;
  });
  return { classes, offsets, positive };
}

/** Target inputs of a batch, without the normaliser, and how many points count as positive. */
export interface BatchTargets {
  readonly feeds: Record<string, Tensor<'float32'>>;
  readonly positives: number;
}

/**
 * Targets of a batch of padded sequences.
 *
 * @param rows of each item before the padding: points beyond them are no positives
 * @throws EgolensError data.invalid for a class that the head does not have, or an end at or before its start
 */
export function targetFeeds(
  config: ActionFormerConfig,
  items: readonly { readonly rows: number; readonly segments: readonly GridSegment[] }[],
  length: number,
): BatchTargets {
  const { classes: count, training } = config;
  const points = pyramidPoints(config, length);
  const total = pointsOf(config, length);
  const classes = new Float32Array(items.length * total * count);
  const offsets = new Float32Array(items.length * total * 2);
  const positive = new Float32Array(items.length * total);
  const { smoothing } = training;
  let positives = 0;
  items.forEach(({ rows, segments }, item) => {
    for (const segment of segments) checkSegment(segment, count);
    const own = assignPoints(config, points, segments);
    classes.set(own.classes, item * total * count);
    offsets.set(own.offsets, item * total * 2);
    own.positive.forEach((isPositive, at) => {
      if (isPositive === 0 || points[at]!.time >= rows) return; // a point for each
      positive[item * total + at] = 1;
      positives++;
    });
  });
  if (smoothing > 0) classes.forEach((value, i) => (classes[i] = value * (1 - smoothing) + smoothing / (count + 1)));
  return {
    positives,
    feeds: {
      [targetInputs.classes]: tensor('float32', [items.length, total, count], classes),
      [targetInputs.offsets]: tensor('float32', [items.length, total, 2], offsets),
      [targetInputs.positive]: tensor('float32', [items.length, total, 1], positive),
    },
  };
}

function checkSegment({ start, end, label }: GridSegment, count: number): void {
  const isClass = Number.isInteger(label) && label >= 0 && label < count;
  if (isClass && Number.isFinite(start) && Number.isFinite(end) && start < end) return;
  throw new EgolensError(
    'data.invalid',
    `a segment of class ${label} from ${start} to ${end} on the grid; expected a class from 0 to ${count - 1} and a start before the end`,
  );
}

/** The running mean of positive points that losses are divided by; renewed before it is used. */
export function nextNormaliser(before: number, positives: number): number {
  return 0.9 * before + 0.1 * Math.max(positives, 1);
}
