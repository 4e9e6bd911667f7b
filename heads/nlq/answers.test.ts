import { describe, expect, test } from 'vitest';
import { mergedAnswers } from './answers.js';
import { reformatted } from './annotations.js';
import { bestSpans, rowsOf, shares } from './spans.js';

const floats = (...values: readonly number[]): Float32Array => Float32Array.from(values);

describe('spans out of logits', () => {
  test('an end never stands before its start, and padding is in none', () => {
    const found = bestSpans(floats(0, 9, 0, -1e30), floats(9, 0, 0, -1e30), { top: 100 });
    expect(found).toHaveLength(6);
    expect(found.every(({ start, end }) => start <= end && end < 3)).toBe(true);
  });

  test('equal pairs go by start, then by end', () => {
    const found = bestSpans(floats(1, 1), floats(1, 1), { top: 3 });
    expect(found.map(({ start, end }) => [start, end])).toEqual([
      [0, 0],
      [0, 1],
      [1, 1],
    ]);
  });

  test('with an overlap rule, answers that repeat a better one are left out', () => {
    const [start, end] = [floats(9, 8, 0, 0, 7, 0), floats(0, 0, 9, 8, 0, 7)];
    const plain = bestSpans(start, end, { top: 3 });
    const apart = bestSpans(start, end, { top: 3, nms: 0.5 });
    expect(plain[0]).toEqual(apart[0]);
    expect(plain.slice(1).map((one) => one.start)).toEqual([0, 1]);
    expect(apart.slice(1).every((one) => one.start !== 1 || one.end !== 2)).toBe(true);
    expect(apart.some((one) => one.start === 4 && one.end === 5)).toBe(true);
  });

  test('probabilities of padding are 0, whatever is in it', () => {
    expect(Array.from(shares(floats(2, 2, -1e30)))).toEqual([0.5, 0.5, 0]);
    expect(rowsOf(floats(-50, 3, -1e30, -1e30))).toBe(2);
    expect(bestSpans(floats(-1e30), floats(-1e30), { top: 5 })).toEqual([]);
  });
});

describe('answers of several heads', () => {
  const answer = (start: number, end: number, score: number) => ({ task: 'nlq', start, end, score }) as const;

  test('are one list without repetitions; an overlap of just the threshold is none', () => {
    const found = mergedAnswers([answer(0, 10, 0.5), answer(0, 5, 0.9), answer(0, 6, 0.8), answer(20, 30, 0.1)]);
    expect(found.map(({ start, end }) => [start, end])).toEqual([
      [0, 5],
      [0, 10],
      [20, 30],
    ]);
  });

  test('are cut to as many as asked, and no answers are no answers', () => {
    expect(mergedAnswers([answer(0, 1, 0.1), answer(5, 6, 0.2)], { most: 1 })).toEqual([answer(5, 6, 0.2)]);
    expect(mergedAnswers([])).toEqual([]);
  });

  test('spans of no length at one place do not suppress one another', () => {
    expect(mergedAnswers([answer(1, 1, 0.1), answer(1, 1, 0.2)])).toHaveLength(2);
  });
});

describe('annotations in the official form', () => {
  test('questions without text are left out but counted', () => {
    const query = (text: string | null, start: number) => ({
      query: text,
      clip_start_sec: start,
      clip_end_sec: start + 1,
    });
    const annotations = [{ annotation_uid: 'a', language_queries: [query(null, 0), query('Where?', 8), query('', 1)] }];
    const clips = [{ clip_uid: 'c', video_start_sec: 10, video_end_sec: 26, annotations }];
    const found = reformatted({ videos: [{ video_uid: 'v', clips }] });
    expect(found.clips['c']).toMatchObject({
      num_frames: 30,
      query_idx: [1],
      sentences: ['where?'],
      timestamps: [[15, 16]],
    });
    expect(found.clipVideoMap).toEqual({ c: ['v', 10, 26] });
  });
});
