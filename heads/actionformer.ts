/**
 * ActionFormer: moments of classes in a sequence of features, for Moment Queries.
 *
 * Paper: Zhang et al., "ActionFormer: Localizing Moments of Actions with Transformers", ECCV 2022. Source:
 * happyharrycn/actionformer_release. Loads its checkpoints (`state_dict_ema` where there is one, `module.` or not) with the configuration
 * file given as JSON. Not built: the convolutional backbone, other scale factors than 2. Files: the network in actionformer-graph.ts, what
 * the host prepares in actionformer-targets.ts, training in actionformer-training.ts.
 */
import type { GraphBuilder } from '../src/graph/builder.js';
import { add, div, mul, reshape, scalar, sum } from '../src/graph/layers.js';
import type { Value } from '../src/graph/ops.js';
import { EgolensError } from '../src/errors.js';
import { noise, type Head, type HeadFamily, type HeadLoss, type MomentPrediction } from '../src/models/head.js';
import type { Random } from '../src/random.js';
import { sizeOf, tensor } from '../src/tensor.js';
import { distanceIou, focalLoss, whereCounted } from '../src/train/losses.js';
import type { Dim, FeatureClock, Tensor } from '../src/types.js';
import {
  actionFormerJson,
  actionformerName as name,
  decodingWith,
  inferActionFormer,
  readActionFormer,
  type ActionFormerConfig,
  type ActionFormerDecoding,
} from './actionformer-config.js';
import { lengthUnit, openSizes, strideOf } from './actionformer-sizes.js';
import { joinedOutputs, pyramidValues, type PyramidInputs } from './actionformer-graph.js';
import { maskInput, positionsInput, sequenceFeeds, streamInput, targetInputs } from './actionformer-targets.js';
import { clipSeconds, gridOf, gridToSeconds, type FeatureGrid } from './numerics/grid.js';
import { suppress } from './numerics/nms.js';
import { decodeLevels, type LevelOutputs, type Segments } from './numerics/segments.js';

/** ActionFormer as published: configurations and checkpoints of happyharrycn/actionformer_release. */
export const actionformer: HeadFamily = {
  name,
  task: 'mq',
  summary: 'local self-attention over a pyramid of feature rows: classes and ends of moments (ActionFormer)',
  weightsKeys: ['state_dict_ema'],
  official: (tensors) => tensors,
  infer: inferActionFormer,
  spec: (given) => actionFormerHead(readActionFormer(given)),
};

/** The head of a configuration that has been read. */
export function actionFormerHead(config: ActionFormerConfig): Head & Required<Pick<Head, 'loss'>> {
  const { rows, points } = openSizes(config);
  const { inputs, classes } = config;
  const json = actionFormerJson(config);
  const streams = inputs.map((width, i) => {
    const meaning = 'feature rows of a sequence, zeros in the padding';
    return [streamInput(i, inputs.length), { dtype: 'float32', shape: ['batch', rows, width], meaning }] as const;
  });
  return {
    family: name,
    task: 'mq',
    config: json,
    widths: inputs,
    inputs: {
      ...Object.fromEntries(streams),
      [maskInput]: {
        dtype: 'float32',
        shape: ['batch', rows],
        meaning: '1 for a row of the sequence, 0 for the padding after it',
      },
      ...(config.absolutePositions && {
        [positionsInput]: {
          dtype: 'float32',
          shape: [1, config.width, rows],
          meaning: `sines of positions, stretched beyond ${config.maxLength} rows`,
        },
      }),
    },
    outputs: {
      logits: { dtype: 'float32', shape: ['batch', points, classes], meaning: 'classes of the points of all levels' },
      offsets: { dtype: 'float32', shape: ['batch', points, 2], meaning: 'distances to start and end in strides' },
      valid: { dtype: 'float32', shape: ['batch', points], meaning: '1 for a point of the sequence, 0 in the padding' },
    },
    kinds: [{ kind: 'label', count: classes }],
    postprocess: 'actionformer/1',
    forward: (g, given) => joinedOutputs(g, pyramidValues(g, config, pyramidInputs(config, given))),
    loss: (g, outputs) => actionFormerLoss(g, config, outputs, points),
    initial: (parameter, random) => initialValue(config, parameter, random),
    leftover: () => undefined,
    probe: (random) => {
      const unit = lengthUnit(config);
      const length = Math.ceil((3 * unit) / 4); // some padding after it, where the unit allows it
      return sequenceFeeds(config, [inputs.map((width) => noise(random, [length, width]))], unit);
    },
    decode: (outputs, { labels, options, clock, durations }) => {
      const decoding = decodingWith(json, options);
      const grid = clock === null ? config.grid : gridOfFeatures(clock);
      return rawMoments(config, outputs).map((levels, item) => {
        const found = suppress(candidates(config, levels, decoding), decoding);
        return momentsOf(found, grid, durations?.[item] ?? endOf(levels, grid), labels['label'] ?? []);
      });
    },
  };
}

/** The declared inputs by their parts. */
export function pyramidInputs(config: ActionFormerConfig, given: Readonly<Record<string, Value>>): PyramidInputs {
  const count = config.inputs.length;
  const positions = given[positionsInput];
  return {
    streams: config.inputs.map((_, i) => given[streamInput(i, count)]!), // declared
    mask: given[maskInput]!, // declared
    ...(positions && { positions }),
  };
}

