/**
 * CLIP: one image, one vector; one text, one vector; their cosine.
 *
 * Paper: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021.
 * Code: openai/CLIP d05afc4 model.py (VisionTransformer; the residual networks of the same paper are not built).
 * Loads: ViT-B/32, B/16, L/14 and L/14@336px, as the published TorchScript archives, flat files, and the spelling of the
 * transformers library (clip-keys.ts).
 * Differs from the official graph in one point: scale and normalisation are folded into the patch matrix.
 */
import { GraphBuilder, type Graph } from '../graph/builder.js';
import { add, layerNorm, matMul, prependToken, tokenAt } from '../graph/layers.js';
import { clipBlocks } from './clip-blocks.js';
import { officialClipKeys, rowNumbers } from './clip-keys.js';
import { ConfigReader, flatConfig } from './config.js';
import { cubesOf, embedCubes, tokenCount } from './patches.js';
import { readPreset } from './presets.js';
import { clipStatistics, onlyFrames, presetFor } from './recipe.js';
import type { ConfigContext, GraphVariant, ModelFamily, ModelSpec } from './spec.js';
import { inferText, readText, textConfig, textTower } from './text-tower.js';
import {
  inferredConfig,
  inferVision,
  readShared,
  readVision,
  sharedConfig,
  towerSizes,
  visionConfig,
  type VisionModel,
  type VisionNames,
} from './two-tower.js';

const names: VisionNames = { size: 'vision.image_resolution' };

/** Outputs `image_embed` [b, embed] (not normalised) and `tokens` [b, 1 + hw, width]: class token first, after ln_post. */
export function clipGraph(name: string, { geometry, tower }: VisionModel, embed: number, variant: GraphVariant): Graph {
  const g = new GraphBuilder(name);
  const { width, epsilon } = tower;
  const { patch } = geometry;
  const count = tokenCount(geometry);
  const cubes = cubesOf(g, geometry, variant);
  g.scope('visual', () => {
    const patches = embedCubes(g, cubes, geometry, g.param('conv1.weight', [width, 3, patch, patch]));
    let x = prependToken(g, g.param('class_embedding', [width]), patches); // [b, 1 + hw, width]
    x = add(g, x, g.param('positional_embedding', [1 + count, width]));
    x = layerNorm(g, x, 'ln_pre', epsilon);
    x = g.scope('transformer', () => clipBlocks(g, x, tower, variant.form));
    const last = layerNorm(g, x, 'ln_post', epsilon);
    g.output('image_embed', matMul(g, tokenAt(g, last, 0), g.param('proj', [width, embed])));
    g.output('tokens', last);
  });
  return g.finish();
}

/** Values beside the weights in OpenAI's archives. */
const buffers = new Set(['input_resolution', 'context_length', 'vocab_size']);

function leftover(key: string): string | undefined {
  if (buffers.has(key)) return 'a size that the archive states beside its weights';
  return rowNumbers.has(key) ? 'row numbers of a positional table' : undefined;
}

function clipSpec(raw: Readonly<Record<string, unknown>>, context: ConfigContext): ModelSpec {
  const config = new ConfigReader('clip', flatConfig(raw));
  const shared = readShared(config);
  const vision = readVision(config, shared, names, context.preset ?? clipStatistics);
  const text = readText(config, shared, { scope: '', context: 77 });
  const { geometry, tower } = vision;
  return {
    family: 'clip',
    kind: 'two-tower',
    config: {
      ...sharedConfig(shared, geometry),
      vision: visionConfig(vision, names),
      text: textConfig(text),
    },
    preset: presetFor(geometry, context, { base: readPreset('clip-frame'), feature: 'image_embed' }),
    frames: 1,
    isImage: true,
    size: geometry.size,
    classes: 0,
    outputs: {
      image_embed: {
        shape: ['batch', shared.embed],
        meaning: 'class token after ln_post, times proj; not normalised',
      },
      tokens: {
        shape: ['batch', 1 + tokenCount(geometry), tower.width],
        meaning: 'class token, then patches row by row, after ln_post',
      },
    },
    tokenOutput: 'tokens',
    arrays: {},
    build: (variant) => clipGraph('clip', vision, shared.embed, variant),
    text: textTower('clip', text, {
      against: 'image_embed',
      scale: 'learned',
      overlong: 'refuse',
      joint: ['logits_per_image'],
    }),
    adapt: (tensors) => tensors,
    leftover,
    feeds: onlyFrames,
    probeArrays: () => ({}),
  };
}

export const clip: ModelFamily = {
  name: 'clip',
  summary: 'CLIP vision transformers: image and text in one space',
  sizes: {
    'clip-b32': towerSizes.b(names, { patch: 32 }),
    'clip-b16': towerSizes.b(names, { patch: 16 }),
    'clip-l14': towerSizes.l(names, { patch: 14 }),
    'clip-l14-336': towerSizes.l(names, { patch: 14, size: 336 }),
  },
  recognises: (keys) =>
    keys.get('visual.conv1.weight')?.length === 4 &&
    keys.has('visual.transformer.resblocks.0.ln_1.weight') &&
    !keys.has('visual.transformer.dec.0.ln_1.weight'),
  official: officialClipKeys,
  infer: (keys) =>
    inferredConfig(keys.get('visual.proj')?.[1], inferVision(keys, 'visual.', names), inferText(keys, '')),
  spec: clipSpec,
};
