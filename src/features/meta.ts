/**
 * What stands beside a feature array: how it was made, and the key that says whether it is still the wanted one
 * (files.md 5, cli.md 2).
 */
import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { assertValid } from '../check.js';
import { EgolensError } from '../errors.js';
import { openFileSource, readSmallFile, sha256, sha256File } from '../files.js';
import { canonicalText, float, jsonText, type JsonValue } from '../json.js';
import { parseRational, rationalText } from '../time.js';
import type { FeatureClock, Preset, Seconds, TailRule } from '../types.js';
import type { FeatureTarget } from './names.js';

/** Raised when the program computes other feature values from the same inputs than before. */
export const featureVersion = 1;

/** A clock as files and records hold it. */
export interface ClockJson {
  /** `30/1` or `source` */
  readonly rate: string;
  readonly hop: number;
  readonly frames: number;
  readonly step: number;
  readonly extent?: number;
  readonly tail: TailRule;
  readonly rows: number;
}

/** The clock with its rate as text, keys in the order of the contract. */
export function clockJson(clock: FeatureClock): ClockJson {
  const { rate, hop, frames, step, extent, tail, rows } = clock;
  const length = extent === undefined ? {} : { extent };
  return { rate: rate === 'source' ? rate : rationalText(rate), hop, frames, step, ...length, tail, rows };
}

/** The clock out of a checked file or record. */
export function clockOf(json: ClockJson): FeatureClock {
  const { rate, hop, frames, step, extent, tail, rows } = json;
  const length = extent === undefined ? {} : { extent };
  return { rate: rate === 'source' ? rate : parseRational(rate), hop, frames, step, ...length, tail, rows };
}

/** Whose seconds and frames a file holds: those of the file itself, of a canonical Ego4D video or of a clip. */
export type TimeBase = { readonly kind: 'file' } | { readonly kind: 'video' | 'clip'; readonly uid: string };

/** What the maker of a feature file states about it. No date, host, process or absolute path: equal runs leave equal bytes. */
export interface MetaFacts {
  readonly input: { readonly name: string; readonly bytes: number; readonly identity: string };
  /** Index among the video streams. */
  readonly stream: number;
  /** First time stamp of the stream minus the container's start. */
  readonly startOffset: Seconds;
  readonly frames: { readonly claimed: number | null; readonly decoded: number };
  readonly decodeErrors: number;
  readonly warnings: readonly { readonly code: string; readonly message: string }[];
  /** The whole picture of the video in display pixels: upright, pixels square. Absent in files of earlier versions. */
  readonly picture?: { readonly width: number; readonly height: number };
  /** Null where the rows lie on no grid. */
  readonly clock: FeatureClock | null;
  readonly of: TimeBase;
  /** `name@version` */
  readonly preset: string;
  /** The pixel path that ran. */
  readonly pixels: 'exact' | 'fast';
  readonly model: { readonly name: string; readonly digest: string };
  readonly output: string;
  readonly precision: 'fp32' | 'fp16' | 'int8';
  readonly provider: string;
  readonly versions: { readonly program: string; readonly runtime: string; readonly ffmpeg: string };
  readonly key: string;
}

/** `egolens.meta/1` as it is in the file; members that this version does not know are kept. */
export interface FeatureMeta extends Omit<MetaFacts, 'clock'> {
  readonly schema: 'egolens.meta/1';
  readonly clock: ClockJson | null;
  readonly array: { readonly shape: readonly number[]; readonly bytes: number; readonly sha256: string };
  readonly times: { readonly bytes: number; readonly sha256: string };
}

/** The meta file of an array: facts, then shape and digests. */
export function metaOf(facts: MetaFacts, files: Pick<FeatureMeta, 'array' | 'times'>): FeatureMeta {
  const { input, stream, startOffset, frames, decodeErrors, warnings, picture, clock, of, preset, pixels } = facts;
  const { model, output, precision, provider, versions, key } = facts;
  return {
    schema: 'egolens.meta/1',
    input: { name: input.name, bytes: input.bytes, identity: input.identity },
    stream,
    startOffset,
    frames: { claimed: frames.claimed, decoded: frames.decoded },
    decodeErrors,
    warnings: warnings.map(({ code, message }) => ({ code, message })),
    ...(picture && { picture: { width: picture.width, height: picture.height } }),
    clock: clock === null ? null : clockJson(clock),
    of: of.kind === 'file' ? { kind: of.kind } : { kind: of.kind, uid: of.uid },
    preset,
    pixels,
    model: { name: model.name, digest: model.digest },
    output,
    precision,
    provider,
    versions: { program: versions.program, runtime: versions.runtime, ffmpeg: versions.ffmpeg },
    key,
    array: files.array,
    times: files.times,
  };
}

