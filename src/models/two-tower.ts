/** What the two-tower families share: their configuration, and what keys tell of it. */
import type { JsonValue } from '../json.js';
import type { Normalisation } from '../types.js';
import type { ClipTower } from './clip-blocks.js';
import { defined, depthOf, limits, type ConfigReader } from './config.js';
import { readGeometry, refuseManyTokens } from './geometry.js';
import type { Geometry } from './patches.js';
import type { KeyShapes } from './spec.js';

/** Members that both towers depend on. */
export interface SharedConfig {
  /** Of both towers' vectors. */
  readonly embed: number;
  readonly epsilon: number;
}

export function readShared(config: ConfigReader): SharedConfig {
  config.oneOf('activation', ['quick_gelu'] as const, 'quick_gelu');
  return { embed: config.integer('embed_dim', 1, limits.width), epsilon: config.positive('norm_eps', 1e-5) };
}

/** A picture tower: pixels, then blocks. */
export interface VisionModel {
  readonly geometry: Geometry;
  readonly tower: ClipTower;
}

/** Official names of the members that differ. */
export interface VisionNames {
  readonly size: 'vision.image_resolution' | 'vision.input_resolution';
  /** Absent: an image model. */
  readonly frames?: 'vision.t_size' | 'vision.num_frames';
}

/** The members under `vision`, and the statistics: those of the preset where the configuration has none. */
export function readVision(
  config: ConfigReader,
  { epsilon }: SharedConfig,
  names: VisionNames,
  statistics: Normalisation,
): VisionModel {
  const size = config.integer(names.size, 1, limits.size, 224);
  const patch = config.integer('vision.patch_size', 1, limits.size);
  const frames = names.frames === undefined ? 1 : config.integer(names.frames, 1, limits.frames, 8);
  const members = { size: names.size, patch: 'vision.patch_size', frames: names.frames ?? 'frames' };
  const geometry = readGeometry(config, { size, patch, frames, tubelet: 1 }, members, statistics);
  refuseManyTokens(config, 'vision.patch_size', geometry);
  const width = config.integer('vision.width', 1, limits.width);
  const heads = config.integer('vision.heads', 1, limits.width);
  if (width % heads !== 0) throw config.fail('vision.width', `a multiple of vision.heads ${heads}`);
  return { geometry, tower: { width, heads, depth: config.integer('vision.layers', 1, limits.depth), epsilon } };
}

/** The section `vision` as it was read, under the official names. */
export function visionConfig({ geometry, tower }: VisionModel, { size, frames }: VisionNames): Record<string, number> {
  const member = (name: string): string => name.slice('vision.'.length);
  return {
    [member(size)]: geometry.size,
    patch_size: geometry.patch,
    width: tower.width,
    layers: tower.depth,
    heads: tower.heads,
    ...(frames !== undefined && { [member(frames)]: geometry.frames }),
  };
}

/** The members outside the sections as they were read. */
export function sharedConfig(
  { embed, epsilon }: SharedConfig,
  { mean, std }: Normalisation,
): Record<string, JsonValue> {
  return { embed_dim: embed, norm_eps: epsilon, activation: 'quick_gelu', mean: [...mean], std: [...std] };
}

/** The section `vision` that keys below `prefix` imply. */
export function inferVision(
  keys: KeyShapes,
  prefix: 'visual.' | 'vision_encoder.',
  { size }: VisionNames,
): Record<string, number | undefined> {
  const kernel = keys.get(`${prefix}conv1.weight`);
  const [patch, width] = [kernel?.at(-1), kernel?.[0]];
  const side = Math.sqrt((keys.get(`${prefix}positional_embedding`)?.[0] ?? 0) - 1);
  return {
    [size.slice('vision.'.length)]: Number.isInteger(side) && patch !== undefined ? side * patch : undefined,
    patch_size: patch,
    width,
    layers: layersOf(keys, `${prefix}transformer.resblocks.`),
    heads: headsOf(width),
  };
}

/** The sections with what is known of them. */
export function inferredConfig(
  embed: number | undefined,
  vision: Readonly<Record<string, JsonValue | undefined>>,
  text: Readonly<Record<string, JsonValue | undefined>>,
): Record<string, JsonValue> {
  return defined({ embed_dim: embed, vision: defined(vision), text: defined(text) });
}

/** CLIP's heads are 64 channels wide; nothing can be told of another width. */
export function headsOf(width: number | undefined): number | undefined {
  return width !== undefined && width % 64 === 0 ? width / 64 : undefined;
}

/** Blocks of a stack, where its keys are there. */
export function layersOf(keys: KeyShapes, prefix: string): number | undefined {
  return depthOf(keys, prefix) || undefined;
}

/** What a published size leaves to say. */
interface SizeOptions {
  readonly patch: number;
  /** Side of the picture, where it is not 224. */
  readonly size?: number;
}

/** The members of B and L of CLIP, which all families kept: encoder.md 4 to 6 of the design. */
export const towerSizes = {
  b: (names: VisionNames, options: SizeOptions) => sizeOf(names, options, [512, 768, 12, 12, 512, 8]),
  l: (names: VisionNames, options: SizeOptions) => sizeOf(names, options, [768, 1024, 24, 16, 768, 12]),
} as const;

function sizeOf(
  names: VisionNames,
  { patch, size }: SizeOptions,
  [embed, width, layers, heads, textWidth, textHeads]: readonly [number, number, number, number, number, number],
): Readonly<Record<string, JsonValue>> {
  return {
    embed_dim: embed,
    vision: {
      ...(size !== undefined && { [names.size.slice('vision.'.length)]: size }),
      patch_size: patch,
      width,
      layers,
      heads,
    },
    text: { width: textWidth, heads: textHeads, layers: 12 },
  };
}
