/** `recognize --head`: the labels of a recognition head over features. */
import { basename, extname } from 'node:path';
import type { LabelKind, Segment, SegmentList } from '../ego4d/segments.js';
import { EgolensError } from '../errors.js';
import { openFeatures, type ReadOptions, type TimeBase } from '../features/store.js';
import { findModel } from '../hub/cache.js';
import { float, type JsonValue } from '../json.js';
import { checkFeatures, openHeadFolder, type HeadFolder } from '../models/head-folder.js';
import { verifyFiles } from '../models/folder.js';
import type { Head, HeadFamily, HeadTask } from '../models/head.js';
import type { Session } from '../runtime/session.js';
import { sizeOf } from '../tensor.js';
import type { Progress } from '../types.js';
import { indexFeatures, type FeatureIndex } from './feature-index.js';
import type { InputItem } from './inputs.js';
import type { LabelRecord } from './recognize.js';
import { defaultHeads } from './default-heads/names.js';
import { featureBatch } from './recognition-split.js';
import { segmentRows, thinned, type FoundPlace } from './segment-features.js';
import { openStoredSession } from './stored-session.js';

/** A head that is open, and where its features come from. */
export interface HeadRun {
  readonly folder: HeadFolder;
  readonly head: Head;
  /** Most labels of each kind. */
  readonly top: number;
  readonly minScore: number;
  /** Features of other models are taken. */
  readonly forceFeatures: boolean;
  readonly reading?: ReadOptions;
  readonly device: string;
  readonly threads?: number;
  readonly signal: AbortSignal;
  readonly progress: Progress;
}

/** Items of one run of the head. */
const itemsAtOnce = 64;
/** Rows of an item that a head is shown where its folder does not say with how many it was trained. */
const usualRows = 64;

/** Most rows of an item: as in training. */
function rowsFor({ folder, head }: HeadRun): number | 'mean' {
  const { rows } = folder.info.options;
  return head.pooling === 'mean' ? 'mean' : typeof rows === 'number' ? rows : usualRows;
}

/**
 * A head folder with the family that decodes it.
 *
 * @param name name or folder; undefined: the embedded one of the task
 * @param headOf the families of heads by name
 * @param task what it must be for
 * @throws EgolensError model.not_found, model.unknown_family, model.digest, model.config for a head of another task
 */
export async function openHead(
  name: string | undefined,
  headOf: (family: string) => HeadFamily | undefined,
  task: HeadTask = 'recognition',
): Promise<Pick<HeadRun, 'folder' | 'head'>> {
  const folder = await openHeadFolder(await findModel(name ?? defaultHeads[task]));
  const { manifest, info, id } = folder;
  const family = headOf(manifest.family);
  if (family === undefined) throw new EgolensError('model.unknown_family', `${id}: no head \`${manifest.family}\``);
  if (info.task !== task) {
    throw new EgolensError('model.config', `${id}: a head for ${info.task}; expected one for ${task}`);
  }
  // Heads are small: hashing one costs less than the first run of it.
  await verifyFiles(folder);
  return { folder, head: family.spec(manifest.config) };
}

/** What is labelled: its rows, and where they lie. */
interface Item {
  readonly id: string;
  readonly input: string;
  readonly of: TimeBase;
  readonly start: number;
  readonly end: number;
  readonly rows: Float32Array<ArrayBuffer>;
}

/** Where features come from. */
export interface FeatureSet {
  readonly index: FeatureIndex;
  /** Videos of the features, where they are known. */
  readonly inputs?: ReadonlyMap<string, InputItem>;
}

/** Features of a folder, as `extract` wrote it. @throws EgolensError input.not_found, input.empty */
export async function featureSet(folder: string): Promise<FeatureSet> {
  return { index: await indexFeatures(folder) };
}

/**
 * Labels of segments: for each kind of class the best ones, in the order of the list.
 *
 * @throws EgolensError as `segmentRows` and `checkFeatures`; data.invalid where no segment has features
 */
export async function* labelSegments(list: SegmentList, set: FeatureSet, run: HeadRun): AsyncGenerator<LabelRecord> {
  const { folder, forceFeatures, reading, signal, progress } = run;
  const found = await segmentRows(list, set.index, {
    rows: rowsFor(run),
    skipMissing: true,
    mixed: forceFeatures,
    signal,
    progress,
    ...(reading && { reading }),
  });
  if (found.skipped > 0)
    progress.note(`${list.name}: ${found.skipped} of ${list.segments.length} segments have no features`);
  const { form } = found;
  checkFeatures(folder, { name: form.path, ...form }, { force: forceFeatures });
  const items = found.segments.map((segment, i) => segmentItem(segment, found.rows[i]!, found.found[i]!, set)); // of one length
  await using session = await openGraph(run);
  yield* labelItems(items, session, run);
}

function segmentItem(
  { id }: Segment,
  rows: Float32Array<ArrayBuffer>,
  place: FoundPlace,
  { inputs }: FeatureSet,
): Item {
  const { kind, name, start, end, path } = place;
  const of: TimeBase = kind === 'file' ? { kind } : { kind, uid: name };
  return { id, input: inputs?.get(path)?.input ?? path, of, start, end, rows };
}

