import fc from 'fast-check';
import { expect, test } from 'vitest';
import { EgolensError } from '../../src/errors.js';
import { jsonText, type JsonValue } from '../../src/json.js';
import { parseJson } from '../../src/json-reader.js';
import type { EvalOptions, JsonDocument, Nested } from '../../src/types.js';
import { scod } from './scod.js';

const options: EvalOptions = { ties: 'numpy', detail: true };

type Sides = readonly [x: number, y: number, width: number, height: number];
const changing: readonly (readonly Sides[])[] = [
  [[10, 20, 40, 50]],
  [
    [100, 100, 20, 20],
    [200, 210, 120, 130],
  ],
  [],
];

function asDocument(name: string, value: unknown): JsonDocument {
  return parseJson(name, jsonText(value as JsonValue)); // JSON by construction
}

/** One clip a list of boxes; hands beside them, which do not count. */
function annotations(): JsonDocument {
  const object = (type: string, [x, y, width, height]: Sides): unknown => ({
    object_type: type,
    structured_noun: null,
    instance_number: null,
    bbox: { x, y, width, height },
  });
  const frame = (boxes: readonly Sides[], i: number): unknown => ({
    frame_number: 30 * i,
    width: 1920,
    height: 1080,
    bbox: [object('left_hand', [1, 1, 50, 50]), ...boxes.map((sides) => object('object_of_change', sides))],
  });
  const clips = changing.map((boxes, i) => ({
    video_uid: `video-${i}`,
    clip_uid: `clip-${i}`,
    pnr_frame: frame(boxes, i),
  }));
  return asDocument('fho_scod_val.json', { version: '1', split: 'val', clips });
}

/** The COCO file that follows from the annotations. */
function coco(): JsonDocument {
  const images = changing.map((_, i) => ({
    id: i + 1,
    width: 1920,
    height: 1080,
    file_name: `video-${i}/${30 * i}.jpg`,
  }));
  const boxes = changing.flatMap((list, i) => list.map((bbox) => ({ image_id: i + 1, bbox })));
  return asDocument('coco_gt.json', {
    images,
    annotations: boxes.map(({ image_id, bbox }, i) => ({
      id: i + 1,
      image_id,
      category_id: 1,
      iscrowd: 0,
      bbox,
      area: bbox[2] * bbox[3],
    })),
    categories: [{ id: 1, name: 'object_of_change' }],
  });
}

const records = changing.flatMap((list, i) =>
  list.map(([x, y, width, height], k) => ({
    schema: 'egolens.object/1',
    id: String(i + 1),
    frame: 30 * i,
    box: [x, y, x + width, y + height],
    score: 1 - (i + k) / 10,
  })),
);

function results(): string {
  return jsonText(scod.submission!(records, coco(), { fillMissing: false }).json as JsonValue);
}

function evaluate(truth: JsonDocument, text = results()) {
  return scod.prepare([truth], [parseJson('results.json', text)], options).evaluate(options);
}

test('the truth as records reaches the maximum, and passes the check', () => {
  const { rows, official } = evaluate(coco());
  for (const { value } of rows) expect(value).toBeCloseTo(1, 12);
  expect((official['stats'] as Nested)['AR@100']).toBe(1);
  expect(scod.check('submission', parseJson('results.json', results()), coco())).toEqual([
    expect.objectContaining({ level: 'warning', code: 'ids.coverage', found: '2 (66.66 %)' }),
  ]);
  expect(scod.check('annotations', coco())).toEqual([]);
  expect(scod.check('annotations', annotations())).toEqual([]);
});

test('the truth made from annotations is the COCO file that one would make by hand', () => {
  expect(evaluate(annotations()).official).toEqual(evaluate(coco()).official);
  expect(evaluate(annotations()).notes[0]).toContain('numbered from 1');
});

test('the COCO file counts where both are given', () => {
  const prepared = scod.prepare([annotations(), coco()], [parseJson('results.json', results())], options);
  expect(prepared.evaluate(options).notes).toEqual([]);
});

test('records are scored as they are', () => {
  expect(evaluate(coco(), jsonText(records)).official).toEqual(evaluate(coco()).official);
});

