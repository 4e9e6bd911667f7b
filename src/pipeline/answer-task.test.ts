import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ownQuestions } from './answer-task.js';
import { listInputs } from './inputs.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'egolens-answers-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function file(text: string): Promise<string> {
  const path = join(folder, 'questions');
  await writeFile(path, text);
  return path;
}

describe('questions of one’s own', () => {
  test('of flags come first; those of a file have an id, or their number', async () => {
    const path = await file('where is the cup?\n\n{"query":"what did I cut","id":"cut"}\r\n');
    const found = await ownQuestions(['when?'], path);
    expect(found.map(({ text, id }) => [text, id])).toEqual([
      ['when?', '0'],
      ['where is the cup?', '1'],
      ['what did I cut', 'cut'],
    ]);
    expect(found[0]).toMatchObject({ annotationUid: null, index: null });
  });

  test.each(['', '  ', '?!'])('a flag that asks nothing is refused: `%s`', async (text) => {
    await expect(ownQuestions([text])).rejects.toThrow('expected a question, found no word in it');
  });

  test.each([
    ['\n', 'expected a question a line, found none'],
    ['where?\n...\n', 'questions:2`: expected a question'],
    ['{"query":""}', 'expected a question in `query`'],
    ['{"query":3}', 'expected a question in `query`'],
    ['{"query":"where?","id":""}', '`id`: expected text'],
    ['{"query"}', 'no JSON'],
  ])('a line that asks nothing is refused with its place: %j', async (text, message) => {
    await expect(ownQuestions([], await file(text))).rejects.toThrow(message);
  });
});

test('records of a list that ask of one video are one item with all questions', async () => {
  const path = join(folder, 'a.mp4');
  await writeFile(path, 'x');
  const list = join(folder, 'list');
  const record = (query: string, more: object = {}): string => JSON.stringify({ input: path, query, ...more });
  await writeFile(list, [record('where?'), record('when?', { start: 1 }), record('who?'), path].join('\n'));
  await using found = await listInputs([`@${list}`]);
  expect(found.items.map(({ queries, start }) => [queries, start])).toEqual([
    [['where?', 'who?'], undefined],
    [['when?'], 1],
    [undefined, undefined],
  ]);
  await writeFile(list, record(' '));
  await expect(listInputs([`@${list}`])).rejects.toThrow('line 1 of the list: `query`: expected a question');
});