/** The bytes of the meta file. */
export function metaText(meta: FeatureMeta): string {
  const { startOffset } = meta;
  // All members are JSON; interfaces lack the index signature that would let the compiler see it. The spread keeps the key order.
  const value = { ...meta, startOffset: float(startOffset) } as unknown as JsonValue;
  return `${jsonText(value, 2)}\n`;
}

/** The meta file at `path`, checked; throws `input.not_found`, `data.invalid`. */
export async function readMeta(path: string): Promise<FeatureMeta> {
  const text = new TextDecoder().decode(await readSmallFile(path, 16 * 2 ** 20));
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new EgolensError('data.invalid', `\`${path}\`: expected JSON, found ${(cause as Error).message}`, { cause });
  }
  await assertValid('egolens.meta/1', value, path);
  return value as FeatureMeta; // the schema says so
}

/**
 * The meta file of a target that is complete: key as wanted, array and time table of the stated size, with `deep` of the stated
 * digest. Undefined when anything is missing or disagrees: then the target counts as missing.
 */
export async function completeMeta(
  target: FeatureTarget,
  key: string,
  options: { readonly deep?: boolean } = {},
): Promise<FeatureMeta | undefined> {
  try {
    const meta = await readMeta(target.meta);
    if (meta.key !== key) return undefined;
    for (const [path, stated] of [
      [target.array, meta.array],
      [target.times, meta.times],
    ] as const) {
      if ((await stat(path)).size !== stated.bytes) return undefined;
      if (options.deep === true && (await sha256File(path)) !== stated.sha256) return undefined;
    }
    return meta;
  } catch {
    // Unreadable, half copied or damaged: the remedy is the same as for a missing file, it is computed anew.
    return undefined;
  }
}

/** Does the target hold the features of this key, whole? */
export async function isComplete(
  target: FeatureTarget,
  key: string,
  options: { readonly deep?: boolean } = {},
): Promise<boolean> {
  return (await completeMeta(target, key, options)) !== undefined;
}

/** What a video is to the cache: its size and a digest of bytes. */
export interface VideoIdentity {
  readonly bytes: number;
  /** `ends:` or `content:` and a SHA-256 */
  readonly identity: string;
}

/**
 * Identity of a video file. `ends` hashes the first and last MiB (the whole of a shorter file), `content` every byte.
 *
 * The modification time is left out: it would make a copy, a checkout or a restored backup another video, and its digest a date
 * in the outputs, which must be equal for equal inputs. A container's index normally stands at one of its ends and changes with
 * the content, so an edit that keeps the size shows there; who changes bytes in the middle, in place, uses `content`.
 */
export async function videoIdentity(path: string, mode: 'ends' | 'content' = 'ends'): Promise<VideoIdentity> {
  await using source = await openFileSource(path);
  if (mode === 'content') return { bytes: source.size, identity: `content:${await sha256File(path)}` };
  const piece = Math.min(2 ** 20, source.size);
  const hash = createHash('sha256').update(await source.read(0, piece));
  const rest = Math.min(2 ** 20, source.size - piece);
  hash.update(await source.read(source.size - rest, rest));
  return { bytes: source.size, identity: `ends:${hash.digest('hex')}` };
}

/** Everything that decides the values of a feature file. */
export interface KeyParts {
  readonly video: VideoIdentity;
  /** The recipe as it runs, overrides applied. Its `source` remarks do not count. */
  readonly preset: Preset;
  /** Whatever else decides values, as plain JSON data: stream, range, pool, level, decoder threads, … */
  readonly settings: Readonly<Record<string, unknown>>;
  readonly modelDigest: string;
  readonly output: string;
  readonly precision: string;
}

/** The cache key: SHA-256 of the canonical JSON of the parts and of the feature version. Change any and it is another. */
export function featureKey(parts: KeyParts): string {
  const { video, preset, settings, modelDigest, output, precision } = parts;
  return sha256(
    canonicalText({
      featureVersion,
      video: { bytes: video.bytes, identity: video.identity },
      preset: { ...preset, source: undefined },
      settings,
      modelDigest,
      output,
      precision,
    }),
  );
}
