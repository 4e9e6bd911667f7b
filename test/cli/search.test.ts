import { execFile } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, test } from 'vitest';
import { makeSeededModel } from '../../src/pipeline/seeded-model.js';
import { toyTokenizerJson, toyVocabulary } from '../toy-tokenizer.js';
import { findTools } from '../../src/video/tools.js';
import { clip, egolens, temporaryFolder } from './command.js';
import { hasSharedVideos, records, sharedVideos, unlessShared, type Row } from './program.js';

/** A library of pictures that no encoder takes for each other, even an untrained one. */
const sources = {
  bars: 'smptebars=size=128x96:rate=8:duration=4',
  fractal: 'mandelbrot=size=128x96:rate=8',
  /** A second shorter: its last window overlaps the one before. */
  red: 'color=c=red:size=128x96:rate=8:duration=3',
} as const;

const folder = temporaryFolder();
const library = join(folder, 'library');
const index = join(folder, 'lib.egx');
const twoTower = join(folder, 'toy-viclip');
const env = { EGOLENS_CACHE_DIR: join(folder, 'cache') };
const run = (...args: readonly string[]) => egolens(args, { cwd: folder, env });
const rowsOf = async (stdout: string): Promise<Row[]> => await records(stdout);
const cpu = ['--device', 'cpu'] as const;

beforeAll(async () => {
  mkdirSync(library);
  const { ffmpegPath } = await findTools();
  for (const [name, source] of Object.entries(sources)) {
    const args = ['-f', 'lavfi', '-i', source, '-t', '4', '-c:v', 'mpeg4', '-q:v', '2', join(library, `${name}.mp4`)];
    await promisify(execFile)(ffmpegPath, ['-hide_banner', '-nostdin', '-loglevel', 'error', ...args]);
  }
  const tokenizer = join(folder, 'tokenizer.json');
  writeFileSync(tokenizer, toyTokenizerJson());
  await makeSeededModel(twoTower, {
    name: 'toy-viclip',
    arch: 'viclip',
    config: {
      embed_dim: 24,
      vision: { input_resolution: 32, patch_size: 16, num_frames: 2, width: 32, layers: 1, heads: 2 },
      text: { width: 32, layers: 1, heads: 2, vocab_size: toyVocabulary },
    },
    seed: 3,
    tokenizer,
  });
  const { code, stderr } = await run('search', 'index', 'library', '-o', 'lib.egx', ...cpu);
  expect({ code, stderr }).toMatchObject({ code: 0 });
}, 60_000);

