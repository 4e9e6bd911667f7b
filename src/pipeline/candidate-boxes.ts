/**
 * Candidate boxes by the frames they lie in, in the forms that users have: records line by line or as a list, detections by id as the
 * baselines of Short-Term Anticipation write them, annotation files.
 */
import { fault, isEntry, numberIn, type Entry } from '../ego4d/entries.js';
import { EgolensError } from '../errors.js';
import type { CandidateBox } from '../models/forecasts.js';
import type { JsonDocument } from '../types.js';
import { readDocument } from './documents.js';
import type { FrameSize } from './frame-sizes.js';

/** Most boxes of a frame that a head looks at: the best. */
export const mostBoxes = 50;

/** Most boxes of a file: they are in memory together. */
const mostOfFile = 20_000_000;

/** A box as its file has it. */
interface FileBox {
  readonly box: CandidateBox['box'];
  readonly score: number;
  /** Id of the data set. */
  readonly nounId: number | undefined;
}

/** What was done to the boxes of a run. */
export interface BoxCounts {
  /** Frames with at least one box. */
  found: number;
  /** Frames without any. */
  without: number;
  /** Boxes that reached beyond their frame and were cut. */
  clipped: number;
  /** Boxes of which nothing was left within the frame, or that have no side. */
  dropped: number;
}

/** The boxes of a file. */
export class CandidateBoxes {
  readonly name: string;
  readonly #byId: ReadonlyMap<string, readonly FileBox[]>;
  readonly #own: ReadonlyMap<string, readonly FileBox[]>;
  readonly #seen = new Set<string>();
  readonly counts: BoxCounts = { found: 0, without: 0, clipped: 0, dropped: 0 };

  /** @param own boxes of one's own videos by `boxName` */
  constructor(
    name: string,
    byId: ReadonlyMap<string, readonly FileBox[]>,
    own: ReadonlyMap<string, readonly FileBox[]>,
  ) {
    this.name = name;
    this.#byId = byId;
    this.#own = own;
  }

  /**
   * Boxes of a frame by falling score, within it, `mostBoxes` at most.
   *
   * @param id of the annotation file, or `boxName` of a frame of one's own video
   * @param nounOf class of an id of the data set; undefined for one that is no class
   */
  of(id: string, [width, height]: FrameSize, nounOf: (id: number) => number | undefined): readonly CandidateBox[] {
    const all = this.#byId.get(id) ?? this.#own.get(id) ?? [];
    const isFirst = !this.#seen.has(id);
    this.#seen.add(id);
    const boxes = all.flatMap(({ box, score, nounId }): CandidateBox[] => {
      const [x1, x2] = [within(box[0], width), within(box[2], width)];
      const [y1, y2] = [within(box[1], height), within(box[3], height)];
      const isBox = x2 > x1 && y2 > y1 && score > 0;
      const isCut = x1 !== box[0] || y1 !== box[1] || x2 !== box[2] || y2 !== box[3];
      if (isFirst && !isBox) this.counts.dropped++;
      if (isFirst && isBox && isCut) this.counts.clipped++;
      const noun = nounId === undefined ? undefined : nounOf(nounId);
      return isBox ? [{ box: [x1, y1, x2, y2], score, ...(noun !== undefined && { noun }) }] : [];
    });
    if (isFirst) this.counts[boxes.length > 0 ? 'found' : 'without']++;
    return boxes.sort((a, b) => b.score - a.score).slice(0, mostBoxes);
  }

