/** A head over features of videos and clips, for tasks that give records: what `moments` and its like do. */
import { basename, extname } from 'node:path';
import { EgolensError } from '../errors.js';
import { clockJson, type ReadOptions, type TimeBase } from '../features/store.js';
import type { JsonValue } from '../json.js';
import { checkFeatures, type HeadFolder } from '../models/head-folder.js';
import type { Head, HeadPrediction } from '../models/head.js';
import type { TensorsByName } from '../runtime/training-session.js';
import type { Session } from '../runtime/session.js';
import { sizeOf, tensor } from '../tensor.js';
import type { JsonDocument, Progress, Rational, Seconds, Span, Tensor } from '../types.js';
import { clipSequences, type ClipOptions, type ClipSequence } from './clip-sequences.js';
import { readRows, readRowsAt, sequenceFile, type RowKind, type SequenceFile } from './feature-rows.js';
import { labelList } from './label-lists.js';
import { asksAtOnce, runTogether } from './head-runs.js';
import type { InputItem } from './inputs.js';
import type { FeatureSet } from './recognize-head.js';
import { openStoredSession } from './stored-session.js';

/** What a head is shown at once: rows of a feature file, and whose seconds they are. */
export interface Stretch {
  readonly id: string;
  /** The video as given, or the feature file. */
  readonly input: string;
  readonly of: TimeBase;
  readonly clipUid: string | null;
  readonly path: string;
  readonly file: SequenceFile;
  readonly rows: readonly [first: number, end: number];
  /** Seconds of `of` at the start of the first row. */
  readonly offset: Seconds;
  /** From the start of the first row; the head cuts its predictions to it. */
  readonly duration: Seconds;
  /** In seconds of `of`; records lie within. */
  readonly bounds: Span;
  /** Of the list of inputs, where it comes from one. */
  readonly item?: InputItem;
}

/** A query, and the rows that the head sees for it. */
export interface Ask<Query = undefined> {
  readonly rows: Tensor<'float32'>;
  readonly query: Query;
}

/** `feeds` of a task that makes the inputs of each ask by itself. */
export function oneByOne<Query>(
  feeds: (head: Head, rows: Tensor<'float32'>, query: Query) => TensorsByName,
): PredictionTask<Query>['feeds'] {
  return (head, asks) => asks.map(({ rows, query }) => feeds(head, rows, query));
}

/** How a task uses its heads; `Query` is what the head is asked of a stretch, where it is asked anything. */
export interface PredictionTask<Query = undefined> {
  /** Inputs of the head for asks of one stretch: a set of batch 1 for each, in their order. Sets of equal shapes run together. */
  feeds(head: Head, asks: readonly Ask<Query>[]): readonly TensorsByName[] | Promise<readonly TensorsByName[]>;
  /** Questions to a stretch, or frames of it, in the order of their records. */
  queries(stretch: Stretch): readonly Query[] | Promise<readonly Query[]>;
  /** What the rows of its features are; default vectors. */
  readonly rowKind?: RowKind;
  /** Rows of the file that a query looks at; absent: it sees all of the stretch. */
  rowsFor?(query: Query): readonly number[];
  /** Thresholds in place of those of the head, under the names of its family. */
  readonly options: Readonly<Record<string, JsonValue>>;
  /** Further ones for a query. */
  optionsFor?(query: Query): Readonly<Record<string, JsonValue>>;
  /** Members of a record beside the common ones, its `id` where the data set gives one; undefined for a prediction that is left out. */
  record(prediction: HeadPrediction, stretch: Stretch, query: Query): TaskRecord | undefined;
  readonly schema: string;
}

/** Members of a record that are the task's own. */
export type TaskRecord = Readonly<Record<string, JsonValue>>;

/** A record with what all have: `schema`, `input`, `id`, `model`, `encoder`, `clock`, `of`. */
export type PredictionRecord = Readonly<Record<string, JsonValue>>;

export interface PredictionRun {
  readonly folder: HeadFolder;
  readonly head: Head;
  /** Most records of a stretch and query. */
  readonly top: number;
  readonly minScore: number;
  /** Features of other models are taken. */
  readonly forceFeatures: boolean;
  /** Class list in place of the head's. */
  readonly labels?: string;
  readonly reading?: ReadOptions;
  readonly device: string;
  readonly threads?: number;
  readonly signal: AbortSignal;
  readonly progress: Progress;
}

/** What came out of a stretch. */
export interface PredictedStretch {
  readonly stretch: Stretch;
  readonly records: readonly PredictionRecord[];
}

