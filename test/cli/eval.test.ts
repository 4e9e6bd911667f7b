import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { challengeOf } from '../../benchmarks/index.js';
import { score } from '../../src/pipeline/score.js';
import type { Progress } from '../../src/types.js';
import { egolens, inShell, temporaryFolder, type CommandEnd } from './command.js';
import { fixtures, records, type Row } from './program.js';
import { caseFiles, challengeTasks, evalArgs, goldenEgo4d, readJsonFile, type ChallengeTask } from './truth-records.js';

const folder = temporaryFolder();
const moments = ['--gt', join(fixtures, 'ego4d', 'moments_val.json')];
const guesses = join(fixtures, 'ego4d', 'moments.ndjson');
const tolerance = 1e-9;
const silent: Progress = {
  start: () => ({ advance: () => undefined, stop: () => undefined }),
  note: () => undefined,
  warn: () => undefined,
};

interface Document {
  readonly official: Row;
  readonly corrected: Row | null;
  readonly ties: { readonly rule: string; readonly tied: number };
  readonly rows: readonly {
    metric: string;
    variant: string;
    value: number | string;
    interval: [number, number] | null;
    compared: { difference: number; p: number; interval: [number, number] } | null;
  }[];
  readonly bounds: readonly { ok: boolean }[];
}

async function evaluation(args: readonly string[]): Promise<Document> {
  const { code, stdout, stderr } = await egolens(['eval', ...args, '--json']);
  expect({ code, stderr: stderr.replace(/^(?!error).*\n/gm, '') }).toEqual({ code: 0, stderr: '' });
  await records(JSON.stringify(JSON.parse(stdout)));
  return JSON.parse(stdout) as Document;
}

/** Places where a number differs by more than the tolerance, or anything else at all. */
function differences(expected: unknown, found: unknown, at = ''): string[] {
  if (typeof expected === 'number' && typeof found === 'number') {
    const limit = at.endsWith('perceiver_sum_over_positive') ? 1e-6 : tolerance;
    return Math.abs(expected - found) <= limit ? [] : [`${at}: ${expected}, found ${found}`];
  }
  if (typeof expected !== 'object' || expected === null) {
    return expected === found ? [] : [`${at}: ${JSON.stringify(expected)}, found ${JSON.stringify(found)}`];
  }
  if (typeof found !== 'object' || found === null) return [`${at}: an object or list, found ${JSON.stringify(found)}`];
  return Object.entries(expected).flatMap(([key, member]) => differences(member, (found as Row)[key], `${at}/${key}`));
}

const cases = challengeTasks.flatMap((task) =>
  readdirSync(join(goldenEgo4d, task))
    .filter((name) => readdirSync(join(goldenEgo4d, task, name)).includes('expected.json'))
    .map((name): [ChallengeTask, string] => [task, name]),
);

