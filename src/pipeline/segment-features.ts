/** Cached features of labelled segments: which file, which rows. */
import { EgolensError } from '../errors.js';
import { clockText, openFeatures, sameClock, type FeatureFile, type ReadOptions } from '../features/store.js';
import { canonicalText } from '../json.js';
import { sha256 } from '../files.js';
import { sizeOf } from '../tensor.js';
import type { FeatureClock, Progress, RowTime, Seconds } from '../types.js';
import type { Segment, SegmentList, SegmentPlace } from '../ego4d/segments.js';
import type { FeatureIndex } from './feature-index.js';

/** Names in a message. */
const shownNames = 5;
/** Rows that are kept of a run of segments: 16 GiB of float32. */
const mostElements = 2 ** 32;

/** What all files of a run have in common. */
export interface FeatureForm {
  /** File that it was read from, for messages. */
  readonly path: string;
  readonly width: number;
  readonly clock: FeatureClock | undefined;
  /** `name@digest` of the encoder. */
  readonly model: string | undefined;
  readonly output: string | undefined;
  /** `name@version` */
  readonly preset: string | undefined;
}

/** Rows of segments, in the order of a list. */
export interface SegmentRows {
  readonly form: FeatureForm;
  /** Of the list: those that are here. */
  readonly segments: readonly Segment[];
  /** Index in the list of each. */
  readonly indexes: Int32Array;
  /** [rows, width] of each; tokens of a row count as rows. */
  readonly rows: readonly Float32Array<ArrayBuffer>[];
  /** Files and times of each, for records. */
  readonly found: readonly FoundPlace[];
  /** Segments that were left out, where that was asked for. */
  readonly skipped: number;
  /** Tells whether the same numbers would be read again. */
  readonly digest: string;
}

/** Where the rows of a segment came from. */
export interface FoundPlace {
  readonly path: string;
  readonly kind: SegmentPlace['kind'];
  readonly name: string;
  readonly start: Seconds;
  readonly end: Seconds;
}

export interface RowOptions {
  /** Most rows of a segment: evenly spaced ones of more. `mean`: the mean of all, one row. */
  readonly rows: number | 'mean';
  /** Form that the files must have, as that of another split or head. */
  readonly like?: FeatureForm;
  /** Features of several models may be mixed. */
  readonly mixed?: boolean;
  /** Leave segments out that have no file or lie outside it, and say how many. */
  readonly skipMissing?: boolean;
  readonly reading?: ReadOptions;
  readonly signal?: AbortSignal;
  readonly progress?: Progress;
}

/**
 * The rows of every segment of a list: those whose window has its middle in the segment, else the one that lies nearest among those that
 * touch it.
 *
 * @throws EgolensError data.invalid for an empty list, segments outside their features, names that several files have; input.not_found for
 *   segments without a file (counted, the first named); data.shape, data.clock, usage.conflict where a file has another width, clock or
 *   model than the first; data.not_finite; limit.memory
 */
export async function segmentRows(list: SegmentList, index: FeatureIndex, options: RowOptions): Promise<SegmentRows> {
  const { skipMissing = false, signal, progress } = options;
  if (list.segments.length === 0) {
    throw new EgolensError('data.invalid', `\`${list.name}\`: expected at least one segment, found none`, {
      input: list.name,
    });
  }
  const byFile = placedByFile(list, index, skipMissing);
  const collector = new Collector(list, options);
  const bar = progress?.start(`features for ${list.name}`, byFile.size);
  try {
    for (const [path, placed] of byFile) {
      signal?.throwIfAborted();
      await collector.add(path, placed);
      bar?.advance(1);
    }
  } finally {
    bar?.stop();
  }
  return collector.result(skipMissing);
}

interface Placed {
  /** In the list. */
  readonly index: number;
  readonly places: readonly SegmentPlace[];
}

