/** What annotation files ask about, as rows of feature files: which file each lies in, and which rows of it. */
import { EgolensError } from '../errors.js';
import type { ReadOptions, TimeBase } from '../features/store.js';
import { sha256 } from '../files.js';
import { canonicalText, type JsonValue } from '../json.js';
import { tensor } from '../tensor.js';
import { rationalNumber } from '../time.js';
import type { JsonDocument, Progress, Seconds, Tensor } from '../types.js';
import { gridClock, onePath } from './clip-sequences.js';
import type { FeatureIndex } from './feature-index.js';
import { sequenceFile, type RowKind, type SequenceFile } from './feature-rows.js';
import type { Stretch } from './predict.js';
import type { FeatureSet } from './recognize-head.js';
import { checkForm, type FeatureForm } from './segment-features.js';

/** Something in a video, and perhaps in a clip of some minutes of it. */
export interface Placed {
  readonly id: string;
  readonly videoUid: string;
  readonly clipUid: string | null;
}

/** A feature file, whose seconds its times are, and what lies in it. */
export interface PlacedFile<Clip, Window> {
  readonly path: string;
  readonly file: SequenceFile;
  readonly of: TimeBase;
  /** One at least. */
  readonly clips: readonly { readonly clip: Clip; readonly window: Window }[];
}

export interface PlacedFiles<Clip, Window> {
  /** Of the first file, or the form that was asked for; undefined where nothing has features. */
  readonly form: FeatureForm | undefined;
  /** Tokens of a row; 0 where there is no file, and for rows that are vectors. */
  readonly tokens: number;
  readonly files: readonly PlacedFile<Clip, Window>[];
  /** Ids of what has no features, or lies outside of them. */
  readonly missing: readonly string[];
  /** Those of `missing` that have a feature file. */
  readonly outside: readonly string[];
  /** Tells whether the same rows would be read again. */
  readonly digest: string;
}

export interface PlacedOptions {
  /** What the rows of the files are; default vectors. */
  readonly kind?: RowKind;
  readonly like?: FeatureForm;
  readonly mixed?: boolean;
  readonly only?: (clip: { readonly clipUid: string; readonly videoUid: string }) => boolean;
  readonly reading?: ReadOptions;
  readonly signal?: AbortSignal;
  readonly progress?: Progress;
}

/** Rows of a file: [first, end). */
export interface RowWindow {
  readonly rows: readonly [first: number, end: number];
}

/**
 * The feature files of what an annotation file asks about: those of the clip of some minutes, else of the video. Several clips of one video may
 * have a file each.
 *
 * @param windowOf the rows that are looked at; undefined where the file has none of them
 * @throws EgolensError as `sequenceFile` and `windowOf`; data.invalid for names that several feature files have; data.shape, data.clock,
 *   usage.conflict where a file has another form than the first, or rows of another number of tokens
 */
