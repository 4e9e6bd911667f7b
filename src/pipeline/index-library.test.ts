import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { tryLock } from '../features/locks.js';
import { packageRoot, pathExists } from '../files.js';
import { defaultModelName, findModel } from '../hub/cache.js';
import { openModelFolder } from '../models/folder.js';
import { openIndex } from '../search/index-file.js';
import type { Progress } from '../types.js';
import { indexLibrary, type IndexEvent, type IndexOptions, type IndexSummary } from './index-library.js';
import type { InputItem } from './inputs.js';
import { planVectors, type WindowPlan } from './window-vectors.js';

const silent: Progress = {
  start: () => ({ advance: () => undefined, stop: () => undefined }),
  note: () => undefined,
  warn: () => undefined,
};
const item = (name: string): InputItem => {
  const path = join(packageRoot, 'fixtures', 'videos', name);
  return { input: name, path, relpath: '' };
};
const clips = [item('one-frame.mp4'), item('rotated.mp4'), item('odd-size.mp4')];

let folder: string;
let plan: WindowPlan;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'egolens-library-'));
  const model = await openModelFolder(await findModel(defaultModelName));
  plan = planVectors(model, { granularity: { num: 1, den: 2 }, stream: 0 });
});
afterAll(() => rm(folder, { recursive: true }));

function optionsOf(output: string, more: Partial<IndexOptions> = {}): IndexOptions {
  return {
    output: join(folder, output),
    plan,
    device: 'cpu',
    existing: 'update',
    others: 'keep',
    identity: 'ends',
    signal: new AbortController().signal,
    progress: silent,
    ...more,
  };
}

async function finish(
  items: readonly InputItem[],
  options: IndexOptions,
  onEvent: (event: IndexEvent) => void = () => undefined,
): Promise<IndexSummary> {
  const run = indexLibrary(items, options);
  for (;;) {
    const next = await run.next();
    if (next.done === true) return next.value;
    onEvent(next.value);
  }
}

test('a run that is stopped keeps what it encoded, and the next one makes the file of an unbroken run', async () => {
  const whole = optionsOf('whole.egx');
  const summary = await finish(clips, whole);
  expect(summary).toMatchObject({ done: 3, kept: 0, failed: 0, isWritten: true, exit: 0 });

  const controller = new AbortController();
  const reason = new Error('enough');
  const broken = optionsOf('broken.egx', { signal: controller.signal });
  const states: string[] = [];
  await expect(
    finish(clips, broken, ({ kind }) => {
      states.push(kind);
      controller.abort(reason);
    }),
  ).rejects.toBe(reason);
  expect(states).toEqual(['done']);
  {
    await using index = await openIndex(broken.output);
    expect(index.header.items).toHaveLength(1);
  }
  const rest = await finish(clips, optionsOf('broken.egx'));
  expect(rest).toMatchObject({ done: 2, kept: 1, encodedRows: summary.encodedRows - 1 });
  expect(Buffer.compare(await readFile(broken.output), await readFile(whole.output))).toBe(0);
  expect(await finish(clips, optionsOf('broken.egx'))).toMatchObject({ done: 0, kept: 3, isWritten: false });
  expect((await readdir(folder)).filter((name) => !name.endsWith('.egx'))).toEqual([]);
});

test('an index that is made anew stays as it was when the run is stopped', async () => {
  const options = optionsOf('anew.egx');
  await finish(clips.slice(0, 1), options);
  const before = await readFile(options.output);
  const controller = new AbortController();
  const anew = optionsOf('anew.egx', { existing: 'anew', signal: controller.signal });
  await expect(finish(clips, anew, () => controller.abort(new Error('enough')))).rejects.toThrow('enough');
  expect(Buffer.compare(await readFile(options.output), before)).toBe(0);
});

test('two runs on one index do not fight: the second is refused, or waits', async () => {
  const options = optionsOf('locked.egx');
  const lock = await tryLock(`${options.output}.lock`);
  await expect(finish(clips.slice(0, 1), options)).rejects.toMatchObject({ code: 'store.locked' });
  const waiting = finish(clips.slice(0, 1), { ...options, waits: true });
  await lock![Symbol.asyncDispose]();
  expect(await waiting).toMatchObject({ done: 1 });
});

test('a video given twice counts once; when none can be done there is no file', async () => {
  const options = optionsOf('twice.egx');
  expect(await finish([clips[0]!, { ...clips[0]!, input: 'again' }], options)).toMatchObject({ done: 1, rows: 1 });
  const none = optionsOf('none.egx');
  expect(await finish([item('empty.mp4')], none)).toMatchObject({ failed: 1, isWritten: false, exit: 4 });
  expect(await pathExists(none.output)).toBe(false);
});
