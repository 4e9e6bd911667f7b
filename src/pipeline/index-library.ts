/** Building and updating the search index of a library of videos. */
import { dirname, isAbsolute, join, relative, resolve, sep } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { asEgolensError, EgolensError, exitCodes } from '../errors.js';
import { featureKey, videoIdentity, type TimeBase, type VideoIdentity } from '../features/store.js';
import { holderText, removeDeadTemporaries, tryLock, type Lock } from '../features/locks.js';
import { makeFolder, pathExists } from '../files.js';
import { chooseProvider } from '../runtime/providers.js';
import {
  isSameIndex,
  openIndex,
  openSpool,
  stageIndex,
  type IndexFile,
  type IndexPart,
  type RowSpool,
} from '../search/index-file.js';
import { blockRows, byPath, rowsOf, type IndexItem, type IndexSettings } from '../search/index-format.js';
import { unitHalves } from '../search/vectors.js';
import type { Progress, Rational, Span } from '../types.js';
import { findTools } from '../video/tools.js';
import { concernsRun } from './extract.js';
import { presetDetail, sourceDetail, stagesDetail } from './detail.js';
import type { InputItem } from './inputs.js';
import { errorRecord, timeBaseOf, type ErrorRecord } from './records.js';
import { spanKey, spanOf } from './span.js';
import { openWindowEncoder, settingsOf, type WindowEncoder, type WindowPlan } from './window-vectors.js';

/** What decides a run of `indexLibrary`. */
export interface IndexOptions {
  /** The index file. */
  readonly output: string;
  /** Model, granularity and stream. */
  readonly plan: WindowPlan;
  /** As `--device` spells it. */
  readonly device: string;
  readonly threads?: number;
  readonly batch?: number;
  /** An index that is there: `refuse` it, `update` it, or make it `anew`. An index of other settings is never updated. */
  readonly existing: 'refuse' | 'update' | 'anew';
  /** Videos of the index that are not listed: kept, kept where their file is there, or dropped. */
  readonly others: 'keep' | 'prune' | 'drop';
  readonly identity: 'ends' | 'content';
  /** Another process works on the index: wait for it, where absent refuse. */
  readonly waits?: true;
  readonly timeoutMs?: number;
  readonly stallTimeoutMs?: number;
  readonly signal: AbortSignal;
  readonly progress: Progress;
}

/** `egolens.indexed/1` */
export type IndexedRecord = {
  readonly schema: 'egolens.indexed/1';
  readonly input: string;
  readonly id: string;
  readonly model: string;
  readonly of: TimeBase;
  readonly state: 'encoded' | 'kept' | 'removed';
  readonly rows: number;
  readonly key: string;
};

/** What became of one video. */
export type IndexEvent =
  | { readonly kind: 'done' | 'kept' | 'removed'; readonly record: IndexedRecord }
  | { readonly kind: 'failed'; readonly error: ErrorRecord };

/** Counts of a run. */
export interface IndexSummary {
  readonly done: number;
  readonly kept: number;
  readonly removed: number;
  readonly failed: number;
  /** Rows that were encoded now. */
  readonly encodedRows: number;
  /** Rows of the index. */
  readonly rows: number;
  /** Was the file written? An index that stays the same is not touched. */
  readonly isWritten: boolean;
  /** Seconds by stage, summed over videos. */
  readonly seconds: Readonly<Record<string, number>>;
  readonly exit: number;
}

/**
 * An index of the listed videos. A bad one is reported and the others go on; vectors whose video, model and settings are the same are
 * copied. Events come in the order of the list, then those of removed videos. When a run is stopped, what is encoded is kept: it is
 * written then, and every now and again in a long run.
 *
 * @throws EgolensError output.exists; model.config for an index of another model or other settings; input.*, data.* for a damaged one;
 *   store.locked; device.*, tool.*, output.*; the reason of the signal
 */
