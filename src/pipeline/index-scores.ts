/** Scores of every row of an index for one query after the other: rows that stay with the session, and rows that are read. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { asEgolensError, EgolensError } from '../errors.js';
import { BufferPool } from '../runtime/buffers.js';
import { writeGraph } from '../runtime/probe-graphs.js';
import { openSession, type HeldFeeds, type Session } from '../runtime/session.js';
import type { IndexFile } from '../search/index-file.js';
import { blockRows } from '../search/index-format.js';
import { scoreGraph } from '../search/score-graph.js';
import { tensor } from '../tensor.js';
import type { Tensor } from '../types.js';

/** Vectors kept in memory where nothing else is said: two million rows of 512. */
export const defaultMaxMemory = 2 * 2 ** 30;

/** Rows of one run. Two blocks together take a twelfth less time than one by one; four take more, for the widened rows leave the cache. */
const runRows = 2 * blockRows;

/** Runs under way whose rows do not stay: one is read, one is scored, one is on its way. */
const travellingRuns = 3;

export interface ScorerOptions {
  /** Bytes of vectors that stay in memory from the first query on; 0: none, for a single query. */
  readonly maxMemory: number;
  readonly threads?: number;
  readonly signal?: AbortSignal;
}

/** An index ready to be scored. Dispose it. */
export interface IndexScorer extends AsyncDisposable {
  /** Products of the query, float32 [width], with every row: float32 [rows] of each block. The arrays are the caller's. */
  scores(query: Float32Array): Promise<Float32Array[]>;
}

/**
 * Opens the session that scores an index, on the CPU: a graphics card would have to be sent every vector for one product each.
 *
 * Rows that fit into `maxMemory` lie with the session from the first query on (`Session.hold`); the others are read by position, the
 * next ones while those before are computed.
 *
 * @throws EgolensError device.*; `scores` throws data.not_finite for an index that holds other than numbers
 */
export async function openScorer(index: IndexFile, options: ScorerOptions): Promise<IndexScorer> {
  const { threads, signal } = options;
  const folder = await mkdtemp(join(tmpdir(), 'egolens-search-'));
  let session: Session;
  try {
    const graph = await writeGraph(folder, scoreGraph(index.header.width));
    session = await openSession({
      graph,
      device: 'cpu',
      ...(threads !== undefined && { threads }),
      ...(signal && { signal }),
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  const runs = new Runs(index, session, options);
  return {
    scores: (query) => runs.scores(query),
    [Symbol.asyncDispose]: () => session[Symbol.asyncDispose](),
  };
}

class Runs {
  readonly #held: HeldFeeds[] = [];
  readonly #heldCount: number;
  readonly #count: number;
  readonly #rowBytes: number;

  constructor(
    private readonly index: IndexFile,
    private readonly session: Session,
    private readonly options: ScorerOptions,
  ) {
    this.#rowBytes = index.header.width * 2;
    this.#count = Math.ceil(index.rows / runRows);
    this.#heldCount = Math.min(this.#count, Math.floor(options.maxMemory / (runRows * this.#rowBytes)));
  }

  async scores(query: Float32Array): Promise<Float32Array[]> {
    const { index, session, options } = this;
    const { width } = index.header;
    const runs: Promise<Float32Array[]>[] = [];
    const failure = new AbortController();
    const signal = options.signal ? AbortSignal.any([options.signal, failure.signal]) : failure.signal;
    const isTravelling = this.#heldCount < this.#count;
    using pool = new BufferPool(isTravelling ? travellingRuns : 0, runRows * this.#rowBytes, signal);
    // The query goes over with every run and is not wanted back.
    const buffers = {
      give(buffer: ArrayBuffer) {
        if (buffer.byteLength === pool.byteLength) pool.give(buffer);
      },
    };
    const queryFeed = (): Tensor<'float32'> => tensor('float32', [width, 1], Float32Array.from(query));
    const add = (run: Promise<Record<string, Tensor<'float32'>>>): void => {
      const scores = run.then(({ scores: found }) => blocksOf(found!.data)); // asked for
      scores.catch((error: unknown) => failure.abort(error));
      runs.push(scores);
    };
    try {
      for (let run = 0; run < this.#count; run++) {
        const rows = this.#rowsOf(run);
        if (run < this.#heldCount) {
          if (this.#held.length === run) {
            const data = new Uint16Array(rows * width);
            await index.readRows(run * runRows, new Uint8Array(data.buffer));
            this.#held.push(session.hold({ rows: tensor('float16', [rows, width], data) }));
          }
          add(session.run({ query: queryFeed() }, ['scores'], { held: this.#held[run]! })); // held just above
          continue;
        }
        const data = new Uint16Array(await pool.take(), 0, rows * width);
        await index.readRows(run * runRows, new Uint8Array(data.buffer, 0, rows * this.#rowBytes));
        const feeds = { rows: tensor('float16', [rows, width], data), query: queryFeed() };
        add(session.run(feeds, ['scores'], { pool: buffers }));
      }
      return (await Promise.all(runs)).flat();
    } catch (error) {
      failure.abort(error);
      await Promise.allSettled(runs);
      throw this.#explained(failure.signal.reason);
    }
  }

  #rowsOf(run: number): number {
    return Math.min(runRows, this.index.rows - run * runRows);
  }

  #explained(thrown: unknown): unknown {
    if (this.options.signal?.aborted === true) return this.options.signal.reason;
    const error = asEgolensError(thrown);
    if (error.code !== 'data.not_finite') return error;
    return new EgolensError('data.not_finite', `\`${this.index.path}\`: ${error.message}`, {
      try: 'the index is damaged: `egolens search index … --force` makes it again',
      cause: error,
    });
  }
}

/** The scores of a run, block by block. */
function blocksOf(scores: Float32Array): Float32Array[] {
  const count = Math.ceil(scores.length / blockRows);
  return Array.from({ length: count }, (_, i) => scores.subarray(i * blockRows, (i + 1) * blockRows));
}
