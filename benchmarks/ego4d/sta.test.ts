import fc from 'fast-check';
import { expect, test } from 'vitest';
import { jsonText, type JsonValue } from '../../src/json.js';
import { parseJson } from '../../src/json-reader.js';
import type { EvalOptions, JsonDocument, Nested } from '../../src/types.js';
import { sta } from './sta.js';

const options: EvalOptions = { ties: 'numpy', detail: true };

interface Guess {
  readonly box: readonly number[];
  readonly noun: number;
  readonly verb: number;
  readonly time: number;
  readonly score: number;
}
type Truth = Omit<Guess, 'score'>;
interface Image {
  readonly truths: readonly Truth[];
  readonly guesses: readonly Guess[];
}

const uidOf = (i: number): string => `video-${i >> 1}_${String(i).padStart(7, '0')}`;

function annotationsOf(images: readonly Image[]): JsonDocument {
  const categories = [0, 1, 2, 3].map((id) => ({ id, name: `name ${id}` }));
  const videos = images.map((_, i) => [`video-${i >> 1}`, { frame_width: 1920, frame_height: 1080, fps: 30 }] as const);
  const annotations = images.map(({ truths }, i) => ({
    uid: uidOf(i),
    video_id: `video-${i >> 1}`,
    frame: i,
    objects: truths.map(({ box, noun, verb, time }) => ({
      box: [...box],
      noun_category_id: noun,
      verb_category_id: verb,
      time_to_contact: time,
    })),
  }));
  return asDocument('fho_sta_val.json', {
    info: { version: '1.0', video_metadata: Object.fromEntries(videos) },
    annotations,
    noun_categories: categories,
    verb_categories: categories,
  });
}

function asDocument(name: string, value: unknown): JsonDocument {
  return parseJson(name, jsonText(value as JsonValue), { literals: true }); // JSON by construction
}

function recordsOf(images: readonly Image[]): Record<string, unknown>[] {
  return images.flatMap(({ guesses }, i) =>
    guesses.map(({ box, noun, verb, time, score }) => ({
      schema: 'egolens.interaction/1',
      id: uidOf(i),
      box,
      noun_category_id: noun,
      verb_category_id: verb,
      time_to_contact: time,
      score,
    })),
  );
}

function submissionOf(images: readonly Image[]): JsonDocument {
  const { json } = sta.submission!(recordsOf(images), annotationsOf(images), { fillMissing: true });
  return asDocument('predictions.json', json);
}

function official(images: readonly Image[], ties: EvalOptions['ties'] = 'numpy'): Nested {
  return sta.prepare([annotationsOf(images)], [submissionOf(images)], options).evaluate({ ...options, ties }).official;
}

const box = fc
  .tuple(fc.integer({ min: 0, max: 3 }), fc.integer({ min: 0, max: 3 }))
  .map(([x, y]) => [x * 10, y * 10, x * 10 + 29, y * 10 + 29]);
const truth = fc.record({
  box,
  noun: fc.integer({ min: 0, max: 2 }),
  verb: fc.integer({ min: 0, max: 1 }),
  time: fc.constantFrom(0.25, 0.5, 0.75),
});
const guesses = fc.array(truth, { maxLength: 8 });
/** Scores differ everywhere, so that no tie rule matters. */
const images = fc
  .array(fc.record({ truths: fc.array(truth, { minLength: 1, maxLength: 3 }), guesses }), {
    minLength: 1,
    maxLength: 4,
  })
  .filter((list) => list.some((image) => image.guesses.length > 0))
  .map((list) => {
    let rank = 0;
    const next = (): number => ((rank++ * 37) % 101) / 101;
    return list.map((image): Image => ({
      truths: image.truths,
      guesses: image.guesses.map((guess) => ({ ...guess, score: next() })),
    }));
  });

test('the four numbers equal the definition, tried on small random files', () => {
  fc.assert(
    fc.property(images, (list) => {
      const { challenge, sta_no_top_k } = official(list);
      const names = ['map_box_noun', 'map_box_noun_verb', 'map_box_noun_ttc', 'map_box_noun_verb_ttc'] as const;
      names.forEach((name, i) => {
        const asks = { verb: i % 2 === 1, time: i > 1 };
        expect((challenge as Nested)[name]).toBeCloseTo(definition(list, asks, 5), 9);
        expect((sta_no_top_k as Nested)[name]).toBeCloseTo(definition(list, asks, 1), 9);
      });
    }),
  );
});