export async function* indexLibrary(
  items: readonly InputItem[],
  options: IndexOptions,
): AsyncGenerator<IndexEvent, IndexSummary> {
  const { output, plan, progress, signal } = options;
  if (options.existing === 'refuse' && (await pathExists(output))) {
    throw new EgolensError('output.exists', `\`${output}\`: exists already`, {
      try: '`--update` adds what is new and changed, `--force` makes it anew',
    });
  }
  await findTools();
  const choice = await chooseProvider(options.device, signal);
  await makeFolder(dirname(output));
  const lockPath = `${output}.lock`;
  await using lock = await lockOf(lockPath, options);
  if (lock === undefined) {
    throw new EgolensError('store.locked', `\`${output}\`: ${await holderText(lockPath)} works on it`, {
      retryable: true,
    });
  }
  await removeDeadTemporaries(dirname(output));
  // An index that is made anew stays until the new one is whole.
  const isReplaced = options.existing === 'anew' && (await pathExists(output));
  const library = await Library.open(options);
  const counts = { done: 0, kept: 0, removed: 0, failed: 0, encodedRows: 0 };
  const seconds: Record<string, number> = { decode: 0, encode: 0, write: 0 };
  try {
    await using encoder = openWindowEncoder(plan, { ...options, choice, signal: AbortSignal.any([signal, lock.lost]) });
    const note = `${plan.model.id} (${plan.model.manifest.trained}) on ${choice.device}`;
    progress.note(`${note}${choice.why === '' ? '' : `: ${choice.why}`}`);
    progress.detail?.(presetDetail(plan.preset));
    const listed = new Map<string, InputItem>();
    for (const input of items) {
      signal.throwIfAborted();
      const path = pathInIndex(output, input.path);
      const before = listed.get(path);
      if (before !== undefined) {
        if (before.start === input.start && before.end === input.end) continue; // once below a folder, say
        counts.failed++;
        yield { kind: 'failed', error: errorRecord(secondRange(input)) };
        continue;
      }
      listed.set(path, input);
      const event = await library.take(input, path, { encoder, options, seconds });
      counts[event.kind]++;
      if (event.kind === 'done') counts.encodedRows += event.record.rows;
      yield event;
      if (library.isWorthWriting && !isReplaced) await library.write(signal);
    }
    for (const item of await library.drop(listed, options.others)) {
      counts.removed++;
      const input = displayed(join(dirname(output), item.path));
      yield { kind: 'removed', record: recordOf(item, { input }, 'removed', plan) };
    }
    const isWritten = await library.write(signal);
    return { ...counts, rows: library.rows, isWritten: isWritten || library.wasWritten, seconds, exit: exitOf(counts) };
  } catch (error) {
    // What was encoded until now is whole and need not be encoded again.
    if (!lock.lost.aborted && !isReplaced) await library.write().catch(() => false);
    throw error;
  } finally {
    await library[Symbol.asyncDispose]();
  }
}

/** How often a lock of another process is looked at. */
const lookAgainMs = 200;

async function lockOf(path: string, { output, waits, signal, progress }: IndexOptions): Promise<Lock | undefined> {
  for (let round = 0; ; round++) {
    const lock = await tryLock(path, { outputs: [output, `${output}.rows`] });
    if (lock !== undefined || waits !== true) return lock;
    if (round === 0) progress.note(`waiting: ${await holderText(path)} works on \`${output}\``);
    await setTimeout(lookAgainMs, undefined, { signal }).catch(() => signal.throwIfAborted());
  }
}

function exitOf({ done, kept, removed, failed }: Record<'done' | 'kept' | 'removed' | 'failed', number>): number {
  if (failed === 0) return exitCodes.done;
  return done + kept + removed === 0 ? exitCodes.noneDone : exitCodes.someFailed;
}

/** A video as the index calls it: seen from the folder of the index, so that both may move together. */
export function pathInIndex(index: string, video: string): string {
  return relative(dirname(resolve(index)), resolve(video))
    .split(sep)
    .join('/');
}

/** A path as people read it: from here when it lies below, else absolute. */
export function displayed(path: string): string {
  const below = relative(process.cwd(), path);
  return below === '' || below.startsWith('..') || isAbsolute(below) ? resolve(path) : below;
}

