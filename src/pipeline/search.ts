/** Search in an index: by text, by an example clip, less what is excluded. */
import { dirname, join, resolve } from 'node:path';
import { asEgolensError, EgolensError } from '../errors.js';
import { cacheFolder, pathExists, sha256 } from '../files.js';
import { findModel } from '../hub/cache.js';
import { canonicalText, float, type Float } from '../json.js';
import { openModelFolder, type ModelFolder } from '../models/folder.js';
import { chooseProvider } from '../runtime/providers.js';
import { bestRows } from '../search/exact.js';
import { openIndex, type IndexFile } from '../search/index-file.js';
import { unitVector } from '../search/vectors.js';
import { parseTime, rationalNumber, rationalText } from '../time.js';
import type { Progress, Seconds, Span } from '../types.js';
import { parseStreamChoice } from '../video/probe.js';
import { findTools } from '../video/tools.js';
import { displayed, refuseOtherSettings, type IndexOptions } from './index-library.js';
import { defaultMaxMemory, openScorer, type IndexScorer } from './index-scores.js';
import { openTextEncoder, type TextEncoder } from './text-encoder.js';
import { openWindowEncoder, planVectors, settingsOf, type WindowPlan } from './window-vectors.js';

/** What is looked for. */
export type Query = {
  /** Texts whose likeness counts against a window: the mean of them. */
  readonly not: readonly string[];
} & ({ readonly text: string } | { readonly clip: Clip });

/** A part of a video as an example. */
export interface Clip {
  /** As the user gave it. */
  readonly input: string;
  readonly path: string;
  /** All of it where absent. */
  readonly span?: Span;
}

export interface SearchOptions {
  /** Most hits. */
  readonly top: number;
  /** Hits of one video are at least so many seconds apart; where absent the granularity of the index. */
  readonly minGap?: Seconds;
}

/** `egolens.hit/1` */
export type HitRecord = {
  readonly schema: 'egolens.hit/1';
  readonly input: string;
  readonly id: string;
  readonly model: string;
  readonly of: { readonly kind: 'file' };
  readonly query: string;
  readonly rank: number;
  readonly start: Float;
  readonly end: Float;
  readonly score: Float;
  readonly logit: Float | null;
};

/** An open index with its model. Dispose it. */
export interface Searcher extends AsyncDisposable {
  readonly index: IndexFile;
  readonly model: ModelFolder;
  /** Absolute path of a hit's video. */
  pathOf(hit: Pick<HitRecord, 'id'>): string;
  /**
   * Best windows first, exactly; of equal ones the first in the index. A window closer than the gap to a better one of its video is left out.
   *
   * @throws EgolensError model.incomplete for a text where the model has no text tower; input.*, decode.* for a clip; device.*
   */
  search(query: Query, options: SearchOptions): Promise<readonly HitRecord[]>;
}

export interface OpenSearchOptions {
  /** Name or folder; where absent the installed model that the index names. */
  readonly model?: string;
  readonly device: string;
  readonly threads?: number;
  /** Bytes of vectors that stay in memory between queries; `defaultMaxMemory` where absent, 0 for a single query. */
  readonly maxMemory?: number;
  /** Absolute path -> how a record names the video. */
  readonly names?: ReadonlyMap<string, string>;
  readonly signal: AbortSignal;
  readonly progress: Progress;
}

/**
 * Opens an index for queries. Sessions of the model are opened when a query needs them.
 *
 * @throws EgolensError input.*, data.* for what is no index; model.not_found; model.config where the model is not that of the index
 */
export async function openSearch(path: string, options: OpenSearchOptions): Promise<Searcher> {
  const index = await openIndex(path);
  try {
    const model = await modelOf(index, options.model);
    const stream = parseStreamChoice(index.header.stream);
    const plan = planVectors(model, { granularity: index.header.granularity, stream });
    refuseOtherSettings(index, settingsOf(plan));
    return new OpenSearcher(index, plan, options);
  } catch (error) {
    await index[Symbol.asyncDispose]();
    throw error;
  }
}

/** The model that made an index: named, or found among the installed ones. */
async function modelOf({ header, path }: IndexFile, named: string | undefined): Promise<ModelFolder> {
  if (named !== undefined) return await openModelFolder(await findModel(named));
  const { id } = header.model;
  const folder = await findModel(id).catch(() => findModel(id.slice(0, id.lastIndexOf('@'))).catch(() => undefined));
  if (folder !== undefined) return await openModelFolder(folder);
  throw new EgolensError('model.not_found', `\`${path}\`: made with model ${id}, which is not installed`, {
    try: '`--model DIR` with the folder of that model',
  });
}