/** Segments by the file of the first of their places that has one. */
function placedByFile(list: SegmentList, index: FeatureIndex, skipMissing: boolean): Map<string, Placed[]> {
  const byFile = new Map<string, Placed[]>();
  const missing = new Set<string>();
  let count = 0;
  list.segments.forEach(({ places }, i) => {
    const there = places.find(({ name }) => index.has(name));
    if (there === undefined) {
      missing.add(places.at(-1)!.name); // the whole video where there is one
      count++;
      return;
    }
    const paths = index.get(there.name)!;
    if (paths.length > 1) {
      throw new EgolensError(
        'data.invalid',
        `\`${there.name}\`: expected one feature file of that name, found ${paths.map((path) => `\`${path}\``).join(', ')}`,
        { input: list.name, try: 'a folder with one of them, or the path below the folder as the name in the list' },
      );
    }
    const path = paths[0]!;
    byFile.set(path, [
      ...(byFile.get(path) ?? []),
      { index: i, places: places.filter(({ name }) => name === there.name) },
    ]);
  });
  if (count > 0 && (!skipMissing || byFile.size === 0)) {
    const names = [...missing].slice(0, shownNames).map((name) => `\`${name}\``);
    const more = missing.size > shownNames ? ` and ${missing.size - shownNames} more` : '';
    throw new EgolensError(
      'input.not_found',
      `\`${list.name}\`: ${count} of ${list.segments.length} segments have no feature file; ${missing.size} videos are missing: ${names.join(', ')}${more}`,
      { input: list.name, try: `\`egolens extract\` for these videos${skipMissing ? '' : ', or `--skip-missing`'}` },
    );
  }
  return byFile;
}

class Collector {
  readonly #list: SegmentList;
  readonly #options: RowOptions;
  readonly #kept: { index: number; rows: Float32Array<ArrayBuffer>; found: FoundPlace }[] = [];
  readonly #outside: string[] = [];
  readonly #sources: unknown[] = [];
  #form: FeatureForm | undefined;
  #elements = 0;

  constructor(list: SegmentList, options: RowOptions) {
    this.#list = list;
    this.#options = options;
    this.#form = options.like;
  }

