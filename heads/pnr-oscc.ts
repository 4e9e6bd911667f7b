/**
 * `pnr-oscc`: when a clip's point of no return is, and whether an object changes its state in it, from the frozen rows (or time steps) of
 * the clip: convolutions over time, one round of attention, a logit for each row and one for the clip.
 *
 * Recipe: heads.md 8. The loss of the time is a cross-entropy against a bell around the truth, over the clips that have one; the time is
 * the expectation around the best row, so that it falls between rows. Default 128 channels: 0.46 million parameters, 1.8 MB at a width
 * of 192 and 32 rows.
 */
import type { GraphBuilder } from '../src/graph/builder.js';
import {
  add,
  concat,
  convolve,
  div,
  gelu,
  largest,
  layerNorm,
  linear,
  logSoftmax,
  max,
  mean,
  mul,
  neg,
  reshape,
  scalar,
  sub,
  sum,
  transpose,
} from '../src/graph/layers.js';
import type { Value } from '../src/graph/ops.js';
import type { JsonValue } from '../src/json.js';
import { ConfigReader, limits } from '../src/models/config.js';
import type { OsccPrediction, PnrPrediction } from '../src/models/forecasts.js';
import { noise, type DecodeContext, type HeadFamily, type HeadLoss } from '../src/models/head.js';
import { tensor } from '../src/tensor.js';
import { rowSpan } from '../src/time.js';
import { binaryCrossEntropy } from '../src/train/losses.js';
import type { FeatureClock, Tensor } from '../src/types.js';
import { attentionBlock, hiddenWhere, usualHeads } from './blocks.js';
import { softmax32 } from './numerics/box-coder.js';
import { numberOption, refused } from './options.js';

const name = 'pnr-oscc';
const epsilon = 1e-5;

/** Length of an annotated clip in seconds, where no clock tells the times of rows. */
const clipSeconds = 8;

/** Rows on each side of the best one that the expectation takes in. */
const reach = 2;

/** Point of no return and change of state; trained here. */
export const pnrOscc: HeadFamily = {
  name,
  task: 'pnr',
  summary: 'point of no return and change of state of a clip, from its rows in time (trained here)',
  official: (tensors) => tensors,
  infer: () => ({}),
  spec(given) {
    const config = new ConfigReader(name, given);
    const width = config.integer('dim', 1, limits.width);
    const rows = config.integer('rows', 2, limits.frames, 32);
    const hidden = config.integer('hidden', 1, limits.width, 128);
    const heads = config.integer('heads', 1, hidden, usualHeads(hidden));
    if (hidden % heads !== 0) throw config.fail('heads', `a divisor of the ${hidden} channels`);
    const depth = config.integer('depth', 1, 16, 3);
    return {
      family: name,
      task: 'pnr',
      config: { dim: width, rows, hidden, heads, depth },
      widths: [width],
      inputs: {
        features: { dtype: 'float32', shape: ['batch', rows, width], meaning: 'rows of the clip in order' },
        mask: { dtype: 'float32', shape: ['batch', rows], meaning: '1 for a row that counts, 0 for padding' },
      },
      outputs: {
        pnr: { dtype: 'float32', shape: ['batch', rows], meaning: 'logits: the point of no return lies in this row' },
        state: { dtype: 'float32', shape: ['batch'], meaning: 'logit: an object changes its state' },
      },
      kinds: [],
      postprocess: 'pnr-oscc/1',
      forward(g, { features, mask }) {
        // Declared inputs.
        const counted = reshape(g, mask!, [0, rows, 1]);
        let x = linear(g, layerNorm(g, features!, 'norm_rows', epsilon), 'embed', hidden);
        x = add(g, x, g.param('time', [rows, hidden]));
        for (let layer = 0; layer < depth; layer++) {
          x = g.scope(`convolutions.${layer}`, () => convolutionBlock(g, x, counted));
        }
        x = g.scope('attention', () => attentionBlock(g, x, { x, mask: mask! }, heads));
        const found = layerNorm(g, x, 'norm', epsilon);
        const logits = reshape(g, linear(g, found, 'pnr', 1), [0, rows]);
        // Far below every logit, but not so far that the foot of a bell beside padding would outweigh all else in the loss.
        const padding = mul(g, sub(g, mask!, scalar(g, 1)), scalar(g, 30));
        return { pnr: add(g, logits, padding), state: clipLogit(g, found, counted) };
      },
      loss: (g, outputs) => stateLoss(g, outputs, rows),
      leftover: () => undefined,
      probe: (random) => ({
        features: noise(random, [1, rows, width]),
        mask: tensor(
          'float32',
          [1, rows],
          Float32Array.from({ length: rows }, (_, row) => (row < rows - 1 ? 1 : 0)),
        ),
      }),
      decode: ({ pnr, state }, context) => changes({ pnr: pnr!, state: state! }, rows, context), // the declared outputs
    };
  },
};