/**
 * Refuses texts for a model that cannot compare them with windows, before a library is encoded for nothing.
 *
 * @throws EgolensError model.incomplete saying which models can
 */
export function requireTextTower({ id, spec, tokenizer }: ModelFolder): void {
  if (spec.text !== undefined && tokenizer !== null) return;
  throw new EgolensError(
    'model.incomplete',
    spec.text === undefined
      ? `${id}: family ${spec.family} has no text tower, so texts cannot be compared with its windows; expected a two-tower model (family clip, viclip or internvideo-mm)`
      : `${id}: imported without a tokenizer, so it reads no texts`,
    {
      try:
        spec.text === undefined
          ? '`--model` with a two-tower model: `egolens models list --available`, `egolens models import FILE --arch viclip --tokenizer FILE`; or search by example, `--by-clip FILE:START-END`'
          : 'import the model again with `--tokenizer FILE`, or search by example, `--by-clip FILE:START-END`',
    },
  );
}

class OpenSearcher implements Searcher {
  readonly model: ModelFolder;
  #scorer: Promise<IndexScorer> | undefined;
  #texts: Promise<TextEncoder> | undefined;

  constructor(
    readonly index: IndexFile,
    private readonly plan: WindowPlan,
    private readonly options: OpenSearchOptions,
  ) {
    this.model = plan.model;
  }

  async search(query: Query, { top, minGap }: SearchOptions): Promise<readonly HitRecord[]> {
    const { index, options } = this;
    const { vector, scale, name } = await this.#vectorOf(query);
    if (index.rows === 0) return [];
    const { maxMemory = defaultMaxMemory } = options;
    const scorer = await (this.#scorer ??= openScorer(index, { ...options, maxMemory }));
    const gap = minGap ?? rationalNumber(index.header.granularity);
    const found = await bestRows(await scorer.scores(vector), {
      query: vector,
      top,
      vectors: index,
      around: (row) => index.around(row, gap),
    });
    // Rounded to half precision a unit vector may be a little longer; with --not a score is no cosine.
    const bounded = (score: number): number => (query.not.length > 0 ? score : Math.max(-1, Math.min(1, score)));
    return found.map(({ row, score }, i): HitRecord => {
      const { item, row: number } = index.locate(row);
      const path = resolve(dirname(index.path), item.path);
      const [start, end] = index.spanOf(row);
      return {
        schema: 'egolens.hit/1',
        input: options.names?.get(path) ?? displayed(path),
        id: `${item.path}#${number}`,
        model: this.model.id,
        of: { kind: 'file' },
        query: name,
        rank: i + 1,
        start: float(start),
        end: float(end),
        score: float(bounded(score)),
        logit: scale === null ? null : float(scale * score),
      };
    });
  }

  pathOf({ id }: Pick<HitRecord, 'id'>): string {
    return resolve(dirname(this.index.path), id.slice(0, id.lastIndexOf('#')));
  }

  /** The query as one vector: its products are the scores. */
  async #vectorOf(query: Query): Promise<{ vector: Float32Array; scale: number | null; name: string }> {
    const texts = [...('text' in query ? [query.text] : []), ...query.not];
    const rows: Float64Array[] = [];
    let scale: number | null = null;
    if (texts.length > 0) {
      requireTextTower(this.model);
      const encoder = await (this.#texts ??= openTextEncoder(this.model, this.options));
      const { data } = await encoder.encode(texts);
      for (let i = 0; i < texts.length; i++) {
        rows.push(Float64Array.from(data.subarray(i * encoder.embed, (i + 1) * encoder.embed)));
      }
      if ('text' in query) scale = encoder.scale;
    }
    const positive = 'text' in query ? rows.shift()! : await this.#clipVector(query.clip); // the first of the texts
    const vector = Float32Array.from(positive, (value, i) => {
      return value - rows.reduce((sum, row) => sum + row[i]!, 0) / Math.max(1, rows.length); // rows of one width
    });
    return { vector, scale, name: 'text' in query ? query.text : query.clip.input };
  }

  /** Mean of the unit vectors of a clip's windows, of unit length. */
  async #clipVector({ path, input, span }: Clip): Promise<Float64Array> {
    const { plan, options } = this;
    await findTools();
    const choice = await chooseProvider(options.device, options.signal);
    if (choice.why !== '' && options.device === 'auto')
      options.progress.note(`clip on ${choice.device}: ${choice.why}`);
    await using encoder = openWindowEncoder(plan, { ...options, choice });
    const sum = new Float64Array(plan.width);
    try {
      await encoder.encode({
        path,
        limits: { signal: options.signal },
        ...(span !== undefined && { span }),
        write: ({ data }) => {
          for (let at = 0; at < data.length; at += plan.width) {
            unitVector(data.subarray(at, at + plan.width)).forEach((value, i) => (sum[i]! += value)); // as wide
          }
          return Promise.resolve();
        },
      });
    } catch (error) {
      options.signal.throwIfAborted();
      throw asEgolensError(error, input);
    }
    return unitVector(sum);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const opened of [this.#scorer, this.#texts]) {
      const one = await opened?.catch(() => undefined);
      await one?.[Symbol.asyncDispose]();
    }
    await this.index[Symbol.asyncDispose]();
  }
}

