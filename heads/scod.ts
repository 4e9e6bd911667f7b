/**
 * `scod`: a detector over frozen token maps: every place of the grid says what it finds, how far the edges of its box are, and how near to
 * the middle of the box it lies. One class: the object that changes its state; several: nouns, as boxes for anticipation.
 *
 * Paper: Tian et al., "FCOS", 2019 (one level of its pyramid); Rezatofighi et al., "Generalized Intersection over Union", 2019; Lin et al.,
 * "Focal Loss", 2017. Recipe: heads.md 4. The maps of several times (before, at and after the change) go in side by side; tokens are
 * split into 2 x 2 places where `upsample` is 2, for objects are about as large as a token. Default: a sixth of the tokens' width in
 * channels, in whole groups and 32 at least (docs/default-heads.md: 32, 48, 64 and 96 find alike).
 */
import type { GraphBuilder } from '../src/graph/builder.js';
import {
  add,
  clip,
  convolve,
  div,
  exp,
  gelu,
  layerNorm,
  linear,
  max,
  min,
  mul,
  relu,
  reshape,
  scalar,
  slice,
  sub,
  sum,
  transpose,
} from '../src/graph/layers.js';
import { groupNorm } from '../src/graph/norms.js';
import type { Value } from '../src/graph/ops.js';
import { ConfigReader, limits } from '../src/models/config.js';
import type { BoxCorners, ObjectPrediction } from '../src/models/forecasts.js';
import { initialValues, noise, type DecodeContext, type HeadFamily, type HeadLoss } from '../src/models/head.js';
import { sizeOf } from '../src/tensor.js';
import { binaryCrossEntropy, focalLoss, whereCounted } from '../src/train/losses.js';
import type { Tensor } from '../src/types.js';
import { suppressedByClass } from './numerics/box-nms.js';
import { frameSizes, numberOption } from './options.js';
import { gridOf } from './sta-roi-head.js';

const name = 'scod';
const epsilon = 1e-5;
const groups = 8;

/** Share of places that find something, as the classifier says before training: keeps the first losses small. */
const priorShare = 0.01;

/** Distances before training, in grid steps: boxes are some steps wide. */
const firstDistance = 1.5;

/** Object that changes its state, or objects by noun; trained here. */
export const scod: HeadFamily = {
  name,
  task: 'scod',
  summary: 'boxes of the object that changes its state, or of nouns, over token maps (trained here)',
  official: (tensors) => tensors,
  infer: () => ({}),
  spec(given) {
    const config = new ConfigReader(name, given);
    const width = config.integer('dim', 1, limits.width);
    const classes = config.integer('classes', 1, limits.classes, 1);
    const maps = config.integer('maps', 1, 16, 1);
    // Windows that the maps come from: that of the frame itself gives all but one of each further one.
    const frames = config.integer('frames', 1, maps, maps);
    const [h, w] = gridOf(config, given, 8);
    const upsample = config.integer('upsample', 1, 2, 2);
    const hidden = config.integer('hidden', groups, limits.width, usualHidden(width));
    if (hidden % groups !== 0) throw config.fail('hidden', `a multiple of ${groups}`);
    const depth = config.integer('depth', 1, 8, 2);
    const grid = [h * upsample, w * upsample] as const;
    const places = grid[0] * grid[1];
    if (places > limits.tokens) throw config.fail('grid', `at most ${limits.tokens} places`);
    return {
      family: name,
      task: 'scod',
      config: {
        dim: width,
        classes,
        maps,
        frames,
        grid: [h, w],
        upsample,
        hidden,
        depth,
        kinds: classes === 1 ? [] : ['noun'],
      },
      widths: [width],
      inputs: {
        maps: { dtype: 'float32', shape: ['batch', maps, h, w, width], meaning: 'token maps, the frame itself first' },
      },
      outputs: {
        class: {
          dtype: 'float32',
          shape: ['batch', places, classes],
          meaning: `logits of places of ${grid[0]} x ${grid[1]}`,
        },
        distances: {
          dtype: 'float32',
          shape: ['batch', places, 4],
          meaning: 'left, top, right, bottom from the middle of the place, in grid steps',
        },
        centreness: { dtype: 'float32', shape: ['batch', places], meaning: 'logit: near the middle of the box' },
      },
      kinds: classes === 1 ? [] : [{ kind: 'noun', count: classes }],
      postprocess: 'boxes/1',
      forward(g, inputs) {
        const x = pyramidLevel(g, inputs['maps']!, { upsample, hidden }); // a declared input: [b, hidden, h, w]
        const [named, placed] = (['class', 'box'] as const).map((of) =>
          g.scope(`${of}_tower`, () => tower(g, x, { hidden, depth })),
        ) as [Value, Value]; // two in, two out
        const rows = (value: Value, last: number): Value =>
          reshape(g, transpose(g, value, [0, 2, 3, 1]), [0, places, last]);
        const sides = convolution(g, placed, 'distances', 4);
        // exp, bounded: e^6 = 400 grid steps are more than any picture has.
        const distances = exp(g, clip(g, mul(g, sides, g.param('scale', [1])), -6, 6));
        return {
          class: rows(convolution(g, named, 'class', classes), classes),
          distances: rows(distances, 4),
          centreness: reshape(g, convolution(g, placed, 'centreness', 1), [0, places]),
        };
      },
      loss: (g, outputs) => detectorLoss(g, outputs, { places, classes }),
      initial(parameter, random) {
        const { name: key, shape } = parameter;
        if (key === 'scale') return Float32Array.of(1);
        if (key === 'class.bias') return new Float32Array(classes).fill(Math.log(priorShare / (1 - priorShare)));
        if (key === 'distances.bias') return new Float32Array(4).fill(Math.log(firstDistance));
        if (!key.includes('_tower.') || shape.length < 2) return initialValues(parameter, random);
        // He et al., 2015: towers without residuals need the size of their signal kept.
        const deviation = Math.sqrt(2 / (sizeOf(shape) / shape[0]!));
        return Float32Array.from({ length: sizeOf(shape) }, () => deviation * random.normal());
      },
      leftover: () => undefined,
      probe: (random) => ({ maps: noise(random, [1, maps, h, w, width]) }),
      decode: (outputs, context) => detections(outputs, { grid, classes }, context),
    };
  },
};