/** Refuses an index whose vectors cannot be compared with those of `wanted`; both sides are named. */
export function refuseOtherSettings(index: IndexFile, wanted: IndexSettings): void {
  const found = index.header;
  const sides = (key: string, a: string | number, b: string | number, remedy: string): EgolensError =>
    new EgolensError('model.config', `\`${index.path}\`: made with ${key} ${a}, wanted is ${b}`, { try: remedy });
  if (found.model.digest !== wanted.model.digest) {
    throw sides(
      'model',
      found.model.id,
      wanted.model.id,
      '`--model` with the model of the index, or an index of its own for this one',
    );
  }
  for (const key of ['output', 'precision', 'preset', 'stream', 'width'] as const) {
    if (found[key] !== wanted[key]) throw sides(key, found[key], wanted[key], '`search index … --force` makes it anew');
  }
  const seconds = ({ num, den }: Rational): string => `${num / den}s`;
  if (seconds(found.granularity) !== seconds(wanted.granularity)) {
    throw sides(
      'granularity',
      seconds(found.granularity),
      seconds(wanted.granularity),
      '`--granularity` of the index, or `search index … --force` makes it anew',
    );
  }
}

function secondRange({ input, name = input }: InputItem): EgolensError {
  return new EgolensError(
    'usage.conflict',
    `\`${name}\`: another range of \`${input}\`; an index holds one of a video`,
    {
      try: 'an index of its own, or the whole video',
      input,
    },
  );
}

function recordOf(
  item: IndexItem,
  video: Pick<InputItem, 'input' | 'of'>,
  state: IndexedRecord['state'],
  { model }: WindowPlan,
): IndexedRecord {
  const { path: id, rows, key } = item;
  const of = timeBaseOf(video);
  return { schema: 'egolens.indexed/1', input: video.input, id, model: model.id, of, state, rows, key };
}

/** Digest of everything that decides the vectors of a video. */
function keyOf(video: VideoIdentity, span: Span | undefined, { model, preset, stream, output }: WindowPlan): string {
  return featureKey({
    video,
    preset,
    // As in `extract`; `unit-half/1` stands for how vectors are brought to length and rounded.
    settings: {
      decoder: 'decode/1',
      stream,
      span: spanKey(span),
      form: 'unit-half/1',
    },
    modelDigest: model.manifest.digest,
    output,
    precision: model.manifest.precision,
  });
}

interface Work {
  readonly encoder: WindowEncoder;
  readonly options: IndexOptions;
  readonly seconds: Record<string, number>;
}

/** Encoded rows are written when they are as many as this, and a tenth of the index: a long run loses little, and copies little. */
const rowsWorthWriting = blockRows;

/** The index while it changes: vectors of before in the file, new ones in a spool, and which of them make the index. */
class Library implements AsyncDisposable {
  readonly #target: string;
  readonly #settings: IndexSettings;
  #base: IndexFile | undefined;
  readonly #spool: RowSpool;
  readonly #parts = new Map<string, IndexPart>();
  /** By key: the same video under another name need not be encoded again. */
  readonly #partByKey = new Map<string, IndexPart>();
  #wasWritten = false;

  private constructor(target: string, settings: IndexSettings, base: IndexFile | undefined, spool: RowSpool) {
    this.#target = target;
    this.#settings = settings;
    this.#spool = spool;
    this.#base = base;
    if (base) this.#adopt(base);
  }

  static async open({ output, plan, existing }: IndexOptions): Promise<Library> {
    const settings = settingsOf(plan);
    const base = existing === 'update' && (await pathExists(output)) ? await openIndex(output) : undefined;
    try {
      if (base) refuseOtherSettings(base, settings);
      return new Library(output, settings, base, await openSpool(output, settings.width));
    } catch (error) {
      await base?.[Symbol.asyncDispose]();
      throw error;
    }
  }

