/**
 * The official head of future hand prediction: mean over time and space, one linear layer to 20 pixel values.
 *
 * Papers: Grauman et al., "Ego4D", 2022; Chen et al., "InternVideo-Ego4D", 2022. Source: EGO4D/forecasting (I3D: `head.projection`),
 * OpenGVLab/ego4d-eccv2022-solutions (UniFormer: batch norm `norm`, then `head`). Loads the head keys of their checkpoints; the encoder's
 * keys have no place here. Predictions are those of one view. Differences: none.
 */
import { add, batchNormAffine, linear, mean, mul } from '../src/graph/layers.js';
import { ConfigReader, defined, limits } from '../src/models/config.js';
import { noise, type HeadFamily } from '../src/models/head.js';
import { renamed } from '../src/models/stored.js';
import { handNumbers, handPairs } from './hand-points.js';
import { maskedSmoothL1 } from './hand-loss.js';

const name = 'fhp-head';

/** Stages of I3D and UniFormer; a batch norm that the head does not take, and its counter of training steps. */
const encoderParts = /^(model\.)?(s\d|pathway\d|patch_embed\d?\.|blocks\d?\.|norm\d?\.|pos_embed|cls_token)/;

/** Of BatchNorm3d. */
const epsilon = 1e-5;

/** Official linear head of future hand prediction. */
export const fhpHead: HeadFamily = {
  name,
  task: 'fhp',
  summary:
    'mean feature, linear to 20 pixel values: hands at five key frames (heads of EGO4D/forecasting and InternVideo-Ego4D)',
  official: (tensors) =>
    renamed(tensors, (key) => key.replace(/^(model\.)?(head\.)?(projection\.|(?=(weight|bias)$))/, 'projection.')),
  infer: (keys) => ({
    ...defined({ dim: keys.get('projection.weight')?.[1] }),
    norm: keys.has('norm.running_mean') && keys.get('norm.running_mean')?.[0] === keys.get('projection.weight')?.[1],
  }),
  spec(given) {
    const config = new ConfigReader(name, given);
    const width = config.integer('dim', 1, limits.width);
    const norm = config.flag('norm', false);
    return {
      family: name,
      task: 'fhp',
      config: { dim: width, norm },
      widths: [width],
      inputs: {
        features: {
          dtype: 'float32',
          shape: ['batch', 'rows', width],
          meaning: 'feature rows (places of the feature map) of the two seconds before pre_45',
        },
      },
      outputs: {
        points: {
          dtype: 'float32',
          shape: ['batch', handNumbers],
          meaning: 'pixels: five key frames of left x, left y, right x, right y',
        },
      },
      kinds: [],
      postprocess: 'hands/1',
      forward(g, { features }) {
        let pooled = mean(g, features!, [1]); // a declared input
        if (norm) {
          // The norm is affine with fixed statistics, so it may follow the mean that follows it in the official code.
          const { scale, shift } = batchNormAffine(g, 'norm', width, epsilon);
          pooled = add(g, mul(g, pooled, scale), shift);
        }
        return { points: linear(g, pooled, 'projection', handNumbers) };
      },
      loss(g, { points }) {
        const target = g.input('targets.points', 'float32', ['batch', handNumbers]);
        const mask = g.input('targets.mask', 'float32', ['batch', handNumbers]);
        const loss = maskedSmoothL1(g, points!, target, { mask }); // forward gives it
        return { loss, parts: {} };
      },
      isFrozen: (parameter) => parameter.startsWith('norm.running_'),
      leftover: (key) => (encoderParts.test(key) ? 'of the encoder' : undefined),
      probe: (random) => ({ features: noise(random, [1, 3, width]) }),
      decode({ points }) {
        const { data } = points!; // the one output
        return Array.from({ length: data.length / handNumbers }, (_, item) => [
          { task: 'fhp', points: handPairs(data.subarray(item * handNumbers, (item + 1) * handNumbers)) },
        ]);
      },
    };
  },
};
