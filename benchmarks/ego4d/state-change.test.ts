import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { jsonText, type JsonValue } from '../../src/json.js';
import { parseJson } from '../../src/json-reader.js';
import type { EvalOptions, JsonDocument } from '../../src/types.js';
import { oscc } from './oscc.js';
import { pnr } from './pnr.js';

const options: EvalOptions = { ties: 'numpy', detail: true };

function asDocument(name: string, value: unknown): JsonDocument {
  return parseJson(name, jsonText(value as JsonValue)); // JSON by construction
}

interface Clip {
  readonly start: number;
  readonly frames: number;
  /** Frames after the start; null for a clip without a change. */
  readonly change: number | null;
}

function annotationsOf(clips: readonly Clip[], isBare = false): JsonDocument {
  const entries = clips.map(({ start, frames, change }, i) => ({
    unique_id: `u${i}`,
    video_uid: `v${i >> 1}`,
    parent_start_sec: start / 30,
    parent_end_sec: (start + frames) / 30,
    parent_start_frame: start,
    parent_end_frame: start + frames,
    state_change: change !== null,
    ...(change === null ? {} : { parent_pnr_frame: start + change }),
  }));
  return asDocument('fho_oscc-pnr_val.json', isBare ? entries : { version: '1', clips: entries });
}

const clip = fc.record({
  start: fc.integer({ min: 0, max: 60000 }),
  frames: fc.integer({ min: 238, max: 242 }),
  change: fc.option(fc.integer({ min: 0, max: 238 }), { freq: 3 }),
});
const fixed: readonly Clip[] = [
  { start: 900, frames: 240, change: 100 },
  { start: 5000, frames: 240, change: null },
  { start: 7000, frames: 240, change: 0 },
];
const annotations = annotationsOf(fixed);

