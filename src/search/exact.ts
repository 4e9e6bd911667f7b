/**
 * The best rows of an index for a query: exact, whatever computed the scores.
 *
 * A graph scores every row in float32 (score-graph.ts), which orders near equals by chance: by the device, the number of threads, the
 * place of a row in its block. So the rows that float32 cannot tell from the best are scored again in double, in a fixed order, and
 * those scores decide. The answer is that of a brute force in double, on every machine.
 */
import { EgolensError } from '../errors.js';
import { blockRows } from './index-format.js';
import type { VectorSource } from './index-file.js';
import { exactScore } from './vectors.js';

/** A row of the answer. */
export interface FoundRow {
  readonly row: number;
  /** Product of query and vector, in double. */
  readonly score: number;
}

export interface BestOptions {
  /** float32 [width]; a cosine comes out where it has unit length. */
  readonly query: Float32Array;
  /** Most rows that are given. */
  readonly top: number;
  readonly vectors: VectorSource;
  /** Rows that a found row stands for, itself included: the others among them are left out. A range [first, end). */
  readonly around: (row: number) => readonly [first: number, end: number];
}

/**
 * The `top` best rows, best first; of equal ones the first. A row that lies around a better one is no answer of its own.
 *
 * @param scores products of the query with the rows of each block, float32 [rows of the block]; they are overwritten
 * @throws EgolensError data.not_finite for vectors or queries that are no numbers
 */
export async function bestRows(scores: readonly Float32Array[], options: BestOptions): Promise<readonly FoundRow[]> {
  const { query, top, around } = options;
  const band = 2 * scoreError(query);
  const exact = new ExactScores(options);
  await exact.compute(foreseenRows(scores, band, options));
  const candidates = new Candidates(scores, band);
  const found: FoundRow[] = [];
  while (found.length < top) {
    const rows = candidates.next();
    if (rows.length === 0) break;
    const answer = await exact.best(rows);
    found.push(answer);
    candidates.drop(...around(answer.row));
  }
  return found;
}

/** Rows that will be asked for in double if float32 orders them right: read together, they cost one wait instead of one a hit. */
function foreseenRows(scores: readonly Float32Array[], band: number, { top, around }: BestOptions): readonly number[] {
  const copies = scores.map((block) => block.slice());
  const candidates = new Candidates(copies, band);
  const foreseen = new Set<number>();
  for (let i = 0; i < top; i++) {
    const rows = candidates.next();
    if (rows.length === 0) break;
    for (const row of rows) foreseen.add(row);
    const scoreOf = (row: number): number => copies[Math.floor(row / blockRows)]![row % blockRows]!; // rows are of the blocks
    candidates.drop(...around(rows.reduce((best, row) => (scoreOf(row) > scoreOf(best) ? row : best))));
  }
  return [...foreseen].sort((a, b) => a - b);
}

/** Rows by their scores in float32; those that are dropped become -Infinity. */
class Candidates {
  readonly #most: Float32Array;

  constructor(
    private readonly scores: readonly Float32Array[],
    private readonly band: number,
  ) {
    this.#most = Float32Array.from(scores, largest);
  }

  /** Those that float32 cannot tell from the best, in rising order; none when all are dropped. */
  next(): number[] {
    const best = largest(this.#most);
    const rows: number[] = [];
    if (best === -Infinity) return rows;
    const least = best - this.band;
    this.#most.forEach((most, block) => {
      if (most < least) return;
      const scores = this.scores[block]!; // a most a block
      for (let i = 0; i < scores.length; i++) if (scores[i]! >= least) rows.push(block * blockRows + i);
    });
    return rows;
  }

  /** Rows [first, end) are no candidates any more. */
  drop(first: number, end: number): void {
    for (let row = first; row < end; row++) this.scores[Math.floor(row / blockRows)]![row % blockRows] = -Infinity;
    for (let block = Math.floor(first / blockRows); block * blockRows < end; block++) {
      this.#most[block] = largest(this.scores[block]!); // rows are of the blocks
    }
  }
}

/**
 * How far a product in float32 may be from the true one, for a vector of unit length: n u / (1 - n u) times both lengths, whatever the
 * order of the sum. Source: Higham, "Accuracy and Stability of Numerical Algorithms", 2nd edition, section 3.1.
 */
export function scoreError(query: Float32Array): number {
  const nu = query.length * 2 ** -24;
  // Rounding to float16 may lengthen a unit vector by one part in 2048.
  const lengths = Math.sqrt(query.reduce((sum, value) => sum + value * value, 0)) * (1 + 2 ** -11);
  return (nu / (1 - nu)) * lengths;
}

function largest(values: Float32Array): number {
  let best = -Infinity;
  for (let i = 0; i < values.length; i++) if (values[i]! > best) best = values[i]!;
  return best;
}

/** Ranges of rows that are read at once. */
const readsAtOnce = 64;

/** Scores in double, each computed once. */
class ExactScores {
  readonly #known = new Map<number, number>();

  constructor(private readonly options: BestOptions) {}

  /** The best of some rows in rising order, of equal ones the first. */
  async best(rows: readonly number[]): Promise<FoundRow> {
    await this.compute(rows.filter((row) => !this.#known.has(row)));
    let best: FoundRow | undefined;
    for (const row of rows) {
      const score = this.#known.get(row)!; // just computed
      if (best === undefined || score > best.score) best = { row, score };
    }
    if (best === undefined) throw new EgolensError('internal.bug', 'bestRows: the best of no rows');
    return best;
  }

  /** Rows in rising order; neighbours are read together: equal rows are normally a still scene. */
  async compute(rows: readonly number[]): Promise<void> {
    const ranges: { first: number; count: number }[] = [];
    for (const row of rows) {
      const range = ranges.at(-1);
      if (range !== undefined && range.first + range.count === row && range.count < blockRows) range.count++;
      else ranges.push({ first: row, count: 1 });
    }
    for (let i = 0; i < ranges.length; i += readsAtOnce) {
      await Promise.all(ranges.slice(i, i + readsAtOnce).map((range) => this.#computeRange(range)));
    }
  }

  async #computeRange({ first, count }: { readonly first: number; readonly count: number }): Promise<void> {
    const { query, vectors } = this.options;
    const bytes = new Uint8Array(count * query.length * 2);
    await vectors.readRows(first, bytes);
    const view = new DataView(bytes.buffer);
    for (let k = 0; k < count; k++) this.#known.set(first + k, exactScore(query, view, k));
  }
}
