import { readdirSync, statSync } from 'node:fs';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { challengeOf } from '../../benchmarks/index.js';
import { formFindings } from '../../benchmarks/ego4d/forms.js';
import type { ChallengeTask } from '../../test/cli/truth-records.js';
import { findings, loadValidator, schemaFindings } from '../check.js';
import { readDataSet } from '../ego4d/manifest.js';
import { parseJson } from '../json-reader.js';
import { jsonPieces } from '../json-pieces.js';
import type { Progress } from '../types.js';
import { probeVideo } from '../video/probe.js';
import { splitFiles, dataSetFiles } from '../world/annotations.js';
import { clipsOf, uidOf, type SetRequest } from '../world/data-set.js';
import { splits } from '../world/scene.js';
import { synth, type SynthOptions, type SynthRecord } from './synth.js';
import { makeFolder } from '../files.js';

const notes: string[] = [];
const progress: Progress = {
  start: () => ({ advance: () => undefined, stop: () => undefined }),
  note: (text) => void notes.push(text),
  warn: (code, text) => void notes.push(`${code}: ${text}`),
};

const tiny: SynthOptions = {
  ...{ split: 'train', seed: 3, clips: 2, seconds: 2, fps: 30, difficulty: 1, width: 64, height: 48 },
  ...{ variants: [], jobs: 1, force: false, annotationsOnly: false, signal: new AbortController().signal, progress },
};

async function folder(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'egolens synth '));
  onTestFinished(() => rm(path, { recursive: true, force: true }));
  return path;
}

const pathOf = (record: SynthRecord | undefined): string => record?.['path'] as string;

async function run(path: string, change: Partial<SynthOptions> = {}): Promise<SynthRecord[]> {
  const records: SynthRecord[] = [];
  for await (const record of synth(path, { ...tiny, ...change })) records.push(record);
  return records;
}

const document = (name: string, value: unknown, literals = false) =>
  parseJson(name, [...jsonPieces(value)].join(''), { literals });
const set = (split: SetRequest['split'], clips: number, seconds: number): SetRequest => ({
  ...{ split, clips, seconds, seed: 21, fps: 30, difficulty: 1, width: 320, height: 240 },
});

describe('annotation files', () => {
  const tasksOf: Readonly<Record<string, readonly ChallengeTask[]>> = {
    ...{ moments: ['mq'], nlq: ['nlq'], vq: ['vq2d'], fho_hands: ['fhp'], fho_sta: ['sta'], fho_lta: ['lta'] },
    ...{ fho_scod: ['scod'], 'fho_oscc-pnr': ['pnr', 'oscc'] },
  };

  test.each(splits)('of %s have no fault in the eyes of their challenge or schema', async (split) => {
    const names: string[] = [];
    for (const [name, content] of splitFiles(split, clipsOf(set(split, 2, 40)))) {
      names.push(name);
      const stem = name.replace(/_(train|val|test)(_unannotated)?\.json$/, '');
      for (const task of tasksOf[stem]!) {
        const challenge = challengeOf(task)!;
        const read = document(name, content, challenge.keepsLiterals ?? false);
        expect(challenge.check('annotations', read), `${name} ${task}`).toEqual([]);
        expect(await formFindings(task, 'annotations', document(name, content)), `${name} ${task}`).toEqual([]);
      }
    }
    expect(names).toHaveLength(split === 'test' ? 16 : 8);
  });

  test('of the data set obey their schemas and map clips to videos', async () => {
    const files = new Map(dataSetFiles([set('train', 2, 10), set('test', 2, 10)]));
    const dataSet = await readDataSet(document('ego4d.json', files.get('ego4d.json')));
    expect(dataSet.videos.size).toBe(4);
    expect(dataSet.clips.size).toBe(4);
    const forms = {
      'narration.json': 'ego4d.narrations/1',
      'moment_classes_idx.json': 'ego4d.mq.classes/1',
      'fho_lta_taxonomy.json': 'ego4d.lta.taxonomy/1',
      'tabletop.json': 'egolens.tabletop/1',
    } as const;
    for (const [name, schema] of Object.entries(forms)) {
      expect(await schemaFindings(schema, document(name, files.get(name)), { limit: 3 }), name).toEqual([]);
    }
  });

  test('withhold from the unannotated files what is asked for', () => {
    const files = new Map(splitFiles('test', clipsOf(set('test', 2, 40))));
    const text = (name: string): string => JSON.stringify(document(name, files.get(name)).value);
    for (const [name, hidden] of [
      ['moments', 'start_time'],
      ['nlq', 'clip_start_sec":1'],
      ['nlq', 'template'],
      ['vq', 'response_track'],
      ['fho_hands', 'boxes'],
      ['fho_sta', 'objects'],
      ['fho_lta', 'verb_label'],
      ['fho_lta', '"noun"'],
      ['fho_scod', 'bbox'],
      ['fho_oscc-pnr', 'state_change'],
      ['fho_oscc-pnr', 'pnr_frame'],
    ] as const) {
      expect(text(`${name}_test_unannotated.json`), name).not.toContain(hidden);
    }
  });

  test('have ids of the form of RFC 4122 that say what a clip is made from', () => {
    const uid = uidOf('video', 1, 'train');
    expect(uid).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    expect(uidOf('video', 1, 'train')).toBe(uid);
    const uids = splits.flatMap((split) => clipsOf(set(split, 3, 5)).flatMap((clip) => [clip.videoUid, clip.clipUid]));
    expect(new Set(uids).size).toBe(uids.length);
  });
});

