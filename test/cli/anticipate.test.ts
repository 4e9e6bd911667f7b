import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { writeWindows } from '../token-features.js';
import { temporaryFolder } from './command.js';
import { leftovers, records, run, type Ended } from './program.js';

/** Training, use, submission and score of a head for coming interactions, over tokens of Tabletop and candidate boxes. */

const folder = temporaryFolder();
const at = (...parts: string[]): string => join(folder, ...parts);
const annotations = (split: string): string => at('w', 'annotations', `fho_sta_${split}.json`);
const encoder = 'videomae-nano-untrained';

interface Ask {
  readonly uid: string;
  readonly video_id: string;
  readonly frame: number;
  readonly objects: readonly { readonly box: readonly number[] }[];
}
const asksOf = async (split: string): Promise<readonly Ask[]> =>
  (JSON.parse(await readFile(annotations(split), 'utf8')) as { annotations: Ask[] }).annotations;

const training = (...more: string[]): string[] => [
  ...['train', 'sta', '--features', at('tokens'), '--gt', annotations('train'), '--val', annotations('val')],
  ...['--device', 'cpu', '--threads', '1', '--epochs', '2', ...more],
];
const asked = (...more: string[]): string[] => [
  ...['anticipate', '--head', at('run', 'final'), '--features', at('tokens'), '--device', 'cpu', ...more],
];
const askedVal = (...more: string[]): string[] => asked('--clips', annotations('val'), ...more);

async function done(args: string[]): Promise<Ended> {
  const ended = await run(args);
  expect(ended.status, ended.stderr).toBe(0);
  return ended;
}

let trained: Ended;
let val: readonly Ask[];
beforeAll(async () => {
  for (const split of ['train', 'val']) {
    await done([
      ...['synth', at('w'), '--clips', '2', '--seconds', '8', '--seed', '5', '--size', '96x72', '--split', split],
    ]);
  }
  await done([
    ...['extract', '--ego4d', at('w'), '--task', 'sta', '--at', 'annotations', '--pool', 'tokens'],
    ...['--model', encoder, '--device', 'cpu', '-o', at('tokens')],
  ]);
  val = await asksOf('val');
  // Detections: the true box, less sure than a false one that reaches beyond the picture.
  const detections = Object.fromEntries(
    [...(await asksOf('train')), ...val].map(({ uid, objects }) => [
      uid,
      [
        { box: objects[0]!.box, score: 0.7, noun_category_id: 3 },
        { box: [60, 40, 140, 90], score: 0.9, noun_category_id: 2 },
      ],
    ]),
  );
  await writeFile(at('boxes.json'), JSON.stringify(detections));
  trained = await run(training('--boxes', at('boxes.json'), '-o', at('run')));
}, 180_000);

/** The official number of records, and what the last line of training said of it. */
async function overallOf(file: string, said: string): Promise<void> {
  const best = said.split('\n').findLast((line) => line.startsWith('best at'));
  const scored = await done(['eval', 'sta', '--pred', file, '--gt', annotations('val')]);
  const rows = await records(scored.stdout);
  const value = Number(rows.find(({ metric }) => metric === 'map_box_noun_verb_ttc')?.['value']);
  expect(best).toContain(`overall ${value.toFixed(4)}`);
}

test('training gives the four official numbers an epoch and a head with its classes', async () => {
  expect(trained.status, trained.stderr).toBe(0);
  const rows = await records(trained.stdout);
  expect(rows).toHaveLength(2);
  expect(Object.keys(rows[0]!['metrics'] as object)).toEqual(['overall', 'noun', 'noun_verb', 'noun_ttc']);
  expect(trained.stderr).toContain('boxes reached beyond their frames and were cut');
  const { head } = JSON.parse(await readFile(at('run', 'final', 'model.json'), 'utf8')) as {
    head: { options: Record<string, unknown> };
  };
  expect(head.options).toEqual({ noun_ids: [...Array(12).keys()], verb_ids: [...Array(10).keys()] });
  expect(leftovers(at('run'))).toEqual([]);
});

test('records of given boxes: five a frame, within the picture, and the number of training', async () => {
  await done(askedVal('--boxes', at('boxes.json'), '-o', at('val.ndjson')));
  const rows = await records(await readFile(at('val.ndjson'), 'utf8'));
  expect(rows).toHaveLength(5 * val.length);
  expect(rows[0]).toMatchObject({ schema: 'egolens.interaction/1', id: val[0]!.uid, frame: val[0]!.frame });
  expect(rows[0]!['of']).toEqual({ kind: 'video', uid: val[0]!.video_id });
  for (const { box } of rows) {
    const [x1, y1, x2, y2] = box as number[];
    expect(x1! >= 0 && y1! >= 0 && x2! <= 96 && y2! <= 72).toBe(true);
  }
  await overallOf(at('val.ndjson'), trained.stderr);
  await done(['submit', 'sta', '--pred', at('val.ndjson'), '--test', annotations('val'), '-o', at('val.json')]);
  await overallOf(at('val.json'), trained.stderr);
  const few = await done(askedVal('--boxes', at('boxes.json'), '--top', '1', '--max-ttc', '1.5'));
  const first = await records(few.stdout);
  expect(first.length).toBeLessThanOrEqual(val.length);
  expect(first.every((row) => Number(row['time_to_contact']) <= 1.5)).toBe(true);
});

