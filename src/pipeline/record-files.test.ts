import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { temporaryName } from '../files.js';
import { keptRecords, refuseForeign, writeRecords, type RecordFacts, type RecordTarget } from './record-files.js';

const facts = (key: string): RecordFacts => ({
  key: key.repeat(64),
  records: 1,
  input: { name: 'a.mp4', bytes: 10, identity: `ends:${'0'.repeat(64)}` },
  stream: 0,
  startOffset: 0,
  frames: { claimed: 1, decoded: 1 },
  decodeErrors: 0,
  warnings: [],
  of: { kind: 'file' },
  preset: 'p@1',
  pixels: 'exact',
  model: { name: 'm', digest: '0'.repeat(64) },
  output: 'logits',
  precision: 'fp32',
  provider: 'cpu',
  versions: { program: '0', runtime: '0', ffmpeg: '0' },
});

async function target(): Promise<RecordTarget> {
  const folder = await mkdtemp(join(tmpdir(), 'egolens-records-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  return { path: join(folder, 'a.ndjson'), meta: join(folder, 'a.ndjson.meta.json') };
}

test('whole records of the same key are kept; those of another key are ours to replace, edited ones are not', async () => {
  const files = await target();
  await writeRecords(files, 'first', facts('a'));
  expect(await keptRecords(files, facts('a').key)).toMatchObject({ records: 1 });
  expect(await keptRecords(files, facts('b').key)).toBeUndefined();
  await refuseForeign(files);
  await writeFile(files.path, 'edited');
  await expect(refuseForeign(files)).rejects.toMatchObject({ code: 'output.exists' });
});

test('a run that dies between its two files leaves nothing that the next one would not replace', async () => {
  const files = await target();
  await writeRecords(files, 'first', facts('a'));
  await mkdir(temporaryName(files.path)); // in the way of the file, not of the meta file
  await expect(writeRecords(files, 'second', facts('b'))).rejects.toMatchObject({ code: 'output.unwritable' });
  expect(await keptRecords(files, facts('b').key)).toBeUndefined();
  await refuseForeign(files);
});