test('the submission has sides instead of corners, with decimal points', () => {
  expect(results()).toMatch(/^\[\{"image_id":1,"category_id":1,"bbox":\[10.0,20.0,40.0,50.0\],"score":1.0\}/);
  expect(() => scod.submission!([{ ...records[0], id: '9' }], coco(), { fillMissing: true })).toThrow(
    'image `9` is not in',
  );
  expect(() => scod.submission!([], coco(), { fillMissing: true })).toThrow('expected at least one record');
});

test('equal scores keep their order, and the spread tells what the other order would give', () => {
  const text = jsonText([
    { image_id: 1, category_id: 1, bbox: [10, 20, 40, 50], score: 0.5 },
    { image_id: 1, category_id: 1, bbox: [500, 500, 9, 9], score: 0.5 },
  ]);
  const { ties, rows } = evaluate(coco(), text);
  expect(ties?.tied).toBe(2);
  expect(ties?.first['AP']).toBe(rows[0]!.value);
  expect(ties?.last['AP'] as number).toBeLessThan(rows[0]!.value);
});

test('a truth with id 0 is matched in the corrected numbers only', () => {
  const text = jsonText(coco().value as JsonValue).replace('{"id":1,"image_id"', '{"id":0,"image_id"');
  const { official, corrected } = evaluate(parseJson('coco_gt.json', text));
  expect((official['stats'] as Nested)['AR@100']).toBeCloseTo(2 / 3, 12);
  expect((corrected!['stats'] as Nested)['AR@100']).toBe(1);
});

test('of annotations with one id, the last stands for all', () => {
  const text = jsonText(coco().value as JsonValue).replace('{"id":2,"image_id"', '{"id":3,"image_id"');
  expect((evaluate(parseJson('coco_gt.json', text)).official['stats'] as Nested)['AR@100']).toBeCloseTo(2 / 3, 12);
});

const sides = fc.tuple(fc.nat(400), fc.nat(400), fc.integer({ min: 1, max: 150 }), fc.integer({ min: 1, max: 150 }));
const detection = fc.record({
  image_id: fc.integer({ min: 1, max: 3 }),
  bbox: sides,
  score: fc.constantFrom(0.2, 0.4, 0.6),
});
const near = fc
  .record({
    of: fc.constantFrom(...records),
    shift: fc.integer({ min: -6, max: 6 }),
    score: fc.double({ min: 0, max: 1, noNaN: true }),
  })
  .map(({ of: { id, box }, shift, score }) => ({
    image_id: Number(id),
    bbox: [box[0]! + shift, box[1]!, box[2]! - box[0]!, box[3]! - box[1]!],
    score,
  }));

test('drawing every image once changes nothing, and a worthless last detection raises nothing', () => {
  fc.assert(
    fc.property(fc.array(fc.oneof(detection, near), { minLength: 1, maxLength: 12 }), (list) => {
      const listed = list.map((one) => ({ ...one, category_id: 1 }));
      const prepared = scod.prepare([coco()], [asDocument('results.json', listed)], options);
      const { rows } = prepared.evaluate(options);
      expect(prepared.resample(Int32Array.of(0, 1, 2), 'numpy')).toEqual(rows);
      const worthless = { image_id: 3, category_id: 1, bbox: [900, 900, 50, 50], score: -1 };
      evaluate(coco(), jsonText([...listed, worthless] as JsonValue)).rows.forEach(({ value }, i) => {
        expect(value).toBeLessThanOrEqual(rows[i]!.value + 1e-12);
      });
    }),
  );
});

test('the order of detections matters to tied scores only, and a copy of each never raises recall', () => {
  fc.assert(
    fc.property(fc.array(fc.oneof(detection, near), { minLength: 1, maxLength: 12 }), fc.nat(), (list, turn) => {
      const listed = list.map((one, i) => ({ ...one, category_id: 1, score: one.score + i * 1e-7 }));
      const at = turn % listed.length;
      const [before, turned, copied] = [
        listed,
        [...listed.slice(at), ...listed.slice(0, at)],
        listed.flatMap((one) => [one, one]),
      ].map((each) => evaluate(coco(), jsonText(each as JsonValue)));
      if (before!.ties!.tied === 0) expect(turned!.official).toEqual(before!.official);
      const recallOf = ({ official }: typeof before & object): number =>
        (official['stats'] as Nested)['AR@100'] as number;
      expect(recallOf(copied!)).toBeLessThanOrEqual(recallOf(before!) + 1e-12);
    }),
  );
});

test.each([
  ['an empty list', /.*/, '[]', 'at least one detection'],
  ['an object', /.*/, '{"results":[]}', 'expected a list'],
  [
    'an unknown image',
    '"image_id":1,',
    '"image_id":77,',
    '/0/image_id (line 1): expected an image of the truth, found `77`',
  ],
  ['no score', ',"score":1.0', '', '/0/score (line 1): expected a number'],
  ['no box', '"bbox"', '"box"', '/0/bbox (line 1): expected a list of four numbers'],
])('the evaluator refuses %s, and says where', (_, from, to, message) => {
  expect(() => evaluate(coco(), results().replace(from, to))).toThrow(message);
});

test.each([
  ['an empty list', /.*/, '[]', 'list.empty', ''],
  ['an envelope', /.*/, '{"results":[]}', 'value.type', ''],
  ['an unknown image', '"image_id":1,', '"image_id":77,', 'ids.unknown', '/0/image_id'],
  ['an image id with a fraction', '"image_id":1,', '"image_id":1.5,', 'value.type', '/0/image_id'],
  ['an unknown category', '"category_id":1', '"category_id":2', 'category.unknown', '/0/category_id'],
  ['a category as text', '"category_id":1', '"category_id":"1"', 'value.type', '/0/category_id'],
  ['a missing score', ',"score":1.0', '', 'member.missing', '/0/score'],
  ['a NaN score', '"score":1.0', '"score":NaN', 'number.not_finite', '/0/score'],
  ['a score as text', '"score":1.0', '"score":"1.0"', 'value.type', '/0/score'],
  ['a score above 1', '"score":1.0', '"score":7.5', 'score.range', '/0/score'],
  ['a missing box', '"bbox":[10.0,20.0,40.0,50.0],', '', 'member.missing', '/0/bbox'],
  ['a box of three', '[10.0,20.0,40.0,50.0]', '[10.0,20.0,40.0]', 'list.length', '/0/bbox'],
  ['a negative width', '[10.0,20.0,40.0,50.0]', '[10.0,20.0,-40.0,50.0]', 'box.inverted', '/0/bbox'],
  ['corners instead of sides', '[200.0,210.0,120.0,130.0]', '[1200.0,210.0,1320.0,340.0]', 'box.outside', '/2/bbox'],
  ['an infinite side', '[10.0,20.0,40.0,50.0]', '[10.0,20.0,Infinity,50.0]', 'number.not_finite', '/0/bbox/2'],
  ['a side of null', '[10.0,20.0,40.0,50.0]', '[null,20.0,40.0,50.0]', 'value.type', '/0/bbox/0'],
  ['an extra member', '"score":1.0', '"score":1.0,"label":"x"', 'member.unknown', '/0/label'],
  ['an item that is no object', /\{[^}]*\}/, '3', 'value.type', '/0'],
])('the check finds %s', (_, from, to, code, at) => {
  const document = parseJson('results.json', results().replace(from, to));
  const findings = scod.check('submission', document, coco());
  expect(findings.map((finding) => `${finding.code} ${finding.at}`)).toContain(`${code} ${at}`);
});