  async add(path: string, placed: readonly Placed[]): Promise<void> {
    await using file = await openFeatures(path, this.#options.reading);
    const { times, meta } = file;
    this.#form ??= formOf(file);
    checkForm(formOf(file), this.#form, this.#options.mixed);
    if (times === undefined) {
      throw new EgolensError('data.clock', `\`${path}\`: nothing tells the times of its rows`, {
        input: path,
        try: '`--clock ego4d-grid` for features of Ego4D; those of `extract` have their meta file beside them',
      });
    }
    const rowElements = sizeOf(file.shape.slice(1));
    const wanted = placed.flatMap(({ index, places }) => {
      const place = placeIn(places, meta?.of.kind);
      const rows = rowsIn(place, times);
      if (rows.length === 0) {
        this.#outside.push(
          `${this.#list.segments[index]!.id} (${place.start ?? 0} to ${place.end ?? 0} s; \`${path}\` ends at ${times.at(-1)?.end ?? 0} s)`,
        );
        return [];
      }
      const chosen = typeof this.#options.rows === 'number' ? thinned(rows, this.#options.rows) : rows;
      const { name, kind } = place;
      const found = {
        path,
        name,
        kind,
        start: place.start ?? times[rows[0]!]!.start,
        end: place.end ?? times[rows.at(-1)!]!.end,
      };
      return [{ index, chosen, found }];
    });
    const values = await readRows(file, new Set(wanted.flatMap(({ chosen }) => chosen)));
    const width = this.#form.width;
    for (const { index, chosen, found } of wanted) {
      const parts = chosen.map((row) => values.get(row)!); // asked for in the line above
      const rows = this.#options.rows === 'mean' ? meanOf(parts, width) : joined(parts, rowElements);
      this.#elements += rows.length;
      if (this.#elements > mostElements) {
        throw new EgolensError(
          'limit.memory',
          `\`${this.#list.name}\`: more than ${4 * mostElements} bytes of features`,
          {
            try: 'fewer rows of a segment, or features that are means over tokens',
          },
        );
      }
      this.#kept.push({ index, rows, found });
    }
    this.#sources.push([
      path.slice(path.lastIndexOf('/') + 1),
      meta?.key ?? null,
      meta?.array.sha256 ?? null,
      file.shape,
    ]);
  }

  result(skipMissing: boolean): SegmentRows {
    const count = this.#outside.length;
    if (count > 0 && (!skipMissing || this.#kept.length === 0)) {
      const more = count > shownNames ? ` and ${count - shownNames} more` : '';
      throw new EgolensError(
        'data.invalid',
        `\`${this.#list.name}\`: ${count} segments lie outside their features: ${this.#outside.slice(0, shownNames).join(', ')}${more}`,
        { input: this.#list.name, try: `features of the whole videos${skipMissing ? '' : ', or `--skip-missing`'}` },
      );
    }
    const kept = this.#kept.sort((a, b) => a.index - b.index);
    return {
      form: this.#form!, // at least one file was read
      segments: kept.map(({ index }) => this.#list.segments[index]!),
      indexes: Int32Array.from(kept, ({ index }) => index),
      rows: kept.map(({ rows }) => rows),
      found: kept.map(({ found }) => found),
      skipped: this.#list.segments.length - kept.length,
      digest: sha256(canonicalText(this.#sources)),
    };
  }
}

/**
 * Refuses features of another form than the first ones of a run.
 *
 * @param mixed other models are let pass
 * @throws EgolensError data.shape, data.clock, usage.conflict with both sides
 */
export function checkForm(form: FeatureForm, first: FeatureForm, mixed = false): void {
  if (form.width !== first.width) {
    throw new EgolensError(
      'data.shape',
      `\`${form.path}\`: rows of ${form.width} numbers; \`${first.path}\` has ${first.width}`,
      { input: form.path, try: 'features of one model' },
    );
  }
  if (form.clock && first.clock && !sameClock(form.clock, first.clock)) {
    throw new EgolensError(
      'data.clock',
      `\`${form.path}\`: rows at ${clockText(form.clock)}; \`${first.path}\` at ${clockText(first.clock)}`,
      { input: form.path, try: 'features that were extracted with one recipe' },
    );
  }
  if (!mixed && form.model !== first.model) {
    const text = (model: string | undefined): string => model ?? 'an unknown model';
    throw new EgolensError(
      'usage.conflict',
      `\`${form.path}\`: features of ${text(form.model)}; \`${first.path}\` of ${text(first.model)}`,
      { input: form.path, try: '`--force-features` if the models are known to be the same' },
    );
  }
}

/** The form of a file. */
export function formOf({ path, shape, clock, meta }: FeatureFile): FeatureForm {
  const width = shape.at(-1)!; // two or three axes
  const model = meta && `${meta.model.name}@${meta.model.digest.slice(0, 12)}`;
  return { path, width, clock, model, output: meta?.output, preset: meta?.preset };
}

/** A file of a clip that says its seconds are the video's is read by those. */
function placeIn(places: readonly SegmentPlace[], base: string | undefined): SegmentPlace {
  return places.find(({ kind }) => kind === base) ?? places[0]!; // at least the one that led here
}

/** Rows whose middle lies in the segment; where there is none, the nearest of those that touch it. */
function rowsIn({ start = 0, end = Infinity }: SegmentPlace, times: readonly RowTime[]): number[] {
  const middle = (row: RowTime): Seconds => (row.start + row.end) / 2;
  const inside = times.flatMap((row, i) => (middle(row) >= start && middle(row) < end ? [i] : []));
  if (inside.length > 0) return inside;
  const centre = (start + end) / 2;
  let best: number | undefined;
  times.forEach((row, i) => {
    if (row.start >= end || row.end <= start) return;
    if (best === undefined || Math.abs(middle(row) - centre) < Math.abs(middle(times[best]!) - centre)) best = i;
  });
  return best === undefined ? [] : [best];
}

/** At most `most` of the items, evenly spaced: the middles of as many equal parts. */
export function thinned(items: readonly number[], most: number): number[] {
  if (items.length <= most) return [...items];
  return Array.from({ length: most }, (_, i) => items[Math.floor(((i + 0.5) * items.length) / most)]!);
}

/** @throws EgolensError data.not_finite with file and row */
async function readRows(
  file: FeatureFile,
  wanted: ReadonlySet<number>,
): Promise<Map<number, Float32Array<ArrayBuffer>>> {
  const values = new Map<number, Float32Array<ArrayBuffer>>();
  let first = 0;
  for await (const { shape, data } of file.blocks()) {
    const count = shape[0]!;
    const size = data.length / Math.max(1, count);
    for (let i = 0; i < count; i++) {
      if (!wanted.has(first + i)) continue;
      const row = data.slice(i * size, (i + 1) * size);
      const bad = row.findIndex((value) => !Number.isFinite(value));
      if (bad >= 0) {
        throw new EgolensError(
          'data.not_finite',
          `\`${file.path}\`: row ${first + i}, element ${bad} is ${row[bad]!}`,
          {
            input: file.path,
            try: 'extract this video again',
          },
        );
      }
      values.set(first + i, row);
    }
    first += count;
  }
  return values;
}

function joined(parts: readonly Float32Array[], size: number): Float32Array<ArrayBuffer> {
  const all = new Float32Array(parts.length * size);
  parts.forEach((part, i) => all.set(part, i * size));
  return all;
}

/** Mean over rows and tokens, added up in double. */
function meanOf(parts: readonly Float32Array[], width: number): Float32Array<ArrayBuffer> {
  const sums = new Float64Array(width);
  let count = 0;
  for (const part of parts) {
    for (let i = 0; i < part.length; i++) sums[i % width]! += part[i]!;
    count += part.length / width;
  }
  return Float32Array.from(sums, (sum) => sum / count);
}