describe('search index', () => {
  test('one record a video, and the same file however many updates it took', async () => {
    const whole = join(folder, 'whole.egx');
    const first = await run('search', 'index', 'library/bars.mp4', 'library/red.mp4', '-o', 'whole.egx', ...cpu);
    expect((await rowsOf(first.stdout)).map(({ input, state, rows }) => [input, state, rows])).toEqual([
      ['library/bars.mp4', 'encoded', 2],
      ['library/red.mp4', 'encoded', 2],
    ]);
    const again = await run('search', 'index', 'library', '-o', 'whole.egx', '--update', ...cpu);
    expect((await rowsOf(again.stdout)).map(({ id, state }) => [id, state])).toEqual([
      ['library/bars.mp4', 'kept'],
      ['library/fractal.mp4', 'encoded'],
      ['library/red.mp4', 'kept'],
    ]);
    expect(again.stderr).toContain('1 encoded, 2 kept; 2 rows encoded, 6 in `whole.egx`');
    expect(Buffer.compare(readFileSync(whole), readFileSync(index))).toBe(0);
    expect(readdirSync(folder).filter((name) => /\.(tmp|lock|rows)$/.test(name))).toEqual([]);
  });

  test('a bad video is reported, the others go on; the failed one is in --errors', async () => {
    const { code, stdout, stderr } = await run(
      ...['search', 'index', 'library/red.mp4', clip('text.mp4'), '-o', 'bad.egx', '--errors', 'bad.ndjson', ...cpu],
    );
    expect(code).toBe(3);
    expect(await rowsOf(stdout)).toMatchObject([{ input: 'library/red.mp4', state: 'encoded' }]);
    expect(stderr).toContain('1 encoded, 1 failed');
    expect(await records(readFileSync(join(folder, 'bad.ndjson'), 'utf8'))).toMatchObject([
      { input: clip('text.mp4'), code: 'input.not_a_video' },
    ]);
  });

  test('--prune drops what is gone, a renamed video is not encoded again', async () => {
    const other = join(folder, 'other');
    cpSync(library, other, { recursive: true });
    const first = await run('search', 'index', 'other', '-o', 'prune.egx', ...cpu);
    expect(first.code).toBe(0);
    rmSync(join(other, 'bars.mp4'));
    renameSync(join(other, 'red.mp4'), join(other, 'crimson.mp4'));
    const { code, stdout } = await run('search', 'index', 'other', '-o', 'prune.egx', '--update', '--prune', ...cpu);
    expect(code).toBe(0);
    expect((await rowsOf(stdout)).map(({ id, state }) => [id, state])).toEqual([
      ['other/crimson.mp4', 'kept'],
      ['other/fractal.mp4', 'kept'],
      ['other/bars.mp4', 'removed'],
      ['other/red.mp4', 'removed'],
    ]);
    const stats = await run('search', 'stats', 'prune.egx');
    expect(await rowsOf(stats.stdout)).toMatchObject([
      { videos: 2, missing: 0, rows: 4, width: 192, granularity: 2, preset: 'nano-8x8-every-2s@1' },
    ]);
  });

  test('an index that is there is refused without --update, one of other settings with it', async () => {
    const before = readFileSync(index);
    expect(await run('search', 'index', 'library', '-o', 'lib.egx', ...cpu)).toMatchObject({ code: 2, stdout: '' });
    const coarse = await run('search', 'index', 'library', '-o', 'lib.egx', '--update', '--granularity', '4s', ...cpu);
    expect(coarse.code).toBe(6);
    expect(coarse.stderr).toMatch(
      /^error model\.config: `lib\.egx`: made with preset nano-8x8-every-2s@1, wanted is nano-8x8-every-4s@1/m,
    );
    const model = await run('search', 'index', 'library', '-o', 'lib.egx', '--update', '--model', twoTower, ...cpu);
    expect(model.code).toBe(6);
    expect(model.stderr).toMatch(/made with model videomae-nano@[0-9a-f]{12}, wanted is toy-viclip@[0-9a-f]{12}/);
    expect(Buffer.compare(readFileSync(index), before)).toBe(0);
  });
});

