/**
 * `hands`: an attentive probe over the frozen tokens (or rows) of the two seconds before pre_45. Two maps over the tokens say where each hand
 * was at each time (the mean place of a softmax); one linear layer carries these tracks on to the key frames. Five learned queries, one a
 * key frame, look at the tokens twice and say how far that guess is to be trusted against the mean place of the training split, what is to
 * be added, and whether each hand is in view.
 *
 * Recipe: heads.md 3 after the probe of Wang et al., "InternVideo2", 2024, and the loss of Chen et al., "InternVideo-Ego4D", 2022: smooth
 * L1 in pixels over annotated hands. Default 128 channels: 0.3 million parameters, 1.3 MB at a width of 192.
 */
import type { GraphBuilder } from '../src/graph/builder.js';
import {
  add,
  layerNorm,
  linear,
  matMul,
  mean,
  mul,
  reshape,
  scalar,
  sigmoid,
  slice,
  softmax,
  sub,
  sum,
  transpose,
} from '../src/graph/layers.js';
import type { Value } from '../src/graph/ops.js';
import { ConfigReader, limits } from '../src/models/config.js';
import { initialValues, noise, type HeadFamily, type HeadLoss } from '../src/models/head.js';
import { tensor } from '../src/tensor.js';
import { binaryCrossEntropy } from '../src/train/losses.js';
import { attentionBlock, usualHeads } from './blocks.js';
import { maskedSmoothL1 } from './hand-loss.js';
import { handNumbers, handPairs, keyFrames } from './hand-points.js';
import { frameSizes } from './options.js';

const name = 'hands';
const epsilon = 1e-5;

/** Layer that carries the tracks on to the key frames. */
const carryLayer = 'carry';

/** Parameter with the mean places of the training split: `handPrior` before training, the middle of the frame where nobody sets it. */
export const priorParameter = 'prior';

/** Future hands from tokens; trained here. */
export const hands: HeadFamily = {
  name,
  task: 'fhp',
  summary: 'places of both hands at five key frames, by attention over the tokens before them (trained here)',
  official: (tensors) => tensors,
  infer: () => ({}),
  spec(given) {
    const config = new ConfigReader(name, given);
    const width = config.integer('dim', 1, limits.width);
    const [slots, h, w] = config.integers('grid', 3, 1, limits.size) as readonly [number, number, number]; // three were asked for
    const tokens = slots * h * w;
    if (tokens > limits.tokens) throw config.fail('grid', `at most ${limits.tokens} tokens`);
    const hidden = config.integer('hidden', 1, limits.width, 128);
    const heads = config.integer('heads', 1, hidden, usualHeads(hidden));
    if (hidden % heads !== 0) throw config.fail('heads', `a divisor of the ${hidden} channels`);
    const depth = config.integer('depth', 1, 16, 2);
    const visibleWeight = config.nonNegative('visible_weight', 5);
    return {
      family: name,
      task: 'fhp',
      config: { dim: width, grid: [slots, h, w], hidden, heads, depth, visible_weight: visibleWeight },
      widths: [width],
      inputs: {
        tokens: {
          dtype: 'float32',
          shape: ['batch', tokens, width],
          meaning: `tokens of the clip before pre_45: ${slots} times of ${h} x ${w} places`,
        },
      },
      outputs: {
        points: {
          dtype: 'float32',
          shape: ['batch', keyFrames, 4],
          meaning: 'left x, left y, right x, right y at the key frames, as shares of the frame',
        },
        visible: { dtype: 'float32', shape: ['batch', keyFrames, 2], meaning: 'logits: left and right hand in view' },
      },
      kinds: [],
      postprocess: 'hands/1',
      forward(g, inputs) {
        const x = embedded(g, inputs['tokens']!, { slots, places: h * w, hidden }); // a declared input
        const first = linear(g, mean(g, x, [1]), 'state', hidden);
        let queries = add(g, g.param('queries', [keyFrames, hidden]), reshape(g, first, [0, 1, hidden]));
        for (let block = 0; block < depth; block++) {
          queries = g.scope(`blocks.${block}`, () => attentionBlock(g, queries, { x }, heads));
        }
        const each = linear(g, layerNorm(g, queries, 'norm', epsilon), 'places', 8); // [b, 5, 8]
        const tracks = handTracks(g, x, [slots, h, w]);
        const guess = reshape(g, linear(g, tracks, carryLayer, handNumbers), [0, keyFrames, 4]);
        const prior = g.param(priorParameter, [keyFrames, 4]);
        const trust = pairwise(g, sigmoid(g, slice(g, each, 2, 6, 8)));
        const led = add(g, prior, mul(g, trust, sub(g, guess, prior)));
        return { points: add(g, led, slice(g, each, 2, 0, 4)), visible: slice(g, each, 2, 4, 6) };
      },
      loss: (g, outputs) => handLoss(g, outputs, visibleWeight),
      isFrozen: (parameter) => parameter === priorParameter,
      initial(parameter, random) {
        if (parameter.name === priorParameter) return new Float32Array(handNumbers).fill(0.5);
        if (parameter.name !== `${carryLayer}.weight`) return initialValues(parameter, random);
        // Hands stay where they were last: the guess that training starts from.
        const inputs = 4 * slots;
        const weight = new Float32Array(handNumbers * inputs);
        for (let out = 0; out < handNumbers; out++) weight[out * inputs + inputs - 4 + (out % 4)] = 1;
        return weight;
      },
      leftover: () => undefined,
      probe: (random) => ({ tokens: noise(random, [1, tokens, width]) }),
      decode({ points, visible }, { options }) {
        const count = points!.shape[0] ?? 0; // declared outputs
        return frameSizes(options, count).map(([frameWidth, frameHeight], item) => {
          const places = points!.data.subarray(item * handNumbers, (item + 1) * handNumbers);
          const pixels = places.map((share, i) =>
            i % 2 === 0 ? Math.min(Math.max(share, 0), 1) * frameWidth : Math.min(Math.max(share, 0), 1) * frameHeight,
          );
          const seen = visible!.data.subarray(item * keyFrames * 2, (item + 1) * keyFrames * 2);
          const shares = Array.from({ length: keyFrames }, (_, frame) =>
            [0, 1].map((side) => 1 / (1 + Math.exp(-seen[2 * frame + side]!))),
          );
          return [{ task: 'fhp', points: handPairs(pixels), visible: shares }];
        });
      },
    };
  },
};