test('the order of predictions in the file does not matter where scores differ', () => {
  fc.assert(
    fc.property(images, (list) => {
      const turned = list.map((image) => ({ ...image, guesses: [...image.guesses].reverse() }));
      expect(official(turned)['challenge']).toEqual(official(list)['challenge']);
    }),
  );
});

test('a worthless prediction of the lowest score never raises a number', () => {
  fc.assert(
    fc.property(images, (list) => {
      const worthless: Guess = { box: [900, 900, 950, 950], noun: 0, verb: 0, time: 9, score: -1 };
      const more = list.map((image) =>
        image.guesses.length === 0 ? image : { ...image, guesses: [...image.guesses, worthless] },
      );
      const [before, after] = [official(list)['challenge'] as Nested, official(more)['challenge'] as Nested];
      for (const name of Object.keys(before)) {
        expect(after[name] as number).toBeLessThanOrEqual((before[name] as number) + 1e-9);
      }
    }),
  );
});

test('drawing every video once gives the numbers of the whole file', () => {
  fc.assert(
    fc.property(images, (list) => {
      const prepared = sta.prepare([annotationsOf(list)], [submissionOf(list)], options);
      const { rows } = prepared.evaluate(options);
      expect(
        prepared.resample(
          Int32Array.from(prepared.units, (_, i) => i),
          'numpy',
        ),
      ).toEqual(rows);
    }),
  );
});

const small: readonly Image[] = [
  { truths: [{ box: [10, 10, 60, 60], noun: 1, verb: 2, time: 1 }], guesses: [] },
  {
    truths: [
      { box: [100, 100, 200, 200], noun: 2, verb: 0, time: 0.5 },
      { box: [300, 300, 400, 420], noun: 1, verb: 3, time: 1.25 },
    ],
    guesses: [],
  },
];
const perfect = small.map(({ truths }): Image => ({
  truths,
  guesses: truths.map((one, i) => ({ ...one, score: i === 0 ? 1 : 0.5 })),
}));

test('the truth as records reaches 100 in every number, and passes the check', () => {
  const { challenge, overall_top5 } = official(perfect);
  expect(new Set(Object.values(challenge as Nested))).toEqual(new Set([100]));
  expect(new Set(Object.values(overall_top5 as Nested))).toEqual(new Set([100]));
  expect(sta.check('submission', submissionOf(perfect), annotationsOf(perfect))).toEqual([
    expect.objectContaining({ level: 'warning', code: 'score.tied' }),
  ]);
});

test('records are scored as they are', () => {
  const records = parseJson('records.json', jsonText(recordsOf(perfect) as JsonValue), { literals: true });
  const { rows } = sta.prepare([annotationsOf(perfect)], [records], options).evaluate(options);
  expect(rows.map(({ value }) => value)).toEqual([100, 100, 100, 100]);
});

test('floats of a submission keep a decimal point, ids have none, and every image is there', () => {
  const [first] = recordsOf(perfect);
  const { json, counts } = sta.submission!([first!], annotationsOf(perfect), { fillMissing: true });
  const text = jsonText(json as JsonValue);
  expect(text).toContain('"noun_category_id":1,"verb_category_id":2,"time_to_contact":1.0,"score":1.0');
  expect(text).toContain(`"${uidOf(1)}":[]`);
  expect(counts).toEqual({ images: 2, predictions: 1, imagesWithoutPrediction: 1 });
  expect(() => sta.submission!([first!], annotationsOf(perfect), { fillMissing: false })).toThrow(
    `1 of 2 images have no record, so \`${uidOf(1)}\``,
  );
});

test('a record of an unknown image is refused', () => {
  const record = { ...recordsOf(perfect)[0], id: 'elsewhere' };
  expect(() => sta.submission!([record], annotationsOf(perfect), { fillMissing: true })).toThrow(
    'image `elsewhere` is not in',
  );
});

test('the truth of an image with an empty list is left out, and the corrected numbers count it', () => {
  const hopeless = [perfect[0]!, { ...perfect[1]!, guesses: [] }];
  const evaluation = sta.prepare([annotationsOf(hopeless)], [submissionOf(hopeless)], options).evaluate(options);
  expect(evaluation.official['num_truth_boxes_counted']).toBe(1);
  expect((evaluation.official['challenge'] as Nested)['map_box_noun']).toBe(100);
  expect((evaluation.corrected!['challenge'] as Nested)['map_box_noun']).toBeCloseTo((100 * 0.5 + 0) / 2, 9);
  expect(evaluation.notes.join()).toContain('1 of 2 images have an empty list');
});

