/**
 * ViCLIP: CLIP over a clip of frames, every token attending to those of all frames.
 *
 * Paper: Wang et al., "InternVid", ICLR 2024.
 * Code: OpenGVLab/InternVideo 3965eef, Data/InternVid viclip: viclip_vision.py, viclip_text.py, viclip.py.
 * Loads: ViCLIP-B/16 and L/14, trainer containers (key `model`).
 * Differs from the official graph in one point: scale and normalisation are folded into the patch matrix. No token is dropped, as in
 * the official demo; training drops 90 % of them.
 */
import { GraphBuilder, type Graph } from '../graph/builder.js';
import { add, layerNorm, matMul, prependToken, reshape, slice, tokenAt, transpose } from '../graph/layers.js';
import { tensor } from '../tensor.js';
import type { StateDict, StoredTensor } from '../types.js';
import { clipBlocks } from './clip-blocks.js';
import { ConfigReader, flatConfig } from './config.js';
import { cubesOf, embedCubes, gridOf, tokenCount } from './patches.js';
import { resampleTable } from './positions.js';
import { readPreset } from './presets.js';
import { imagenet, onlyFrames, presetFor } from './recipe.js';
import type { ConfigContext, GraphVariant, ModelFamily, ModelSpec } from './spec.js';
import { computed } from './stored.js';
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

const names: VisionNames = { size: 'vision.input_resolution', frames: 'vision.num_frames' };
const timeTable = 'vision_encoder.temporal_positional_embedding';
const textTable = 'text_encoder.positional_embedding';

/**
 * Outputs `video_embed` [b, embed] (not normalised) and `out_last` [b, 1 + hw t, width] after ln_post: one class token, then the
 * patches, time fastest.
 */
export function viclipGraph(
  name: string,
  { geometry, tower }: VisionModel,
  embed: number,
  variant: GraphVariant,
): Graph {
  const g = new GraphBuilder(name);
  const { width, epsilon } = tower;
  const { patch } = geometry;
  const [t, h, w] = gridOf(geometry);
  const cubes = cubesOf(g, geometry, variant);
  g.scope('vision_encoder', () => {
    const patches = embedCubes(g, cubes, geometry, g.param('conv1.weight', [width, 3, 1, patch, patch]));
    const space = g.param('positional_embedding', [1 + h * w, width]);
    const time = g.param('temporal_positional_embedding', [1, t, width]);
    let x = add(g, reshape(g, patches, [0, t, h * w, width]), slice(g, space, 0, 1, 1 + h * w));
    x = add(g, transpose(g, x, [0, 2, 1, 3]), time); // [b, hw, t, width]
    const first = add(g, g.param('class_embedding', [width]), slice(g, space, 0, 0, 1));
    x = prependToken(g, first, reshape(g, x, [0, h * w * t, width]));
    x = layerNorm(g, x, 'ln_pre', epsilon);
    x = g.scope('transformer', () => clipBlocks(g, x, tower, variant.form));
    const last = layerNorm(g, x, 'ln_post', epsilon);
    g.output('out_last', last);
    g.output('video_embed', matMul(g, tokenAt(g, last, 0), g.param('proj', [width, embed])));
  });
  return g.finish();
}

/**
 * Tables of another frame count or text length. Time: the mean over it for one frame, the first rows for fewer, linear interpolation
 * for more. Text: the first rows, or zeros after them. Source: viclip_vision.py and viclip.py, loading of pre-trained weights.
 */
function adaptTables(tensors: StateDict, frames: number, context: number): StateDict {
  const time = tensors.get(timeTable);
  const text = tensors.get(textTable);
  const replaced: [string, StoredTensor][] = [];
  if (time?.shape.length === 3 && time.shape[0] === 1 && time.shape[1] !== frames && time.shape[1]! > 0) {
    const [, from, width] = time.shape as [number, number, number];
    const shape = [1, frames, width];
    replaced.push([timeTable, computed(time, shape, (values) => timeRows(values, from, frames, width))]);
  }
  if (text?.shape.length === 2 && text.shape[0] !== context) {
    const width = text.shape[1]!;
    replaced.push([
      textTable,
      computed(text, [context, width], (values) => {
        const rows = new Float32Array(context * width);
        rows.set(values.subarray(0, rows.length));
        return rows;
      }),
    ]);
  }
  return replaced.length === 0 ? tensors : new Map([...tensors, ...replaced]);
}

function timeRows(
  values: Float32Array<ArrayBuffer>,
  from: number,
  to: number,
  width: number,
): Float32Array<ArrayBuffer> {
  if (to === 1) {
    return Float32Array.from({ length: width }, (_, c) => {
      let sum = 0;
      for (let t = 0; t < from; t++) sum += values[t * width + c]!;
      return sum / from;
    });
  }
  if (to < from) return values.slice(0, to * width);
  return resampleTable(tensor('float32', [from, width], values), [from, 1, 1], [to, 1, 1]).data;
}

function viclipSpec(raw: Readonly<Record<string, unknown>>, context: ConfigContext): ModelSpec {
  const config = new ConfigReader('viclip', flatConfig(raw));
  const shared = readShared(config);
  const vision = readVision(config, shared, names, context.preset ?? imagenet);
  const text = readText(config, shared, { scope: 'text_encoder', context: 32 });
  const { geometry, tower } = vision;
  return {
    family: 'viclip',
    kind: 'two-tower',
    config: {
      ...sharedConfig(shared, geometry),
      vision: visionConfig(vision, names),
      text: textConfig(text),
    },
    preset: presetFor(geometry, context, { base: readPreset('viclip-8'), feature: 'video_embed' }),
    frames: geometry.frames,
    size: geometry.size,
    classes: 0,
    outputs: {
      video_embed: {
        shape: ['batch', shared.embed],
        meaning: 'class token after ln_post, times proj; not normalised',
      },
      out_last: {
        shape: ['batch', 1 + tokenCount(geometry), tower.width],
        meaning: 'class token, then patches row by row with time fastest, after ln_post',
      },
    },
    tokenOutput: 'out_last',
    arrays: {},
    build: (variant) => viclipGraph('viclip', vision, shared.embed, variant),
    text: textTower('viclip', text, {
      against: 'video_embed',
      scale: 100, // the official demo's; the learned `temp` belongs to the loss
      overlong: 'cut',
      joint: ['similarity', 'probs'],
    }),
    adapt: (tensors) => adaptTables(tensors, geometry.frames, text.context),
    leftover: (key) =>
      key === 'temp' ? "temperature of the training loss; the official demo's scale is 100" : undefined,
    feeds: onlyFrames,
    probeArrays: () => ({}),
  };
}

export const viclip: ModelFamily = {
  name: 'viclip',
  summary: 'ViCLIP: video and text in one space, attention over space and time',
  sizes: {
    'viclip-b16': towerSizes.b(names, { patch: 16 }),
    'viclip-l14': towerSizes.l(names, { patch: 14 }),
  },
  recognises: (keys) => keys.has(timeTable) && keys.has('vision_encoder.conv1.weight'),
  official: (tensors) => tensors,
  infer: (keys) =>
    inferredConfig(
      keys.get('vision_encoder.proj')?.[1],
      { ...inferVision(keys, 'vision_encoder.', names), num_frames: keys.get(timeTable)?.[1] },
      inferText(keys, 'text_encoder.'),
    ),
  spec: viclipSpec,
};
