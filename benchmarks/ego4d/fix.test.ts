import { expect, test } from 'vitest';
import { jsonPieces } from '../../src/json-pieces.js';
import { parseJson } from '../../src/json-reader.js';
import type { ScoredTask } from '../../src/types.js';
import { fixDocument } from './fix.js';

function fixed(task: ScoredTask, json: string): { text: string; changes: (readonly [string, string])[] } {
  const document = parseJson('a.json', json, { literals: true });
  const { value, changes } = fixDocument(task, document);
  if (changes.length === 0) expect(value).toBe(document.value);
  return {
    text: [...jsonPieces(value, { literals: true })].join(''),
    changes: changes.map(({ code, at }) => [code, at] as const),
  };
}

test('STA: floats where floats are demanded, integers where integers are', () => {
  const item = (noun: string, time: string, score: string): string =>
    `{"box":[1,2.0,3,4],"noun_category_id":${noun},"verb_category_id":0,"time_to_contact":${time},"score":${score}}`;
  const { text, changes } = fixed(
    'sta',
    `{"version":"1.0","results":{"u/1":[${item('3.0', '1', '1')},${item('2', '0.5', '0.25')}]}}`,
  );
  expect(text).toBe(`{"version":"1.0","results":{"u/1":[${item('3', '1.0', '1.0')},${item('2', '0.5', '0.25')}]}}`);
  expect(changes).toEqual([
    ['fix.number', '/results/u~11/0/noun_category_id'],
    ['fix.number', '/results/u~11/0/time_to_contact'],
    ['fix.number', '/results/u~11/0/score'],
  ]);
});

test('MQ: retrieval by falling score, equal ones as they stand; detection keeps its order', () => {
  const item = (label: string, score: string): string => `{"label":"${label}","score":${score},"segment":[0,1.5]}`;
  const list = [item('a', '0.5'), item('b', '0.9'), item('c', '0.5'), item('b', '0.9')];
  const { text, changes } = fixed(
    'mq',
    `{"detect_results":{"c":[${list.join()}]},"retrieve_results":{"c":[${list.join()}]}}`,
  );
  expect(text).toBe(
    `{"detect_results":{"c":[${list.slice(0, 3).join()}]},"retrieve_results":{"c":[${[list[1], list[0], list[2]].join()}]}}`,
  );
  expect(changes).toEqual([
    ['fix.duplicate', '/detect_results/c/3'],
    ['fix.duplicate', '/retrieve_results/c/3'],
    ['fix.order', '/retrieve_results/c/1'],
  ]);
});

test('NLQ: windows by the scores beside them, whole query indexes, entries once', () => {
  const entry = (idx: string, windows: string, scores: string): string =>
    `{"clip_uid":"c","annotation_uid":"a","query_idx":${idx},"predicted_times":${windows},"scores":${scores}}`;
  const first = entry('0', '[[0,1],[2,3]]', '[0.1,0.9]');
  const { text, changes } = fixed('nlq', `{"results":[${first},${entry('1.0', '[[0,1]]', '[0.1]')},${first}]}`);
  expect(text).toBe(`{"results":[${entry('0', '[[2,3],[0,1]]', '[0.9,0.1]')},${entry('1', '[[0,1]]', '[0.1]')}]}`);
  expect(changes.map(([code]) => code)).toEqual(['fix.order', 'fix.number', 'fix.order', 'fix.duplicate']);
});

test.each<[ScoredTask, string, string]>([
  [
    'vq2d',
    '{"results":{"videos":[{"clips":[{"predictions":[{"query_sets":{"1":{"bboxes":[{"fno":3.0,"x1":1},{"fno":3,"x1":1}],"score":1}}}]}]}]}}',
    '{"results":{"videos":[{"clips":[{"predictions":[{"query_sets":{"1":{"bboxes":[{"fno":3,"x1":1}],"score":1}}}]}]}]}}',
  ],
  ['lta', '{"c_1":{"verb":[[1.0,2]],"noun":[[3,4.0]]}}', '{"c_1":{"verb":[[1,2]],"noun":[[3,4]]}}'],
  ['scod', '[{"image_id":1.0,"score":0.5},{"score":0.5,"image_id":1}]', '[{"image_id":1,"score":0.5}]'],
  ['pnr', '[{"unique_id":"u","pnr_frame":1},{"unique_id":"u","pnr_frame":1}]', '[{"unique_id":"u","pnr_frame":1}]'],
  [
    'oscc',
    '[{"unique_id":"u","state_change":true},{"unique_id":"u","state_change":false}]',
    '[{"unique_id":"u","state_change":true},{"unique_id":"u","state_change":false}]',
  ],
  ['fhp', '{"1_2":[1,2.0]}', '{"1_2":[1,2.0]}'],
])('%s: %s', (task, before, after) => {
  expect(fixed(task, before).text).toBe(after);
});

test.each<ScoredTask>(['mq', 'nlq', 'vq2d', 'fhp', 'sta', 'lta', 'scod', 'pnr', 'oscc', 'tal'])(
  '%s: what it does not know stays as it is',
  (task) => {
    for (const json of [
      'null',
      '[]',
      '{}',
      '[1.5,{"a":[]}]',
      '{"results":7,"detect_results":[1],"c":{"verb":[null],"noun":3}}',
      '{"results":{"u":[1,null,{"score":"x"}],"videos":[null]}}',
    ]) {
      expect(fixed(task, json)).toEqual({ text: json, changes: [] });
    }
  },
);
