import { fileURLToPath } from 'node:url';
import { EgolensError } from '../../src/errors.js';
import { readSmallFile } from '../../src/files.js';
import { float, type Float } from '../../src/json.js';
import type { BenchRecord } from './run.js';

/** Median ratio by `name/figure`, of an earlier run. */
export type Baseline = ReadonlyMap<string, number>;

/** A figure beside its earlier value. */
export interface Slowdown {
  readonly key: string;
  readonly ratio: number;
  readonly baseline: number;
  /** ratio / baseline: above 1 it became slower (or larger). */
  readonly factor: number;
}

/** The baseline that comes with the program: `egolens bench --json` of the machine named in it. */
export const shippedBaseline = fileURLToPath(new URL('./baseline.json', import.meta.url));

/**
 * Reads what `bench` printed earlier, as `--json` or `--ndjson`.
 *
 * @throws EgolensError input.*, data.invalid
 */
export async function readBaseline(path: string): Promise<Baseline> {
  const text = new TextDecoder().decode(await readSmallFile(path));
  let records: unknown[];
  try {
    records = text.trimStart().startsWith('[')
      ? (JSON.parse(text) as unknown[]) // begins with a bracket
      : text.split('\n').flatMap((line) => (line.trim() === '' ? [] : [JSON.parse(line) as unknown]));
  } catch (cause) {
    throw new EgolensError('data.invalid', `\`${path}\`: no JSON: ${(cause as Error).message}`, { cause });
  }
  return new Map(
    records.flatMap((record, i) => {
      const entry = entryOf(record);
      if (entry === undefined) {
        throw new EgolensError('data.invalid', `\`${path}\`: record ${i} is no egolens.bench/1 record with a ratio`, {
          try: '`egolens bench --json > FILE` makes a baseline',
        });
      }
      return entry === null ? [] : [entry];
    }),
  );
}

/** Null: a figure without a ratio. Undefined: not of this form. */
function entryOf(value: unknown): readonly [string, number] | null | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const { schema, name, figure, ratio } = value as Partial<Record<keyof BenchRecord, unknown>>;
  if (schema !== 'egolens.bench/1' || typeof name !== 'string' || typeof figure !== 'string') return undefined;
  if (ratio === null) return null;
  const median = typeof ratio === 'object' ? (ratio as { readonly median?: unknown }).median : undefined;
  if (typeof median !== 'number' || !Number.isFinite(median) || median < 0) return undefined;
  return [`${name}/${figure}`, median];
}

/** The record beside its earlier value; undefined where one of the two is missing. */
export function slowdownOf(record: BenchRecord, baseline: Baseline): Slowdown | undefined {
  const key = `${record.name}/${record.figure}`;
  const earlier = baseline.get(key);
  if (earlier === undefined || record.ratio === null) return undefined;
  const ratio = record.ratio.median.value;
  // A count that was 0 and is 0 has not changed.
  const factor = ratio === earlier ? 1 : ratio / earlier;
  return { key, ratio, baseline: earlier, factor };
}

/** A record with two more members: its earlier value, and how many times that it is now. */
export type ComparedRecord = BenchRecord & { readonly baseline: Float | null; readonly slowdown: Float | null };

/** The record with its earlier value beside it. */
export function withBaseline(record: BenchRecord, baseline: Baseline): ComparedRecord {
  const found = slowdownOf(record, baseline);
  const slowdown =
    found !== undefined && Number.isFinite(found.factor) ? float(Number(found.factor.toPrecision(5))) : null;
  return { ...record, baseline: found === undefined ? null : float(found.baseline), slowdown };
}

/** Why a run has failed: limits that were missed (`strict`), ratios above `most` times their baseline; undefined when it has not. */
export function verdictOf(
  records: readonly BenchRecord[],
  { strict, baseline, most }: { readonly strict: boolean; readonly baseline?: Baseline; readonly most?: number },
): EgolensError | undefined {
  const faults: string[] = [];
  for (const record of records) {
    const { name, figure, ratio, limit, ok } = record;
    if (strict && ok === false) faults.push(`${name}/${figure} is ${ratio!.median.value}, limit ${limit!.value}`); // judged, so both are there
    const found = baseline && slowdownOf(record, baseline);
    if (most !== undefined && found !== undefined && found.factor > most) {
      faults.push(`${found.key} is ${found.ratio}, baseline ${found.baseline}, at most ${most} times that`);
    }
  }
  if (faults.length === 0) return undefined;
  return new EgolensError('data.invalid', `too slow: ${faults.join('; ')}`, {
    try: 'run it again on a quiet machine, with more rounds (`--repeat 15`)',
  });
}