function usualHidden(width: number): number {
  return Math.max(32, Math.round(width / 6 / groups) * groups);
}

/** Maps [b, maps, h, w, width] -> [b, hidden, h upsample, w upsample]. */
function pyramidLevel(
  g: GraphBuilder,
  maps: Value,
  { upsample, hidden }: { readonly upsample: number; readonly hidden: number },
): Value {
  const [, count, h, w, width] = maps.shape as readonly [unknown, number, number, number, number]; // as declared
  const apart = reshape(g, layerNorm(g, maps, 'norm', epsilon), [0, count, h * w, width]);
  const beside = reshape(g, transpose(g, apart, [0, 2, 1, 3]), [0, h * w, count * width]);
  const embedded = gelu(g, linear(g, beside, 'embed', hidden));
  const split = linear(g, embedded, 'split', upsample * upsample * hidden);
  const cells = reshape(g, split, [0, h, w, upsample, upsample * hidden]);
  const rows = reshape(g, transpose(g, cells, [0, 1, 3, 2, 4]), [0, h * upsample, w * upsample, hidden]);
  return transpose(g, rows, [0, 3, 1, 2]);
}

/** 3 x 3, group norm, ReLU; `depth` times. */
function tower(
  g: GraphBuilder,
  x: Value,
  { hidden, depth }: { readonly hidden: number; readonly depth: number },
): Value {
  let value = x;
  for (let layer = 0; layer < depth; layer++) {
    const weight = g.param(`${layer}.norm.weight`, [hidden]);
    const bias = g.param(`${layer}.norm.bias`, [hidden]);
    value = relu(
      g,
      groupNorm(g, convolution(g, value, `${layer}.conv`, hidden), { weight, bias }, { groups, epsilon }),
    );
  }
  return value;
}

/** 3 x 3, zeros around. */
function convolution(g: GraphBuilder, x: Value, key: string, out: number): Value {
  const weight = g.param(`${key}.weight`, [out, x.shape[1] as number, 3, 3]);
  return convolve(g, x, weight, g.param(`${key}.bias`, [out]), { strides: [1, 1], padding: [1, 1] });
}