  get rows(): number {
    return rowsOf([...this.#parts.values()].map(({ item }) => item));
  }

  get wasWritten(): boolean {
    return this.#wasWritten;
  }

  get isWorthWriting(): boolean {
    return this.#spool.rows >= rowsWorthWriting && this.#spool.rows * 10 >= this.rows;
  }

  /** The video's vectors become part of the index: those that are there, else new ones. */
  async take(input: InputItem, path: string, work: Work): Promise<IndexEvent> {
    const { options } = work;
    const { plan, signal } = options;
    try {
      if (input.error) throw input.error;
      const span = spanOf(input, undefined);
      const video = await videoIdentity(input.path, options.identity);
      const key = keyOf(video, span, plan);
      const there = this.#parts.get(path);
      if (there?.item.key === key) return { kind: 'kept', record: recordOf(there.item, input, 'kept', plan) };
      this.#parts.delete(path); // whatever happens now, the old vectors are not this video's
      const same = this.#partByKey.get(key);
      if (same) {
        const item = { ...same.item, path };
        this.#put({ ...same, item });
        return { kind: 'kept', record: recordOf(item, input, 'kept', plan) };
      }
      const item = { path, ...video, key, ...(await this.#encode(input, span, work)) };
      this.#put({ item, source: this.#spool, firstRow: this.#spool.rows - item.rows });
      return { kind: 'done', record: recordOf(item, input, 'encoded', plan) };
    } catch (thrown) {
      if (signal.aborted) throw signal.reason;
      const error = asEgolensError(thrown, input.input);
      if (concernsRun(error)) throw error;
      return { kind: 'failed', error: errorRecord(error, input.input) };
    }
  }

  async #encode(
    input: InputItem,
    span: Span | undefined,
    { encoder, options, seconds }: Work,
  ): Promise<Pick<IndexItem, 'rows' | 'origin' | 'clock' | 'last'>> {
    const { width } = this.#settings;
    const { timeoutMs, stallTimeoutMs, signal, progress } = options;
    let bar: ReturnType<Progress['start']> | undefined;
    const halves: Uint8Array[] = [];
    try {
      const encoded = await encoder.encode({
        path: input.path,
        limits: {
          signal,
          ...(timeoutMs !== undefined && { timeoutMs }),
          ...(stallTimeoutMs !== undefined && { stallTimeoutMs }),
        },
        ...(span !== undefined && { span }),
        onOpen(source) {
          progress.detail?.(sourceDetail(input.input, source));
          bar = progress.start(input.input, source.claimed.frames ?? undefined);
        },
        onFrames: (frames) => bar?.advance(frames),
        write: (rows) => {
          halves.push(unitHalves(rows.data, width));
          return Promise.resolve();
        },
      });
      for (const { code, message } of encoded.warnings) progress.warn(code, `\`${input.input}\`: ${message}`);
      for (const stage of ['decode', 'encode', 'write'] as const) seconds[stage]! += encoded.seconds[stage];
      progress.detail?.(stagesDetail(input.input, encoded.seconds));
      const { rows, clock } = encoded;
      const last = rows.at(-1);
      if (clock === null || last === undefined) throw new EgolensError('internal.bug', 'dense windows without a clock');
      // A failed video leaves no rows: they go into the spool when all are there (2 s of video take a kilobyte).
      await this.#spool.append(Buffer.concat(halves));
      return { rows: rows.length, origin: span?.[0] ?? 0, clock, last: [last.start, last.end] };
    } finally {
      bar?.stop();
    }
  }

  /** Videos that were not listed go, as `others` says. */
  async drop(listed: ReadonlyMap<string, unknown>, others: IndexOptions['others']): Promise<readonly IndexItem[]> {
    const dropped: IndexItem[] = [];
    if (others === 'keep') return dropped;
    for (const { item } of [...this.#parts.values()].sort((a, b) => byPath(a.item, b.item))) {
      const stays =
        others === 'drop' ? listed.has(item.path) : await pathExists(join(dirname(this.#target), item.path));
      if (stays) continue;
      this.#parts.delete(item.path);
      dropped.push(item);
    }
    return dropped;
  }

  /** Puts the index as it is now in place; false where the file is that already, or nothing is in it and there is none. */
  async write(signal?: AbortSignal): Promise<boolean> {
    const parts = [...this.#parts.values()].sort((a, b) => byPath(a.item, b.item));
    if (this.#base ? isSameIndex(this.#base, parts) : parts.length === 0) return false;
    await using file = await stageIndex(this.#target, this.#settings, parts, signal);
    await this.#base?.[Symbol.asyncDispose]();
    this.#base = undefined;
    await file.commit();
    this.#wasWritten = true;
    this.#base = await openIndex(this.#target);
    this.#adopt(this.#base);
    await this.#spool.clear();
    return true;
  }

  #adopt(base: IndexFile): void {
    this.#parts.clear();
    this.#partByKey.clear();
    base.header.items.forEach((item, i) => this.#put({ item, source: base, firstRow: base.firstRows[i]! }));
  }

  #put(part: IndexPart): void {
    this.#parts.set(part.item.path, part);
    this.#partByKey.set(part.item.key, part);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#base?.[Symbol.asyncDispose]();
    await this.#spool[Symbol.asyncDispose]();
  }
}
