/** Clips of Moment Queries as stretches of feature files: which file, which rows, and where their seconds lie in the clip. */
import { annotatedVideos } from '../ego4d/annotated-videos.js';
import { momentCuts, officialGrid, type ClipCut, type FrameGrid } from '../ego4d/moment-clips.js';
import { EgolensError } from '../errors.js';
import type { ReadOptions } from '../features/store.js';
import { sha256 } from '../files.js';
import { canonicalText } from '../json.js';
import { rationalNumber, windowExtent } from '../time.js';
import type { FeatureClock, JsonDocument, Progress, Seconds } from '../types.js';
import type { FeatureIndex } from './feature-index.js';
import { sequenceFile, type SequenceFile } from './feature-rows.js';
import { checkForm, type FeatureForm } from './segment-features.js';

/** A labelled moment in seconds from the first row of its sequence. */
export interface SequenceMoment {
  readonly start: Seconds;
  readonly end: Seconds;
  readonly label: string;
}

/** A clip as rows of a feature file. */
export interface ClipSequence {
  readonly clipUid: string;
  readonly videoUid: string;
  readonly path: string;
  readonly file: SequenceFile;
  readonly rows: readonly [first: number, end: number];
  /** Seconds of the clip at the start of the first row. */
  readonly offset: Seconds;
  /** From the start of the first row; predictions are cut to it. */
  readonly duration: Seconds;
  readonly clipDuration: Seconds;
  /** Primary labels of at least a quarter second. */
  readonly moments: readonly SequenceMoment[];
}

export interface ClipSequences {
  /** Of the first file, or the form that was asked for; undefined where no clip has features. */
  readonly form: FeatureForm | undefined;
  readonly sequences: readonly ClipSequence[];
  /** Clips without features, or outside of them. */
  readonly missing: readonly string[];
  /** Tells whether the same rows would be read again. */
  readonly digest: string;
}

export interface ClipOptions {
  /** Form that the files must have. */
  readonly like?: FeatureForm;
  /** Features of several models may be mixed. */
  readonly mixed?: boolean;
  /** Which clips; default all. */
  readonly only?: (clip: { readonly clipUid: string; readonly videoUid: string }) => boolean;
  readonly reading?: ReadOptions;
  readonly signal?: AbortSignal;
  readonly progress?: Progress;
}

/**
 * The clips of a moments file that have features: a file of their own, called by the uid of the clip, or rows of the features of their
 * video. The official Ego4D grid (windows of 32 frames every 16) is cut as the official data are; on other grids every row whose middle
 * lies in the clip counts.
 *
 * @throws EgolensError data.invalid for an annotation file of another form and for uids that several feature files have; data.clock for
 *   features without a grid; data.shape, data.clock, usage.conflict where a file has another form than the first
 */
export async function clipSequences(
  document: JsonDocument,
  index: FeatureIndex,
  { like, mixed, only, reading, signal, progress }: ClipOptions = {},
): Promise<ClipSequences> {
  const places = annotatedVideos(document).clips;
  const cutsOn = cutter(document);
  const files = new Map<string, SequenceFile>();
  const sequences: ClipSequence[] = [];
  const missing: string[] = [];
  let form = like;
  const clips = [...cutsOn(officialGrid).values()].filter((clip) => only?.(clip) ?? true);
  const bar = progress?.start(`features for ${document.name}`, clips.length);
  try {
    for (const { clipUid, videoUid, fps } of clips) {
      signal?.throwIfAborted();
      bar?.advance(1);
      const name = [clipUid, videoUid].find((uid) => index.has(uid));
      if (name === undefined) {
        missing.push(clipUid);
        continue;
      }
      const path = onePath(name, index, document);
      let file = files.get(path);
      if (file === undefined) {
        file = await sequenceFile(path, reading);
        checkForm(file.form, (form ??= file.form), mixed);
        files.set(path, file);
      }
      const grid = frameGrid(file, Math.round(fps));
      const cut = cutsOn(grid).get(clipUid)!; // the same clips on every grid
      const own = name === clipUid ? wholeFile(cut, file, places.get(clipUid)?.start ?? 0) : partOf(cut, file, grid);
      if (own === undefined) missing.push(clipUid);
      else sequences.push({ clipUid, videoUid, path, file, clipDuration: cut.clipDuration, ...own });
    }
  } finally {
    bar?.stop();
  }
  const sources = sequences.map(({ clipUid, file: { meta, rows: count }, rows }) => {
    return [clipUid, rows, count, meta?.key ?? null, meta?.array.sha256 ?? null];
  });
  return { form, sequences, missing, digest: sha256(canonicalText(sources)) };
}