describe('PNR', () => {
  const pnrRecords = (clips: readonly Clip[]): Record<string, unknown>[] =>
    clips.map(({ change }, i) => ({
      schema: 'egolens.pnr/1',
      of: { kind: 'clip', uid: 'c' },
      id: `u${i}`,
      time: 1,
      frame: change ?? 3.5,
    }));

  test('the number is the plain mean over clips with a change, of logits and of a submission', () => {
    const logits = fc.array(fc.double({ min: -3, max: 3, noNaN: true }), { minLength: 16, maxLength: 16 });
    fc.assert(
      fc.property(
        fc.array(fc.tuple(clip, logits, fc.double({ min: 0, max: 240, noNaN: true })), { minLength: 1, maxLength: 8 }),
        (random) => {
          const clips = [fixed[0]!, ...random.map(([one]) => one)];
          const scores = [Array.from({ length: 16 }, () => 0), ...random.map(([, one]) => one)];
          const frames = [0, ...random.map(([, , one]) => one)];
          const meanOf = (frameOf: (one: Clip, i: number) => number): number => {
            const errors = clips.flatMap((one, i) =>
              one.change === null
                ? []
                : [(Math.abs(frameOf(one, i) - one.change) * (one.frames / 30)) / (one.frames + 1)],
            );
            return errors.reduce((sum, error) => sum + error, 0) / errors.length;
          };
          const byLogits = meanOf(({ frames: count }, i) => (count / 16) * scores[i]!.indexOf(Math.max(...scores[i]!)));
          const bySubmission = meanOf((_, i) => frames[i]!);
          const prepared = pnr.prepare(
            [annotationsOf(clips)],
            [
              asDocument('pnr_logits.json', Object.fromEntries(scores.map((one, i) => [`u${i}`, one]))),
              asDocument(
                'submission_pnr.json',
                frames.map((pnr_frame, i) => ({ unique_id: `u${i}`, pnr_frame })),
              ),
            ],
            options,
          );
          const { official, rows } = prepared.evaluate(options);
          expect(official['i3d_mean_error_sec']).toBeCloseTo(byLogits, 9);
          expect(official['perceiver_sum_over_positive']).toBeCloseTo(byLogits, 5);
          expect(official['same_formula_on_submission']).toBeCloseTo(bySubmission, 9);
          expect(rows[0]!.value).toBeCloseTo(bySubmission, 9);
          const everyUnit = Int32Array.from(prepared.units, (_, i) => i);
          prepared.resample(everyUnit, 'numpy').forEach(({ metric, value }, i) => {
            expect(metric).toBe(rows[i]!.metric);
            expect(value).toBeCloseTo(rows[i]!.value, 9);
          });
        },
      ),
    );
  });

  test('truth as predictions has no error, and the submission no fault', () => {
    fc.assert(
      fc.property(fc.array(clip, { minLength: 1, maxLength: 8 }), fc.boolean(), (random, isBare) => {
        const clips = [fixed[0]!, ...random];
        const truth = annotationsOf(clips, isBare);
        const { json, counts } = pnr.submission!(pnrRecords(clips), truth, { fillMissing: false });
        expect(counts).toEqual({ written: clips.length, filled: 0, left_out: 0 });
        const submission = asDocument('submission.json', json);
        expect(pnr.check('submission', submission, truth)).toEqual([]);
        expect(pnr.prepare([truth], [submission], options).evaluate(options).rows[0]!.value).toBe(0);
        const records = asDocument('pnr.ndjson', pnrRecords(clips));
        expect(pnr.prepare([truth], [records], options).evaluate(options).rows[0]!.value).toBe(0);
      }),
      { numRuns: 30 },
    );
  });

  test('a clip without a word on the change counts as one; without any change there is no number', () => {
    const value = annotationsOf([fixed[0]!, fixed[1]!]).value as { clips: Record<string, unknown>[] };
    const answer = asDocument('submission.json', [
      { unique_id: 'u0', pnr_frame: 100 },
      { unique_id: 'u1', pnr_frame: 0 },
    ]);
    const told = {
      clips: value.clips.map((one) => ({ ...one, state_change: null, parent_pnr_frame: one['parent_start_frame'] })),
    };
    const counted = pnr.prepare([asDocument('a.json', told)], [answer], options).evaluate(options);
    expect(counted.official['num_positive']).toBe(2);
    const none = pnr.prepare([annotationsOf([fixed[1]!])], [answer], options).evaluate(options);
    expect(none.official).toEqual({ num_positive: 0, same_formula_on_submission: null });
  });

  test('frames are written with a point; missing clips get the middle of the clip', () => {
    const { json, counts } = pnr.submission!(pnrRecords(fixed).slice(0, 2), annotations, { fillMissing: true });
    expect(counts).toEqual({ written: 2, filled: 1, left_out: 0 });
    expect(jsonText(json as JsonValue)).toBe(
      '[{"unique_id":"u0","pnr_frame":100.0},{"unique_id":"u1","pnr_frame":3.5},{"unique_id":"u2","pnr_frame":120.0}]',
    );
  });

  const sound = [
    { unique_id: 'u0', pnr_frame: 99.5 },
    { unique_id: 'u1', pnr_frame: 0 },
    { unique_id: 'u2', pnr_frame: 240 },
  ];
  const withFrame = (pnr_frame: unknown): unknown[] => [sound[0], sound[1], { unique_id: 'u2', pnr_frame }];
  test.each<[what: string, value: unknown, code: string, at: string]>([
    ['an object at the top', { u0: 1 }, 'file.form', ''],
    ['an envelope', { version: '1.0', results: sound }, 'file.form', ''],
    ['no answer', [], 'file.empty', ''],
    ['annotations', annotations.value, 'file.form', ''],
    ['a missing clip with a change', sound.slice(1), 'ids.missing', ''],
    ['a missing clip without one', [sound[0], sound[2]], 'ids.missing', ''],
    ['low coverage', sound.slice(1), 'ids.coverage', ''],
    ['a clip twice', [...sound, sound[0]], 'ids.repeated', '/3/unique_id'],
    ['an unknown clip', [...sound, { unique_id: 'u7', pnr_frame: 1 }], 'ids.unknown', '/3/unique_id'],
    ['a list for an answer', [...sound, ['u3', 4]], 'field.type', '/3'],
    ['no id', [...sound, { pnr_frame: 3 }], 'field.missing', '/3/unique_id'],
    ['a number for the id', [...sound, { unique_id: 4, pnr_frame: 3 }], 'field.type', '/3/unique_id'],
    ['no frame', withFrame(undefined), 'field.missing', '/2/pnr_frame'],
    ['null', withFrame(null), 'field.type', '/2/pnr_frame'],
    ['text', withFrame('12'), 'field.type', '/2/pnr_frame'],
    ['true', withFrame(true), 'field.type', '/2/pnr_frame'],
    ['a list for a frame', withFrame([12]), 'field.type', '/2/pnr_frame'],
    ['a frame before the clip', withFrame(-1), 'number.range', '/2/pnr_frame'],
    ['a frame after the clip', withFrame(240.5), 'number.range', '/2/pnr_frame'],
    ['a frame of the video', withFrame(7100), 'number.range', '/2/pnr_frame'],
    ['another member', [{ ...sound[0], score: 1 }, sound[1], sound[2]], 'field.unknown', '/0/score'],
  ])('check tells %s', (_, value, code, at) => {
    const document = parseJson('submission.json', JSON.stringify(value));
    const findings = pnr.check('submission', document, annotations);
    expect(findings.map((finding) => `${finding.code} ${finding.at}`)).toContain(`${code} ${at}`);
  });

  test.each(['NaN', 'Infinity'])('check tells %s', (word) => {
    const document = parseJson('submission.json', `[{"unique_id":"u0","pnr_frame":${word}}]`);
    const findings = pnr.check('submission', document, annotations);
    expect(findings).toContainEqual(expect.objectContaining({ code: 'number.not_finite', at: '/0/pnr_frame' }));
  });

  test('a sound submission has no finding, and a frame of the video is named as such', () => {
    expect(pnr.check('submission', asDocument('s.json', sound), annotations)).toEqual([]);
    const [finding] = pnr.check('submission', asDocument('s.json', withFrame(7100)), annotations);
    expect(finding!.hint).toMatch(/subtract `parent_start_frame`/);
  });

  test.each<[what: string, value: unknown]>([
    ['a clip with a change is missing', sound.slice(1)],
    ['a frame is text', withFrame('3')],
    ['the file is of another task', [{ unique_uid: 3 }]],
    ['logits are too few', { u0: [1, 2], u2: [3, 4] }],
  ])('eval refuses a file in which %s', (_, value) => {
    expect(() => pnr.prepare([annotations], [asDocument('s.json', value)], options)).toThrow(
      expect.objectContaining({ code: 'data.invalid' }),
    );
  });
});

