/**
 * InternVideo's multimodal model: UniFormerV2 as video tower, CLIP's text tower.
 *
 * Paper: Wang et al., "InternVideo: General Video Foundation Models via Generative and Discriminative Learning", 2022.
 * Code: OpenGVLab/InternVideo 3965eef, InternVideo1 multimodal demo (internvideo.py, its CLIP with a UniFormerV2 tower).
 * Loads: InternVideo-MM-B/16 and L/14, Lightning containers (`clip.` before the weights) and flat files. The caption decoder and
 * other modules of the training are left behind.
 * Differs from the official graph as uniformerv2.ts says; rows of text may be shorter than the context.
 */
import { GraphBuilder, type Graph } from '../graph/builder.js';
import { layerNorm, matMul, reshape, transpose } from '../graph/layers.js';
import type { StateDict } from '../types.js';
import { ConfigReader, depthOf, flatConfig } from './config.js';
import { cubesOf, gridOf } from './patches.js';
import { readPreset } from './presets.js';
import { clipStatistics, onlyFrames, presetFor } from './recipe.js';
import type { ConfigContext, GraphVariant, ModelFamily, ModelSpec } from './spec.js';
import { renamed } from './stored.js';
import { inferText, readText, textConfig, textTower } from './text-tower.js';
import {
  inferredConfig,
  inferVision,
  readShared,
  readVision,
  sharedConfig,
  towerSizes,
  visionConfig,
  type VisionNames,
} from './two-tower.js';
import { stepTokens, uniformerTower, type UniformerTower } from './uniformerv2.js';

const names: VisionNames = { size: 'vision.input_resolution', frames: 'vision.t_size' };
/** What the weights are under in the training files, beside modules that only the training uses. */
const prefix = 'clip.';

/**
 * Outputs `video_embed` [b, embed] (not normalised), `pooled` [b, width] before `visual_ln_post`, and the frame tokens after the last
 * block, without a final norm: `out_last` [1 + hw, b, t, width] as the official code lays them out, `tokens` [b, t (1 + hw), width].
 */
export function internvideoGraph(name: string, tower: UniformerTower, embed: number, variant: GraphVariant): Graph {
  const g = new GraphBuilder(name);
  const { geometry, width, epsilon } = tower;
  const [frames] = gridOf(geometry);
  const n = stepTokens(tower);
  const cubes = cubesOf(g, geometry, variant);
  const { last, pooled } = g.scope('visual', () => uniformerTower(g, cubes, tower, variant.form));
  g.output('out_last', transpose(g, reshape(g, last, [-1, frames, n, width]), [2, 0, 1, 3]));
  g.output('tokens', reshape(g, last, [-1, frames * n, width]));
  g.output('pooled', pooled);
  const projection = g.param('visual_proj', [width, embed]);
  g.output('video_embed', matMul(g, layerNorm(g, pooled, 'visual_ln_post', epsilon), projection));
  return g.finish();
}

/** First names of the model's own keys. */
const own: ReadonlySet<string> = new Set([
  'visual',
  'visual_ln_post',
  'visual_proj',
  'transformer',
  'token_embedding',
  'positional_embedding',
  'ln_final',
  'text_projection',
  'text_mask_embedding',
  'logit_scale',
]);

const firstName = (key: string): string => key.split('.')[0]!;

/** The model's own keys without their `clip.`; all others keep their names, so that what is unknown below `clip.` is reported. */
function official(tensors: StateDict): StateDict {
  return renamed(tensors, (key) => {
    const name = key.startsWith(prefix) ? key.slice(prefix.length) : key;
    return own.has(firstName(name)) ? name : key;
  });
}

/** What stands beside `clip.` in a training file. Source: CoTrain/modules/clip_module.py of the same repository. */
const trainingModules: Readonly<Record<string, string>> = {
  caption_decoder: 'decoder of the captioning loss',
  vqa_classifier: 'classifier of question answering',
  rank_output: 'scores of multiple choice',
  clip_k: 'slow copy of the model for contrast with a queue',
  queue_visual: 'queue of the contrastive loss',
  queue_text: 'queue of the contrastive loss',
  queue_ptr: 'queue of the contrastive loss',
};

