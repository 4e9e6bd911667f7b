import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { records, run, workFolder, type Row } from '../cli/program.js';

/** Questions about a drawn world, from its videos to the score, as a user goes about it. */

test('train nlq, nlq, submit, validate and eval agree over videos of Tabletop', async () => {
  const folder = await workFolder();
  const at = (...parts: string[]): string => join(folder, ...parts);
  const done = async (args: readonly string[], input?: string): Promise<Row[]> => {
    const { status, stdout, stderr } = await run(args, input === undefined ? {} : { input });
    expect(status, stderr).toBe(0);
    return await records(stdout);
  };
  const size = ['--seconds', '16', '--size', '160x120', '--ndjson'];
  await done(['synth', at('w'), '--clips', '3', '--seed', '5', '--split', 'train', ...size]);
  await done(['synth', at('w'), '--clips', '1', '--seed', '6', '--split', 'val', ...size]);
  const [gt, val] = ['train', 'val'].map((split) => at('w', 'annotations', `nlq_${split}.json`)) as [string, string];
  await done(['extract', at('w', 'videos'), '-o', at('f'), '--device', 'cpu', '--ndjson']);

  const training = ['train', 'nlq', '--features', at('f'), '--gt', gt, '--val', val, '-o', at('run')];
  const steps = await done([...training, '--epochs', '2', '--batch', '8', '--threads', '1', '--ndjson']);
  expect(steps.map(({ epoch }) => epoch)).toEqual([1, 2]);
  const best = steps.reduce((most, { metrics }) => Math.max(most, (metrics as Row)['r1_at_0_3'] as number), 0);
  const head = ['--head', at('run', 'final')];

  // Clips of the split: the score is the one that training saw.
  const answers = await done(['nlq', '--features', at('f'), '--clips', val, ...head, '--ndjson']);
  expect(answers[0]).toMatchObject({ schema: 'egolens.answer/1', query_idx: 0, rank: 1, of: { kind: 'clip' } });
  expect(answers.filter(({ rank }) => rank === 6)).toEqual([]);
  writeFileSync(at('nlq.ndjson'), answers.map((row) => JSON.stringify(row)).join('\n'));
  const submission = at('submission.json');
  await done(['submit', 'nlq', '--pred', at('nlq.ndjson'), '--test', val, '-o', submission, '--ndjson']);
  const [checked] = await done(['validate', 'submission', submission, '--task', 'nlq', '--against', val, '--ndjson']);
  expect(checked).toMatchObject({ ok: true, errors: 0 });
  const scores = await done(['eval', 'nlq', '--pred', submission, '--gt', val, '--ndjson']);
  expect(scores.find(({ metric }) => metric === 'R@1,IoU=0.3')?.['value']).toBe(best);

  // A video of one's own, asked on standard input: the same features, computed into the cache.
  const video = at('w', 'videos', readdirSync(at('w', 'videos')).filter((name) => name.endsWith('.mp4'))[0]!);
  const asked = ['where is it?', 'when did I cut the apple?'].map((query) => JSON.stringify({ input: video, query }));
  const own = await done(['nlq', '-', '--top', '1', ...head, '--device', 'cpu', '--ndjson'], asked.join('\n'));
  expect(own.map(({ query, rank, clip_uid: clip }) => [query, rank, clip])).toEqual([
    ['where is it?', 1, null],
    ['when did I cut the apple?', 1, null],
  ]);
  const cues = await run(['nlq', video, '--query', 'where is it?', '-f', 'srt', ...head, '--device', 'cpu']);
  expect(cues.stdout).toMatch(/^1\n00:00:\d\d,\d{3} --> .*\nwhere is it\?/);

  // What cannot be asked is refused before any work.
  for (const [args, message] of [
    [[video], 'no question'],
    [[video, '--query', '?'], 'found no word in it'],
    [[video, '--query', 'who?', '--text-model', 'clip'], 'has learned its own words'],
    [['--features', at('f'), '--clips', val, '--query', 'who?'], 'annotation files name the questions'],
  ] as const) {
    const refused = await run(['nlq', ...args, ...head]);
    expect([refused.status, refused.stdout], refused.stderr).toEqual([2, '']);
    expect(refused.stderr).toContain(message);
  }
  expect(readFileSync(at('run', 'learning-curve.svg'), 'utf8')).toContain('nlq, best by r1_at_0_3');
}, 600_000);
