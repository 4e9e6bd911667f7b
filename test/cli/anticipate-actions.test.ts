import { cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { writeNpy } from '../../src/checkpoint/npy.js';
import { seededRandom } from '../../src/random.js';
import { tensor } from '../../src/tensor.js';
import { temporaryFolder } from './command.js';
import type { Weights } from './models.js';
import { leftovers, records, run, type Ended } from './program.js';
import { zipPth } from './pth.js';

/** Training, use, submission and score of a head for the next actions, over features in which they can be seen. */

const folder = temporaryFolder();
const at = (...parts: string[]): string => join(folder, ...parts);
const verbs = ['take', 'put', 'turn', 'cut'];
const nouns = ['cup', 'box', 'book'];
const width = verbs.length + nouns.length;
const count = 26;
/** Two rows of the grid: windows of 32 frames every 16, as `--clock ego4d-grid` has them. */
const frames = 32;
/** Seconds of the video before the clip. */
const lead = frames / 30;

interface Routine {
  readonly video: string;
  readonly actions: readonly { readonly verb: number; readonly noun: number }[];
}

/** Clips in which a verb is followed by the next one, and the noun stays. */
function routines(split: string, clips: number): Routine[] {
  return Array.from({ length: clips }, (_, clip) => ({
    video: `${split}-${clip}`,
    actions: Array.from({ length: count }, (_step, i) => ({
      verb: (clip + i) % verbs.length,
      noun: clip % nouns.length,
    })),
  }));
}

function annotations(clips: readonly Routine[], isTest = false): string {
  const entries = clips.flatMap(({ video, actions }) =>
    actions.map(({ verb, noun }, i) => ({
      ...{ video_uid: video, clip_uid: `${video}-clip`, clip_id: 1, action_idx: i },
      ...{ clip_parent_start_sec: lead, clip_parent_end_sec: lead + count * lead },
      ...{ action_clip_start_sec: i * lead, action_clip_end_sec: (i + 1) * lead },
      ...(!isTest && { verb: verbs[verb], noun: nouns[noun], verb_label: verb, noun_label: noun }),
    })),
  );
  return JSON.stringify({ version: 'v1', date: '', description: '', split: 'any', clips: entries });
}

async function writeFeatures(clips: readonly Routine[]): Promise<void> {
  const random = seededRandom(5, 'features');
  for (const { video, actions } of clips) {
    const rows = 2 * count + 2;
    const data = Float32Array.from({ length: rows * width }, () => 0.1 * random.normal());
    actions.forEach(({ verb, noun }, i) => {
      for (const row of [2 * i + 2, 2 * i + 3].filter((one) => one < rows)) {
        data[row * width + verb]! += 1;
        data[row * width + verbs.length + noun]! += 1;
      }
    });
    await writeFile(at('features', `${video}.npy`), writeNpy(tensor('float32', [rows, width], data)));
  }
}

const training = (val: string, ...more: string[]): string[] => [
  ...['train', 'lta', '--features', at('features'), '--clock', 'ego4d-grid', '--gt', at('fho_lta_train.json')],
  ...['--val', at(val), '--device', 'cpu', '--threads', '1', ...more],
];
const askedOf = (features: string, ...more: string[]): string[] => [
  ...['anticipate', '--mode', 'actions', '--head', at('run', 'final'), '--features', at(features)],
  ...['--device', 'cpu', ...more],
];
const asked = (...more: string[]): string[] => askedOf('features', '--clock', 'ego4d-grid', ...more);

let trained: Ended;
beforeAll(async () => {
  await mkdir(at('features'));
  await mkdir(at('one'));
  const [own, val] = [routines('train', 6), routines('val', 2)];
  await writeFeatures([...own, ...val]);
  await cp(at('features', 'val-0.npy'), at('one', 'val-0.npy'));
  await writeFile(at('fho_lta_train.json'), annotations(own));
  await writeFile(at('fho_lta_val.json'), annotations(val));
  await writeFile(at('test.json'), annotations(val, true));
  await writeFile(at('fho_lta_taxonomy.json'), JSON.stringify({ verbs, nouns }));
  trained = await run(training('fho_lta_val.json', '-o', at('run'), '--epochs', '6', '--batch', '8', '--lr', '2e-3'));
});

const plain = (text: string): string => text.replaceAll(/\s+/g, ' ');

test('training gives the official distances an epoch and a head that is whole', async () => {
  expect(trained.status, trained.stderr).toBe(0);
  const rows = await records(trained.stdout);
  expect(rows).toHaveLength(6);
  expect(Object.keys(rows[0]!['metrics'] as object)).toEqual(['action_ed20', 'verb_ed20', 'noun_ed20']);
  // Ends of the actions from the second to the last but one; of these in the validation split five with 20 after them.
  expect(trained.stderr).toContain(
    '144 asks in 6 clips, 10 to validate; 4 verbs, 3 nouns, 12 pairs; 51 rows; lta on cpu',
  );
  expect(leftovers(at('run'))).toEqual([]);
});

test('records, submission and score agree with training', async () => {
  const { status, stderr } = await run(asked('--clips', at('test.json'), '-o', at('lta.ndjson')));
  expect(status, stderr).toBe(0);
  const rows = await records(await readFile(at('lta.ndjson'), 'utf8'));
  expect(rows).toHaveLength(10);
  expect(rows[0]).toMatchObject({ id: 'val-0-clip_1', of: { kind: 'video', uid: 'val-0' } });
  expect(rows[0]!['time']).toBeCloseTo(3 * lead, 6);
  const [sequences, names] = [rows[0]!['verb'] as number[][], rows[0]!['verb_names'] as string[][]];
  expect(sequences.map((one) => one.length)).toEqual([20, 20, 20, 20, 20]);
  expect(names[0]).toEqual(sequences[0]!.map((label) => verbs[label]));
  const submitted = await run([
    ...['submit', 'lta', '--pred', at('lta.ndjson'), '--test', at('test.json'), '-o', at('lta.json')],
  ]);
  expect(submitted.status, submitted.stderr).toBe(0);
  const valid = await run(['validate', 'submission', at('lta.json'), '--task', 'lta', '--against', at('test.json')]);
  expect(valid.status, valid.stdout + valid.stderr).toBe(0);
  const said = trained.stderr.split('\n').findLast((line) => line.startsWith('best at'));
  for (const pred of [at('lta.ndjson'), at('lta.json')]) {
    const scored = await run(['eval', 'lta', '--pred', pred, '--gt', at('fho_lta_val.json')]);
    expect(scored.status, scored.stderr).toBe(0);
    const rows = (await records(scored.stdout)).filter(({ variant }) => variant === 'official');
    const found = new Map(rows.map((row) => [row['metric'], Number(row['value'])]));
    for (const kind of ['action', 'verb', 'noun']) {
      expect(said).toContain(`${kind}_ed20 ${found.get(`${kind} ED@20`)!.toFixed(4)}`);
    }
    // The noun stays; who does not look is wrong about two of three.
    expect(found.get('noun ED@20')).toBeLessThan(0.1);
    expect(found.get('action ED@20')).toBeLessThan(0.6);
  }
});

test('an ask gives the same sequences whatever else is asked; seeds change the samples, not the likeliest', async () => {
  const all = await records(await readFile(at('lta.ndjson'), 'utf8'));
  const fewer = await run(asked('--clips', at('test.json'), '--input-actions', '5'));
  const own = await records(fewer.stdout);
  expect(own).toHaveLength(4);
  expect(own[0]).toEqual(all.find(({ id }) => id === own[0]!['id']));
  const other = await records(
    (await run(asked('--clips', at('test.json'), '--seed', '3', '--temperature', '5'))).stdout,
  );
  const verbsOf = (rows: typeof all): number[][] => rows[0]!['verb'] as number[][];
  expect(verbsOf(other)[0]).toEqual(verbsOf(all)[0]);
  expect(verbsOf(other)[1]).not.toEqual(verbsOf(all)[1]);
});

test('own videos are asked about at their end, or at a time', async () => {
  const { status, stdout, stderr } = await run(askedOf('one', '--clock', 'ego4d-grid', '--sequences', '2'));
  expect(status, stderr).toBe(0);
  const [row, ...others] = await records(stdout);
  expect(others).toEqual([]);
  expect(row).toMatchObject({
    id: 'val-0#0',
    of: { kind: 'file' },
    // The likeliest one, and a drawn one.
    noun_names: [Array(20).fill('cup'), expect.arrayContaining(['cup'])],
  });
  expect(row!['time']).toBeCloseTo((16 * 53 + 32) / 30, 6);
  const early = await run(askedOf('one', '--clock', 'ego4d-grid', '--at', '4.2', '--format', 'table'));
  expect(plain(early.stdout)).toMatch(/val-0#0 4\.2 \w+ cup, \w+ cup/);
  await writeFile(at('own.ndjson'), stdout);
  const refused = await run([
    ...['submit', 'lta', '--pred', at('own.ndjson'), '--test', at('test.json'), '-o', at('own.json')],
  ]);
  expect(refused.status).toBe(5);
});

test.each([
  [['--at', '0.5'], 'asked at 0.5 s; the first row sees 0 to 1.06'],
  [['--at', '99'], 'asked at 99 s; its rows end at'],
  [['--at', '3', '--clips', 'test.json'], '--at is for own videos'],
  [['--min-score', '0.5'], 'sequences of actions have no score'],
  [['--labels', 'short.json'], 'short.json:verbs`: 2 names; '],
  [['--labels', 'verbs.json'], 'expected a taxonomy of Ego4D'],
])('%j is refused', async (flags, message) => {
  await writeFile(at('short.json'), JSON.stringify({ verbs: verbs.slice(2), nouns }));
  await writeFile(at('verbs.json'), JSON.stringify(verbs));
  const { status, stdout, stderr } = await run(
    asked(...flags.map((flag) => (flag.endsWith('.json') ? at(flag) : flag))),
  );
  expect(plain(stderr)).toContain(message);
  expect([status === 0, stdout]).toEqual([false, '']);
});

test('features of another width or without a clock, and heads of another task, are refused', async () => {
  await mkdir(at('wide'));
  await writeFile(at('wide', 'v.npy'), writeNpy(tensor('float32', [9, width + 1], new Float32Array(9 * (width + 1)))));
  const wide = await run(askedOf('wide', '--clock', 'ego4d-grid'));
  expect(plain(wide.stderr)).toContain(`rows of ${width + 1} numbers;`);
  const none = await run(askedOf('one'));
  expect(plain(none.stderr)).toContain('nothing tells the times of its rows');
  const task = await run([
    ...['state-change', '--mode', 'localize', '--head', at('run', 'final'), '--features', at('one')],
  ]);
  expect(plain(task.stderr)).toContain('a head for lta; expected one for pnr');
  expect([wide.status, none.status, task.status]).not.toContain(0);
});

test('an action that ends before the first row is told, and the others are answered', async () => {
  const { clips } = JSON.parse(annotations(routines('val', 1), true)) as { clips: object[] };
  // A clip at the very start of the video, whose first action is over after half a second.
  const early = clips.map((clip, i) => ({
    ...clip,
    clip_parent_start_sec: 0,
    ...(i === 0 && { action_clip_end_sec: 0.5 }),
  }));
  await writeFile(at('early.json'), JSON.stringify({ clips: early }));
  const { status, stdout, stderr } = await run(asked('--clips', at('early.json'), '--input-actions', '1'));
  expect(plain(stderr)).toContain('val-0-clip_0: no row of its features ends by the time of this action');
  expect(status).not.toBe(0);
  expect((await records(stdout)).map(({ id }) => id)).toEqual([1, 2, 3, 4, 5].map((i) => `val-0-clip_${i}`));
});

test('files without enough actions, without labels and without features are refused by training', async () => {
  await writeFile(at('empty.json'), '{"clips": []}');
  const empty = await run(training('empty.json', '-o', at('none')));
  expect(plain(empty.stderr)).toContain('expected a clip of 22 actions at least, found none');
  const unlabelled = await run(training('test.json', '-o', at('none')));
  expect(plain(unlabelled.stderr)).toContain('clip `val-0-clip`: expected `verb_label`, found none');
  await writeFile(at('lone.json'), annotations([{ ...routines('val', 1)[0]!, video: 'elsewhere' }]));
  const missing = await run(training('lone.json', '-o', at('none')));
  expect(plain(missing.stderr)).toContain('5 of 5 clips have no features');
  const short = await run([...training('fho_lta_val.json', '-o', at('none')), '--labels', at('short.json')]);
  expect(plain(short.stderr)).toContain('has the classes 0 to 1');
  expect([empty.status, unlabelled.status, missing.status, short.status]).not.toContain(0);
});

test('the official decoder is imported and asked like a head of our own', async () => {
  // Two clips seen, side by side; every step repeats verb and noun of the later one.
  const [clips, steps] = [2, 20];
  const repeat = Float32Array.from({ length: width * clips * width }, (_, i) => {
    return i % (clips * width) === width + Math.floor(i / (clips * width)) ? 5 : 0;
  });
  const state = new Map<string, Weights>();
  for (let step = 0; step < steps; step++) {
    state.set(`model.decoder.head.projections.${step}.weight`, { shape: [width, clips * width], data: repeat });
    state.set(`model.decoder.head.projections.${step}.bias`, { shape: [width], data: new Float32Array(width) });
  }
  await writeFile(at('lta.ckpt'), zipPth(state, { key: 'state_dict' }));
  await writeFile(at('lta-config.json'), JSON.stringify({ verbs: verbs.length, nouns: nouns.length, clips }));
  const imported = await run([
    ...['models', 'import', at('lta.ckpt'), '--arch', 'lta-head', '--config', at('lta-config.json')],
    ...['--labels', at('fho_lta_taxonomy.json'), '-o', at('official')],
  ]);
  expect(imported.status, imported.stderr).toBe(0);
  const answered = await run([
    ...['anticipate', '--mode', 'actions', '--head', at('official'), '--features', at('features')],
    ...['--clock', 'ego4d-grid', '--clips', at('test.json'), '--device', 'cpu'],
  ]);
  expect(answered.status, answered.stderr).toBe(0);
  const rows = await records(answered.stdout);
  expect(rows).toHaveLength(10);
  const likeliest = (kind: 'verb' | 'noun'): number[] => (rows[0]![kind] as number[][])[0]!;
  expect(new Set(likeliest('noun'))).toEqual(new Set([0]));
  expect(new Set(likeliest('verb')).size).toBe(1);
  expect(likeliest('verb')).toHaveLength(steps);
  const other = await run([
    ...['anticipate', '--mode', 'actions', '--head', at('official'), '--features', at('wide'), '--device', 'cpu'],
    ...['--clock', 'ego4d-grid'],
  ]);
  expect(plain(other.stderr)).toContain(`rows of ${width + 1} numbers;`);
});