  /**
   * Compares the ids with those that are asked about.
   *
   * @returns what people should know
   * @throws EgolensError data.unknown_id where the file knows none of them
   */
  compare(asked: readonly string[], by: string): string[] {
    const wanted = new Set(asked);
    const known = [...this.#byId.keys()].filter((id) => wanted.has(id)).length;
    if (known === 0 && wanted.size > 0) {
      const first = this.#byId.keys().next().value;
      throw new EgolensError(
        'data.unknown_id',
        `\`${this.name}\`: boxes of ${this.#byId.size} frames${first === undefined ? '' : `, as of \`${first}\``}; \`${by}\` asks about none of them, but about ${wanted.size} others, as \`${asked[0]!}\``, // wanted.size > 0
        { input: this.name, try: 'boxes of the split that is asked about' },
      );
    }
    const [without, strange] = [wanted.size - known, this.#byId.size - known];
    return [
      ...(without > 0 ? [`\`${this.name}\`: no boxes for ${without} of ${wanted.size} frames of \`${by}\``] : []),
      ...(strange > 0 ? [`\`${this.name}\`: boxes of ${strange} frames that \`${by}\` does not ask about`] : []),
    ];
  }

  /** What was cut and dropped so far, for people; nothing where all is well. */
  notes(): string[] {
    const { clipped, dropped } = this.counts;
    return [
      ...(clipped > 0 ? [`\`${this.name}\`: ${clipped} boxes reached beyond their frames and were cut`] : []),
      ...(dropped > 0
        ? [`\`${this.name}\`: ${dropped} boxes without a side, a score or a place in their frames left out`]
        : []),
    ];
  }
}

/**
 * Boxes of a file. Forms: records {id or uid, box or boxes, score, noun_category_id} as NDJSON or a list, our `egolens.interaction/1` and
 * `egolens.object/1` among them; {uid: [{box, score, noun_category_id}]}, bare or as `results` of a submission; annotations
 * fho_sta_*.json, whose objects are boxes of score 1 without a noun. Records with
 * `frame` are found by `boxName` too, the number after `#` of their id left out.
 *
 * @throws EgolensError data.invalid with the place of the first fault, and for a file without boxes; limit.size; as `readDocument`
 */
export async function readCandidateBoxes(paths: readonly string[]): Promise<CandidateBoxes> {
  const documents: JsonDocument[] = [];
  for (const path of paths) documents.push(await readDocument(path, { check: 'values' }));
  return candidateBoxesOf(documents);
}

/** As `readCandidateBoxes`, of files that were read. */
export function candidateBoxesOf(documents: readonly JsonDocument[]): CandidateBoxes {
  const [byId, own] = [new Map<string, FileBox[]>(), new Map<string, FileBox[]>()];
  const name = documents.map((document) => document.name).join(', ');
  let count = 0;
  const add: AddBox = (id, box, frame) => {
    if (++count > mostOfFile) {
      throw new EgolensError('limit.size', `\`${name}\`: more than ${mostOfFile} boxes`, { input: name });
    }
    listIn(byId, id).push(box);
    // Records of one's own videos are numbered: their video and frame tell what they belong to.
    if (frame !== undefined) listIn(own, boxName(id.replace(/#\d+$/, ''), frame)).push(box);
  };
  for (const document of documents) addBoxes(document, add);
  if (count === 0) {
    throw new EgolensError('data.invalid', `\`${name}\`: expected boxes of at least one frame, found none`, {
      input: name,
      try: 'records {"id": …, "box": [x1, y1, x2, y2], "score": …}, or {"<uid>": [{"box": …, "score": …}]}',
    });
  }
  return new CandidateBoxes(name, byId, own);
}

type AddBox = (id: string, box: FileBox, frame?: number) => void;

function listIn(lists: Map<string, FileBox[]>, key: string): FileBox[] {
  const list = lists.get(key) ?? [];
  lists.set(key, list);
  return list;
}

function addBoxes(document: JsonDocument, add: AddBox): void {
  const { value } = document;
  if (Array.isArray(value)) {
    value.forEach((record: unknown, i) => {
      addRecord(document, entryAt(document, record, `/${i}`), `/${i}`, add);
    });
    return;
  }
  const root = entryAt(document, value, '');
  const { annotations } = root;
  if (Array.isArray(annotations)) {
    annotations.forEach((item: unknown, i) => {
      addAnnotation(document, entryAt(document, item, `/annotations/${i}`), `/annotations/${i}`, add);
    });
    return;
  }
  const isSubmission = 'results' in root;
  const results = isSubmission ? entryAt(document, root['results'], '/results') : root;
  for (const [id, list] of Object.entries(results)) {
    const at = `${isSubmission ? '/results' : ''}/${id}`;
    if (!Array.isArray(list)) throw fault(document, at, 'a list of boxes', list);
    list.forEach((item: unknown, i) => {
      add(id, boxOf(document, item, `${at}/${i}`));
    });
  }
}

/** What a box of one's own video goes by: the name of the video's records, and the frame. */
export function boxName(video: string, frame: number): string {
  return `${video}\n${frame}`;
}

function addRecord(document: JsonDocument, record: Entry, at: string, add: AddBox): void {
  const id = record['id'] ?? record['uid'];
  if ((typeof id !== 'string' || id === '') && !Number.isSafeInteger(id))
    throw fault(document, `${at}/id`, 'an id', id);
  const { boxes } = record;
  if (boxes !== undefined && !Array.isArray(boxes)) throw fault(document, `${at}/boxes`, 'a list of boxes', boxes);
  const found =
    boxes === undefined
      ? [boxOf(document, record, at)]
      : boxes.map((item: unknown, i) =>
          boxOf(document, Array.isArray(item) ? { ...record, box: item } : item, `${at}/boxes/${i}`),
        );
  const { frame } = record;
  const own = Number.isSafeInteger(frame) ? (frame as number) : undefined; // the test says so
  for (const box of found) add(String(id), box, own);
}

function addAnnotation(document: JsonDocument, item: Entry, at: string, add: AddBox): void {
  const { uid, objects } = item;
  if (typeof uid !== 'string' || uid === '') throw fault(document, `${at}/uid`, 'a text', uid);
  if (objects === undefined) return;
  if (!Array.isArray(objects)) throw fault(document, `${at}/objects`, 'a list', objects);
  objects.forEach((object: unknown, i) => {
    // Its noun would tell the answer.
    const { box } = entryAt(document, object, `${at}/objects/${i}`);
    add(uid, boxOf(document, { box }, `${at}/objects/${i}`));
  });
}

function boxOf(document: JsonDocument, value: unknown, at: string): FileBox {
  const entry = entryAt(document, value, at);
  const { box } = entry;
  const isBox = Array.isArray(box) && box.length === 4 && box.every((side) => typeof side === 'number');
  if (!isBox || !box.every(Number.isFinite)) throw fault(document, `${at}/box`, 'four numbers [x1, y1, x2, y2]', box);
  const noun = entry['noun_category_id'] ?? undefined;
  if (noun !== undefined && !Number.isSafeInteger(noun)) {
    throw fault(document, `${at}/noun_category_id`, 'a whole number', noun);
  }
  const score = entry['score'] === undefined ? 1 : numberIn(document, entry, 'score', at);
  return { box: box as unknown as CandidateBox['box'], score, nounId: noun as number | undefined }; // four numbers, a whole one: seen above
}

function within(edge: number, side: number): number {
  return Math.min(Math.max(edge, 0), side);
}

function entryAt(document: JsonDocument, value: unknown, at: string): Entry {
  if (isEntry(value)) return value;
  throw fault(document, at, 'an object', value);
}
