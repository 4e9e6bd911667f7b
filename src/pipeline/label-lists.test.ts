import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { labelList } from './label-lists.js';

const folder = mkdtempSync(join(tmpdir(), 'egolens-labels-'));
afterAll(() => {
  rmSync(folder, { recursive: true });
});

const write = (name: string, value: unknown): string => {
  const path = join(folder, name);
  writeFileSync(path, typeof value === 'string' ? value : JSON.stringify(value));
  return path;
};
const taxonomy = write('fho_lta_taxonomy.json', { verbs: ['cut', 'wash'], nouns: ['apple', 'cup', 'plate'] });

test('a list of the program, a file, and either half of a taxonomy of Ego4D', async () => {
  expect((await labelList('k400')).labels).toHaveLength(400);
  const own = write('own.json', { schema: 'egolens.labels/1', name: 'own', version: 2, order: 'ours', labels: ['a'] });
  expect(await labelList(own)).toMatchObject({ name: 'own', version: 2, labels: ['a'] });
  expect((await labelList(`${taxonomy}:verbs`)).labels).toEqual(['cut', 'wash']);
  expect(await labelList(`${taxonomy}:nouns`)).toEqual({
    schema: 'egolens.labels/1',
    name: 'ego4d-nouns',
    version: 1,
    order: 'nouns of fho_lta_taxonomy.json',
    labels: ['apple', 'cup', 'plate'],
  });
});

test.each([
  ['a taxonomy without its half', taxonomy, 'data.invalid', 'holds two lists'],
  [
    'a half of a file that is none',
    write('x.json', { verbs: ['a'] }) + ':verbs',
    'data.invalid',
    '`verbs` and `nouns`',
  ],
  ['a half of no file', join(folder, 'none.json:nouns'), 'input.not_found', 'none.json'],
  ['names that are numbers', write('n.json', { verbs: [1], nouns: [] }) + ':verbs', 'data.invalid', 'labels'],
  ['text', write('t.json', 'cut'), 'data.invalid', 't.json'],
  ['no list of that name', 'k401', 'input.not_found', 'k400-k710-order'],
])('%s is refused', async (_, name, code, message) => {
  await expect(labelList(name)).rejects.toMatchObject({ code, message: expect.stringContaining(message) as unknown });
});
