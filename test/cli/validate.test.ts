import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { loadFileRules } from '../../src/cli/file-rules.js';
import { validateFile } from '../../src/pipeline/validate.js';
import { egolens, inShell, temporaryFolder, type CommandEnd } from './command.js';
import { fixtures, records, type Row } from './program.js';
import { caseFiles, challengeTasks, goldenEgo4d, readJsonFile, testFiles } from './truth-records.js';

const folder = temporaryFolder();
const moments = join(fixtures, 'ego4d', 'moments.ndjson');
const momentTruth = join(fixtures, 'ego4d', 'moments_val.json');

function file(name: string, content: unknown): string {
  const path = join(folder, name);
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));
  return path;
}

async function validated(args: readonly string[]): Promise<{ end: CommandEnd; rows: Row[]; summary: Row }> {
  const end = await egolens(['validate', ...args, '--ndjson']);
  const rows = await records(end.stdout);
  return { end, rows: rows.slice(0, -1), summary: rows.at(-1) ?? {} };
}

describe('good files', () => {
  test('annotations, records and warnings only end with 0', async () => {
    const [annotations, predictions] = await Promise.all([
      validated(['annotations', momentTruth]),
      validated(['predictions', moments]),
    ]);
    expect(annotations).toMatchObject({ end: { code: 0 }, summary: { task: 'mq', ok: true, errors: 0 } });
    expect(predictions).toMatchObject({ end: { code: 0 }, rows: [], summary: { what: 'records `egolens.moment/1`' } });
  });

  test('the task is told by what is in the file', async () => {
    const paths = challengeTasks.map((task) => join(caseFiles(task).folder, testFiles[task]));
    const { stdout } = await egolens(['validate', 'annotations', ...paths, '--json', '--max-errors', '0']);
    const tasks = (JSON.parse(stdout) as { task: string }[]).map(({ task }) => task);
    expect(tasks).toEqual(challengeTasks.map((task) => (task === 'oscc' ? 'pnr' : task)));
  });
});

