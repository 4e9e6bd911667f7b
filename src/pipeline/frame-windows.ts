/** Windows of tokens that end at frames that are asked about: which file, which row. For the tracks of hands and objects. */
import type { FrameAsk, FrameTime } from '../ego4d/asked-frames.js';
import { EgolensError } from '../errors.js';
import type { ReadOptions, TimeBase } from '../features/store.js';
import { sha256 } from '../files.js';
import { findModel } from '../hub/cache.js';
import { canonicalText } from '../json.js';
import { openModelFolder } from '../models/folder.js';
import type { Grid } from '../models/positions.js';
import { rationalNumber } from '../time.js';
import type { JsonDocument, Progress, Seconds } from '../types.js';
import { onePath } from './clip-sequences.js';
import type { FeatureIndex } from './feature-index.js';
import { sequenceFile, type RowKind, type SequenceFile } from './feature-rows.js';
import { checkForm, type FeatureForm } from './segment-features.js';

/** An ask and the rows of its frames, in the order of `times`. */
export interface FramePlace<Ask extends FrameAsk> {
  readonly ask: Ask;
  readonly rows: readonly [number, ...number[]];
}

/** A feature file of tokens and the asks about it. */
export interface FrameFile<Ask extends FrameAsk> {
  readonly path: string;
  readonly file: SequenceFile;
  readonly of: TimeBase;
  readonly places: readonly FramePlace<Ask>[];
}

export interface FrameFiles<Ask extends FrameAsk> {
  /** Of the first file, or the form that was asked for; undefined where no ask has features. */
  readonly form: FeatureForm | undefined;
  /** Tokens of a row; 0 where there is none, and for rows that are vectors. */
  readonly tokens: number;
  readonly files: readonly FrameFile<Ask>[];
  /** Ids of asks without features. */
  readonly missing: readonly string[];
  /** Tells whether the same rows would be read again. */
  readonly digest: string;
}

export interface FrameOptions {
  /** What the rows of the files are; default tokens. */
  readonly kind?: RowKind;
  readonly like?: FeatureForm;
  readonly mixed?: boolean;
  readonly only?: (ask: { readonly clipUid: string; readonly videoUid: string }) => boolean;
  readonly reading?: ReadOptions;
  readonly signal?: AbortSignal;
  readonly progress?: Progress;
}

/** A window may end so long before the frame that is asked about. */
const mostLag: Seconds = 1;
/** From such a mean lag on it is told. */
const toldLag: Seconds = 0.1;

/**
 * The asks of an annotation file that have features: a window that ends at their frame or shortly before it, never one that sees more. Files go by the
 * uid of the video, else of the clip.
 *
 * @throws EgolensError as `sequenceFile`; data.invalid for names that several feature files have; data.shape, data.clock, usage.conflict
 *   where a file has another form than the first
 */
export async function frameFiles<Ask extends FrameAsk>(
  asks: readonly Ask[],
  document: JsonDocument,
  index: FeatureIndex,
  { kind = 'tokens', like, mixed, only, reading, signal, progress }: FrameOptions = {},
): Promise<FrameFiles<Ask>> {
  const byPath = new Map<string, { file: SequenceFile; of: TimeBase; places: FramePlace<Ask>[] }>();
  const missing: string[] = [];
  let [form, lags] = [like, 0];
  let tokens: { readonly count: number; readonly path: string } | undefined;
  const wanted = asks.filter(({ clipUid, videoUid }) => only?.({ clipUid: clipUid ?? videoUid, videoUid }) ?? true);
  const bar = progress?.start(`features for ${document.name}`, wanted.length);
  try {
    for (const ask of wanted) {
      signal?.throwIfAborted();
      bar?.advance(1);
      const name = [ask.videoUid, ask.clipUid].find((uid) => uid !== null && index.has(uid)) ?? null;
      if (name === null) {
        missing.push(ask.id);
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
        const isVideo = name === ask.videoUid || file.meta?.of.kind === 'video';
        known = { file, of: { kind: isVideo ? 'video' : 'clip', uid: isVideo ? ask.videoUid : name }, places: [] };
        byPath.set(path, known);
      }
      const { file, of, places } = known;
      const found = ask.times.map((time) => rowAt(file, secondsIn(time, of)));
      if (found.some((one) => one === undefined)) {
        missing.push(ask.id);
        continue;
      }
      lags += found[0]!.lag; // there is a first time
      places.push({ ask, rows: found.map((one) => one!.row) as unknown as FramePlace<Ask>['rows'] }); // as many as times, all there
    }
  } finally {
    bar?.stop();
  }
  const files = [...byPath].flatMap(([path, known]) => (known.places.length > 0 ? [{ path, ...known }] : []));
  const placed = files.reduce((sum, { places }) => sum + places.length, 0);
  if (placed > 0 && lags / placed > toldLag) {
    progress?.note(
      `${document.name}: the windows end ${(lags / placed).toFixed(2)} s before the asked frames on average; \`extract --at annotations\` makes windows that end at them`,
    );
  }
  const sources = files.map(({ file: { meta, rows: count }, places }) => {
    return [count, meta?.key ?? null, meta?.array.sha256 ?? null, places.map(({ ask, rows }) => [ask.id, ...rows])];
  });
  return { form, tokens: tokens?.count ?? 0, files, missing, digest: sha256(canonicalText(sources)) };
}

/** A time in the seconds of a file; null where it is not known. */
export function secondsIn(time: FrameTime, of: TimeBase): Seconds | null {
  return of.kind === 'clip' ? time.clip : time.video;
}

/**
 * The window that ends at the frame of a time, else the last one before it.
 *
 * @param time the middle of a frame
 */
export function rowAt(
  { form, times }: Pick<SequenceFile, 'form' | 'times'>,
  time: Seconds | null,
): { readonly row: number; readonly lag: Seconds } | undefined {
  if (time === null) return undefined;
  const rate = form.clock?.rate;
  // A window that ends at the frame ends half a frame after its middle. Windows without a grid say no rate: half a frame of 15 a second.
  const after = (rate === undefined || rate === 'source' ? 1 / 30 : 0.5 / rationalNumber(rate)) + 1e-6;
  let best: number | undefined;
  times.forEach(({ end }, row) => {
    if (end <= time + after && (best === undefined || end > times[best]!.end)) best = row;
  });
  if (best === undefined) return undefined;
  const lag = Math.max(0, time - times[best]!.end);
  return lag <= mostLag ? { row: best, lag } : undefined;
}

/**
 * The token grid of features: times, rows, columns, as the encoder that made them has it.
 *
 * @throws EgolensError model.not_found where it is not there; model.config where its tokens are no grid, or another number
 */
export async function tokenGridOf({ model, path }: FeatureForm, tokens: number): Promise<Grid> {
  if (model === undefined) {
    throw new EgolensError('data.invalid', `\`${path}\`: does not say which encoder its tokens come from`, {
      input: path,
      try: 'features that `extract` wrote, with their meta files',
    });
  }
  const { spec, id } = await openModelFolder(await findModel(model));
  const grid = spec.tokenGrid;
  if (grid === undefined || grid[0] * grid[1] * grid[2] !== tokens) {
    throw new EgolensError(
      'model.config',
      `${id}: ${grid === undefined ? 'its tokens are no grid' : `a grid of ${grid.join(' x ')} tokens`}; \`${path}\` has ${tokens} a window`,
      { try: 'features of family videomae-classifier, `extract --pool tokens`' },
    );
  }
  return grid;
}