test.each([
  ['`1` as score', '"score":1.0', '"score":1', 'expected a float'],
  ['a float as noun', '"noun_category_id":1,', '"noun_category_id":1.0,', 'expected an integer'],
  ['another version', '"version":"1.0"', '"version":"2.0"', 'expected `"1.0"`'],
  ['a missing uid', uidOf(0), 'elsewhere', `also for \`${uidOf(0)}\``],
])('the evaluator refuses %s, and says where', (_, from, to, message) => {
  const text = jsonText(
    sta.submission!(recordsOf(perfect), annotationsOf(perfect), { fillMissing: false }).json as JsonValue,
  );
  const mutated = parseJson('predictions.json', text.replace(from, to), { literals: true });
  expect(() => sta.prepare([annotationsOf(perfect)], [mutated], options)).toThrow(message);
});

test('a float where an integer is wanted is shown as it was written', () => {
  const { json } = sta.submission!(recordsOf(perfect), annotationsOf(perfect), { fillMissing: false });
  const text = jsonText(json as JsonValue).replace('"noun_category_id":1,', '"noun_category_id":1.0,');
  const document = parseJson('predictions.json', text, { literals: true });
  expect(() => sta.prepare([annotationsOf(perfect)], [document], options)).toThrow('found `1.0`');
  const [finding] = sta.check('submission', document).filter(({ level }) => level === 'error');
  expect(finding).toMatchObject({ code: 'number.literal', found: '`1.0`', hint: 'write `3`, not `3.0`' });
});

const first = `/results/${uidOf(0)}/0`;
test.each([
  ['an integer score', '"score":1.0', '"score":1', 'number.literal', `${first}/score`],
  ['an integer time', '"time_to_contact":1.0', '"time_to_contact":1', 'number.literal', `${first}/time_to_contact`],
  ['a float noun', '"noun_category_id":1,', '"noun_category_id":1.0,', 'number.literal', `${first}/noun_category_id`],
  ['a verb as text', '"verb_category_id":2,', '"verb_category_id":"2",', 'number.literal', `${first}/verb_category_id`],
  [
    'a boolean noun',
    '"noun_category_id":1,',
    '"noun_category_id":true,',
    'number.literal',
    `${first}/noun_category_id`,
  ],
  [
    'an unknown noun',
    '"noun_category_id":1,',
    '"noun_category_id":77,',
    'category.unknown',
    `${first}/noun_category_id`,
  ],
  ['a NaN score', '"score":1.0', '"score":NaN', 'number.not_finite', `${first}/score`],
  ['a score above 1', '"score":1.0', '"score":3.5', 'score.range', `${first}/score`],
  ['a negative time', '"time_to_contact":1.0', '"time_to_contact":-1.0', 'time.negative', `${first}/time_to_contact`],
  ['a box of three', '10.0,10.0,60.0,60.0', '10.0,10.0,60.0', 'list.length', `${first}/box`],
  ['an inverted box', '10.0,10.0,60.0,60.0', '60.0,10.0,10.0,60.0', 'box.inverted', `${first}/box`],
  ['a box outside the frame', '10.0,10.0,60.0,60.0', '10.0,10.0,60.0,6000.0', 'box.outside', `${first}/box`],
  ['a side as text', '10.0,10.0,60.0,60.0', '10.0,"10",60.0,60.0', 'value.type', `${first}/box/1`],
  ['a missing score', ',"score":1.0', '', 'member.missing', `${first}/score`],
  ['an extra member', '"score":1.0', '"score":1.0,"label":"x"', 'member.unknown', `${first}/label`],
  ['a missing uid', uidOf(0), 'elsewhere', 'ids.missing', '/results'],
  ['a surplus uid', uidOf(0), 'elsewhere', 'ids.unknown', '/results/elsewhere'],
  ['a uid twice', `"${uidOf(1)}":[`, `"${uidOf(0)}":[`, 'json.duplicate_key', `/results/${uidOf(0)}`],
  ['another version', '"version":"1.0"', '"version":"1.1"', 'value.wrong', '/version'],
  ['another challenge', 'ego4d_short_term', 'ego4d_long_term', 'value.wrong', '/challenge'],
  ['no challenge', '"challenge"', '"challenges"', 'member.missing', '/challenge'],
  ['a list of results', /"results":.*$/, '"results":[]}', 'value.type', '/results'],
  ['a prediction that is no object', /\{"box":\[10[^}]*\}/, '7', 'value.type', first],
])('the check finds %s', (_, from, to, code, at) => {
  const { json } = sta.submission!(recordsOf(perfect), annotationsOf(perfect), { fillMissing: false });
  const text = jsonText(json as JsonValue);
  const mutated = text.replace(from, to);
  expect(mutated).not.toBe(text);
  const document = parseJson('predictions.json', mutated, { literals: true });
  const found = sta
    .check('submission', document, annotationsOf(perfect))
    .map((finding) => `${finding.code} ${finding.at}`);
  expect(found).toContain(`${code} ${at}`);
});

