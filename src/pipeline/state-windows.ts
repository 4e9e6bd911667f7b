/** Windows of some seconds in feature files, for heads that tell when and whether an object changes its state. */
import { stateClips, type StateClip } from '../ego4d/state-clips.js';
import { EgolensError } from '../errors.js';
import type { ReadOptions, TimeBase } from '../features/store.js';
import { canonicalText } from '../json.js';
import { sha256 } from '../files.js';
import { rationalNumber } from '../time.js';
import type { JsonDocument, Progress, Seconds } from '../types.js';
import { gridClock, onePath } from './clip-sequences.js';
import type { FeatureIndex } from './feature-index.js';
import { sequenceFile, type SequenceFile } from './feature-rows.js';
import { checkForm, type FeatureForm } from './segment-features.js';

/** Length of an annotated clip; own videos are cut into as long ones. */
export const windowSeconds: Seconds = 8;

/** Rows of a feature file that are looked at together. */
export interface StateWindow {
  /** Of the annotation file; null in own videos. */
  readonly id: string | null;
  /** In seconds of the file's video or clip. */
  readonly start: Seconds;
  readonly end: Seconds;
  readonly rows: readonly [first: number, end: number];
  /** Middle of the first row in seconds after `start`, and what lies between rows. */
  readonly first: Seconds;
  readonly step: Seconds;
  /** Frames a second. */
  readonly rate: number;
}

/** A feature file, whose seconds its times are, and the clips in it. */
export interface StateFile {
  readonly path: string;
  readonly file: SequenceFile;
  readonly of: TimeBase;
  readonly clips: readonly { readonly clip: StateClip; readonly window: StateWindow }[];
}

export interface StateFiles {
  /** Of the first file, or the form that was asked for; undefined where no clip has features. */
  readonly form: FeatureForm | undefined;
  readonly files: readonly StateFile[];
  /** Ids of clips without features, or outside of them. */
  readonly missing: readonly string[];
  /** Tells whether the same rows would be read again. */
  readonly digest: string;
}

export interface StateOptions {
  readonly like?: FeatureForm;
  readonly mixed?: boolean;
  readonly only?: (clip: { readonly clipUid: string; readonly videoUid: string }) => boolean;
  readonly reading?: ReadOptions;
  readonly signal?: AbortSignal;
  readonly progress?: Progress;
}

/**
 * The clips of an annotation file that have features: those of their video, else of the clip of some minutes that they were cut from.
 *
 * @throws EgolensError as `stateClips` and `sequenceFile`; data.clock for features without a grid; data.invalid for names that several
 *   feature files have; data.shape, data.clock, usage.conflict where a file has another form than the first
 */
export async function stateFiles(
  document: JsonDocument,
  index: FeatureIndex,
  { like, mixed, only, reading, signal, progress }: StateOptions = {},
): Promise<StateFiles> {
  const all = stateClips(document).filter(({ clipUid, videoUid }) => {
    return only?.({ clipUid: clipUid ?? videoUid, videoUid }) ?? true;
  });
  const byPath = new Map<string, { file: SequenceFile; of: TimeBase; clips: StateFile['clips'][number][] }>();
  const missing: string[] = [];
  let form = like;
  const bar = progress?.start(`features for ${document.name}`, all.length);
  try {
    for (const clip of all) {
      signal?.throwIfAborted();
      bar?.advance(1);
      const name = [clip.videoUid, clip.clipUid].find((uid) => uid !== null && index.has(uid)) ?? null;
      if (name === null) {
        missing.push(clip.id);
        continue;
      }
      const path = onePath(name, index, document);
      let known = byPath.get(path);
      if (known === undefined) {
        const file = await sequenceFile(path, reading);
        checkForm(file.form, (form ??= file.form), mixed);
        // A file of a clip may say that its seconds are those of the video.
        const isVideo = name === clip.videoUid || file.meta?.of.kind === 'video';
        known = { file, of: { kind: isVideo ? 'video' : 'clip', uid: isVideo ? clip.videoUid : name }, clips: [] };
        byPath.set(path, known);
      }
      const start = known.of.kind === 'video' ? clip.start : clip.clipStart;
      const window = start === null ? undefined : windowOf(known.file, start, start + clip.end - clip.start);
      if (window === undefined) missing.push(clip.id);
      else known.clips.push({ clip, window: { ...window, id: clip.id, rate: clip.rate } });
    }
  } finally {
    bar?.stop();
  }
  const files = [...byPath].map(([path, known]) => ({ path, ...known }));
  const sources = files.map(({ file: { meta, rows: count }, clips }) => {
    const windows = clips.map(({ clip, window }) => [clip.id, ...window.rows]);
    return [count, meta?.key ?? null, meta?.array.sha256 ?? null, windows];
  });
  return { form, files, missing, digest: sha256(canonicalText(sources)) };
}

/**
 * An own video in windows of eight seconds; the last one ends with it.
 *
 * @throws EgolensError data.clock for features without a grid
 */
export function ownWindows(file: SequenceFile, [from, to]: readonly [start: Seconds, end: Seconds]): StateWindow[] {
  const { rate } = gridClock(file.form.clock, file.form.path);
  const count = Math.max(1, Math.ceil((to - from) / windowSeconds - 1e-6));
  return Array.from({ length: count }, (_, i) => {
    const start = Math.max(from, Math.min(from + i * windowSeconds, to - windowSeconds));
    const window = windowOf(file, start, Math.min(to, start + windowSeconds));
    return window === undefined ? [] : [{ ...window, id: null, rate: rationalNumber(rate) }];
  }).flat();
}

/** Rows whose middle lies in the span, on the grid of the file; undefined where there is none. */
function windowOf(
  { form, rows, times }: SequenceFile,
  start: Seconds,
  end: Seconds,
): Omit<StateWindow, 'id' | 'rate'> | undefined {
  const { rate, hop } = gridClock(form.clock, form.path);
  const step = hop / rationalNumber(rate);
  const origin = times[0]!; // a row at least
  const middle = (origin.start + origin.end) / 2;
  // A last row that was moved back to the end of the video lies off the grid.
  const onGrid = rows > 1 && times[rows - 1]!.start < origin.start + (rows - 1.01) * step ? rows - 1 : rows;
  const first = Math.max(0, Math.ceil((start - middle) / step - 1e-9));
  const last = Math.min(onGrid, Math.ceil((end - middle) / step - 1e-9));
  if (first >= last) return undefined;
  return { start, end, rows: [first, last], first: middle + first * step - start, step };
}

/** @throws EgolensError input.not_found naming how many of the clips have no features */
export function refuseMissing(name: string, missing: readonly string[], all: number): void {
  if (missing.length === 0) return;
  const shown = missing
    .slice(0, 5)
    .map((id) => `\`${id}\``)
    .join(', ');
  throw new EgolensError(
    'input.not_found',
    `\`${name}\`: ${missing.length} of ${all} clips have no features: ${shown}${missing.length > 5 ? ', …' : ''}`,
    { input: name, try: '`egolens extract` for their videos, or `--skip-missing`' },
  );
}
