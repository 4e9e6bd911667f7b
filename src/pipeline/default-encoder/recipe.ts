import type { Classifier } from '../../models/videomae.js';
import type { JsonValue } from '../../json.js';
import { verbs } from '../../world/vocabulary.js';
import type { LossWeights } from './step.js';
import type { WindowForm } from './windows.js';

/** The default encoder: sizes, data, training. Everything that `npm run train:defaults` does follows from this. */

/** As models/ reads it. */
export const config = {
  img_size: 128,
  patch_size: 16,
  all_frames: 8,
  tubelet_size: 2,
  stem_dims: [16, 32, 64],
  embed_dim: 192,
  depth: 4,
  num_heads: 3,
  mlp_ratio: 3,
  num_classes: verbs.length,
  use_learnable_pos_emb: true,
  position_rule: 'learned',
} as const satisfies Readonly<Record<string, JsonValue>>;

export const form: WindowForm = {
  frames: config.all_frames,
  step: 8,
  size: config.img_size,
  tubelet: config.tubelet_size,
  grid: config.img_size / config.patch_size,
};

/** The model that `config` describes. */
export const model: Classifier = {
  geometry: {
    frames: config.all_frames,
    size: config.img_size,
    patch: config.patch_size,
    tubelet: config.tubelet_size,
    mean: [0.485, 0.456, 0.406],
    std: [0.229, 0.224, 0.225],
  },
  stem: config.stem_dims,
  tower: {
    width: config.embed_dim,
    depth: config.depth,
    heads: config.num_heads,
    hidden: config.embed_dim * config.mlp_ratio,
    epsilon: 1e-6,
    qvBias: true,
    layerScale: false,
    cosine: false,
  },
  positions: 'learned',
  meanPooling: true,
  classes: config.num_classes,
};

export const lossWeights: LossWeights = {
  verb: 1,
  noun: 1,
  colour: 0.5,
  tokens: 4,
  hands: 0.5,
  stage: 0.5,
  slotVerb: 0.5,
};

export const recipe = {
  seed: 2026,
  /** Windows that are drawn, and how many of them are seen. */
  windows: 16_000,
  samples: 72_000,
  batch: 16,
  rate: 1.5e-3,
  warmup: 300,
  decay: 0.05,
  average: 0.998,
  /** Frames that the middle of a window lies off the action's, at most. */
  jitter: 14,
  idleShare: 0.12,
  difficulties: [1, 2, 2, 3],
} as const;