/** x [b, rows, c] plus two layers over a row and its four neighbours; padding stays out of them. */
function convolutionBlock(g: GraphBuilder, x: Value, counted: Value): Value {
  const [, rows, width] = x.shape as readonly [unknown, number, number]; // rows and channels are known
  const hidden = mul(g, layerNorm(g, x, 'norm', epsilon), counted);
  const weight = g.param('conv.weight', [width, width, 5]);
  const options = { strides: [1], padding: [2] };
  const mixed = convolve(g, transpose(g, hidden, [0, 2, 1]), weight, g.param('conv.bias', [width]), options);
  const back = reshape(g, transpose(g, gelu(g, mixed), [0, 2, 1]), [0, rows, width]);
  return add(g, x, linear(g, back, 'proj', width));
}

/** Mean and largest value of the rows that count -> [b]. */
function clipLogit(g: GraphBuilder, x: Value, counted: Value): Value {
  const average = div(g, sum(g, mul(g, x, counted), [1]), max(g, sum(g, counted, [1]), scalar(g, 1)));
  const peak = largest(g, add(g, x, hiddenWhere(g, counted)), [1]);
  return reshape(g, linear(g, concat(g, [average, peak], 1), 'state', 1), [-1]);
}

/** Targets: `stateTargets` as targets.pnr, .counted, .state. */
function stateLoss(g: GraphBuilder, outputs: Readonly<Record<string, Value>>, rows: number): HeadLoss {
  const target = g.input('targets.pnr', 'float32', ['batch', rows]);
  const counted = g.input('targets.counted', 'float32', ['batch']);
  const change = g.input('targets.state', 'float32', ['batch']);
  const entropy = neg(g, sum(g, mul(g, target, logSoftmax(g, outputs['pnr']!)), [1])); // forward gives both
  const pnr = div(g, sum(g, mul(g, entropy, counted), [0]), max(g, sum(g, counted, [0]), scalar(g, 1)));
  const state = mean(g, binaryCrossEntropy(g, outputs['state']!, change), [0]);
  return { loss: add(g, pnr, state), parts: { pnr, state } };
}

/**
 * Of each clip when and whether. The middle of row i lies `first` + i `step` seconds after the start of the clip: options, `first` one number
 * or one for each item; by default those of the clock, or rows that cut 8 seconds evenly.
 */
function changes(
  { pnr, state }: Readonly<Record<'pnr' | 'state', Tensor<'float32'>>>,
  rows: number,
  { options, clock }: DecodeContext,
): (PnrPrediction | OsccPrediction)[][] {
  const ofClock = rowTimes(clock);
  const step = numberOption(options, 'step', ofClock.step ?? clipSeconds / rows);
  const firsts = firstTimes(options['first'], state.data.length, ofClock.first ?? step / 2);
  return firsts.map((first, item) => {
    const shares = softmax32(pnr.data.subarray(item * rows, (item + 1) * rows));
    const best = shares.indexOf(shares.reduce((a, b) => Math.max(a, b)));
    const score = 1 / (1 + Math.exp(-state.data[item]!));
    return [
      { task: 'pnr', time: Math.max(0, first + step * expectation(shares, best)), score: shares[best]! },
      { task: 'oscc', stateChange: score > 0.5, score },
    ];
  });
}

/** Mean row around the best one, by shares. */
function expectation(shares: Float32Array, best: number): number {
  // As many rows on each side: near an end the mean would lean inwards.
  const side = Math.min(reach, best, shares.length - 1 - best);
  let [total, moment] = [0, 0];
  for (let row = best - side; row <= best + side; row++) {
    total += shares[row]!;
    moment += row * shares[row]!;
  }
  return moment / total;
}

/** Middle of the first row, and what lies between rows: in seconds. */
function rowTimes(clock: FeatureClock | null): { readonly first?: number; readonly step?: number } {
  if (clock === null || clock.rate === 'source') return {};
  const [start, end] = rowSpan(clock, 0);
  return { first: (start + end) / 2, step: rowSpan(clock, 1)[0] - start };
}

function firstTimes(value: JsonValue | undefined, items: number, absent: number): number[] {
  const isTime = (item: unknown): item is number => typeof item === 'number' && Number.isFinite(item);
  if (value === undefined || value === null) return Array.from({ length: items }, () => absent);
  if (isTime(value)) return Array.from({ length: items }, () => value);
  if (Array.isArray(value) && value.length === items && value.every(isTime)) return value;
  throw refused('first', `seconds, or ${items} of them`, value);
}