/** Focal loss over all points of the sequences and distance-IoU over the positive ones, by the running normaliser. */
function actionFormerLoss(
  g: GraphBuilder,
  { classes, training }: ActionFormerConfig,
  outputs: Readonly<Record<string, Value>>,
  points: Dim,
): HeadLoss {
  const input = (part: keyof typeof targetInputs, width: number): Value =>
    g.input(targetInputs[part], 'float32', ['batch', points, width]);
  const [wantedClasses, wantedOffsets] = [input('classes', classes), input('offsets', 2)];
  const positive = input('positive', 1);
  const normaliser = g.input(targetInputs.normaliser, 'float32', []);
  const { logits, offsets, valid } = outputs as Record<'logits' | 'offsets' | 'valid', Value>; // forward gives them
  const total = (x: Value): Value => div(g, sum(g, x, [0, 1, 2]), normaliser);
  const counted = reshape(g, valid, [0, -1, 1]);
  const classification = total(mul(g, focalLoss(g, logits, wantedClasses), counted));
  const [found, wanted] = [whereCounted(g, offsets, positive), whereCounted(g, wantedOffsets, positive)];
  const regression = total(mul(g, distanceIou(g, found, wanted), positive));
  const weighted = training.lossWeight === 1 ? regression : mul(g, regression, scalar(g, training.lossWeight));
  return { loss: add(g, classification, weighted), parts: { classification, regression } };
}

/** As the official modules initialise themselves. */
function initialValue(
  { training, width }: ActionFormerConfig,
  { name: key, shape }: { readonly name: string; readonly shape: readonly number[] },
  random: Random,
): Float32Array<ArrayBuffer> {
  const values = new Float32Array(sizeOf(shape));
  const kind = parameterKind(key);
  if (kind === 'gain') return values.fill(1);
  if (kind === 'branch scale') return values.fill(1e-4);
  if (kind === 'position bias') return values.map(() => Math.sqrt(2 / width) * random.normal());
  if (key === 'cls_head.cls_head.conv.bias') return values.fill(-Math.log((1 - training.prior) / training.prior));
  if (kind === 'bias') return values;
  // Uniform within 1 / sqrt(values of a kernel): PyTorch's own for convolutions.
  const bound = 1 / Math.sqrt(sizeOf(shape.slice(1)));
  return values.map(() => bound * (2 * random.uniform() - 1));
}

/** What a parameter is, by its name: weight decay is for kernels alone. */
export function parameterKind(key: string): 'gain' | 'branch scale' | 'position bias' | 'bias' | 'kernel' {
  if (/\.drop_path_(attn|mlp)\.scale$/.test(key)) return 'branch scale';
  if (key.endsWith('.rel_pe')) return 'position bias';
  if (key.endsWith('.scale')) return 'gain';
  if (key.endsWith('.bias')) return 'bias';
  return /(norms?(\.\d+)?|ln[123]|_norm)\.weight$/.test(key) ? 'gain' : 'kernel';
}

/** Outputs of a run by item and level. */
export function rawMoments(
  { classes, branches }: Pick<ActionFormerConfig, 'classes' | 'branches'>,
  outputs: Readonly<Record<string, Tensor<'float32'>>>,
): LevelOutputs[][] {
  const { logits, offsets, valid } = outputs as Record<'logits' | 'offsets' | 'valid', Tensor<'float32'>>; // the declared ones
  const [items = 0, points = 0] = valid.shape;
  const first = points / (2 - 2 ** -branches); // points of the first level; each further one has half as many
  return Array.from({ length: items }, (_, item) => {
    let at = item * points;
    return Array.from({ length: branches + 1 }, (__, level): LevelOutputs => {
      const stride = strideOf(level);
      const from = at;
      at += first / stride;
      return {
        logits: logits.data.subarray(from * classes, at * classes),
        offsets: offsets.data.subarray(from * 2, at * 2),
        mask: valid.data.subarray(from, at),
        stride,
      };
    });
  });
}

/** Candidates of one item before suppression, in grid units. */
export function candidates(
  { classes }: Pick<ActionFormerConfig, 'classes'>,
  levels: readonly LevelOutputs[],
  { scoreAbove, mostOfLevel, longerThan }: ActionFormerDecoding,
): Segments {
  return decodeLevels(levels, { classes, scoreAbove, most: mostOfLevel, longerThan });
}

function gridOfFeatures(clock: FeatureClock): FeatureGrid {
  const grid = gridOf(clock);
  if (grid !== undefined) return grid;
  throw new EgolensError('data.clock', 'features at rate `source` lie on no grid; moments need one', {
    try: 'extract features with a preset that has a rate',
  });
}

/** End of the last row of an item, in seconds. */
function endOf(levels: readonly LevelOutputs[], { stride, window, fps }: FeatureGrid): number {
  const { mask } = levels[0]!; // a level at least
  let rows = 0;
  while (rows < mask.length && mask[rows] === 1) rows++;
  return ((rows - 1) * stride + window) / fps;
}

function momentsOf(
  { start, end, score, label }: Segments,
  grid: FeatureGrid,
  duration: number,
  labels: readonly string[],
): MomentPrediction[] {
  const seconds = (place: number): number => clipSeconds(gridToSeconds(place, grid), duration);
  return Array.from(score, (value, i) => {
    const labelId = label[i]!;
    return {
      task: 'mq',
      start: seconds(start[i]!),
      end: seconds(end[i]!),
      label: labels[labelId] ?? String(labelId),
      labelId,
      score: value,
    };
  });
}

/** A scalar for an input. */
export const scalarTensor = (value: number): Tensor<'float32'> => tensor('float32', [], Float32Array.of(value));