describe('OSCC', () => {
  const osccRecords = (clips: readonly Clip[]): Record<string, unknown>[] =>
    clips.map(({ change }, i) => ({
      schema: 'egolens.oscc/1',
      id: `u${i}`,
      state_change: change !== null,
      score: 0.5,
    }));

  test('the number is the share of right answers; equal logits are no change', () => {
    const pair = fc.tuple(fc.integer({ min: 0, max: 2 }), fc.integer({ min: 0, max: 2 }));
    fc.assert(
      fc.property(fc.array(fc.tuple(clip, pair), { minLength: 1, maxLength: 10 }), (random) => {
        const truth = annotationsOf(random.map(([one]) => one));
        const logits = asDocument('oscc_logits.json', Object.fromEntries(random.map(([, two], i) => [`u${i}`, two])));
        const right = random.filter(([{ change }, [no, yes]]) => yes > no === (change !== null)).length;
        const prepared = oscc.prepare([truth], [logits], options);
        const { official } = prepared.evaluate(options);
        expect(official).toEqual({
          accuracy: right / random.length,
          num_clips: random.length,
          num_positive: random.filter(([{ change }]) => change !== null).length,
          predicted_positive: random.filter(([, [no, yes]]) => yes > no).length,
        });
        const everyUnit = Int32Array.from(prepared.units, (_, i) => i);
        expect(prepared.resample(everyUnit, 'numpy')).toEqual([{ metric: 'accuracy', value: right / random.length }]);
      }),
    );
  });

  test('truth as predictions is all right, and the submission has no fault', () => {
    fc.assert(
      fc.property(fc.array(clip, { minLength: 1, maxLength: 8 }), (clips) => {
        const truth = annotationsOf(clips);
        const { json } = oscc.submission!(osccRecords(clips), truth, { fillMissing: false });
        const submission = asDocument('submission.json', json);
        expect(oscc.check('submission', submission, truth)).toEqual([]);
        expect(oscc.prepare([truth], [submission], options).evaluate(options).rows[0]!.value).toBe(1);
      }),
      { numRuns: 30 },
    );
  });

  test('a truth that says nothing of changes is scored as the official code would, and told', () => {
    const { clips } = annotations.value as { clips: Record<string, unknown>[] };
    const untold = clips.map((clip) => ({ ...clip, state_change: null, parent_pnr_frame: null }));
    const answers = asDocument(
      'submission.json',
      [0, 1, 2].map((i) => ({ unique_id: `u${i}`, state_change: true })),
    );
    const { official, notes } = oscc
      .prepare([asDocument('test.json', { clips: untold })], [answers], options)
      .evaluate(options);
    expect(official['accuracy']).toBe(1);
    expect(notes.join()).toContain('is it the unannotated test file?');
  });

  test('missing clips are filled with what most records say', () => {
    const records = osccRecords([fixed[0]!, fixed[0]!]);
    const { json, counts } = oscc.submission!(records, annotations, { fillMissing: true });
    expect(counts).toEqual({ written: 2, filled: 1, left_out: 0 });
    expect((json as unknown[])[2]).toEqual({ unique_id: 'u2', state_change: true });
  });

  test('logits decide where the submission says otherwise, and a note tells', () => {
    const logits = asDocument('oscc_logits.json', { u0: [0, 1], u1: [1, 0], u2: [0, 1] });
    const answers = asDocument(
      'submission.json',
      [0, 1, 2].map((i) => ({ unique_id: `u${i}`, state_change: true })),
    );
    const { official, notes } = oscc.prepare([annotations], [logits, answers], options).evaluate(options);
    expect(official['accuracy']).toBe(1);
    expect(notes).toEqual([expect.stringMatching(/differ in 1 clips/)]);
  });

  const sound = [0, 1, 2].map((i) => ({ unique_id: `u${i}`, state_change: i !== 1 }));
  const withChange = (state_change: unknown): unknown[] => [sound[0], sound[1], { unique_id: 'u2', state_change }];
  test.each<[what: string, value: unknown, code: string, at: string]>([
    ['an object at the top', { u0: true }, 'file.form', ''],
    ['text at the top', 'u0', 'file.form', ''],
    ['no answer', [], 'file.empty', ''],
    ['a missing clip', sound.slice(1), 'ids.missing', ''],
    ['low coverage', sound.slice(1), 'ids.coverage', ''],
    ['a clip twice', [...sound, sound[1]], 'ids.repeated', '/3/unique_id'],
    ['an unknown clip', [...sound, { unique_id: 'x', state_change: true }], 'ids.unknown', '/3/unique_id'],
    ['a text for an answer', [...sound, 'u3'], 'field.type', '/3'],
    ['null for an answer', [...sound, null], 'field.type', '/3'],
    ['no id', [...sound, { state_change: true }], 'field.missing', '/3/unique_id'],
    ['null for the id', [...sound, { unique_id: null, state_change: true }], 'field.type', '/3/unique_id'],
    ['no change', withChange(undefined), 'field.missing', '/2/state_change'],
    ['null', withChange(null), 'field.type', '/2/state_change'],
    ['0', withChange(0), 'field.type', '/2/state_change'],
    ['1', withChange(1), 'field.type', '/2/state_change'],
    ['a share', withChange(0.7), 'field.type', '/2/state_change'],
    ['text', withChange('true'), 'field.type', '/2/state_change'],
    ['a list', withChange([true]), 'field.type', '/2/state_change'],
    ['another member', [{ ...sound[0], score: 1 }, sound[1], sound[2]], 'field.unknown', '/0/score'],
  ])('check tells %s', (_, value, code, at) => {
    const document = parseJson('submission.json', JSON.stringify(value));
    const findings = oscc.check('submission', document, annotations);
    expect(findings.map((finding) => `${finding.code} ${finding.at}`)).toContain(`${code} ${at}`);
  });

  test('logits are checked as predictions, and refused as a submission', () => {
    const logits = asDocument('oscc_logits.json', { u0: [0, 1], u1: [1, 'x'], u2: [0] });
    expect(oscc.check('predictions', logits, annotations).map(({ code, at }) => `${code} ${at}`)).toEqual([
      'field.type /u1/1',
      'list.length /u2',
    ]);
    expect(oscc.check('submission', logits, annotations).map(({ code }) => code)).toEqual(['file.form']);
  });
});

test('faults of annotations are told', () => {
  const clips = (annotations.value as { clips: Record<string, unknown>[] }).clips;
  const wrong = [clips[0], { ...clips[0] }, { ...clips[2], parent_end_frame: 0, state_change: null }, { unique_id: 4 }];
  const findings = pnr.check('annotations', asDocument('a.json', { clips: wrong }));
  expect(findings.map(({ code, at }) => `${code} ${at}`)).toEqual([
    'segment.reversed /clips/2/parent_end_frame',
    'field.type /clips/2/state_change',
    'number.range /clips/2/parent_pnr_frame',
    'field.type /clips/3',
    'ids.repeated /clips/1/unique_id',
  ]);
});