/**
 * `FILE:START-END` with times as `--start` takes them, or `FILE` for all of it. Where a name itself holds colons, the split at which a file
 * is there counts.
 *
 * @throws EgolensError input.not_found, usage.flag
 */
export async function parseClip(text: string): Promise<Clip> {
  if (await pathExists(text)) return { input: text, path: resolve(text) };
  const splits = [...text.matchAll(/:/g)].flatMap(({ index }) => {
    const [, start, end] =
      /^((?:\d+:){0,2}\d+(?:\.\d+)?)-((?:\d+:){0,2}\d+(?:\.\d+)?)$/.exec(text.slice(index + 1)) ?? [];
    return start === undefined || end === undefined ? [] : [{ file: text.slice(0, index), start, end }];
  });
  let chosen = splits[0];
  for (const split of [...splits].reverse()) if (await pathExists(split.file)) chosen = split;
  if (chosen === undefined || chosen.file === '') {
    throw new EgolensError('input.not_found', `--by-clip ${text}: no such file; expected FILE, or FILE:START-END`, {
      input: text,
      try: 'such as `--by-clip a.mp4:12.5-15`',
    });
  }
  const span = [parseTime(chosen.start), parseTime(chosen.end)] as const;
  if (span[0] >= span[1]) throw new EgolensError('usage.flag', `--by-clip ${text}: expected a start before the end`);
  return { input: text, path: resolve(chosen.file), span };
}

/** Where the index of some arguments is kept when no file is named, and what becomes of one that is there. */
export async function cachedIndex(
  args: readonly string[],
  plan: WindowPlan,
): Promise<Pick<IndexOptions, 'output' | 'existing'>> {
  const sources = args.map((arg) => (arg === '-' || arg === 'video:-' || arg.startsWith('@') ? arg : resolve(arg)));
  const { model, granularity, stream } = plan;
  const name = sha256(
    canonicalText({
      sources: sources.sort(),
      model: model.manifest.digest,
      granularity: rationalText(granularity),
      stream,
    }),
  );
  const output = join(cacheFolder(), 'index', `${name}.egx`);
  if (!(await pathExists(output))) return { output, existing: 'update' };
  // What is kept in the cache can be made again: a damaged file there is no fault of the user's.
  try {
    await using index = await openIndex(output);
    refuseOtherSettings(index, settingsOf(plan));
    return { output, existing: 'update' };
  } catch {
    return { output, existing: 'anew' };
  }
}

/** `egolens.index-info/1` */
export type IndexInfo = {
  readonly schema: 'egolens.index-info/1';
  readonly input: string;
  readonly model: string;
  readonly output: string;
  readonly preset: string;
  readonly granularity: Float;
  readonly width: number;
  readonly dtype: 'f16';
  readonly videos: number;
  readonly missing: number;
  readonly rows: number;
  readonly seconds: Float;
  readonly bytes: number;
};

/** What an index holds. @throws EgolensError input.*, data.* for what is no index */
export async function indexInfo(path: string): Promise<IndexInfo> {
  await using index = await openIndex(path);
  const { header, rows, bytes } = index;
  const folder = dirname(resolve(path));
  let missing = 0;
  for (const item of header.items) if (!(await pathExists(join(folder, item.path)))) missing++;
  return {
    schema: 'egolens.index-info/1',
    input: path,
    model: header.model.id,
    output: header.output,
    preset: header.preset,
    granularity: float(rationalNumber(header.granularity)),
    width: header.width,
    dtype: 'f16',
    videos: header.items.length,
    missing,
    rows,
    seconds: float(header.items.reduce((sum, { origin, last }) => sum + last[1] - origin, 0)),
    bytes,
  };
}
