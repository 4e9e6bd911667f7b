import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { pathExists } from '../../src/files.js';
import { float } from '../../src/json.js';
import { familyOf } from '../../src/models/index.js';
import { openScorer, type IndexScorer } from '../../src/pipeline/index-scores.js';
import { seededRandom } from '../../src/random.js';
import { openSession, type Session } from '../../src/runtime/session.js';
import { bestRows, type FoundRow } from '../../src/search/exact.js';
import { openIndex, openSpool, stageIndex, type IndexFile } from '../../src/search/index-file.js';
import { blockRows, type IndexItem } from '../../src/search/index-format.js';
import { exactScore, unitHalves, unitVector } from '../../src/search/vectors.js';
import { tensor } from '../../src/tensor.js';
import {
  medianOf,
  pairRatios,
  valuesOf,
  type BenchContext,
  type Case,
  type Sample,
  type SpeedBenchmark,
} from './harness.js';
import { madeGraph } from './material.js';

/** What a person asks for. */
const top = 20;
/** The promise is about a gigabyte of vectors; a fifth of it tells the same (the ratio is by row) and needs a fifth of the memory. */
const scannedRows = 200_000;
const queriedRows = 100_000;
const mostBytesPerMillion = 1.2e9;
/** Tokens of a query of some eight words, start and end included. */
const queryTokens = 10;

/** Exact search over vectors that stay in memory. */
export const search: SpeedBenchmark = {
  name: 'search',
  summary: 'exact search over resident float16 vectors: against reading them, against the text tower, recall, size',
  figures: [
    {
      name: 'scan',
      summary: `time of the best ${top} of ${scannedRows} x 512 vectors / time of reading them once (copied, 64 KiB at a time, by one thread)`,
      limit: 2,
    },
    { name: 'missed', summary: `share of the true best ${top} (in double) that search misses: 1 - recall`, limit: 0 },
    {
      name: 'query',
      summary: `time of a text query over ${queriedRows} windows / time of the text tower of ViCLIP-B alone`,
      limit: 3,
    },
    {
      name: 'size',
      summary: `bytes of an index of ${queriedRows} windows, as of a million / ${mostBytesPerMillion / 1e9} GB`,
      limit: 1,
    },
  ],
  async *cases(context) {
    const { isSmoke, signal, threads } = context;
    const width = isSmoke ? 32 : 512;
    await using scanned = await madeIndex(isSmoke ? 5000 : scannedRows, width, context);
    await using queried = await madeIndex(isSmoke ? 4500 : queriedRows, width, context);
    const options = { maxMemory: Infinity, ...(threads !== undefined && { threads }), ...(signal && { signal }) };
    await using scanner = await openScorer(scanned, options);
    await using answerer = await openScorer(queried, options);
    const tower = familyOf('viclip-b16');
    const config = isSmoke ? smokeTower : tower.size;
    const { text } = tower.family.spec(config, {});
    const graph = await madeGraph(isSmoke ? 'text-nano' : 'viclip-b16-text', text!.build('fused'), context); // a two-tower family
    await using texts = await openSession({ graph: graph.path, device: 'cpu', ...options });
    yield searchCase({ scanned, queried, scanner, answerer, texts });
  },
};

const smokeTower = {
  embed_dim: 32,
  vision: { input_resolution: 32, patch_size: 16, num_frames: 2, width: 64, layers: 1, heads: 2 },
  text: { width: 64, layers: 1, heads: 2, vocab_size: 519 },
};

interface Opened {
  readonly scanned: IndexFile;
  readonly queried: IndexFile;
  readonly scanner: IndexScorer;
  readonly answerer: IndexScorer;
  readonly texts: Session;
}

function searchCase({ scanned, queried, scanner, answerer, texts }: Opened): Case {
  const { width } = scanned.header;
  let vectors: Uint8Array<ArrayBuffer> | undefined;
  const load = async (): Promise<Uint8Array<ArrayBuffer>> => {
    if (vectors === undefined) {
      vectors = new Uint8Array(scanned.rows * width * 2);
      await scanned.readRows(0, vectors);
    }
    return vectors;
  };
  const query = queryOf(width, 'query');
  const tokens = tensor(
    'int64',
    [1, queryTokens],
    BigInt64Array.from({ length: queryTokens }, (_, i) => BigInt(i === queryTokens - 1 ? 518 : 100 + i)),
  );
  const textVector = async (): Promise<Float32Array> => {
    const { text_embed: embed } = await texts.run({ tokens }, ['text_embed']);
    return Float32Array.from(unitVector(embed!.data)); // asked for
  };
  return {
    input: null,
    steps: [
      { name: 'read', run: async () => readOnce(await load()) },
      { name: 'scan', run: () => timed(() => best(scanned, scanner, query)) },
      { name: 'recall', run: async () => missed(await best(scanned, scanner, query), await load(), query) },
      { name: 'tower', run: () => timed(textVector) },
      { name: 'query', run: () => timed(async () => best(queried, answerer, await textVector())) },
    ],
    figures: (samples) => {
      const readMs = medianOf(samples, 'read', 'wallMs');
      const scanMs = medianOf(samples, 'scan', 'wallMs');
      const gigabytes = (scanned.rows * width * 2) / 1e9;
      const bytesPerMillion = (queried.bytes * 1e6) / queried.rows;
      return [
        {
          name: 'scan',
          ratios: pairRatios(valuesOf(samples, 'scan', 'wallMs'), valuesOf(samples, 'read', 'wallMs')),
          detail: {
            rows: scanned.rows,
            width,
            scanMs: float(scanMs),
            readMs: float(readMs),
            scanGigabytesPerSecond: float((gigabytes / scanMs) * 1000),
            readGigabytesPerSecond: float((gigabytes / readMs) * 1000),
          },
        },
        { name: 'missed', ratios: valuesOf(samples, 'recall', 'missed'), detail: { rows: scanned.rows, top } },
        {
          name: 'query',
          ratios: pairRatios(valuesOf(samples, 'query', 'wallMs'), valuesOf(samples, 'tower', 'wallMs')),
          detail: {
            rows: queried.rows,
            width,
            tokens: queryTokens,
            queryMs: float(medianOf(samples, 'query', 'wallMs')),
            towerMs: float(medianOf(samples, 'tower', 'wallMs')),
          },
        },
        {
          name: 'size',
          ratios: [bytesPerMillion / mostBytesPerMillion],
          detail: { rows: queried.rows, width, bytes: queried.bytes, bytesPerMillion: float(bytesPerMillion) },
        },
      ];
    },
  };
}