describe('faults', () => {
  test('a file of another task says what it is, in one finding', async () => {
    const [path] = caseFiles('sta').predictions;
    const { end, rows } = await validated(['submission', path!, '--task', 'nlq']);
    expect(end.code).toBe(5);
    expect(rows).toMatchObject([{ code: 'file.other_form', found: 'Short-Term Anticipation submission' }]);
  });

  test('an empty object lacks every member; without a task nothing tells what it should be', async () => {
    const empty = file('empty.json', {});
    const { end, rows } = await validated(['submission', empty, '--task', 'nlq']);
    expect(end.code).toBe(5);
    expect(rows.map(({ at }) => at)).toEqual(['/version', '/challenge', '/results']);
    expect(await egolens(['validate', 'submission', empty])).toMatchObject({ code: 5, stdout: '' });
  });

  test('predictions of another split: each unknown id with its pointer', async () => {
    const value = readJsonFile(caseFiles('nlq').predictions[0]!) as { results: { clip_uid: string }[] };
    const moved = {
      ...value,
      results: value.results.map((entry) => ({ ...entry, clip_uid: `test-${entry.clip_uid}` })),
    };
    const against = join(caseFiles('nlq').folder, testFiles.nlq);
    const { end, rows, summary } = await validated(['submission', file('split.json', moved), '--against', against]);
    expect(end.code).toBe(5);
    expect(rows.some(({ code }) => code === 'ids.unknown')).toBe(true);
    expect(summary['errors']).toBeGreaterThanOrEqual(value.results.length);
  });

  test.each(challengeTasks)('%s: annotations of another task to compare with are refused', async (task) => {
    const path = caseFiles(task).predictions.find((one) => !one.includes('logits'))!;
    const other = task === 'sta' ? 'nlq' : 'sta';
    const against = join(caseFiles(other).folder, testFiles[other]);
    const { rows } = await validateFile(path, await loadFileRules(), { kind: 'submission', task, against, most: 9 });
    expect(rows.filter(({ level }) => level === 'error')).toMatchObject([{ code: 'reference.unreadable', at: '' }]);
  });

  test('records are compared with --against as `submit` would: the first that it refuses is told', async () => {
    const against = join(fixtures, 'ego4d', 'moments_test_unannotated.json');
    expect(await validated(['predictions', moments, '--against', against])).toMatchObject({
      end: { code: 0 },
      rows: [],
    });
    const lines = readFileSync(moments, 'utf8').trimEnd().split('\n');
    lines[6] = lines[6]!.replaceAll(/"(clip_uid|uid)":"/g, '"$1":"other-');
    const moved = file('other-split.ndjson', lines.join('\n'));
    const { end, rows } = await validated(['predictions', moved, '--against', against]);
    expect(end.code).toBe(5);
    expect(rows).toMatchObject([
      { code: 'record.refused', at: '/6', line: 7, found: expect.stringContaining('is not in') as string },
    ]);
  });

  test('the line is that of the file, for JSON over lines and for records', async () => {
    const value = readJsonFile(join(goldenEgo4d, 'sta', 'basic', 'predictions.json')) as { results: Row };
    const [uid] = Object.keys(value.results);
    (value.results[uid!] as { score: unknown }[])[0]!.score = 'high';
    const json = await validated(['submission', file('lines.json', JSON.stringify(value, null, 2))]);
    const [fault] = json.rows.filter(({ level }) => level === 'error');
    const lines = readFileSync(join(folder, 'lines.json'), 'utf8').split('\n');
    expect(lines[(fault!['line'] as number) - 1]).toContain('"score": "high"');

    const rows = readFileSync(moments, 'utf8').trimEnd().split('\n');
    rows[6] = rows[6]!.replace('"score":', '"points":');
    const ndjson = await validated(['predictions', file('moments.ndjson', `\n${rows.join('\n\n')}\n`)]);
    expect(ndjson.rows).toMatchObject([{ at: '/6/score', line: 14, expected: 'a member `score`' }]);
  });

  test('text that is no JSON ends with 5 and names line and column', async () => {
    const end = await egolens([
      'validate',
      'submission',
      file('cut.json', '{"version": "1.0",\n "results": [{]'),
      '--task',
      'nlq',
    ]);
    expect(end).toMatchObject({ code: 5, stdout: '' });
    expect(end.stderr).toMatch(/line 2/);
  });

  test('counts are exact and the list is bounded, however many faults there are', async () => {
    const many = file('many.json', `[${Array<string>(300_000).fill('{"image_id":1}').join(',')}]`);
    const { end, rows, summary } = await validated(['submission', many, '--task', 'scod', '--max-errors', '7']);
    expect(end.code).toBe(5);
    expect(rows).toHaveLength(7);
    expect(summary).toMatchObject({ errors: 900_000, atLeast: false, listed: 7 });
  });

  test('a reader that leaves early ends the command quietly', async () => {
    const [path] = caseFiles('mq').predictions;
    const end = await inShell('egolens validate submission "$1" -q --ndjson | head -1', [path!]);
    expect(end).toMatchObject({ code: 0, stderr: '' });
  });
});

describe('--fix', () => {
  test('mends number types and repeats, lists the changes, and what it wrote is good', async () => {
    const value = readJsonFile(join(goldenEgo4d, 'sta', 'basic', 'predictions.json')) as {
      results: Record<string, Record<string, unknown>[]>;
    };
    for (const items of Object.values(value.results)) {
      for (const item of items) item['box'] = [1, 2, 30, 40]; // some of the case are inverted
    }
    const [uid] = Object.keys(value.results);
    const list = value.results[uid!]!;
    const text = JSON.stringify({
      ...value,
      results: { ...value.results, [uid!]: [{ ...list[0], score: 1 }, ...list] },
    });
    const broken = file('broken.json', text);
    expect(await egolens(['validate', 'submission', broken])).toMatchObject({ code: 5 });
    const output = join(folder, 'mended.json');
    const { end, summary } = await validated(['submission', broken, '--fix', '-o', output]);
    expect(end.code).toBe(5); // the file that was looked at is still at fault
    expect(summary).toMatchObject({ fixed: { output, changes: 1 } });
    expect(end.stderr).toMatch(/fix\.number \/results\/[^ ]+\/0\/score: `1` -> `1\.0`, a float/);
    expect(readFileSync(output, 'utf8')).toContain('"score":1.0');
    expect(await egolens(['validate', 'submission', output])).toMatchObject({ code: 0 });
  });

  test('needs an output, and one file', async () => {
    expect(await egolens(['validate', 'submission', moments, '--fix'])).toMatchObject({ code: 2, stdout: '' });
    expect(
      await egolens(['validate', 'submission', moments, moments, '--fix', '-o', join(folder, 'x.json')]),
    ).toMatchObject({ code: 2, stdout: '' });
  });
});