/** The official loader reads `clip.` and nothing else, so any other module may stay behind; a key of the model itself may not. */
function leftover(key: string): string | undefined {
  if (key === 'text_mask_embedding') return 'stands for masked words in the training';
  const module = firstName(key);
  if (Object.hasOwn(trainingModules, module)) return trainingModules[module];
  return own.has(module) || key.startsWith(prefix)
    ? undefined
    : 'beside the model, where the official loader does not look';
}

/** Numbers of the last `count` of `depth` blocks, or of all where there are fewer. */
function lastBlocks(depth: number, count: number): number[] {
  const length = Math.min(count, depth);
  return Array.from({ length }, (_, j) => depth - length + j);
}

function internvideoSpec(raw: Readonly<Record<string, unknown>>, context: ConfigContext): ModelSpec {
  const config = new ConfigReader('internvideo-mm', flatConfig(raw));
  const shared = readShared(config);
  const vision = readVision(config, shared, names, context.preset ?? clipStatistics);
  const text = readText(config, shared, { scope: '', context: 77 });
  const { geometry } = vision;
  const { width, depth, heads } = vision.tower;
  const globalHeads = config.integer('vision.global_heads', 1, width, heads);
  if (width % globalHeads !== 0) throw config.fail('vision.global_heads', `a divisor of vision.width ${width}`);
  const tower: UniformerTower = {
    ...vision.tower,
    geometry,
    local: 0,
    localWidth: 0,
    batchNormEpsilon: 1e-5,
    after: config.ascending('vision.return_list', 0, depth - 1, lastBlocks(depth, 4)),
    globalHeads,
    frozen: false,
  };
  const n = stepTokens(tower);
  return {
    family: 'internvideo-mm',
    kind: 'two-tower',
    config: {
      ...sharedConfig(shared, geometry),
      vision: { ...visionConfig(vision, names), return_list: [...tower.after], global_heads: globalHeads },
      text: textConfig(text),
    },
    preset: presetFor(geometry, context, { base: readPreset('internvideo-mm-8'), feature: 'video_embed' }),
    frames: geometry.frames,
    size: geometry.size,
    classes: 0,
    outputs: {
      video_embed: {
        shape: ['batch', shared.embed],
        meaning: 'pooled after visual_ln_post, times visual_proj; not normalised',
      },
      pooled: {
        shape: ['batch', width],
        meaning: 'video token and mean class token of the frames, mixed by `balance`',
      },
      tokens: {
        shape: ['batch', geometry.frames * n, width],
        meaning: 'frame by frame: class token, then patches row by row, after the last block, before any final norm',
      },
      out_last: { shape: [n, 'batch', geometry.frames, width], meaning: 'the same tokens in the official layout' },
    },
    tokenOutput: 'tokens',
    arrays: {},
    build: (variant) => internvideoGraph('internvideo-mm', tower, shared.embed, variant),
    text: textTower('internvideo-mm', text, {
      against: 'video_embed',
      scale: 'learned',
      overlong: 'refuse',
      joint: ['similarity', 'probs'],
    }),
    adapt: (tensors) => tensors,
    leftover,
    feeds: onlyFrames,
    probeArrays: () => ({}),
  };
}

export const internvideoMm: ModelFamily = {
  name: 'internvideo-mm',
  summary: "InternVideo's multimodal model: video and text in one space, UniFormerV2 tower",
  sizes: {
    'internvideo-mm-b16': towerSizes.b(names, { patch: 16 }),
    'internvideo-mm-l14': towerSizes.l(names, { patch: 14 }),
  },
  recognises: (keys) =>
    [prefix, ''].some(
      (start) => keys.has(`${start}visual.transformer.dec.0.ln_1.weight`) && keys.has(`${start}visual_proj`),
    ),
  official,
  infer(keys) {
    const vision = inferVision(keys, 'visual.', names);
    const globals = depthOf(keys, 'visual.transformer.dec.');
    const depth = vision['layers'] ?? 0;
    const after = lastBlocks(depth, globals);
    return inferredConfig(
      keys.get('visual_proj')?.[1],
      // Which blocks the global ones follow is not in the file: the last ones, as everywhere that is published.
      { ...vision, return_list: after.length > 0 ? after : undefined },
      inferText(keys, ''),
    );
  },
  spec: internvideoSpec,
};
