import { expect, test } from 'vitest';
import { parseJson } from '../json-reader.js';
import { annotatedVideos, annotationNames } from './annotated-videos.js';

const read = (value: unknown) => annotatedVideos(parseJson('a.json', JSON.stringify(value)));

test('names of files, the published test file first', () => {
  expect(annotationNames('mq', 'val')).toEqual(['moments_val.json', 'moments_val.json.gz']);
  expect(annotationNames('vq2d', 'test')[0]).toBe('vq_test_unannotated.json');
  expect(annotationNames('pnr', 'train')).toEqual(annotationNames('oscc', 'train'));
});

const nested = { video_uid: 'v1', clips: [{ clip_uid: 'c1', video_start_sec: -4e-7, video_end_sec: 8 }] };

test.each([
  ['moments, queries: clips below videos', { videos: [nested] }, [0, 8]],
  ['hands: clips without a range', { clips: [{ video_uid: 'v1', clip_uid: 'c1', clip_id: 7 }] }, [null, null]],
  [
    'actions: a range under another name',
    { clips: [{ video_uid: 'v1', clip_uid: 'c1', clip_parent_start_sec: 2, clip_parent_end_sec: 4 }] },
    [2, 4],
  ],
  ['objects: `video_id`', { annotations: [{ video_id: 'v1', clip_uid: 'c1', frame: 3 }] }, [null, null]],
  [
    'state changes, a bare list: the parent range is not that of the clip',
    [{ video_uid: 'v1', clip_uid: 'c1', parent_start_sec: 2, parent_end_sec: 4 }],
    [null, null],
  ],
])('%s', (_, value, [start, end]) => {
  const { videos, clips } = read(value);
  expect(videos).toEqual(['v1']);
  expect([...clips.values()]).toEqual([{ clipUid: 'c1', videoUid: 'v1', start, end }]);
});

test('each video and clip once, in the order of the file; a state change without a clip is about its video', () => {
  const entry = (video_uid: string, clip_uid: string | null) => ({ video_uid, clip_uid });
  const { videos, clips } = read({ clips: [entry('b', 'c'), entry('a', null), entry('b', 'c'), entry('b', 'd')] });
  expect(videos).toEqual(['b', 'a']);
  expect([...clips.keys()]).toEqual(['c', 'd']);
});

test.each([
  ['no list', { version: '1' }, 'the whole file (line 1): expected a list `videos`, `clips` or `annotations`'],
  ['null', null, 'the whole file'],
  ['an entry that is none', { videos: [null] }, '/videos/0 (line 1): expected an object, found null'],
  ['no uid', { clips: [{}] }, '/clips/0/video_uid'],
  ['clips that are no list', { videos: [{ video_uid: 'v', clips: 3 }] }, '/videos/0/clips'],
  ['a uid that leads elsewhere', { clips: [{ video_uid: '../../etc/passwd' }] }, 'found "../../etc/passwd"'],
  ['a clip that leads elsewhere', { videos: [{ video_uid: 'v', clips: [{ clip_uid: '/c' }] }] }, '/clips/0/clip_uid'],
  ['a number', { videos: [{ video_uid: 5 }] }, 'expected a uid, found 5'],
])('refused with its place: %s', (_, value, message) => {
  expect(() => read(value)).toThrow(
    expect.objectContaining({ code: 'data.invalid', message: expect.stringContaining(message) as unknown }),
  );
});