/** Targets: `detectorTargets` as targets.class, .distances, .centreness, .positive. */
function detectorLoss(
  g: GraphBuilder,
  outputs: Readonly<Record<string, Value>>,
  { places, classes }: { readonly places: number; readonly classes: number },
): HeadLoss {
  const of = (what: string, ...last: number[]): Value =>
    g.input(`targets.${what}`, 'float32', ['batch', places, ...last]);
  const [labels, target] = [of('class', classes), of('distances', 4)];
  const [centreness, positive] = [of('centreness'), of('positive')];
  const total = (x: Value, axes: readonly number[]): Value => sum(g, x, axes);
  const atLeastOne = (x: Value): Value => max(g, x, scalar(g, 1));
  const found = atLeastOne(total(positive, [0, 1]));
  const mask = reshape(g, positive, [0, places, 1]);
  const overlap = generalisedIou(g, whereCounted(g, outputs['distances']!, mask), whereCounted(g, target, mask)); // forward gives all outputs
  const weighted = total(mul(g, overlap, centreness), [0, 1]);
  const entropy = mul(g, binaryCrossEntropy(g, outputs['centreness']!, centreness), positive);
  const parts = {
    class: div(g, total(focalLoss(g, outputs['class']!, labels), [0, 1, 2]), found),
    box: div(g, weighted, atLeastOne(total(centreness, [0, 1]))),
    centreness: div(g, total(entropy, [0, 1]), found),
  };
  return { loss: add(g, add(g, parts.class, parts.box), parts.centreness), parts };
}

/** 1 - GIoU of boxes around common points: distances [b, n, 4] above 0 -> [b, n]. */
function generalisedIou(g: GraphBuilder, predicted: Value, target: Value): Value {
  const area = (sides: Value): Value => {
    const [left, top, right, bottom] = [0, 1, 2, 3].map((i) => slice(g, sides, 2, i, i + 1)) as [
      Value,
      Value,
      Value,
      Value,
    ];
    return mul(g, add(g, left, right), add(g, top, bottom));
  };
  const inter = area(min(g, predicted, target));
  const union = sub(g, add(g, area(predicted), area(target)), inter);
  const hull = area(max(g, predicted, target));
  const iou = div(g, inter, union);
  const empty = div(g, sub(g, hull, union), hull);
  return reshape(g, add(g, sub(g, scalar(g, 1), iou), empty), [0, predicted.shape[1] as number]);
}

/**
 * Boxes of each frame by falling score, which is the root of class times centreness. Options: `sizes` of the frames, `min_score` (default
 * 0.05), `nms` (0.6: IoU above which the worse of two boxes of one class falls), `max_detections` (100).
 */
function detections(
  outputs: Readonly<Record<string, Tensor<'float32'>>>,
  { grid: [h, w], classes }: { readonly grid: readonly [number, number]; readonly classes: number },
  { labels, options }: DecodeContext,
): ObjectPrediction[][] {
  const {
    class: logits,
    distances,
    centreness,
  } = outputs as Readonly<Record<'class' | 'distances' | 'centreness', Tensor<'float32'>>>; // the declared outputs
  const places = h * w;
  const least = numberOption(options, 'min_score', 0.05);
  const names = labels['noun'] ?? ['object_of_change'];
  const share = (logit: number): number => 1 / (1 + Math.exp(-logit));
  return frameSizes(options, centreness.shape[0] ?? 0).map(([width, height], frame) => {
    const found: ObjectPrediction[] = [];
    for (let place = 0; place < places; place++) {
      const at = frame * places + place;
      const middle = share(centreness.data[at]!);
      if (!(Math.sqrt(middle) > least)) continue; // no class is surer than sure
      for (let labelId = 0; labelId < classes; labelId++) {
        const score = Math.sqrt(share(logits.data[at * classes + labelId]!) * middle);
        if (!(score > least)) continue;
        const box = boxAt(distances.data.subarray(4 * at, 4 * at + 4), place, { grid: [h, w], size: [width, height] });
        found.push({ task: 'scod', box, label: names[labelId] ?? String(labelId), labelId, score });
      }
    }
    const best = found.sort((a, b) => b.score - a.score).slice(0, 1000);
    const kept = suppressedByClass(
      {
        boxes: Float32Array.from(best.flatMap((one) => one.box)),
        scores: best.map((one) => one.score),
        classes: best.map((one) => one.labelId),
      },
      numberOption(options, 'nms', 0.6),
      numberOption(options, 'max_detections', 100),
    );
    return kept.map((index) => best[index]!);
  });
}

/** The box that a place finds, in pixels, within the frame. */
function boxAt(
  distances: Float32Array,
  place: number,
  {
    grid: [h, w],
    size: [width, height],
  }: { readonly grid: readonly [number, number]; readonly size: readonly [number, number] },
): BoxCorners {
  const [left = 0, top = 0, right = 0, bottom = 0] = distances;
  const [x, y] = [(place % w) + 0.5, Math.floor(place / w) + 0.5];
  const across = (steps: number): number => Math.min(Math.max((steps / w) * width, 0), width);
  const down = (steps: number): number => Math.min(Math.max((steps / h) * height, 0), height);
  return [across(x - left), down(y - top), across(x + right), down(y + bottom)];
}
