import { expect, test } from 'vitest';
import { fitHead, named } from '../test/fit-head.js';
import { seededRandom } from '../src/random.js';
import { tensor } from '../src/tensor.js';
import { actionTargets, latestRows, lta, type Action } from './lta.js';
import { sampledSequences } from './sequences.js';

const [verbs, nouns, steps, rows] = [4, 3, 4, 4];
const width = verbs + nouns;

/** Sequences in which a verb is followed by the next verb, and the noun stays. */
function routines(count: number) {
  const random = seededRandom(13, 'routines');
  const items = Array.from({ length: count }, (_, item) => {
    const [first, noun, seen] = [item % verbs, Math.floor(item / verbs) % nouns, 1 + random.integer(rows + 2)];
    const data = Float32Array.from({ length: seen * width }, () => 0.05 * random.normal());
    for (let row = 0; row < seen; row++) {
      data[row * width + ((first + row) % verbs)]! += 2;
      data[row * width + verbs + noun]! += 2;
    }
    const future = Array.from(
      { length: item % 5 === 0 ? 2 : steps }, // some futures are cut short
      (_, step): Action => ({ verb: (first + seen + step) % verbs, noun }),
    );
    return { rows: tensor('float32', [seen, width], data), future };
  });
  return items;
}

test('learns to carry routines on, from futures of any length', async () => {
  const head = lta.spec({ dim: width, verbs, nouns, z: steps, rows, hidden: 32, depth: 1 });
  const items = routines(24);
  const inputs = latestRows(
    items.map((item) => item.rows),
    { rows, width },
  );
  const targets = named(
    actionTargets(
      items.map(({ future }) => future),
      { steps, verbs, nouns },
    ),
  );
  const { outputs } = await fitHead(head, { inputs, targets, held: inputs, steps: 120, rate: 8e-3 });
  const found = head.decode(outputs, { labels: {}, options: { temperature: 0.1 }, clock: null }).flat();
  items.forEach(({ future }, item) => {
    const prediction = found[item]!;
    if (prediction.task !== 'lta') throw new Error(prediction.task);
    expect(prediction.verb).toHaveLength(5);
    expect(prediction.verb[0]!.slice(0, future.length)).toEqual(future.map(({ verb }) => verb));
    expect(prediction.noun[0]!.slice(0, future.length)).toEqual(future.map(({ noun }) => noun));
  });
});

const logits = (items: number) => {
  const random = seededRandom(17, 'logits');
  const of = (classes: number) =>
    tensor(
      'float32',
      [items, 20, classes],
      Float32Array.from({ length: items * 20 * classes }, () => 2 * random.normal()),
    );
  return { verb: of(verbs), noun: of(nouns) };
};

test('the first sequence is the likeliest, the same seed gives the same samples, another seed others', () => {
  const given = logits(2);
  const [first] = sampledSequences(given, { options: { seed: 4 } });
  expect(sampledSequences(given, { options: { seed: 4 } })[0]).toEqual(first);
  const [other] = sampledSequences(given, { options: { seed: 5 } });
  expect(other![0]!.verb[0]).toEqual(first![0]!.verb[0]);
  expect(other![0]!.verb[1]).not.toEqual(first![0]!.verb[1]);
  const step = given.verb.data.subarray(0, verbs);
  expect(first![0]!.verb[0]![0]).toBe(step.indexOf(Math.max(...step)));
});

test('items give the same samples in batches of any size', () => {
  const { verb, noun } = logits(2);
  const both = sampledSequences({ verb, noun }, { options: {} });
  const last = (value: typeof verb) => {
    const [, z = 0, classes = 0] = value.shape;
    return tensor('float32', [1, z, classes], value.data.slice(z * classes));
  };
  expect(sampledSequences({ verb: last(verb), noun: last(noun) }, { options: { first_item: 1 } })[0]).toEqual(both[1]);
});

test('with repeats given no verb comes again too soon, in the likeliest sequence and in the drawn ones', () => {
  const verb = tensor(
    'float32',
    [1, 6, 4],
    new Float32Array(24).map((_, i) => (i % 4 === 0 ? 0.5 : 0)),
  );
  const noun = tensor('float32', [1, 6, 3], new Float32Array(18));
  const options = { verb_repeats: [1e-9, 1e-9, 1e-9], sequences: 8 };
  const [[found] = []] = sampledSequences({ verb, noun }, { options });
  expect(found?.verb).toHaveLength(8);
  for (const [number, sequence] of found!.verb.entries()) {
    expect(new Set(sequence.slice(0, 4)).size, `sequence ${number}`).toBe(4);
    expect(sequence.slice(4), 'the fifth may be the first again').toEqual(sequence.slice(0, 2));
  }
  const [[alone] = []] = sampledSequences({ verb, noun }, { options: {} });
  expect(alone?.verb[0]).toEqual([0, 0, 0, 0, 0, 0]);
});

test('with pairs given every action is one of them', () => {
  const pairs = [
    [0, 1],
    [3, 2],
    [1, 1],
  ];
  const [[found] = []] = sampledSequences(logits(1), { options: { pairs, sequences: 8 } });
  const seen = new Set(found!.verb.flatMap((row, k) => row.map((verb, step) => `${verb} ${found!.noun[k]![step]!}`)));
  expect([...seen].sort()).toEqual(['0 1', '1 1', '3 2']);
});

test('samples follow the probabilities', () => {
  const verb = tensor('float32', [1, 1, 2], Float32Array.of(Math.log(3), 0));
  const noun = tensor('float32', [1, 1, 1], Float32Array.of(0));
  const counts = [0, 0];
  for (let seed = 0; seed < 40; seed++) {
    const [[found] = []] = sampledSequences({ verb, noun }, { options: { seed, sequences: 100 } });
    for (const [one] of found!.verb.slice(1)) counts[one!]!++;
  }
  expect(counts[0]! / (counts[0]! + counts[1]!)).toBeCloseTo(0.75, 1);
});

test.each([
  [{ pairs: [[9, 0]] }, /option `pairs`: expected pairs of a verb below 4 and a noun below 3/],
  [{ pairs: [] }, /option `pairs`/],
  [{ verb_repeats: [1, 0] }, /option `verb_repeats`: expected up to 1000 numbers above 0/],
  [{ verb_repeats: 2 }, /option `verb_repeats`/],
  [{ temperature: 0 }, /option `temperature`: expected a number above 0, found 0/],
  [{ sequences: 0 }, /option `sequences`/],
  [{ seed: 'x' }, /option `seed`: expected a number, found "x"/],
])('refuses options %j', (options, message) => {
  expect(() => sampledSequences(logits(1), { options })).toThrow(message);
});

test('rows are taken from the end, with padding before shorter sequences', () => {
  const long = tensor('float32', [3, 1], Float32Array.of(1, 2, 3));
  const short = tensor('float32', [1, 1], Float32Array.of(9));
  const { features, mask } = latestRows([long, short], { rows: 2, width: 1 });
  expect([...features.data]).toEqual([2, 3, 0, 9]);
  expect([...mask.data]).toEqual([1, 1, 0, 1]);
});
