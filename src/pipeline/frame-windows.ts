/** Windows of tokens that end at frames that are asked about: which file, which row. For the tracks of hands and objects. */
import type { FrameAsk, FrameTime } from '../ego4d/asked-frames.js';
import { EgolensError } from '../errors.js';
import type { TimeBase } from '../features/store.js';
import { findModel } from '../hub/cache.js';
import { openModelFolder } from '../models/folder.js';
import type { Grid } from '../models/positions.js';
import { readPreset } from '../models/presets.js';
import { rationalNumber, windowExtent } from '../time.js';
import type { JsonDocument, Preset, RowTime, Seconds } from '../types.js';
import type { FeatureIndex } from './feature-index.js';
import type { SequenceFile } from './feature-rows.js';
import { placedFiles, type PlacedFiles, type PlacedOptions } from './placed-clips.js';
import type { FeatureForm } from './segment-features.js';

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

export interface FrameFiles<Ask extends FrameAsk> extends Omit<PlacedFiles<Ask, never>, 'files'> {
  readonly files: readonly FrameFile<Ask>[];
}

/** What the rows are: tokens, where nothing else is said. */
export type FrameOptions = PlacedOptions;

/** A window may end so long before the frame that is asked about. */
const mostLag: Seconds = 1;
/** From such a mean lag on it is told. */
const toldLag: Seconds = 0.1;

/**
 * The asks of an annotation file that have features: a window that ends at their frame or shortly before it, never one that sees more. Files go by the
 * uid of the clip, else of the video.
 *
 * @throws EgolensError as `placedFiles`
 */
export async function frameFiles<Ask extends FrameAsk>(
  asks: readonly Ask[],
  document: JsonDocument,
  index: FeatureIndex,
  options: FrameOptions = {},
): Promise<FrameFiles<Ask>> {
  const spares = new Map<SequenceFile, Seconds>();
  let [placed, lags] = [0, 0];
  const windowOf = (
    { times }: Ask,
    file: SequenceFile,
    of: TimeBase,
  ): { rows: FramePlace<Ask>['rows'] } | undefined => {
    const spare = spares.get(file) ?? spareOf(file);
    spares.set(file, spare);
    const [first, ...others] = times.map((time) => rowAt(file.times, secondsIn(time, of), spare));
    if (first === undefined) return undefined;
    const rows = others.flatMap((one) => (one === undefined ? [] : [one.row]));
    if (rows.length < others.length) return undefined;
    placed++;
    lags += first.lag;
    return { rows: [first.row, ...rows] };
  };
  const { files, ...found } = await placedFiles(
    document,
    index,
    { clips: asks, windowOf },
    { kind: 'tokens', ...options },
  );
  if (placed > 0 && lags / placed > toldLag) {
    options.progress?.note(
      `${document.name}: the windows end ${(lags / placed).toFixed(2)} s before the asked frames on average; \`extract --at annotations\` makes windows that end at them`,
    );
  }
  return {
    ...found,
    files: files.map(({ clips, ...file }) => ({
      ...file,
      places: clips.map(({ clip: ask, window: { rows } }) => ({ ask, rows })),
    })),
  };
}

/** A time in the seconds of a file; null where it is not known. */
export function secondsIn(time: FrameTime, of: TimeBase): Seconds | null {
  return of.kind === 'clip' ? time.clip : time.video;
}

/**
 * The window that ends at the frame of a time, else the last one before it.
 *
 * @param time the middle of a frame
 * @param spare a window may end so much later, as `spareOf` says
 */
export function rowAt(
  times: readonly RowTime[],
  time: Seconds | null,
  spare: Seconds,
): { readonly row: number; readonly lag: Seconds } | undefined {
  if (time === null) return undefined;
  let best: number | undefined;
  times.forEach(({ end }, row) => {
    if (end <= time + spare && (best === undefined || end > times[best]!.end)) best = row;
  });
  if (best === undefined) return undefined;
  const lag = Math.max(0, time - times[best]!.end);
  return lag <= mostLag ? { row: best, lag } : undefined;
}

/** Share of a sample that times may be off by. */
const rounding = 1e-3;
/** Between the frames of a canonical video of Ego4D. */
const usualStep: Seconds = 1 / 30;

/**
 * How much later than a time a window may end whose last sample is on display by then: a sample, for a window ends when its last sample does
 * (`anchorSample`). Where nothing tells how long that is, less than a frame.
 */
export function spareOf(file: Pick<SequenceFile, 'form' | 'times'>): Seconds {
  const step = stepOf(file);
  return step === undefined ? usualStep * (1 - rounding) : step * (1 + rounding);
}

/** Seconds between samples: as the clock says, else as the preset does. Flags change its rate and its windows, so the times have to agree with it. */
function stepOf({ form: { clock, preset }, times }: Pick<SequenceFile, 'form' | 'times'>): Seconds | undefined {
  if (clock !== undefined && clock.rate !== 'source') return 1 / rationalNumber(clock.rate);
  const sampling = preset === undefined ? undefined : knownPreset(preset)?.sampling;
  if (sampling === undefined) return undefined;
  const extent = windowExtent(sampling);
  const longest = times.reduce((most, { start, end }) => Math.max(most, end - start), 0);
  // Windows that begin before the video are shorter: they do not tell how long one is.
  const isCut = times.every(({ start }) => start <= 0);
  const isOnGrid = (step: Seconds): boolean =>
    times.every(({ end }) => Math.abs(end / step - Math.round(end / step)) < rounding);
  const own = sampling.rate === 'source' ? undefined : 1 / rationalNumber(sampling.rate);
  if (own !== undefined && isOnGrid(own)) {
    const samples = longest / own;
    if (Math.abs(samples - extent) < rounding || (isCut && samples < extent)) return own;
  }
  const found = longest / extent;
  return !isCut && isOnGrid(found) ? found : undefined;
}

/** A preset that comes with the program. Those of one's own, and of other versions, are not known by their names. */
function knownPreset(nameAndVersion: string): Preset | undefined {
  try {
    return readPreset(nameAndVersion);
  } catch {
    return undefined;
  }
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
