import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { packageRoot } from '../../src/files.js';
import { GraphBuilder } from '../../src/graph/builder.js';
import { internvideoLoss, viclipLoss } from '../../src/models/contrastive.js';
import { writeGraph } from '../../src/runtime/probe-graphs.js';
import { openSession } from '../../src/runtime/session.js';
import { tensor } from '../../src/tensor.js';
import { clipTokenizerJson, openTokenizer } from '../../src/text/tokenizer.js';
import { numbers, readArray, readJson } from './model-cases.js';
import { maxAbs, type Comparison, type Runner } from './results.js';

interface TokenizerCase {
  readonly vocabulary_file: string;
  readonly vocabulary_sha256: string;
  readonly vocab_size: number;
  readonly start: number;
  readonly end: number;
  readonly cases: readonly {
    readonly text: string;
    readonly bpe: readonly number[];
    readonly context_77: readonly number[];
    readonly context_32: readonly number[];
    readonly fits_77: boolean;
  }[];
}

/** Ids and padded rows of CLIP's tokenizer: equal or not. The vocabulary is no part of the golden data: without it nothing is compared. */
export const runTokenizer: Runner = async (path) => {
  const golden = await readJson<TokenizerCase>(path);
  const besideData = dirname(dirname(dirname(path))); // <parent>/golden/encoder/tokenizer.json
  const places = [join(besideData, 'data'), join(packageRoot, '..', 'shared', 'data')];
  const file = places
    .map((place) => join(place, 'tokenizers', golden.vocabulary_file))
    .find((place) => existsSync(place));
  if (file === undefined) return { skipped: `no ${golden.vocabulary_file} beside the data` };
  const bytes = await readFile(file);
  const tokenizer = openTokenizer(Buffer.from(clipTokenizerJson(bytes, file)), file);
  const comparisons: Comparison[] = [];
  const compare = (what: string, found: readonly unknown[], expected: readonly unknown[]): void => {
    comparisons.push({ what, error: found.join() === expected.join() ? 0 : 1, tolerance: 0.5 });
  };
  compare('digest', [createHash('sha256').update(bytes).digest('hex')], [golden.vocabulary_sha256]);
  compare('sizes', [tokenizer.size, tokenizer.start, tokenizer.end], [golden.vocab_size, golden.start, golden.end]);
  for (const { text, bpe, context_77, context_32, fits_77 } of golden.cases) {
    const shown = `\`${text.slice(0, 40)}\``;
    const rows = (context: number, overlong: 'cut' | 'refuse'): readonly number[] => {
      const row = Array.from(tokenizer.rows([text], { context, overlong }).data, Number);
      return [...row, ...new Array<number>(context - row.length).fill(0)];
    };
    compare(shown, tokenizer.encode(text), bpe);
    compare(`${shown} in 77`, rows(77, 'cut'), context_77);
    compare(`${shown} in 32`, rows(32, 'cut'), context_32);
    let isRefused = false;
    try {
      rows(77, 'refuse');
    } catch {
      isRefused = true;
    }
    compare(`${shown} fits 77`, [!isRefused], [fits_77]);
  }
  return comparisons;
};

/** Losses of contrastive training over given vectors; the name of each says loss, factor and whether ids count. */
export const runContrastive: Runner = async (path) => {
  const { losses, tolerance } = await readJson<{
    readonly losses: Readonly<Record<string, number>>;
    readonly tolerance: { readonly rel: number };
  }>(join(path, 'case.json'));
  const [pictures, texts, ids] = await Promise.all(
    ['video', 'text', 'idx'].map((name) => readArray(join(path, `${name}.npy`))),
  );
  const work = await mkdtemp(join(tmpdir(), 'egolens-golden-'));
  try {
    const comparisons: Comparison[] = [];
    for (const [name, expected] of Object.entries(losses)) {
      const [, kind, factor, withoutIds] =
        /^(viclip_temp|internvideo_mm_logit_scale)_([\d.]+)(_no_ids)?$/.exec(name) ?? [];
      if (kind === undefined) throw new Error(`no loss for ${name}`);
      const g = new GraphBuilder(kind);
      const shape = ['batch', pictures!.shape[1]!] as const;
      const pairs = { pictures: g.input('video', 'float32', shape), texts: g.input('text', 'float32', shape) };
      const value = g.input('factor', 'float32', []);
      const isViclip = kind === 'viclip_temp';
      const withIds = isViclip && withoutIds === undefined ? { ids: g.input('idx', 'int64', ['batch']) } : {};
      const loss = isViclip
        ? viclipLoss(g, pairs, { temp: value, ...withIds })
        : internvideoLoss(g, pairs, { logitScale: value });
      g.output('loss', loss);
      await using session = await openSession({ graph: await writeGraph(work, g.finish()), device: 'cpu', threads: 1 });
      const idx = tensor('int64', ids!.shape, BigInt64Array.from(numbers(ids!), BigInt));
      const feeds = { video: pictures!, text: texts!, factor: tensor('float32', [], Float32Array.of(Number(factor))) };
      const results = await session.run({ ...feeds, ...('ids' in withIds && { idx }) }, ['loss']);
      const error = maxAbs(results['loss']!.data, [expected]);
      comparisons.push({ what: name, error, tolerance: tolerance.rel * Math.abs(expected) });
    }
    return comparisons;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
};