/** Tokens [b, slots places, width] as [b, slots places, hidden], with what tells their time and place. */
function embedded(
  g: GraphBuilder,
  tokens: Value,
  { slots, places, hidden }: { readonly slots: number; readonly places: number; readonly hidden: number },
): Value {
  const x = linear(g, layerNorm(g, tokens, 'norm_tokens', epsilon), 'embed', hidden);
  const apart = reshape(g, x, [0, slots, places, hidden]);
  const timed = add(g, apart, g.param('time', [slots, 1, hidden]));
  return reshape(g, add(g, timed, g.param('place', [places, hidden])), [0, slots * places, hidden]);
}

/**
 * Where each hand was at each time: the mean place of a softmax over the tokens of that time, as shares of the frame.
 *
 * @param x [b, slots h w, hidden]
 * @returns [b, slots * 4], a left x, left y, right x, right y for each time
 */
function handTracks(g: GraphBuilder, x: Value, [slots, h, w]: readonly [number, number, number]): Value {
  const logits = reshape(g, linear(g, layerNorm(g, x, 'norm_tracks', epsilon), 'tracks', 2), [0, slots, h * w, 2]);
  const shares = transpose(g, softmax(g, logits, 2), [0, 1, 3, 2]); // [b, slots, hands, places]
  const middles = Float32Array.from({ length: 2 * h * w }, (_, i) => {
    const place = i >> 1;
    return i % 2 === 0 ? ((place % w) + 0.5) / w : (Math.floor(place / w) + 0.5) / h;
  });
  return reshape(g, matMul(g, shares, g.constant(tensor('float32', [h * w, 2], middles))), [0, 4 * slots]);
}

/** A number of each hand [b, 5, 2] for both its coordinates: [b, 5, 4]. */
function pairwise(g: GraphBuilder, hands: Value): Value {
  return matMul(g, hands, g.constant(tensor('float32', [2, 4], Float32Array.of(1, 1, 0, 0, 0, 0, 1, 1))));
}

/** Targets: `handTargets` as targets.points, targets.mask and targets.scale. */
function handLoss(g: GraphBuilder, outputs: Readonly<Record<string, Value>>, visibleWeight: number): HeadLoss {
  const target = g.input('targets.points', 'float32', ['batch', keyFrames, 4]);
  const mask = g.input('targets.mask', 'float32', ['batch', keyFrames, 4]);
  const scale = reshape(g, g.input('targets.scale', 'float32', ['batch', 4]), [0, 1, 4]);
  const pixels = (shares: Value): Value => mul(g, shares, scale);
  const points = maskedSmoothL1(g, pixels(outputs['points']!), pixels(target), { mask }); // forward gives both
  // A hand is in view where its x is annotated.
  const picks = g.constant(tensor('float32', [4, 2], Float32Array.of(1, 0, 0, 0, 0, 1, 0, 0)));
  const inView = matMul(g, mask, picks);
  const entropy = binaryCrossEntropy(g, outputs['visible']!, inView);
  const visible = mean(g, sum(g, entropy, [1, 2]), [0]);
  return {
    loss: add(g, points, mul(g, visible, scalar(g, visibleWeight / (2 * keyFrames)))),
    parts: { points, visible },
  };
}