/**
 * Runs the head over stretches, one at a time in their order; records by falling score.
 *
 * @throws EgolensError as `checkFeatures`; data.not_finite; data.shape for a class list of another length; model.config for a head of
 *   several streams of features
 */
export async function* predict<Query>(
  stretches: Iterable<Stretch> | AsyncIterable<Stretch>,
  task: PredictionTask<Query>,
  run: PredictionRun,
): AsyncGenerator<PredictedStretch> {
  const { folder, head, forceFeatures, signal, device, threads } = run;
  if (head.widths.length !== 1) {
    throw new EgolensError(
      'model.config',
      `${folder.id}: takes ${head.widths.length} streams of features; expected a head over one`,
    );
  }
  const labels = await classNames(run);
  await using session = await openStoredSession(folder, {
    graph: 'graph.onnx',
    device,
    ...(threads !== undefined && { threads }),
  });
  for await (const stretch of stretches) {
    signal.throwIfAborted();
    const { form } = stretch.file;
    checkFeatures(folder, { name: form.path, ...form }, { force: forceFeatures });
    const queries = await task.queries(stretch);
    const rowsOf = await rowReader(stretch, queries, { task, run });
    const records: PredictionRecord[] = [];
    for (let first = 0; first < queries.length; first += asksAtOnce) {
      const asks = queries.slice(first, first + asksAtOnce).map((query) => ({ rows: rowsOf(query), query }));
      const found = await predictAsks({ stretch, asks }, task, { session, labels, run });
      found.forEach((predictions, i) => {
        const { query } = asks[i]!; // predictions for each
        const kept = predictions.flatMap((prediction) => {
          if ('score' in prediction && prediction.score < run.minScore) return [];
          const own = task.record(prediction, stretch, query);
          return own === undefined ? [] : [own];
        });
        const before = records.length;
        const named = kept.slice(0, run.top).map((own, n) => ({ id: `${stretch.id}#${before + n}`, ...own }));
        records.push(...named.map((own) => recordOf(own, stretch, task.schema, folder)));
      });
    }
    yield { stretch, records };
  }
}

/** The rows that each query sees, read once. */
async function rowReader<Query>(
  { path, rows }: Stretch,
  queries: readonly Query[],
  { task, run }: { readonly task: PredictionTask<Query>; readonly run: PredictionRun },
): Promise<(query: Query) => Tensor<'float32'>> {
  if (task.rowsFor === undefined) {
    const all = await readRows(path, rows, run.reading);
    return () => all;
  }
  const wanted = [...new Set(queries.flatMap((query) => task.rowsFor!(query)))].sort((a, b) => a - b); // it is there
  const { data, shape } = await readRowsAt(path, wanted, run.reading);
  const length = sizeOf(shape.slice(1));
  const places = new Map(wanted.map((row, place) => [row, place]));
  return (query) => {
    const asked = task.rowsFor!(query).map((row) => places.get(row)!); // as above; all were wanted
    const whole = [asked.length, ...shape.slice(1)];
    const [first = 0] = asked;
    if (asked.every((place, i) => place === first + i)) {
      return tensor('float32', whole, data.subarray(first * length, (first + asked.length) * length));
    }
    const chosen = new Float32Array(asked.length * length);
    asked.forEach((place, i) => {
      chosen.set(data.subarray(place * length, (place + 1) * length), i * length);
    });
    return tensor('float32', whole, chosen);
  };
}

/** What an open head says to asks of a stretch, in their order: inputs out of rows, runs, and what their outputs mean. */
export async function predictAsks<Query>(
  { stretch, asks }: { readonly stretch: Pick<Stretch, 'file' | 'duration'>; readonly asks: readonly Ask<Query>[] },
  task: Pick<PredictionTask<Query>, 'feeds' | 'options' | 'optionsFor'>,
  {
    session,
    labels,
    run: { folder, head },
  }: {
    readonly session: Session;
    readonly labels: Readonly<Record<string, readonly string[]>>;
    readonly run: Pick<PredictionRun, 'folder' | 'head'>;
  },
): Promise<(readonly HeadPrediction[])[]> {
  const outputs = await runTogether(session, await task.feeds(head, asks), Object.keys(head.outputs));
  return outputs.map((own, i) => {
    const [found] = head.decode(own, {
      labels,
      options: { ...folder.info.options, ...task.options, ...task.optionsFor?.(asks[i]!.query) }, // outputs for each
      clock: stretch.file.form.clock ?? null,
      durations: [stretch.duration],
    });
    return found ?? [];
  });
}

