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
  const most = scores.map(largest);
  const exact = new ExactScores(options);
  const found: FoundRow[] = [];
  while (found.length < top) {
    const best = largest(Float32Array.from(most));
    if (best === -Infinity) break;
    const rows: number[] = [];
    most.forEach((value, block) => {
      if (value < best - band) return;
      scores[block]!.forEach((score, i) => {
        if (score >= best - band) rows.push(block * blockRows + i);
      });
    });
    const answer = await exact.best(rows);
    found.push(answer);
    const [first, end] = around(answer.row);
    for (let row = first; row < end; row++) scores[Math.floor(row / blockRows)]![row % blockRows] = -Infinity;
    for (let block = Math.floor(first / blockRows); block * blockRows < end; block++)
      most[block] = largest(scores[block]!);
  }
  return found;
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

/** Scores in double, each computed once. */
class ExactScores {
  readonly #known = new Map<number, number>();

  constructor(private readonly options: BestOptions) {}

  /** The best of some rows in rising order, of equal ones the first. */
  async best(rows: readonly number[]): Promise<FoundRow> {
    await this.#compute(rows.filter((row) => !this.#known.has(row)));
    let best: FoundRow | undefined;
    for (const row of rows) {
      const score = this.#known.get(row)!; // just computed
      if (best === undefined || score > best.score) best = { row, score };
    }
    if (best === undefined) throw new EgolensError('internal.bug', 'bestRows: the best of no rows');
    return best;
  }

  /** Neighbours are read together: equal rows are normally a still scene. */
  async #compute(rows: readonly number[]): Promise<void> {
    const { query, vectors } = this.options;
    for (let i = 0; i < rows.length;) {
      const first = rows[i]!;
      let count = 1;
      while (count < blockRows && rows[i + count] === first + count) count++;
      const bytes = new Uint8Array(count * query.length * 2);
      await vectors.readRows(first, bytes);
      const view = new DataView(bytes.buffer);
      for (let k = 0; k < count; k++) this.#known.set(first + k, exactScore(query, view, k));
      i += count;
    }
  }
}