/** Cuts of a document by clip, made once for each grid. */
function cutter(document: JsonDocument): (grid: FrameGrid) => ReadonlyMap<string, ClipCut> {
  const known = new Map<string, ReadonlyMap<string, ClipCut>>();
  return (grid) => {
    const key = `${grid.window}/${grid.stride}`;
    const cuts = known.get(key) ?? new Map(momentCuts(document, grid).map((cut) => [cut.clipUid, cut]));
    known.set(key, cuts);
    return cuts;
  };
}

/** The one file of a name. @throws EgolensError data.invalid where several have it */
export function onePath(name: string, index: FeatureIndex, document: JsonDocument): string {
  const [path, ...others] = index.get(name) ?? [];
  if (path !== undefined && others.length === 0) return path;
  const found = [path, ...others].map((one) => `\`${one ?? ''}\``).join(', ');
  throw new EgolensError('data.invalid', `\`${name}\`: expected one feature file of that name, found ${found}`, {
    input: document.name,
    try: 'a folder with one of them',
  });
}

/** The grid of a file in frames of a video of so many a second. @throws EgolensError data.clock */
function frameGrid({ form: { clock, path } }: SequenceFile, fps: number): FrameGrid {
  const own = gridClock(clock, path);
  const frames = fps / rationalNumber(own.rate);
  return { window: windowExtent(own) * frames, stride: own.hop * frames };
}

export function gridClock(
  clock: FeatureClock | undefined,
  path: string,
): FeatureClock & { readonly rate: Exclude<FeatureClock['rate'], 'source'> } {
  const rate = clock?.rate;
  if (clock !== undefined && rate !== undefined && rate !== 'source') return { ...clock, rate };
  const found = clock === undefined ? 'no clock' : 'rows at rate `source`';
  throw new EgolensError('data.clock', `\`${path}\`: ${found}; clips are cut on a grid`, {
    input: path,
    try: 'a preset with a rate, or `--clock ego4d-grid` for features of Ego4D',
  });
}

type Place = Pick<ClipSequence, 'rows' | 'offset' | 'duration' | 'moments'>;

/** A file of the clip alone, whose seconds may be those of its video. */
function wholeFile(cut: ClipCut, { rows, times, meta }: SequenceFile, clipStart: Seconds): Place {
  const first = times[0]!.start; // a row at least
  const offset = meta?.of.kind === 'video' ? first - clipStart : first;
  return {
    rows: [0, rows],
    offset,
    duration: Math.max(cut.clipDuration - offset, 0),
    moments: cut.moments.map(({ label, start, end }) => {
      return { label, start: start - cut.lead - offset, end: end - cut.lead - offset };
    }),
  };
}

/** Rows out of the features of the video; undefined where they lie outside. */
function partOf(cut: ClipCut, { form, rows, times }: SequenceFile, grid: FrameGrid): Place | undefined {
  if (Math.abs(times[0]!.start) > 1e-3) {
    throw new EgolensError('data.clock', `\`${form.path}\`: begins at ${times[0]!.start} s of the video; expected 0`, {
      input: form.path,
      try: 'features of the whole video, or of the clips under their uids',
    });
  }
  const first = Math.round(cut.rows[0]);
  const end = Math.max(Math.round(cut.rows[1]), isOfficial(grid) ? 0 : first + rowsWithin(cut, grid));
  // The last frames of a video fill no window.
  const lacking = 1 + Math.ceil(grid.window / (2 * grid.stride));
  if (end - lacking > rows || first >= Math.min(end, rows)) return undefined;
  return { rows: [first, Math.min(end, rows)], offset: -cut.lead, duration: cut.duration, moments: cut.moments };
}

function isOfficial({ window, stride }: FrameGrid): boolean {
  return window === officialGrid.window && stride === officialGrid.stride;
}

/** Rows from the start of a cut whose middle lies before the end of the clip. */
function rowsWithin({ lead, clipDuration, fps }: ClipCut, { window, stride }: FrameGrid): number {
  return Math.max(0, Math.ceil(((lead + clipDuration) * fps - window / 2) / stride));
}