async function timed(body: () => Promise<unknown>): Promise<Sample> {
  const start = performance.now();
  await body();
  return { wallMs: performance.now() - start };
}

/** The bytes pass through memory once: each piece is copied to the same 64 KiB, which stay in the cache. */
function readOnce(bytes: Uint8Array): Sample {
  const piece = 2 ** 16;
  const target = new Uint8Array(piece);
  const start = performance.now();
  for (let at = 0; at < bytes.length; at += piece) target.set(bytes.subarray(at, at + piece));
  return { wallMs: performance.now() - start };
}

async function best(index: IndexFile, scorer: IndexScorer, query: Float32Array): Promise<readonly FoundRow[]> {
  const options = { query, top, vectors: index, around: (row: number) => [row, row + 1] as const };
  return await bestRows(await scorer.scores(query), options);
}

/** How many of the true best rows are not among those found. */
function missed(found: readonly FoundRow[], bytes: Uint8Array, query: Float32Array): Sample {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const count = bytes.length / query.length / 2;
  const truth: FoundRow[] = [];
  for (let row = 0; row < count; row++) {
    const score = exactScore(query, view, row);
    if (truth.length === top && score <= truth.at(-1)!.score) continue;
    truth.push({ row, score });
    truth.sort((a, b) => b.score - a.score || a.row - b.row);
    if (truth.length > top) truth.pop();
  }
  const rows = new Set(found.map(({ row }) => row));
  return { missed: truth.filter(({ row }) => !rows.has(row)).length / truth.length };
}

function queryOf(width: number, name: string): Float32Array {
  const random = seededRandom(5, name);
  return Float32Array.from(unitVector(Array.from({ length: width }, () => random.normal())));
}

/** An index of seeded vectors, one video of two-second windows for every 1800 rows; written once. */
async function madeIndex(rows: number, width: number, context: BenchContext): Promise<IndexFile> {
  const path = join(context.cache, `vectors-${rows}x${width}.egx`);
  if (await pathExists(path)) return await openIndex(path);
  context.progress?.note(`writing an index of ${rows} seeded vectors (once)`);
  await mkdir(context.cache, { recursive: true });
  const random = seededRandom(4, 'vectors');
  await using spool = await openSpool(path, width);
  for (let done = 0; done < rows; done += blockRows) {
    context.signal?.throwIfAborted();
    const block = new Float32Array(Math.min(blockRows, rows - done) * width);
    for (let i = 0; i < block.length; i++) block[i] = random.uniform() - 0.5;
    await spool.append(unitHalves(block, width));
  }
  const sha = '0'.repeat(64);
  const parts = Array.from({ length: Math.ceil(rows / hourRows) }, (_, i) => {
    const count = Math.min(hourRows, rows - i * hourRows);
    const item: IndexItem = {
      path: `hour-${String(i).padStart(4, '0')}.mp4`,
      bytes: 1_000_000_000,
      identity: `ends:${sha}`,
      key: sha,
      rows: count,
      origin: 0,
      clock: { rate: { num: 4, den: 1 }, hop: 8, frames: 8, step: 1, tail: 'align', rows: count },
      last: [2 * count - 2, 2 * count],
    };
    return { item, source: spool, firstRow: i * hourRows };
  });
  const header = {
    model: { id: 'seeded@000000000000', digest: sha },
    output: 'video_embed',
    precision: 'fp32' as const,
    preset: 'viclip-8-every-2s@1',
    granularity: { num: 2, den: 1 },
    stream: '0',
    width,
  };
  await using file = await stageIndex(path, header, parts, context.signal);
  await file.commit();
  return await openIndex(path);
}

/** Two-second windows of an hour. */
const hourRows = 1800;