test('a detector of the next object gives the boxes, and the head remembers it', async () => {
  await done([
    ...['train', 'scod', '--features', at('tokens'), '--gt', annotations('train'), '--val', annotations('val')],
    ...['--device', 'cpu', '--threads', '1', '--epochs', '1', '-o', at('detector')],
  ]);
  const detector = ['--detector', at('detector', 'final')];
  const ended = await done(training(...detector, '-o', at('detected')));
  const rows = [...askedVal(...detector, '-o', at('detected.ndjson'))].with(2, at('detected', 'final'));
  await done(rows);
  await overallOf(at('detected.ndjson'), ended.stderr);
  // Without a flag it is looked for by its name, and is not installed.
  const { status, stderr } = await run(askedVal().with(2, at('detected', 'final')));
  expect(status).toBe(6);
  expect(stderr).toContain('detector@');
});

test('an own video is asked about a frame, with boxes of that frame', async () => {
  const { video_id: uid } = val[0]!;
  const own = [{ id: uid, frame: 100, boxes: [[10, 10, 40, 40]], score: 0.5 }];
  await writeFile(at('own.ndjson'), own.map((one) => `${JSON.stringify(one)}\n`).join(''));
  const ended = await run(
    [
      ...['anticipate', at('w', 'videos', `${uid}.mp4`), '--head', at('run', 'final'), '--at', '#100'],
      ...['--boxes', at('own.ndjson'), '--device', 'cpu', '--top', '2'],
    ],
    { env: { EGOLENS_CACHE_DIR: at('cache') } },
  );
  expect(ended.status, ended.stderr).toBe(0);
  const rows = await records(ended.stdout);
  expect(rows).toHaveLength(2);
  expect(rows[0]).toMatchObject({ id: `${uid}#0`, frame: 100, box: [10, 10, 40, 40], of: { kind: 'file' } });
});

test('frames without boxes get no record, stay in the submission, and are told of', async () => {
  const [first] = val;
  await writeFile(at('one.ndjson'), `${JSON.stringify({ uid: first!.uid, box: [5, 5, 30, 30] })}\n`);
  const { stderr } = await done(askedVal('--boxes', at('one.ndjson'), '-o', at('few.ndjson')));
  expect(stderr).toContain(`no boxes for ${val.length - 1} of ${val.length} frames`);
  expect(stderr).toContain('the official evaluator leaves frames without predictions out');
  const submit = ['submit', 'sta', '--pred', at('few.ndjson'), '--test', annotations('val'), '-o', at('few.json')];
  expect((await run(submit)).status).toBe(5);
  await done([...submit, '--fill-missing']);
  const { results } = JSON.parse(await readFile(at('few.json'), 'utf8')) as { results: Record<string, unknown[]> };
  expect(Object.keys(results)).toHaveLength(val.length);
});

test('flags and boxes that do not fit: refused, and nothing is written', async () => {
  await writeFile(at('other.json'), JSON.stringify({ elsewhere_0000001: [{ box: [1, 2, 3, 4], score: 0.5 }] }));
  // What a file of boxes may hold is the matter of candidate-boxes.test.ts.
  const cases: [more: string[], status: number, message: string][] = [
    [[], 2, 'found neither --boxes nor --detector'],
    [['--boxes', at('other.json')], 5, 'asks about none of them'],
    [['--boxes', at('boxes.json'), '--at', '1'], 2, '--at is for own videos'],
  ];
  const ended = await Promise.all(cases.map(([more]) => run(askedVal(...more, '-o', at('bad.ndjson')))));
  ended.forEach(({ status, stderr }, i) => {
    expect([status, stderr]).toEqual([cases[i]![1], expect.stringContaining(cases[i]![2])]); // one for each
  });
  await expect(readFile(at('bad.ndjson'))).rejects.toThrow('ENOENT');
});

test('annotations with other categories, vectors in place of tokens, and a head for something else are refused', async () => {
  const text = await readFile(annotations('val'), 'utf8');
  const renamed = JSON.parse(text) as { noun_categories: { name: string }[] };
  renamed.noun_categories[3]!.name = 'teapot';
  await writeFile(at('renamed.json'), JSON.stringify(renamed));
  const other = await run(asked('--clips', at('renamed.json'), '--boxes', at('boxes.json')));
  expect([other.status, other.stderr]).toEqual([2, expect.stringContaining('noun 3 is `teapot`')]);
  const mixed = await run(training('--boxes', at('boxes.json'), '-o', at('none')).with(7, at('renamed.json')));
  expect(mixed.status, mixed.stderr).toBe(2);
  await mkdir(at('vectors'));
  const lasts = val.filter(({ video_id: uid }) => uid === val[0]!.video_id).map(({ frame }) => frame);
  await writeWindows(at('vectors'), val[0]!.video_id, { lasts, row: [4], value: () => 0 });
  const vectors = await run(askedVal('--boxes', at('boxes.json')).with(4, at('vectors')));
  expect([vectors.status, vectors.stderr]).toEqual([5, expect.stringContaining('extract --pool tokens')]);
});
