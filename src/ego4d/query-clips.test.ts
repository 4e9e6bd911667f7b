import { expect, test } from 'vitest';
import { parseJson } from '../json-reader.js';
import { queryClips } from './query-clips.js';

const query = { query: 'where is the cup ', clip_start_sec: 2, clip_end_sec: 5 };
const file = (queries: readonly unknown[], clip: object = {}): ReturnType<typeof parseJson> =>
  parseJson(
    'nlq.json',
    JSON.stringify({
      videos: [
        {
          video_uid: 'v',
          clips: [
            {
              clip_uid: 'c',
              video_start_sec: 30,
              video_end_sec: 50,
              clip_start_sec: 0,
              clip_end_sec: 20,
              annotations: [{ annotation_uid: 'a', language_queries: queries }],
              ...clip,
            },
          ],
        },
      ],
    }),
  );

test('queries without text keep their number and ask nothing; answers of no length are none', () => {
  const [clip] = queryClips(file([{}, query, { query: null }, { ...query, clip_end_sec: 2 }, { query: 'test?' }]));
  expect(clip).toMatchObject({ clipUid: 'c', videoUid: 'v', videoStart: 30, duration: 20, silent: 2 });
  expect(clip?.questions.map(({ id, index, answer }) => [id, index, answer])).toEqual([
    ['a_1', 1, [2, 5]],
    ['a_3', 3, undefined],
    ['a_4', 4, undefined],
  ]);
});

test.each([
  [file([{ query: 7 }]), '/videos/0/clips/0/annotations/0/language_queries/0/query (line 1): expected text, found `7`'],
  [file(['where?']), 'language_queries/0 (line 1): expected an object'],
  [file([], { annotations: [{ language_queries: [] }] }), 'annotations/0/annotation_uid'],
  [file([], { annotations: {} }), 'annotations (line 1): expected a list, found `{}`'],
  [file([], { clip_uid: '../../etc' }), 'expected a uid'],
  [parseJson('nlq.json', '[1]'), 'expected an object'],
])('another form is refused with its place (%#)', (document, message) => {
  expect(() => queryClips(document)).toThrow(message);
});
