import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test, vi } from 'vitest';
import { findings, loadValidator } from '../check.js';
import { readLabels } from '../models/folder.js';
import { familyOf } from '../models/index.js';
import { labelLists, readPreset } from '../models/presets.js';
import { catalogueEntry, fileNameOf, readCatalogue, tokenizerFiles } from './catalogue.js';

const entries = await readCatalogue({});
const named = entries.map((entry) => [entry.name, entry] as const);

test('every entry has the form of its schema and a name of its own', async () => {
  const validator = await loadValidator('egolens.catalogue-entry/1');
  const faults = entries.flatMap((entry) => findings(validator, entry).map((fault) => [entry.name, fault]));
  expect(faults).toEqual([]);
  expect(new Set(entries.map(({ name }) => name)).size).toBe(entries.length);
});

test.each(named)('%s: architecture, labels and preset exist and fit together', async (_, entry) => {
  const { family, size } = familyOf(entry.arch);
  const preset = entry.preset === null ? undefined : readPreset(entry.preset);
  const path = entry.labels === null ? undefined : labelLists().get(entry.labels);
  expect(path === undefined).toBe(entry.labels === null);
  const classes = path === undefined ? 0 : (await readLabels(path)).length;
  const config = { ...size, ...entry.config, ...(classes > 0 && { num_classes: classes }) };
  // A preset of other frames, pixels or statistics than the model's is refused here.
  const spec = family.spec(config, preset === undefined ? {} : { preset });
  expect(spec.classes).toBe(classes);
  expect(spec.kind).toBe(entry.kind);
  expect(entry.tokenizer === null).toBe(spec.text === undefined);
  expect(entry.parity).toBe(family.parity ?? 'golden');
});

test.each(named)('%s: what is not known is said', (_, entry) => {
  const { source, unverified, commercial, licence } = entry;
  const said = unverified.join('\n');
  if (source.sha256 === null) expect(said).toMatch(/digest/);
  if (source.bytes === null && source.sha256 !== null) expect(said).toMatch(/size/);
  if (source.kind === 'hub' && source.revision === null) expect(said).toMatch(/commit/);
  if (source.kind === 'url') expect(source.url).toMatch(/^https:/);
  if (commercial === true) expect(licence.weights).toMatch(/^(Apache-2\.0|MIT)\b/);
  if (licence.weights.includes('NC')) expect(commercial).toBe(false);
  if (commercial === null) expect(said).toMatch(/the licence/);
});

test('K400 files made from K710 heads have the names in the order of K710, those of VideoMAE v1 and v2 the alphabetical one', () => {
  const order = (name: string): string | null | undefined => entries.find((entry) => entry.name === name)?.labels;
  for (const name of ['uniformerv2-b16-k400-8f', 'internvideo-videomae-h-k400-32f-384', 'internvideo2-b14-k400'])
    expect(order(name)).toBe('k400-k710-order');
  for (const name of ['videomae-b-k400', 'videomae2-g-k400']) expect(order(name)).toBe('k400');
});

test('the addresses of OpenAI hold the digests that the entries state', () => {
  const clip = entries.filter(({ arch }) => arch.startsWith('clip-'));
  expect(clip).toHaveLength(4);
  for (const { source } of clip) expect(source.kind === 'url' && source.url.split('/').at(-2)).toBe(source.sha256);
});

test('the name of a file is the last part of its place', () => {
  expect(fileNameOf(tokenizerFiles['clip-bpe'])).toBe('bpe_simple_vocab_16e6.txt.gz');
  const known = { sha256: null, bytes: null, megabytes: null };
  expect(fileNameOf({ kind: 'url', url: 'https://h/a%20b/c%20d.pth?x=1', ...known })).toBe('c d.pth');
  expect(fileNameOf({ kind: 'hub', repository: 'a/b', file: 'x/y.bin', revision: null, ...known })).toBe('y.bin');
});

test('an unknown name is refused with names that are like it', async () => {
  await expect(catalogueEntry('clip-b17', {})).rejects.toMatchObject({
    code: 'model.not_found',
    message: 'the catalogue has no `clip-b17`; there are `clip-b32`, `clip-b16`, `clip-l14`, `clip-l14-336`',
  });
});

test('a catalogue of the user comes first and hides entries of the same name', async () => {
  const path = await catalogueFile([
    { ...entries[0]!, name: 'mine' },
    { ...entries[1]!, summary: 'other' },
  ]);
  const all = await readCatalogue({ EGOLENS_CATALOGUE: path });
  expect(all).toHaveLength(entries.length + 1);
  expect(all[0]).toMatchObject({ name: 'mine' });
  expect(all.filter(({ name }) => name === entries[1]!.name)).toMatchObject([{ summary: 'other' }]);
});

test.each([
  ['no JSON', '{', /no JSON/],
  ['no list', '{}', /expected a list/],
  ['an entry without source', JSON.stringify([{ ...entries[0], source: undefined }]), /\[0\]`: .*source/],
  ['a path out of the repository', withFile('../../x'), /\[0\]/],
  ['an address of another kind', JSON.stringify([{ ...entries[0], source: { ...url(), url: 'file:///x' } }]), /\[0\]/],
])('a catalogue that is %s is data.invalid with the place', async (_, text, message) => {
  const path = await catalogueFile(text);
  await expect(readCatalogue({ EGOLENS_CATALOGUE: path })).rejects.toMatchObject({
    code: 'data.invalid',
    message: expect.stringMatching(message) as string,
  });
});

test('the environment of the process is what counts where none is given', async () => {
  vi.stubEnv('EGOLENS_CATALOGUE', await catalogueFile([{ ...entries[0]!, name: 'mine' }]));
  expect((await catalogueEntry('mine')).name).toBe('mine');
  vi.unstubAllEnvs();
});

function url() {
  return { kind: 'url', url: 'https://h/f', sha256: null, bytes: null, megabytes: null };
}

function withFile(file: string): string {
  return JSON.stringify([{ ...entries[0], source: { ...entries[0]!.source, file } }]);
}

async function catalogueFile(content: unknown): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'egolens-catalogue-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const path = join(folder, 'mine.json');
  await writeFile(path, typeof content === 'string' ? content : JSON.stringify(content));
  return path;
}