export async function placedFiles<Clip extends Placed, Window extends { readonly rows: readonly number[] }>(
  document: JsonDocument,
  index: FeatureIndex,
  {
    clips: all,
    windowOf,
  }: {
    readonly clips: readonly Clip[];
    readonly windowOf: (clip: Clip, file: SequenceFile, of: TimeBase) => Window | undefined;
  },
  { kind = 'vectors', like, mixed, only, reading, signal, progress }: PlacedOptions = {},
): Promise<PlacedFiles<Clip, Window>> {
  const asked = all.filter(({ clipUid, videoUid }) => only?.({ clipUid: clipUid ?? videoUid, videoUid }) ?? true);
  const byPath = new Map<
    string,
    { file: SequenceFile; of: TimeBase; clips: PlacedFile<Clip, Window>['clips'][number][] }
  >();
  const missing: string[] = [];
  const outside: string[] = [];
  let form = like;
  let tokens: { readonly count: number; readonly path: string } | undefined;
  const bar = progress?.start(`features for ${document.name}`, asked.length);
  try {
    for (const clip of asked) {
      signal?.throwIfAborted();
      bar?.advance(1);
      const name = [clip.clipUid, clip.videoUid].find((uid) => uid !== null && index.has(uid)) ?? null;
      if (name === null) {
        missing.push(clip.id);
        continue;
      }
      const path = onePath(name, index, document);
      let known = byPath.get(path);
      if (known === undefined) {
        const file = await sequenceFile(path, reading, kind);
        checkForm(file.form, (form ??= file.form), mixed);
        const count = file.tokens ?? 0;
        tokens ??= { count, path };
        if (count !== tokens.count) {
          throw new EgolensError(
            'data.shape',
            `\`${path}\`: rows of ${count} tokens; \`${tokens.path}\` has ${tokens.count}`,
            { input: path, try: 'features of one model' },
          );
        }
        // A file of a clip may say that its seconds are those of the video.
        const isVideo = name === clip.videoUid || file.meta?.of.kind === 'video';
        known = { file, of: { kind: isVideo ? 'video' : 'clip', uid: isVideo ? clip.videoUid : name }, clips: [] };
        byPath.set(path, known);
      }
      const window = windowOf(clip, known.file, known.of);
      if (window === undefined) {
        missing.push(clip.id);
        outside.push(clip.id);
      } else known.clips.push({ clip, window });
    }
  } finally {
    bar?.stop();
  }
  const files = [...byPath].flatMap(([path, known]) => (known.clips.length > 0 ? [{ path, ...known }] : []));
  const sources = files.map(({ file: { meta, rows: count }, clips }) => {
    const windows = clips.map(({ clip, window }) => [clip.id, ...window.rows]);
    return [count, meta?.key ?? null, meta?.array.sha256 ?? null, windows];
  });
  return { form, tokens: tokens?.count ?? 0, files, missing, outside, digest: sha256(canonicalText(sources)) };
}

/** Rows of a file that lie on its grid: the middle of the first, and what lies between them. */
export interface RowGrid {
  readonly count: number;
  readonly middle: Seconds;
  readonly step: Seconds;
}

/** @throws EgolensError data.clock for features without a grid */
export function rowGrid({ form, rows, times }: SequenceFile): RowGrid {
  const { rate, hop } = gridClock(form.clock, form.path);
  const step = hop / rationalNumber(rate);
  const origin = times[0]!; // a row at least
  // A last row that was moved back to the end of the video lies off the grid.
  const isMoved = rows > 1 && times[rows - 1]!.start < origin.start + (rows - 1.01) * step;
  return { count: isMoved ? rows - 1 : rows, middle: (origin.start + origin.end) / 2, step };
}

/** What a head is asked of the files of a run, for `PredictionTask.queries`. */
export class PlacedQueries<Window> {
  readonly #windows = new Map<Stretch, readonly Window[]>();

  /** The files in which something lies, as stretches. */
  stretches(files: readonly PlacedFile<unknown, Window>[], { inputs }: FeatureSet): readonly Stretch[] {
    return files.map(({ path, file, of, clips }) => {
      const start = file.times[0]!.start; // a row at least
      const end = file.times.reduce((last, row) => Math.max(last, row.end), start);
      const stretch: Stretch = {
        id: of.kind === 'file' ? path : of.uid,
        input: inputs?.get(path)?.input ?? path,
        of,
        clipUid: of.kind === 'clip' ? of.uid : null,
        path,
        file,
        rows: [0, file.rows],
        offset: start,
        duration: end - start,
        bounds: [start, end],
      };
      this.#windows.set(
        stretch,
        clips.map(({ window }) => window),
      );
      return stretch;
    });
  }

  /** What lies in a stretch; undefined for one that comes from elsewhere. */
  of(stretch: Stretch): readonly Window[] | undefined {
    return this.#windows.get(stretch);
  }
}

/** The rows of a window out of those of its file. */
export function rowsOf({ data, shape }: Tensor<'float32'>, [first, end]: RowWindow['rows']): Tensor<'float32'> {
  const width = shape[1] ?? 0;
  return tensor('float32', [end - first, width], data.slice(first * width, end * width));
}

/** Most rows that a head is shown. @throws EgolensError model.config for a head that does not say */
export function rowsOfHead(config: Readonly<Record<string, JsonValue>>, name: string): number {
  const { rows } = config;
  if (typeof rows === 'number') return rows;
  throw new EgolensError('model.config', `${name}: expected \`rows\` in its configuration, found none`);
}