describe('synth', () => {
  test('writes every clip in every form, with the frames that its record says', async () => {
    const path = await folder();
    const variants = ['vfr', 'rotated', '10bit', 'hevc', 'cut'] as const;
    const [record] = await run(path, { clips: 1, variants });
    const validator = await loadValidator('egolens.synth/1');
    expect(findings(validator, JSON.parse([...jsonPieces(record)].join('')))).toEqual([]);
    const plain = await probeVideo(pathOf(record), { mode: 'check' });
    expect(plain).toMatchObject({
      frames: 60,
      errors: 0,
      width: 64,
      height: 48,
      codec: 'h264',
      pixelFormat: 'yuv420p',
    });
    expect(plain.measured).toMatchObject({ isVariableRate: false });
    const forms = record!['variants'] as unknown as { name: string; path: string; frames: number | null }[];
    for (const form of forms) {
      const probed = await probeVideo(form.path, { mode: 'check' });
      if (form.name === 'cut') {
        expect(probed.frames).toBeGreaterThan(0);
        expect(probed.frames).toBeLessThan(60);
        continue;
      }
      expect(probed, form.name).toMatchObject({ frames: form.frames, errors: 0, width: 64, height: 48 });
      if (form.name === 'vfr') expect(probed.measured?.isVariableRate).toBe(true);
      if (form.name === 'rotated') expect(probed).toMatchObject({ codedWidth: 48, codedHeight: 64, rotation: -90 });
      if (form.name === '10bit') expect(probed.pixelFormat).toBe('yuv420p10le');
      if (form.name === 'hevc') expect(probed.codec).toBe('hevc');
    }
    expect(forms.length).toBeGreaterThanOrEqual(3);
  });

  test('keeps what is there, adds a split, and writes the same bytes with any number of jobs', async () => {
    const path = await folder();
    const first = await run(path);
    const before = first.map((record) => statSync(pathOf(record)).mtimeMs);
    const bytes = await readFile(pathOf(first[1]));
    const again = await run(path);
    expect(again.map((record) => record['state'])).toEqual(['kept', 'kept']);
    expect(again.map((record) => statSync(pathOf(record)).mtimeMs)).toEqual(before);
    await run(path, { split: 'val', clips: 1 });
    const index = JSON.parse(await readFile(join(path, 'annotations', 'tabletop.json'), 'utf8')) as {
      clips: unknown[];
    };
    expect(index.clips).toHaveLength(3);
    const forced = await run(path, { force: true, jobs: 2 });
    expect(forced.map((record) => record['state'])).toEqual(['written', 'written']);
    expect(forced.map((record) => record['uid'])).toEqual(first.map((record) => record['uid']));
    expect(Buffer.compare(await readFile(pathOf(forced[1])), bytes)).toBe(0);
  });

  test('refuses a split made otherwise unless it may replace it', async () => {
    const path = await folder();
    await run(path, { clips: 1, seconds: 1 });
    await expect(run(path, { clips: 1, seconds: 1, seed: 4 })).rejects.toMatchObject({ code: 'output.exists' });
    expect(await run(path, { clips: 1, seconds: 1, seed: 4, force: true })).toHaveLength(1);
  });

  test.each([
    [
      1,
      1,
      'lta: no instance: the longest clip has 0 actions, an instance needs 22 actions of one clip; try --seconds 120',
    ],
    [4, 72, /^lta: instances in [123] of 4 clips only, an instance needs 22 actions of one clip; try --seconds 120$/],
  ])('tells what long-term anticipation lacks in %i clips of %i s', async (clips, seconds, expected) => {
    notes.length = 0;
    await run(await folder(), { clips, seconds, annotationsOnly: true });
    expect(notes).toContainEqual(typeof expected === 'string' ? expected : (expect.stringMatching(expected) as string));
  });

  test('says nothing of long-term anticipation where every clip has instances', async () => {
    notes.length = 0;
    await run(await folder(), { clips: 1, seconds: 150, annotationsOnly: true });
    expect(notes.filter((note) => note.startsWith('lta'))).toEqual([]);
  });

  test('writes the same annotations without videos, and adds the videos when they are asked for', async () => {
    const [path, other] = [await folder(), await folder()];
    const wanted = { clips: 2, split: 'test' as const };
    await run(other, wanted);
    const records = await run(path, { ...wanted, annotationsOnly: true });
    const validator = await loadValidator('egolens.synth/1');
    for (const record of records) {
      expect(findings(validator, JSON.parse([...jsonPieces(record)].join('')))).toEqual([]);
      expect(record).toMatchObject({ state: 'skipped', variants: [] });
    }
    expect(readdirSync(path)).toEqual(['annotations']);
    const names = readdirSync(join(path, 'annotations'));
    expect(names).toEqual(readdirSync(join(other, 'annotations')));
    for (const name of names) {
      const [own, drawn] = await Promise.all(
        [path, other].map((each) => readFile(join(each, 'annotations', name), 'utf8')),
      );
      expect(own, name).toBe(drawn);
    }
    expect((await run(path, wanted)).map(({ state }) => state)).toEqual(['written', 'written']);
    const again = await run(path, { ...wanted, annotationsOnly: true });
    expect(again.map(({ state }) => state)).toEqual(['kept', 'kept']);
  });

  test('needs no ffmpeg for annotations alone', async () => {
    vi.stubEnv('EGOLENS_FFMPEG', '/nowhere/ffmpeg');
    try {
      expect(await run(await folder(), { clips: 1, annotationsOnly: true })).toHaveLength(1);
      await expect(run(await folder(), { clips: 1 })).rejects.toMatchObject({ code: 'tool.ffmpeg_missing' });
    } finally {
      vi.unstubAllEnvs();
    }
  });

  test('leaves nothing but whole videos when it is interrupted', async () => {
    const path = await folder();
    const controller = new AbortController();
    const records = synth(path, { ...tiny, clips: 3, signal: controller.signal });
    await records.next();
    controller.abort(new Error('enough'));
    await expect(records.next()).rejects.toThrow('enough');
    expect(readdirSync(join(path, 'videos')).filter((name) => !/^[0-9a-f-]{36}\.mp4$/.test(name))).toEqual([]);
    expect(readdirSync(join(path, 'annotations'))).toEqual([]);
  });

  test.each([
    [
      'an ffmpeg that fails while it encodes',
      'cat >/dev/null & echo "[error] no such luck" >&2; exit 3',
      'tool.failed',
    ],
    ['a full disk', 'echo "[error] av_interleaved_write_frame(): No space left on device" >&2; exit 1', 'limit.disk'],
  ])('reports %s, and leaves no file', async (_, script, code) => {
    const path = await folder();
    const program = join(path, 'ffmpeg');
    const { findTools } = await import('../video/tools.js');
    const { ffmpegPath, ffprobePath } = await findTools();
    await writeFile(program, `#!/bin/sh\ncase "$*" in *rawvideo*) ${script};; *) exec "${ffmpegPath}" "$@";; esac\n`);
    await chmod(program, 0o755);
    vi.stubEnv('EGOLENS_FFMPEG', program);
    vi.stubEnv('EGOLENS_FFPROBE', ffprobePath);
    try {
      await expect(run(join(path, 'out'), { clips: 1 })).rejects.toMatchObject({ code });
    } finally {
      vi.unstubAllEnvs();
    }
    expect(readdirSync(join(path, 'out', 'videos'))).toEqual([]);
  });

  test.each([
    [{ clips: 0 }, '--clips'],
    [{ seconds: Number.NaN }, '--seconds'],
    [{ seconds: 1e9 }, '--seconds'],
    [{ clips: 20_000, seconds: 3600 }, '--clips'],
    [{ seed: 2 ** 32 }, '--seed'],
    [{ fps: 29 }, '--fps'],
    [{ width: 63 }, '--size'],
    [{ height: 8192 }, '--size'],
  ])('refuses %o', async (change, flag) => {
    await expect(run(await folder(), change)).rejects.toMatchObject({
      code: 'usage.flag',
      message: expect.stringContaining(flag) as string,
    });
  });

  test('refuses a folder whose index is damaged', async () => {
    const path = await folder();
    await makeFolder(join(path, 'annotations'));
    for (const text of ['{', '{"schema":"egolens.tabletop/1","sets":[{"clips":-1}]}']) {
      await writeFile(join(path, 'annotations', 'tabletop.json'), text);
      await expect(run(path)).rejects.toMatchObject({ code: 'data.invalid' });
    }
  });
});
