import { expect, expectTypeOf, test } from 'vitest';
import { findings, loadValidator } from '../check.js';
import { parseJson } from '../json-reader.js';
import {
  clipSeconds,
  readDataSet,
  readManifest,
  readNarrations,
  toClip,
  toVideo,
  videoSeconds,
  type ClipSeconds,
  type VideoSeconds,
} from './manifest.js';

const dataSet = {
  date: '230101',
  version: 'v2',
  description: '',
  videos: [
    {
      video_uid: 'v1',
      duration_sec: 60.5,
      scenarios: ['Cooking'],
      split_em: 'val',
      split_fho: 'multi',
      is_stereo: true,
      video_metadata: { fps: 30, num_frames: 1815, audio_start_sec: null },
      addedLater: 7,
    },
    { video_uid: 'v2', duration_sec: 1 },
  ],
  clips: [{ clip_uid: 'c1', video_uid: 'v1', video_start_sec: 10.5, video_end_sec: 20, video_start_frame: 315 }],
  concurrent_video_sets: null,
};

test('reads videos, splits and the clip to video map of ego4d.json', async () => {
  const { version, videos, clips } = await readDataSet(parseJson('ego4d.json', JSON.stringify(dataSet)));
  expect(version).toBe('v2');
  expect(videos.get('v1')).toMatchObject({
    duration: 60.5,
    scenarios: ['Cooking'],
    splits: { em: 'val', av: null, fho: 'multi' },
    isStereo: true,
    official: { addedLater: 7 },
  });
  expect(videos.get('v2')?.splits).toEqual({ em: null, av: null, fho: null });
  expect(clips.get('c1')).toEqual({ clipUid: 'c1', videoUid: 'v1', start: 10.5, end: 20 });
});

test('a fault of ego4d.json is told with its place', async () => {
  const damaged = { ...dataSet, clips: [{ clip_uid: 'c1', video_uid: 'v1', video_start_sec: '10' }] };
  const json = JSON.stringify(damaged, null, 1);
  const line = json.slice(0, json.indexOf('"clip_uid"')).split('\n').length - 1;
  await expect(readDataSet(parseJson('ego4d.json', json))).rejects.toThrow(
    `\`ego4d.json\`: /clips/0/video_end_sec (line ${line}): expected a member \`video_end_sec\`, found none, and more`,
  );
});

test('clip and video seconds are converted, and never mixed', () => {
  const place = { start: videoSeconds(10.5) };
  expect(toVideo(place, clipSeconds(2))).toBe(12.5);
  expect(toClip(place, videoSeconds(12.5))).toBe(2);
  expectTypeOf<ClipSeconds>().not.toExtend<VideoSeconds>();
  expectTypeOf<number>().not.toExtend<ClipSeconds>();
  expectTypeOf<ClipSeconds>().toExtend<number>();
});

test('reads manifests of videos and of files', () => {
  const videos = readManifest(
    'manifest.csv',
    '\ufeffvideo_uid,canonical_s3_location,benchmarks,canonical_num_frames\r\nv1,s3://a/v1.mp4,[EM | fho],300\r\n\r\n"v,2","s3://a ""b""",[em],1\r\n',
  );
  expect(videos.findings).toEqual([]);
  expect(videos.rows).toEqual([
    {
      uid: 'v1',
      kind: 'video',
      location: 's3://a/v1.mp4',
      benchmarks: ['em', 'fho'],
      columns: {
        video_uid: 'v1',
        canonical_s3_location: 's3://a/v1.mp4',
        benchmarks: '[EM | fho]',
        canonical_num_frames: '300',
      },
    },
    expect.objectContaining({ uid: 'v,2', location: 's3://a "b"', benchmarks: ['em'] }),
  ]);
  const files = readManifest(
    'manifest.csv',
    'file_uid,video_uid,type,s3_path\nf1,v1,,p\nf2,v2,mp4,q\n,v3,,r\nf4,,json,s',
  );
  expect(files.rows.map(({ uid, kind, location }) => [uid, kind, location])).toEqual([
    ['f1', 'file', 'p'],
    ['v2', 'video', 'q'],
    ['v3', 'video', 'r'],
    ['f4', 'file', 's'],
  ]);
});

test('rows that cannot be used are told with their line', () => {
  const { rows, findings: found } = readManifest('m.csv', 'video_uid,benchmarks\n"v\n1",em|fho\nv2\n,[em]\n');
  expect(rows.map(({ uid, benchmarks }) => [uid, benchmarks])).toEqual([['v\n1', undefined]]);
  expect(found.map(({ level, at, line }) => [level, at, line])).toEqual([
    ['warning', '/0/benchmarks', 2],
    ['error', '/1', 4],
    ['error', '/2', 5],
  ]);
  expect(() => readManifest('m.csv', '')).toThrow('expected a header');
  expect(() => readManifest('m.csv', 'a,b\n')).toThrow('expected a column `video_uid` or `file_uid`, found `a,b`');
  expect(() => readManifest('m.csv', 'video_uid\n"v')).toThrow('line 2: the quoted field does not end');
});

test('manifest rows have a schema', async () => {
  const validator = await loadValidator('ego4d.manifest-row/1');
  expect(findings(validator, { video_uid: 'v', benchmarks: '[em|fho]', other: '' })).toEqual([]);
  expect(findings(validator, { video_uid: 'v', benchmarks: 'em' }).map(({ at }) => at)).toEqual(['/benchmarks']);
  expect(findings(validator, { s3_path: 'v' })).not.toEqual([]);
});

test('reads narrations, by video or under `videos`, with a pass missing', async () => {
  const pass = {
    narrations: [{ timestamp_sec: 1.5, timestamp_frame: 45, narration_text: '#C C picks' }],
    summaries: [],
  };
  const videos = {
    v1: { narration_pass_1: pass, narration_pass_2: null, status: 'complete' },
    v2: { status: 'redacted' },
  };
  for (const file of [videos, { videos }]) {
    const read = await readNarrations(parseJson('narration.json', JSON.stringify(file)));
    expect([...read]).toEqual([
      ['v1', [{ pass: 1, time: 1.5, text: '#C C picks' }]],
      ['v2', []],
    ]);
  }
  const damaged = { v1: { narration_pass_1: { narrations: [{ timestamp_sec: 'x', narration_text: '' }] } } };
  await expect(readNarrations(parseJson('narration.json', JSON.stringify(damaged)))).rejects.toThrow(
    '/v1/narration_pass_1/narrations/0/timestamp_sec',
  );
});