test('a truth without boxes gives -1, and says why', () => {
  const truth = parseJson('coco_gt.json', jsonText({ ...(coco().value as object), annotations: [] }));
  const { rows, notes } = evaluate(truth);
  expect(rows[0]!.value).toBe(-1);
  expect(notes.join()).toContain('is it of the test split?');
});

test('hints name the usual slips: ids as text, corners instead of sides', () => {
  const suggestions = (text: string): string => {
    try {
      evaluate(coco(), text);
    } catch (error) {
      if (error instanceof EgolensError) return error.suggestions.join();
    }
    return '';
  };
  expect(suggestions(results().replace('"image_id":1,', '"image_id":"1",'))).toContain('as a number');
  expect(suggestions(results().replace('"image_id":1,', '"image_id":"v/1.jpg",'))).toContain('of the same split?');
  const corners = results().replace('[200.0,210.0,120.0,130.0]', '[1200.0,210.0,1320.0,340.0]');
  const findings = scod.check('submission', parseJson('results.json', corners), coco());
  expect(findings.find(({ code }) => code === 'box.outside')!.hint).toContain('is the form x1, y1, x2, y2');
});

test('the check warns once of an image with more than a hundred detections', () => {
  const one = { image_id: 1, category_id: 1, bbox: [1, 1, 5, 5], score: 0.5 };
  const found = scod.check(
    'submission',
    asDocument(
      'results.json',
      Array.from({ length: 103 }, () => one),
    ),
    coco(),
  );
  expect(found.filter(({ code }) => code === 'limit.cut')).toEqual([expect.objectContaining({ at: '/100' })]);
});

test.each([
  ['id 0', '{"id":1,"image_id"', '{"id":0,"image_id"', 'id.zero', '/annotations/0/id'],
  ['an id twice', '{"id":2,"image_id"', '{"id":1,"image_id"', 'ids.repeated', '/annotations/1/id'],
  ['an unknown image', '"image_id":1', '"image_id":9', 'ids.unknown', '/annotations/0/image_id'],
  ['a missing area', ',"area":2000', '', 'member.missing', '/annotations/0/area'],
  ['a crowd of 2', '"iscrowd":0', '"iscrowd":2', 'value.type', '/annotations/0/iscrowd'],
  ['an image twice', '{"id":2,"width"', '{"id":1,"width"', 'ids.repeated', '/images/1/id'],
])('the check of a COCO truth finds %s', (_, from, to, code, at) => {
  const text = jsonText(coco().value as JsonValue).replace(from, to);
  const findings = scod.check('annotations', parseJson('coco_gt.json', text));
  expect(findings.map((finding) => `${finding.code} ${finding.at}`)).toContain(`${code} ${at}`);
});

test('the check of annotations finds a box without width', () => {
  const text = jsonText(annotations().value as JsonValue).replace('"width":40', '"width":0');
  expect(scod.check('annotations', parseJson('fho_scod_val.json', text))).toEqual([
    expect.objectContaining({ code: 'box.inverted', at: '/clips/0/pnr_frame/bbox/1/bbox' }),
  ]);
});