describe('the official numbers', () => {
  test('every challenge has a case', () => {
    expect(new Set(cases.map(([task]) => task))).toEqual(new Set(challengeTasks));
  });

  test.concurrent.each(cases)(
    '%s, %s: `official` has the keys, nesting and numbers of the official code',
    async (task, name) => {
      const files = caseFiles(task, name);
      const { official } = await evaluation([task, ...evalArgs(files)]);
      const texts = ['printed', 'evaluated_line']; // of the official scripts: only their numbers count
      const expected = Object.fromEntries(Object.entries(files.expected).filter(([key]) => !texts.includes(key)));
      expect(differences(expected, official)).toEqual([]);
    },
  );

  test.concurrent.each(challengeTasks.filter((task) => readdirSync(join(goldenEgo4d, task)).includes('behaviours')))(
    '%s: where the official code dies the command ends with 5 and names the place',
    async (task) => {
      const base = join(goldenEgo4d, task, 'behaviours', 'base');
      const fatal = fatalBehaviour(task);
      const changed = join(folder, `${task}-fatal`);
      mkdirSync(changed);
      for (const [name, value] of Object.entries(fatal.files))
        writeFileSync(join(changed, name), JSON.stringify(value));
      const names = [...new Set([...readdirSync(base), ...Object.keys(fatal.files)])].filter(
        (name) => name !== 'evaluator_predictions.json' && (name !== 'submission.json' || !fatal.isLocal),
      );
      const paths = names.map((name) => join(name in fatal.files ? changed : base, name));
      const isPrediction = (path: string): boolean => /(submission|prediction|results)[^/]*$/.test(path);
      const files = { truth: paths.filter((path) => !isPrediction(path)), predictions: paths.filter(isPrediction) };
      const end = await egolens(['eval', task, ...evalArgs(files)]);
      expect({ code: end.code, stdout: end.stdout, what: fatal.name }).toEqual({
        code: 5,
        stdout: '',
        what: fatal.name,
      });
      expect(end.stderr).toMatch(/^error data\.[a-z_]+: .*(`[^`]+`|expected).*$/m);
    },
  );
});

/** The first behaviour that is an error and whose change is a whole file of JSON. MQ's local evaluator takes one list a file, told by its name. */
function fatalBehaviour(task: ChallengeTask): { name: string; files: Row; isLocal: boolean } {
  const path = join(goldenEgo4d, task, 'behaviours');
  for (const name of readdirSync(path).sort()) {
    if (!name.endsWith('.json')) continue;
    const behaviour = readJsonFile(join(path, name)) as {
      result: { error?: string };
      changed_files?: Row;
      call?: { evaluator?: string };
    };
    const { 'evaluator_predictions.json': local, ...files } = behaviour.changed_files ?? {};
    const isLocal = local !== undefined;
    if (behaviour.result.error === undefined || (!isLocal && Object.keys(files).length === 0)) continue;
    const part = behaviour.call?.evaluator === 'rev' ? 'retrieval_predictions.json' : 'detection_predictions.json';
    return { name, files: isLocal ? { ...files, [part]: local } : files, isLocal };
  }
  throw new Error(`no fatal behaviour of ${task}`);
}

describe('forms', () => {
  test('rows are official first, then corrected', async () => {
    const { code, stdout } = await egolens(['eval', 'mq', ...moments, '--pred', guesses, '--ndjson', '--per-class']);
    const rows = await records(stdout);
    expect(code).toBe(0);
    expect(rows[0]).toMatchObject({
      schema: 'egolens.score/1',
      task: 'mq',
      variant: 'official',
      metric: 'Average mAP',
      at: null,
    });
    const main = rows.filter(({ at }) => at === null).map(({ variant }) => variant);
    expect(main).toEqual([...main].sort().reverse());
    expect(rows.some(({ at }) => at !== null)).toBe(true);
  });

  test('--official and --corrected choose the rows; csv and tsv hold the same numbers', async () => {
    const official = await egolens(['eval', 'mq', ...moments, '--pred', guesses, '--official', '-f', 'csv']);
    const corrected = await egolens(['eval', 'mq', ...moments, '--pred', guesses, '--corrected', '-f', 'tsv']);
    expect(official.stdout).toMatch(/^task,variant,metric,value\nmq,official,Average mAP,0\.\d+\n/);
    expect(corrected.stdout).toMatch(/^task\tvariant\tmetric\tvalue\nmq\tcorrected\tAverage mAP\t0\.\d+\n/);
    expect(official.stdout).not.toContain('corrected');
  });

  test('.json.gz is read, and gives the bytes of the plain file', async () => {
    const { truth, predictions } = caseFiles('nlq');
    const packed = join(folder, 'predictions.json.gz');
    writeFileSync(packed, gzipSync(readFileSync(predictions[0]!)));
    const plain = await egolens(['eval', 'nlq', ...evalArgs({ truth, predictions }), '-f', 'csv']);
    const fromGzip = await egolens(['eval', 'nlq', ...evalArgs({ truth, predictions: [packed] }), '-f', 'csv']);
    expect(fromGzip).toEqual(plain);
  });

  test('rows by item go into a file, csv by its ending', async () => {
    const [lines, table] = [join(folder, 'items.ndjson'), join(folder, 'items.csv')];
    await egolens(['eval', 'mq', ...moments, '--pred', guesses, '--per-item', lines]);
    await egolens(['eval', 'mq', ...moments, '--pred', guesses, '--per-item', table]);
    const rows = await records(readFileSync(lines, 'utf8'));
    expect(rows.length).toBeGreaterThan(7);
    expect(readFileSync(table, 'utf8').split('\n')[0]).toBe('task,variant,metric,item,truths,value');
  });

  test('plots are the same bytes each time', async () => {
    const [a, b] = [join(folder, 'plots a'), join(folder, 'plots b')];
    await egolens(['eval', 'mq', ...moments, '--pred', guesses, '--plot', a]);
    await egolens(['eval', 'mq', ...moments, '--pred', guesses, '--plot', b]);
    const names = readdirSync(a);
    expect(names).toEqual(
      expect.arrayContaining(['precision-over-recall.svg', 'map-over-tiou.svg', 'average-ap-by-class.svg']),
    );
    for (const name of names) expect(readFileSync(join(a, name))).toEqual(readFileSync(join(b, name)));
    // A picture beside each figure, twice its size; systems without fonts have none, and say so.
    const { GlobalFonts } = await import('@napi-rs/canvas');
    const pictures = names.filter((name) => name.endsWith('.png'));
    expect(pictures).toHaveLength(GlobalFonts.families.length === 0 ? 0 : names.length / 2);
    for (const name of pictures) {
      const size = /width="(\d+)" height="(\d+)"/.exec(readFileSync(join(a, name.replace('.png', '.svg')), 'utf8'));
      const head = readFileSync(join(a, name)).subarray(0, 24);
      expect(head.toString('latin1', 1, 4)).toBe('PNG');
      expect([head.readUInt32BE(16), head.readUInt32BE(20)]).toEqual(size!.slice(1).map((side) => 2 * Number(side)));
    }
  });

  test('a reader that leaves early ends the command quietly', async () => {
    const end = await inShell('egolens eval mq --gt "$1" --pred "$2" -q --ndjson | head -1', [moments[1]!, guesses]);
    expect(end).toMatchObject({ code: 0, stderr: '' });
  });
});

describe('bounds', () => {
  const bounded = (...flags: string[]): Promise<CommandEnd> =>
    egolens(['eval', 'mq', ...moments, '--pred', guesses, '-f', 'csv', ...flags]);

  test('a bound that is kept ends with 0, one that is missed with 5 after the numbers', async () => {
    expect(await bounded('--min', 'mAP,tIoU=0.3=0.1')).toMatchObject({ code: 0 });
    const { code, stdout, stderr } = await bounded('--min', 'mAP,tIoU=0.3=0.9', '--min', 'Average mAP=0.95');
    expect(code).toBe(5);
    expect(stdout).toContain('Average mAP');
    expect(stderr).toMatch(/2 of 2 bounds missed: mAP,tIoU=0\.3: found 0\.\d+, expected at least 0\.9; Average mAP: /);
    expect(await bounded('--max', 'Average mAP=0.1')).toMatchObject({ code: 5 });
  });

  test('a metric that is not there, and what is no bound, are usage errors', async () => {
    expect(await bounded('--min', 'accuracy=0.1')).toMatchObject({ code: 2, stdout: '' });
    expect(await bounded('--min', 'Average mAP')).toMatchObject({ code: 2, stdout: '' });
  });
});

describe('resamples', () => {
  test('the same seed gives the same bytes, another seed others; the interval holds the number', async () => {
    const args = ['mq', ...moments, '--pred', guesses, '--bootstrap', '40'];
    const [a, b, c] = await Promise.all([
      egolens(['eval', ...args, '--json']),
      egolens(['eval', ...args, '--json', '--seed', '0']),
      egolens(['eval', ...args, '--json', '--seed', '7']),
    ]);
    expect(a.stdout).toBe(b.stdout);
    expect(a.stdout).not.toBe(c.stdout);
    const [first] = (JSON.parse(a.stdout) as Document).rows;
    const [low, high] = first!.interval!;
    expect(low).toBeLessThan(first!.value as number);
    expect(high).toBeGreaterThan(first!.value as number);
  });

  test('corrected rows have no interval, and that is said', async () => {
    const args = ['mq', ...moments, '--pred', guesses, '--bootstrap', '5', '--corrected', '-f', 'csv'];
    const { code, stdout, stderr } = await egolens(['eval', ...args]);
    expect([code, stdout.split('\n')[0]]).toEqual([0, 'task,variant,metric,value']);
    expect(stderr).toContain('intervals and differences are those of the official numbers');
  });

  test('predictions compared with themselves do not differ; worse ones differ by what they lack', async () => {
    const worse = join(folder, 'worse.ndjson');
    const lines = readFileSync(guesses, 'utf8').trimEnd().split('\n');
    writeFileSync(worse, `${lines.filter((_, i) => i % 25 > 12).join('\n')}\n`);
    const args = ['mq', ...moments, '--pred', guesses, '--bootstrap', '40', '--compare'];
    const same = (await evaluation([...args, guesses])).rows[0]!.compared!;
    expect(same).toMatchObject({ difference: 0, p: 1, interval: [0, 0] });
    const other = (await evaluation([...args, worse])).rows[0]!.compared!;
    expect(other.difference).toBeGreaterThan(0);
    expect(other.p).toBeLessThan(0.2);
  });
});

describe('wrong files', () => {
  const empty = join(folder, 'empty.json');
  writeFileSync(empty, '{}');

  test.each(challengeTasks)(
    '%s: an empty object, and predictions of another task, are refused as data',
    async (task) => {
      const { truth } = caseFiles(task);
      const other = caseFiles(task === 'sta' ? 'nlq' : 'sta').predictions;
      const options = { ties: 'numpy', perClass: false, perItem: false, bounds: [], progress: silent } as const;
      for (const predictions of [[empty], other]) {
        const refused = score(challengeOf(task)!, truth, predictions, options).catch((error: unknown) => error);
        expect(await refused).toMatchObject({ code: expect.stringMatching(/^data\./) as string });
      }
    },
  );

  test('such a file ends the command with 5', async () => {
    const end = await egolens(['eval', 'mq', ...moments, '--pred', caseFiles('sta').predictions[0]!]);
    expect(end).toMatchObject({ code: 5, stdout: '' });
    expect(end.stderr).toMatch(/^error data\.invalid: .*found Short-Term Anticipation submission/);
  });

  test('a byte order mark is refused as Python refuses it', async () => {
    const path = join(folder, 'bom.json');
    const { truth, predictions } = caseFiles('nlq');
    writeFileSync(path, `\ufeff${readFileSync(predictions[0]!, 'utf8')}`);
    const end = await egolens(['eval', 'nlq', ...evalArgs({ truth, predictions: [path] })]);
    expect(end).toMatchObject({ code: 5, stdout: '' });
    expect(end.stderr).toContain('byte order mark');
  });

  test('a missing file ends with 4', async () => {
    expect(await egolens(['eval', 'mq', ...moments, '--pred', join(folder, 'none.json')])).toMatchObject({ code: 4 });
  });
});