describe('search', () => {
  test('--by-clip finds the clip itself first, in its own seconds; two runs give the same bytes', async () => {
    const args = ['search', '--by-clip', 'library/fractal.mp4:2-4', '--index', 'lib.egx', ...cpu];
    const { code, stdout, stderr } = await run(...args);
    expect(code).toBe(0);
    expect(stderr).toContain('warning model.tabletop: videomae-nano@');
    const hits = await rowsOf(stdout);
    expect(hits[0]).toMatchObject({
      schema: 'egolens.hit/1',
      input: 'library/fractal.mp4',
      id: 'library/fractal.mp4#1',
      query: 'library/fractal.mp4:2-4',
      rank: 1,
      start: 2,
      end: 4,
      logit: null,
    });
    expect(Number(hits[0]!['score'])).toBeGreaterThan(0.999);
    const scores = hits.map(({ score }) => Number(score));
    expect(scores).toEqual([...scores].sort((a, b) => b - a));
    expect((await run(...args)).stdout).toBe(stdout);
  });

  test('a window next to a better one of its video is left out, with --min-gap 0 only what overlaps', async () => {
    const args = ['search', '--by-clip', 'library/bars.mp4', '--index', 'lib.egx', ...cpu];
    const hits = await rowsOf((await run(...args)).stdout);
    expect(hits.map(({ input }) => input).sort()).toEqual(
      Object.keys(sources)
        .map((name) => `library/${name}.mp4`)
        .sort(),
    );
    expect(await rowsOf((await run(...args, '--min-gap', '0')).stdout)).toHaveLength(5);
    expect(await rowsOf((await run(...args, '--top', '1')).stdout)).toMatchObject([{ input: 'library/bars.mp4' }]);
  });

  test('paths make an index in the cache, which the next query takes as it is', async () => {
    const args = ['search', '--by-clip', 'library/red.mp4', 'library', ...cpu];
    const first = await run(...args);
    expect(first.stderr).toContain('3 encoded; 6 rows encoded, 6 searched');
    const [name, ...more] = readdirSync(join(folder, 'cache', 'index'));
    expect([name, more]).toEqual([expect.stringMatching(/^[0-9a-f]{64}\.egx$/), []]);
    expect((await rowsOf(first.stdout))[0]).toMatchObject({ input: 'library/red.mp4' });
    const second = await run(...args);
    expect(second.stderr).toContain('3 kept; 0 rows encoded, 6 searched');
    expect(second.stdout).toBe(first.stdout);
    // A damaged index of the cache is made again.
    writeFileSync(join(folder, 'cache', 'index', name!), 'EGOLENSX');
    const third = await run(...args);
    expect(third.stderr).toContain('3 encoded;');
    expect(third.stdout).toBe(first.stdout);
  });

  test('texts, what is excluded, and texts on standard input, with a two-tower model', async () => {
    const made = await run('search', 'index', 'library', '-o', 'text.egx', '--model', twoTower, ...cpu);
    expect(made.code).toBe(0);
    const base = ['--index', 'text.egx', '--model', twoTower, '--min-gap', '0', ...cpu];
    const { code, stdout, stderr } = await run('search', 'the thing', ...base);
    expect({ code, stderr }).toMatchObject({ code: 0 });
    const hits = await rowsOf(stdout);
    expect(hits).toHaveLength(5);
    expect(hits[0]).toMatchObject({
      query: 'the thing',
      rank: 1,
      model: expect.stringMatching(/^toy-viclip@/) as string,
    });
    for (const { score, logit } of hits) expect(logit).toBeCloseTo(100 * Number(score), 9);
    // The same text against itself: every window is at 0.
    const none = await rowsOf((await run('search', 'the thing', '--not', 'the thing', ...base)).stdout);
    for (const { score } of none) expect(score).toBeCloseTo(0, 9);
    const list = await egolens(['search', '-', ...base], { cwd: folder, env, input: 'the thing\n\nin\n' });
    const listed = await rowsOf(list.stdout);
    expect(listed.map(({ query }) => query)).toEqual([
      ...Array<string>(5).fill('the thing'),
      ...Array<string>(5).fill('in'),
    ]);
    expect(listed.slice(0, 5)).toEqual(hits);
  });

  test('a text for a model without a text tower is refused before anything is encoded', async () => {
    const env2 = { EGOLENS_CACHE_DIR: join(folder, 'cache of texts') };
    const { code, stdout, stderr } = await egolens(['search', 'a door', 'library', ...cpu], { cwd: folder, env: env2 });
    expect({ code, stdout }).toEqual({ code: 6, stdout: '' });
    expect(stderr).toMatch(/^error model\.incomplete: .*no text tower.*two-tower/);
    expect(stderr).toContain('--by-clip');
    expect(existsSync(env2.EGOLENS_CACHE_DIR)).toBe(false);
  });

  test.each([
    [
      'an index of another model',
      ['--by-clip', 'library/red.mp4', '--index', 'lib.egx', '--model', twoTower],
      6,
      'model.config',
    ],
    ['a file that is no index', ['--by-clip', 'library/red.mp4', '--index', 'library/red.mp4'], 4, 'input.format'],
    ['nothing to look for', ['--index', 'lib.egx'], 2, 'usage.flag'],
    ['an index and paths', ['--by-clip', 'library/red.mp4', 'library', '--index', 'lib.egx'], 2, 'usage.conflict'],
    ['a clip that is not there', ['--by-clip', 'no.mp4:1-2', '--index', 'lib.egx'], 4, 'input.not_found'],
    ['a clip without a range that is not there', ['--by-clip', 'no.mp4', '--index', 'lib.egx'], 4, 'input.not_found'],
    ['an index among the paths', ['--by-clip', 'library/red.mp4', 'lib.egx'], 2, 'usage.flag'],
  ])('%s is refused', async (_, args, code, error) => {
    const ended = await run('search', ...args, ...cpu);
    expect({ code: ended.code, stdout: ended.stdout }).toEqual({ code, stdout: '' });
    expect(ended.stderr).toContain(`error ${error}:`);
  });

  test('a cut index is refused, and says what to do', async () => {
    writeFileSync(join(folder, 'cut.egx'), readFileSync(index).subarray(0, -1));
    const { code, stderr } = await run('search', 'stats', 'cut.egx');
    expect(code).toBe(4);
    expect(stderr).toMatch(/^error input\.truncated: `cut\.egx`: expected \d+ bytes, found \d+\ntry: /);
  });

  test.runIf(hasSharedVideos)(`a part of a real video is found in its library${unlessShared}`, async () => {
    const actions = join(sharedVideos, 'actions');
    const video = join(
      actions,
      readdirSync(actions).find((one) => one.endsWith('.mkv'))!,
    );
    const args = ['search', '--by-clip', `${video}:0-2`, video, 'library', '--top', '1', ...cpu];
    expect(await rowsOf((await run(...args)).stdout)).toMatchObject([{ input: video, start: 0 }]);
  });
});
