import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { writeNpy } from '../checkpoint/npy.js';
import type { HeadFolder } from '../models/head-folder.js';
import type { Head } from '../models/head.js';
import { tensor } from '../tensor.js';
import type { Progress } from '../types.js';
import { numbered } from './answer-task.js';
import { openQuestionWords } from './question-words.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'egolens-words-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const progress: Progress = {
  start: () => ({ advance: () => undefined, stop: () => undefined }),
  note: () => undefined,
  warn: () => undefined,
};
const options = { force: false, device: 'cpu', signal: new AbortController().signal, progress };
const port = { dtype: 'float32', meaning: '' } as const;

/** A head as far as its words go. */
function headOf(inputs: Head['inputs'], words: readonly string[] | null = null): { folder: HeadFolder; head: Head } {
  const opened = { id: 'mine@0', labels: { word: words }, info: { text: null }, manifest: { family: 'vslnet' } };
  return { folder: opened as unknown as HeadFolder, head: { inputs } as unknown as Head }; // no more is looked at
}

const givenWords = headOf({ query: { ...port, shape: ['batch', 'words', 3] } });
const learnedWords = (words: readonly string[] | null): ReturnType<typeof headOf> =>
  headOf({ word_ids: { ...port, dtype: 'int64', shape: ['batch', 'words'] } }, words);

test('a head that has learned its words is given the text, and no vectors', async () => {
  const head = learnedWords(['<pad>', '<unk>', 'cup']);
  await using words = await openQuestionWords(head, options);
  expect(words.vocabulary).toHaveLength(3);
  expect(await words.of([numbered('cup?', '0')])).toEqual([numbered('cup?', '0')]);
  await expect(openQuestionWords(head, { ...options, model: 'clip' })).rejects.toThrow('expected no --text-model');
  await expect(openQuestionWords(head, { ...options, vectors: 'x' })).rejects.toThrow('expected no --query-features');
  await expect(openQuestionWords(learnedWords(null), options)).rejects.toThrow('`labels.word.json`');
});

test('a head of GloVe words says that they are not made', async () => {
  const ids = { ...port, dtype: 'int64' as const, shape: ['batch', 'words'] };
  await expect(openQuestionWords(headOf({ word_ids: ids, char_ids: ids }), options)).rejects.toThrow('GloVe');
});

test('given vectors are found by the id of the question; another width is refused with both', async () => {
  await writeFile(join(folder, 'cup.npy'), writeNpy(tensor('float32', [2, 3], new Float32Array(6))));
  await writeFile(join(folder, 'wide.npy'), writeNpy(tensor('float32', [2, 4], new Float32Array(8))));
  await using words = await openQuestionWords(givenWords, { ...options, vectors: folder });
  const [found] = await words.of([numbered('cup?', 'cup')]);
  expect(found?.vectors?.shape).toEqual([2, 3]);
  await expect(words.of([numbered('?', 'wide')])).rejects.toThrow('float32 [2, 4]; expected float32 [words, 3]');
  await expect(words.of([numbered('?', 'none')])).rejects.toThrow('no embedding of query `none`');
});

test('where nothing tells the text model, it is asked for', async () => {
  await expect(openQuestionWords(givenWords, options)).rejects.toThrow('mine@0: is given vectors of words, 3 numbers');
});
