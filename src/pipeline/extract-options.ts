import { EgolensError } from '../errors.js';
import type { FeatureType } from '../features/store.js';
import { defaultModelName } from '../hub/cache.js';
import type { Preset } from '../types.js';
import { parseStreamChoice } from '../video/probe.js';
import { adjustPreset, type PresetChanges } from './adjust-preset.js';
import type { DecodeErrorPolicy } from './extract.js';
import { presetOf } from './import-model.js';
import { parseShard } from './inputs.js';

/** What flags say, as text where a person wrote text. */
export interface ExtractFlags extends PresetChanges {
  readonly model?: string | undefined;
  readonly multimodal?: string | undefined;
  readonly streamSet?: 'masked' | 'multimodal' | 'both' | undefined;
  readonly output: string;
  readonly preset?: string | undefined;
  readonly pool: 'mean' | 'tokens';
  readonly level: 'clip' | 'frame' | 'video';
  readonly outType: FeatureType;
  readonly nameTemplate?: string | undefined;
  readonly stream: string;
  readonly device: string;
  readonly threads?: number | undefined;
  readonly batch?: number | undefined;
  readonly jobs: number;
  readonly shard?: string | undefined;
  readonly force: boolean;
  readonly decodeErrors: string;
}

/** The options behind flags; each text is checked here. Throws `usage.flag`. */
export async function extractDefaults(flags: ExtractFlags) {
  const { output, pool, level, device, threads, batch, jobs, force, shard, preset, nameTemplate } = flags;
  const { multimodal } = flags;
  // A second encoder is only named to be used.
  const streamSet = flags.streamSet ?? (multimodal === undefined ? undefined : 'both');
  const { pixels, window, stride, fps, tail, views } = flags;
  const changes = { pixels, window, stride, fps, tail, views };
  return {
    model: flags.model ?? defaultModelName,
    output,
    pool,
    level,
    device,
    jobs,
    force,
    type: flags.outType,
    stream: parseStreamChoice(flags.stream),
    decodeErrors: parseDecodeErrors(flags.decodeErrors),
    adjust: (base: Preset) => adjustPreset(base, changes),
    ...(multimodal !== undefined && { multimodal }),
    ...(streamSet !== undefined && { streamSet }),
    ...(threads !== undefined && { threads }),
    ...(batch !== undefined && { batch }),
    ...(shard !== undefined && { shard: shard === 'auto' ? ('auto' as const) : parseShard(shard) }),
    ...(preset !== undefined && { preset: await presetOf(preset) }),
    ...(nameTemplate !== undefined && { template: nameTemplate }),
  };
}

export function parseDecodeErrors(text: string): DecodeErrorPolicy {
  if (text === 'ignore' || text === 'fail') return text;
  const limit = /^limit=(\d{1,9})$/.exec(text)?.[1];
  if (limit === undefined) throw new EgolensError('usage.flag', `expected ignore, limit=N or fail, found \`${text}\``);
  return { limit: Number(limit) };
}