function recordOf(own: TaskRecord, stretch: Stretch, schema: string, { id }: HeadFolder): PredictionRecord {
  const { input, of, file } = stretch;
  const { clock, model } = file.form;
  return {
    schema,
    input,
    id: stretch.id,
    model: id,
    encoder: model ?? null,
    clock: clock === undefined ? null : { ...clockJson(clock) },
    of: { ...of },
    ...own,
  };
}

/** Names of classes by kind: those given, else the head's, else numbers. @throws EgolensError data.shape for a list of another length */
export async function classNames({
  folder,
  head,
  labels,
}: Pick<PredictionRun, 'folder' | 'head' | 'labels'>): Promise<Record<string, readonly string[]>> {
  const names: Record<string, readonly string[]> = {};
  for (const { kind, count } of head.kinds) {
    // Heads of verbs and nouns take a taxonomy, which holds both lists.
    const path = head.kinds.length > 1 && labels !== undefined ? `${labels}:${kind}s` : labels;
    const given = path === undefined ? undefined : (await labelList(path)).labels;
    if (given !== undefined && given.length !== count) {
      throw new EgolensError('data.shape', `\`${path!}\`: ${given.length} names; ${folder.id} has ${count} classes`);
    }
    names[kind] = given ?? folder.labels[kind] ?? Array.from({ length: count }, (_, i) => String(i));
  }
  return names;
}

/**
 * Whole feature files, as those of one's own videos.
 *
 * @throws EgolensError as `sequenceFile`
 */
export async function* wholeStretches(set: FeatureSet, reading?: ReadOptions, kind?: RowKind): AsyncGenerator<Stretch> {
  for (const path of new Set([...set.index.values()].flat())) {
    const file = await sequenceFile(path, reading, kind);
    const item = set.inputs?.get(path);
    const of = file.meta?.of ?? ({ kind: 'file' } as const);
    const start = file.times[0]!.start; // a row at least
    const end = file.times.reduce((last, row) => Math.max(last, row.end), start);
    yield {
      id: item === undefined ? basename(path, extname(path)) : stemOf(item),
      input: item?.input ?? path,
      of,
      clipUid: of.kind === 'clip' ? of.uid : null,
      path,
      file,
      rows: [0, file.rows],
      offset: start,
      duration: end - start,
      bounds: [start, end],
      ...(item && { item }),
    };
  }
}

function stemOf({ path, relpath, name }: InputItem): string {
  const stem = name ?? basename(path, extname(path));
  return relpath === '' ? stem : `${relpath}/${stem}`;
}

/**
 * Clips of a moments file, in its order, and those without features.
 *
 * @throws EgolensError as `clipSequences`
 */
export async function clipStretches(
  document: JsonDocument,
  set: FeatureSet,
  options: ClipOptions,
): Promise<{ readonly stretches: readonly Stretch[]; readonly missing: readonly string[] }> {
  const { sequences, missing } = await clipSequences(document, set.index, options);
  return { stretches: sequences.map((sequence) => stretchOf(sequence, set)), missing };
}

/** A clip as a stretch; its records are in seconds of the clip. */
export function stretchOf(sequence: ClipSequence, { inputs }: Pick<FeatureSet, 'inputs'> = {}): Stretch {
  const { clipUid, path, file, rows, offset, duration, clipDuration } = sequence;
  return {
    id: clipUid,
    input: inputs?.get(path)?.input ?? path,
    of: { kind: 'clip', uid: clipUid },
    clipUid,
    path,
    file,
    rows,
    offset,
    duration,
    bounds: [0, clipDuration],
  };
}

/** A span of a stretch in seconds of its `of`; undefined where nothing of it lies within the bounds. */
export function spanIn({ offset, bounds }: Stretch, start: Seconds, end: Seconds): Span | undefined {
  const from = Math.max(bounds[0], start + offset);
  const to = Math.min(bounds[1], end + offset);
  return from < to ? [from, to] : undefined;
}

/** What cues need to know of the video: where its time begins in the container, and its frames a second where the rows lie on a grid. */
export function cueVideo({ input, file: { meta, form } }: Stretch): {
  readonly path: string;
  readonly offset: Seconds;
  readonly rate: Rational | null;
} {
  const rate = form.clock?.rate;
  return { path: input, offset: meta?.startOffset ?? 0, rate: rate === undefined || rate === 'source' ? null : rate };
}
