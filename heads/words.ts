/**
 * Words of questions as numbers, for heads that learn their word vectors: no text model is needed. The vocabulary is that of the training
 * questions and lies in the head folder as its list of words.
 */
import { assert } from '../src/errors.js';
import type { Random } from '../src/random.js';
import { tensor } from '../src/tensor.js';
import type { Tensor } from '../src/types.js';

/** Index 0: behind the last word of a shorter question. */
export const padWord = '<pad>';
/** Index 1: every word that is not in the vocabulary. */
export const unknownWord = '<unk>';

const unknownId = 1;

/** The words of a text: runs of letters and digits in lower case, apostrophes inside kept: `What's in it?` -> what's, in, it. */
export function wordsOf(text: string): string[] {
  const plain = text.normalize('NFKC').replaceAll('\u2019', "'").toLowerCase();
  return plain.match(/[\p{L}\p{M}\p{N}]+(?:'[\p{L}\p{M}\p{N}]+)*/gu) ?? [];
}

/** Which words a vocabulary takes. */
export interface VocabularyOptions {
  /** Words that occur less often are left out. Default 1. */
  readonly least?: number;
  /** Most words, the two special ones included; of the others the most frequent stay. Default 65536. */
  readonly most?: number;
}

/** The vocabulary of these texts: `<pad>`, `<unk>`, then words by falling count, equal ones by code unit. */
export function vocabularyOf(texts: Iterable<string>, { least = 1, most = 65536 }: VocabularyOptions = {}): string[] {
  const counts = new Map<string, number>();
  for (const text of texts) for (const word of wordsOf(text)) counts.set(word, (counts.get(word) ?? 0) + 1);
  const kept = [...counts].filter(([, count]) => count >= least);
  kept.sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1));
  return [padWord, unknownWord, ...kept.slice(0, Math.max(0, most - 2)).map(([word]) => word)];
}

/** Numbers of the words of a text; `[1]`, unknown, for a text without words. */
export function wordIds(vocabulary: ReadonlyMap<string, number>, text: string): number[] {
  const ids = wordsOf(text).map((word) => vocabulary.get(word) ?? unknownId);
  return ids.length === 0 ? [unknownId] : ids;
}

/** Word -> index. Asserts that the special words are where they belong. */
export function wordIndex(vocabulary: readonly string[]): Map<string, number> {
  assert(vocabulary[0] === padWord && vocabulary[unknownId] === unknownWord, 'a vocabulary begins with <pad>, <unk>');
  return new Map(vocabulary.map((word, i) => [word, i]));
}

/** The words of texts that the vocabulary does not know, each once, in the order of the texts: for a warning. */
export function unknownWords(vocabulary: readonly string[], texts: Iterable<string>): string[] {
  const known = new Set(vocabulary.slice(2));
  const found = new Set<string>();
  for (const text of texts) for (const word of wordsOf(text)) if (!known.has(word)) found.add(word);
  return [...found];
}

/** How texts become rows of numbers. */
export interface WordFeedOptions {
  /** Columns; absent: as many as the longest text has words. Words beyond are cut. */
  readonly length?: number;
  /** In training: each word becomes `<unk>` with this probability, so that the vector of unknown words is learned too. */
  readonly unknown?: { readonly share: number; readonly random: Random };
}

/** Texts as inputs of a head with learned words. */
export function wordFeeds(
  vocabulary: readonly string[],
  texts: readonly string[],
  { length, unknown }: WordFeedOptions = {},
): { readonly word_ids: Tensor<'int64'>; readonly query_mask: Tensor<'float32'> } {
  const index = wordIndex(vocabulary);
  const rows = texts.map((text) => wordIds(index, text));
  const columns = length ?? rows.reduce((longest, row) => Math.max(longest, row.length), 1);
  const ids = new BigInt64Array(rows.length * columns);
  const mask = new Float32Array(ids.length);
  rows.forEach((row, r) => {
    row.slice(0, columns).forEach((id, i) => {
      const isHidden = unknown !== undefined && unknown.random.uniform() < unknown.share;
      ids[r * columns + i] = BigInt(isHidden ? unknownId : id);
      mask[r * columns + i] = 1;
    });
  });
  const shape = [rows.length, columns];
  return { word_ids: tensor('int64', shape, ids), query_mask: tensor('float32', shape, mask) };
}
