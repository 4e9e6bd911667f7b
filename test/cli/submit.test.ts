import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { findings, loadValidator } from '../../src/check.js';
import { egolens, temporaryFolder, type CommandEnd } from './command.js';
import { fixtures, records } from './program.js';
import {
  best,
  caseFiles,
  challengeTasks,
  ndjson,
  readJsonFile,
  testFiles,
  truthRecords,
  type ChallengeTask,
} from './truth-records.js';

const folder = temporaryFolder();
const example = join(fixtures, 'ego4d');
const moments = join(example, 'moments.ndjson');
const testFile = join(example, 'moments_test_unannotated.json');

function submitMoments(output: string, ...flags: string[]): Promise<CommandEnd> {
  return egolens(['submit', 'mq', '--pred', moments, '--test', testFile, '-o', join(folder, output), ...flags]);
}

function recordFile(name: string, rows: Parameters<typeof ndjson>[0]): string {
  const path = join(folder, name);
  writeFileSync(path, ndjson(rows));
  return path;
}

describe('truth as predictions', () => {
  test.concurrent.each(challengeTasks)('%s: submit, validate, eval: nothing scores higher', async (task) => {
    const files = caseFiles(task);
    const over = join(files.folder, testFiles[task]);
    const pred = recordFile(`${task}.ndjson`, truthRecords[task](files.folder));
    const output = join(folder, `${task}.json`);
    const submitted = await egolens(['submit', task, '--pred', pred, '--test', over, '-o', output, '--ndjson']);
    expect({ code: submitted.code, rows: await records(submitted.stdout) }).toMatchObject({
      code: 0,
      rows: [{ schema: 'egolens.submission/1', task, errors: 0, upload: expect.stringContaining('eval.ai') as string }],
    });
    const validated = await egolens(['validate', 'submission', output, '--against', over, '--task', task, '--ndjson']);
    expect(validated.code).toBe(0);
    expect((await records(validated.stdout)).at(-1)).toMatchObject({ ok: true, errors: 0 });
    expect(await bestNumber(task, files.truth, output)).toBeCloseTo(best[task][1], 9);
    expect(await bestNumber(task, files.truth, pred)).toBeCloseTo(best[task][1], 9);
  });
});

async function bestNumber(task: ChallengeTask, truth: readonly string[], pred: string): Promise<number> {
  const { stdout } = await egolens([
    'eval',
    task,
    ...truth.flatMap((path) => ['--gt', path]),
    '--pred',
    pred,
    '--json',
  ]);
  const { rows } = JSON.parse(stdout) as { rows: { metric: string; variant: string; value: number }[] };
  return rows.find(({ metric, variant }) => metric === best[task][0] && variant === 'official')!.value;
}

describe('the file', () => {
  test('stands beside how it was made, with the same bytes each time', async () => {
    expect(await submitMoments('a.json')).toMatchObject({ code: 0 });
    const again = await submitMoments('a.json');
    expect(again).toMatchObject({ code: 0 });
    expect(again.stderr).toContain('not uploaded: hand it in at https://eval.ai/web/challenges/challenge-page/1626');
    await submitMoments('b.json');
    expect(readFileSync(join(folder, 'a.json'), 'utf8')).toBe(readFileSync(join(folder, 'b.json'), 'utf8'));
    const meta = readJsonFile(join(folder, 'a.json.meta.json')) as Record<string, unknown>;
    expect(findings(await loadValidator('egolens.submission-meta/1'), meta)).toEqual([]);
    expect(meta).toMatchObject({
      task: 'mq',
      test: { name: 'moments_test_unannotated.json' },
      counts: { records: 200 },
    });
    expect(readdirSync(folder).filter((name) => name.endsWith('.tmp'))).toEqual([]);
  });

  test('another file of that name stays unless --force is given', async () => {
    writeFileSync(join(folder, 'kept.json'), 'mine');
    expect(await submitMoments('kept.json')).toMatchObject({ code: 2, stdout: '' });
    expect(readFileSync(join(folder, 'kept.json'), 'utf8')).toBe('mine');
    expect(await submitMoments('kept.json', '--force')).toMatchObject({ code: 0 });
  });

  test('floats keep their point: STA refuses the integer 1', async () => {
    const files = caseFiles('sta');
    const rows = truthRecords.sta(files.folder).map((row) => ({ ...row, score: 1, time_to_contact: 1 }));
    const output = join(folder, 'sta-ones.json');
    const args = ['--pred', recordFile('sta-ones.ndjson', rows), '--test', join(files.folder, testFiles.sta)];
    expect(await egolens(['submit', 'sta', ...args, '-o', output])).toMatchObject({ code: 0 });
    expect(readFileSync(output, 'utf8')).toContain('"time_to_contact":1.0,"score":1.0');
  });

  test('--fhp-scale says whether values are sums over 30 views or plain pixels', async () => {
    const files = caseFiles('fhp');
    const pred = recordFile('hands.ndjson', truthRecords.fhp(files.folder));
    const write = async (scale: string): Promise<number> => {
      const output = join(folder, `fhp-${scale}.json`);
      const args = ['--pred', pred, '--test', join(files.folder, testFiles.fhp), '-o', output, '--fhp-scale', scale];
      await egolens(['submit', 'fhp', ...args]);
      return Math.max(...Object.values(readJsonFile(output) as Record<string, number[]>).flat());
    };
    expect((await write('sum')) / (await write('mean'))).toBeCloseTo(30, 9);
  });
});

describe('refused, with nothing written', () => {
  const files = caseFiles('sta');
  const over = join(files.folder, testFiles.sta);

  test('an image without prediction, until --fill-missing is given', async () => {
    const first = truthRecords.sta(files.folder).slice(0, 1);
    const args = [
      'submit',
      'sta',
      '--pred',
      recordFile('one.ndjson', first),
      '--test',
      over,
      '-o',
      join(folder, 'one.json'),
    ];
    const refused = await egolens(args);
    expect(refused).toMatchObject({ code: 5, stdout: '' });
    expect(refused.stderr).toContain('--fill-missing');
    expect(readdirSync(folder)).not.toContain('one.json');
    expect(await egolens([...args, '--fill-missing'])).toMatchObject({ code: 0 });
  });

  test.each([
    ['of a file of one`s own', { of: { kind: 'file' } }, /a file of your own\ntry: predict with `--ego4d`/],
    ['of an unknown image', { id: 'nowhere' }, /`nowhere` is not in/],
    ['of another task', { schema: 'egolens.moment/1' }, /egolens\.interaction\/1/],
    ['whose box has three sides', { box: [1, 2, 3] }, /`box`/],
    ['whose score is text', { score: 'high' }, /`score`/],
  ])('a record %s', async (what, change, message) => {
    const [first, ...rest] = truthRecords.sta(files.folder);
    const pred = recordFile('changed.ndjson', [{ ...first, ...change }, ...rest]);
    const output = join(folder, `${what}.json`);
    const end = await egolens(['submit', 'sta', '--pred', pred, '--test', over, '-o', output]);
    expect(end).toMatchObject({ code: 5, stdout: '' });
    expect(end.stderr).toMatch(message);
    expect(readdirSync(folder)).not.toContain(`${what}.json`);
  });

  test('what is a file of the challenge already', async () => {
    const end = await egolens([
      'submit',
      'sta',
      '--pred',
      files.predictions[0]!,
      '--test',
      over,
      '-o',
      join(folder, 'x.json'),
    ]);
    expect(end).toMatchObject({ code: 5, stdout: '' });
    expect(end.stderr).toContain('validate submission');
  });
});