test.each([
  [
    'an image without truth',
    (text: string) => text.replace(/"objects":\[\{.*?\}\]/, '"objects":[]'),
    'list.empty',
    '/annotations/0/objects',
  ],
  ['a uid twice', (text: string) => text.replaceAll(uidOf(1), uidOf(0)), 'ids.repeated', '/annotations/1/uid'],
  [
    'an unknown verb',
    (text: string) => text.replace('"verb_category_id":2', '"verb_category_id":9'),
    'category.unknown',
    '/annotations/0/objects/0/verb_category_id',
  ],
  [
    'a time of null',
    (text: string) => text.replace('"time_to_contact":1', '"time_to_contact":null'),
    'value.type',
    '/annotations/0/objects/0/time_to_contact',
  ],
  [
    'a frame that is no number',
    (text: string) => text.replace('"frame":0', '"frame":"0"'),
    'value.type',
    '/annotations/0/frame',
  ],
])('the check of annotations finds %s', (_, mutate, code, at) => {
  const text = jsonText(asPlain(annotationsOf(perfect).value));
  const document = parseJson('fho_sta_val.json', mutate(text), { literals: true });
  const found = sta.check('annotations', document).map((finding) => `${finding.code} ${finding.at}`);
  expect(found).toContain(`${code} ${at}`);
  expect(sta.check('annotations', annotationsOf(perfect))).toEqual([]);
});

function asPlain(value: unknown): JsonValue {
  return JSON.parse(
    JSON.stringify(value, (_, member: unknown) => (typeof member === 'bigint' ? Number(member) : member)),
  ) as JsonValue;
}

/** Top-k mAP of one criterion, written as ego4d.md 3.5 says, for scores that all differ. */
function definition(
  list: readonly Image[],
  asks: { readonly verb: boolean; readonly time: boolean },
  topK: number,
): number {
  const truthNouns: number[] = [];
  const kept: { noun: number; score: number; hit: boolean }[] = [];
  for (const { truths, guesses: listed } of list) {
    if (listed.length === 0) continue;
    truthNouns.push(...truths.map(({ noun }) => noun));
    const taken = new Set<number>();
    let discount = topK > 1 ? (topK - 1) * truths.length : 0;
    for (const guess of [...listed].sort((a, b) => b.score - a.score)) {
      const possible = truths
        .map((one, t) => ({ t, one, iou: pixelIou(guess.box, one.box) }))
        .filter(({ t, one, iou }) => !taken.has(t) && iou > 0.5 && one.noun === guess.noun)
        .filter(({ one }) => !asks.verb || one.verb === guess.verb)
        .filter(({ one }) => !asks.time || Math.abs(one.time - guess.time) <= 0.25)
        .sort((a, b) => b.iou - a.iou || a.t - b.t);
      const best = possible[0];
      if (best !== undefined) taken.add(best.t);
      else if (discount-- > 0) continue;
      kept.push({ noun: guess.noun, score: guess.score, hit: best !== undefined });
    }
  }
  const precisions = [...new Set(truthNouns)].map((noun) => {
    const positives = truthNouns.filter((one) => one === noun).length;
    const ranked = kept.filter((guess) => guess.noun === noun).sort((a, b) => b.score - a.score);
    const precision = ranked.map((_, k) => ranked.slice(0, k + 1).filter(({ hit }) => hit).length / (k + 1));
    return ranked.reduce((sum, { hit }, k) => sum + (hit ? Math.max(...precision.slice(k)) / positives : 0), 0) * 100;
  });
  return precisions.reduce((sum, value) => sum + value, 0) / precisions.length;
}

function pixelIou(a: readonly number[], b: readonly number[]): number {
  const area = (x1: number, y1: number, x2: number, y2: number): number =>
    Math.max(0, x2 - x1 + 1) * Math.max(0, y2 - y1 + 1);
  const [ax1 = 0, ay1 = 0, ax2 = 0, ay2 = 0] = a;
  const [bx1 = 0, by1 = 0, bx2 = 0, by2 = 0] = b;
  const shared = area(Math.max(ax1, bx1), Math.max(ay1, by1), Math.min(ax2, bx2), Math.min(ay2, by2));
  return shared / (area(ax1, ay1, ax2, ay2) + area(bx1, by1, bx2, by2) - shared);
}