/**
 * Labels of whole videos, or of each row of their features.
 *
 * @throws EgolensError as `checkFeatures`; data.clock where nothing tells the times of the rows; data.not_finite
 */
export async function* labelVideos(
  set: FeatureSet,
  per: 'video' | 'window',
  run: HeadRun,
): AsyncGenerator<LabelRecord> {
  const { folder, forceFeatures, signal } = run;
  const paths = [...new Set([...set.index.values()].flat())];
  await using session = await openGraph(run);
  for (const path of paths) {
    signal.throwIfAborted();
    const items: Item[] = [];
    {
      await using file = await openFeatures(path, run.reading);
      const { shape, meta, clock, times } = file;
      const model = meta && `${meta.model.name}@${meta.model.digest.slice(0, 12)}`;
      checkFeatures(folder, { name: path, model, width: shape.at(-1)!, clock }, { force: forceFeatures }); // two or three axes
      if (times === undefined || times.length === 0) {
        throw new EgolensError('data.clock', `\`${path}\`: nothing tells the times of its rows`, {
          input: path,
          try: '`--clock ego4d-grid` for features of Ego4D',
        });
      }
      const size = sizeOf(shape.slice(1));
      const all = new Float32Array(sizeOf(shape));
      let at = 0;
      for await (const { data } of file.blocks()) {
        all.set(data, at);
        at += data.length;
      }
      const bad = all.findIndex((value) => !Number.isFinite(value));
      if (bad >= 0) {
        throw new EgolensError('data.not_finite', `\`${path}\`: row ${Math.floor(bad / size)} holds ${all[bad]!}`, {
          input: path,
        });
      }
      const item = set.inputs?.get(path);
      const stem =
        item === undefined ? basename(path, extname(path)) : (item.name ?? basename(item.path, extname(item.path)));
      const shared = { input: item?.input ?? path, of: meta?.of ?? ({ kind: 'file' } as const) };
      if (per === 'video') {
        const end = times.reduce((most, row) => Math.max(most, row.end), 0);
        items.push({ ...shared, id: stem, start: times[0]!.start, end, rows: shownRows(all, size, run) });
      } else {
        times.forEach(({ start, end }, i) => {
          items.push({ ...shared, id: `${stem}#${i}`, start, end, rows: all.slice(i * size, (i + 1) * size) });
        });
      }
    }
    yield* labelItems(items, session, run);
  }
}

/** The rows of a whole video that the head is shown. */
function shownRows(all: Float32Array<ArrayBuffer>, size: number, run: HeadRun): Float32Array<ArrayBuffer> {
  const most = rowsFor(run);
  const rows = Array.from({ length: all.length / size }, (_, i) => i);
  if (most === 'mean' || rows.length <= most) return all;
  const shown = new Float32Array(most * size);
  thinned(rows, most).forEach((row, i) => shown.set(all.subarray(row * size, (row + 1) * size), i * size));
  return shown;
}

async function openGraph({ folder, device, threads }: HeadRun): Promise<Session> {
  return await openStoredSession(folder, { graph: 'graph.onnx', device, ...(threads !== undefined && { threads }) });
}

async function* labelItems(items: readonly Item[], session: Session, run: HeadRun): AsyncGenerator<LabelRecord> {
  const { folder, head, signal } = run;
  const width = head.widths[0]!; // of one stream
  const labels: Record<string, readonly string[]> = {};
  for (const { kind, count } of head.kinds) {
    const names = folder.labels[kind] ?? Array.from({ length: count }, (_, i) => String(i));
    if (names.length !== count) {
      throw new EgolensError(
        'model.config',
        `${folder.id}: ${names.length} names of ${kind}, expected the ${count} classes of model.json`,
        { try: '`egolens models verify`, or train the head again' },
      );
    }
    labels[kind] = names;
  }
  const options: Record<string, JsonValue> = { ...folder.info.options, top: run.top };
  for (let first = 0; first < items.length; first += itemsAtOnce) {
    signal.throwIfAborted();
    const group = items.slice(first, first + itemsAtOnce);
    const rows = group.map((item) => item.rows);
    const outputs = await session.run(featureBatch(rows, width), Object.keys(head.outputs));
    const predictions = head.decode(outputs, { labels, options, clock: null });
    if (predictions.length !== group.length) {
      throw new EgolensError('model.config', `${folder.id}: the graph gives other classes than model.json says`, {
        try: '`egolens models verify`, or train the head again',
      });
    }
    for (const [i, found] of predictions.entries()) {
      const { id, input, of, start, end } = group[i]!; // a list for each item
      for (const prediction of found) {
        if (prediction.task !== 'recognition' || prediction.score < run.minScore) continue;
        const { kind, label, labelId, score, logit } = prediction;
        yield {
          schema: 'egolens.label/1',
          input,
          id,
          model: folder.id,
          of,
          start: float(start),
          end: float(end),
          ...(isKind(kind) && { kind }),
          label,
          label_id: labelId,
          score: float(score),
          logit: float(logit),
        };
      }
    }
  }
}

function isKind(kind: string): kind is Exclude<LabelKind, 'label'> {
  return kind === 'verb' || kind === 'noun';
}
