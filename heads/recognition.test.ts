import { expect, test } from 'vitest';
import { headGraph, initialWeights, noise, type Head } from '../src/models/head.js';
import { onnxBytes } from '../src/graph/onnx.js';
import { seededRandom } from '../src/random.js';
import { openTraining } from '../src/train/step.js';
import { adamw } from '../src/train/optimiser.js';
import { decayMatrices } from '../src/train/groups.js';
import { headInputs } from '../src/models/head.js';
import { classTargets } from '../src/train/losses.js';
import { tensor } from '../src/tensor.js';
import type { Tensor } from '../src/types.js';
import { headFamilies, headOf } from './index.js';

const config = { dim: 12, classes: [3, 4] };

/** Every weight away from its start, so that no part can be left out unseen. */
function weightsOf(head: Head): Map<string, Tensor<'float32'>> {
  const random = seededRandom(3, 'test');
  return new Map(
    [...initialWeights(head, random)].map(([name, { shape, data }]) => [
      name,
      tensor(
        'float32',
        shape,
        data.map((value) => Math.abs(value + 0.3 * random.normal()) + 0.01),
      ),
    ]),
  );
}

async function logits(head: Head, features: Tensor<'float32'>, mask: Tensor<'float32'>): Promise<number[]> {
  await using training = await openTraining(
    {
      name: 'test',
      sizes: { batch: features.shape[0]!, rows: features.shape[1]! },
      forward: (g) => head.loss!(g, head.forward(g, headInputs(g, head))),
      groups: decayMatrices(0),
      optimiser: { rule: adamw },
      evaluations: { scores: (g) => head.forward(g, headInputs(g, head)) },
    },
    weightsOf(head),
    { device: 'cpu', threads: 1 },
  );
  return Array.from((await training.evaluate('scores', { features, mask }))['logits']!.data);
}

const ones = (...shape: number[]): Tensor<'float32'> =>
  tensor('float32', shape, new Float32Array(shape.reduce((a, b) => a * b)).fill(1));

test.each(headFamilies.filter(({ task }) => task === 'recognition').map(({ name }) => name))(
  '%s: padding changes nothing',
  async (name) => {
    const head = headOf(name)!.spec(config);
    const bare = noise(seededRandom(1), [1, 2, 12]);
    const padded = tensor('float32', [1, 4, 12], new Float32Array(48).fill(9));
    padded.data.set(bare.data);
    const mask = tensor('float32', [1, 4], Float32Array.of(1, 1, 0, 0));
    const [a, b] = [await logits(head, bare, ones(1, 2)), await logits(head, padded, mask)];
    a.forEach((value, i) => expect(b[i]).toBeCloseTo(value, 5));
    expect(new Set(a).size).toBe(7);
  },
);

test('attentive-probe: the formula, computed apart', async () => {
  const head = headOf('attentive-probe')!.spec({ ...config, attn_pool_num_heads: 3, clip_embed_dim: 5 });
  const weights = weightsOf(head);
  const at = (name: string): number[] => Array.from(weights.get(name)!.data);
  const rows = noise(seededRandom(2), [1, 3, 12]);
  const x = [0, 1, 2].map((i) => Array.from(rows.data.subarray(12 * i, 12 * i + 12)));
  const norm = (v: number[], name: string): number[] => {
    const mean = v.reduce((a, b) => a + b) / v.length;
    const variance = v.reduce((sum, value) => sum + (value - mean) ** 2, 0) / v.length;
    const [gain, shift] = [at(`${name}.weight`), at(`${name}.bias`)];
    return v.map((value, i) => ((value - mean) / Math.sqrt(variance + 1e-5)) * gain[i]! + shift[i]!);
  };
  const product = (v: number[], weight: number[], bias: number[]): number[] =>
    bias.map((shift, o) => v.reduce((sum, value, i) => sum + value * weight[o * v.length + i]!, shift));
  const pool = 'clip_projector';
  const part = (v: number[], key: string): number[] =>
    product(
      norm(v, `${pool}.norm1_${key}`),
      at(`${pool}.cross_attn.${key}.weight`),
      at(`${pool}.cross_attn.${key}_bias`),
    );
  const average = x[0]!.map((_, i) => (x[0]![i]! + x[1]![i]! + x[2]![i]!) / 3);
  const q = part(average, 'q');
  const [keys, values] = [x.map((row) => part(row, 'k')), x.map((row) => part(row, 'v'))];
  const mixed = q.map((_, channel) => {
    const first = 4 * Math.floor(channel / 4);
    const powers = keys.map((key) =>
      Math.exp([0, 1, 2, 3].reduce((sum, i) => sum + q[first + i]! * key[first + i]!, 0) / Math.sqrt(4)),
    );
    const total = powers.reduce((a, b) => a + b);
    return powers.reduce((sum, power, r) => sum + (power / total) * values[r]![channel]!, 0);
  });
  const proj = `${pool}.cross_attn.proj`;
  const pooled = product(mixed, at(`${proj}.weight`), at(`${proj}.bias`));
  const expected = ['', '2'].flatMap((n) =>
    product(norm(pooled, `fc_norm${n}`), at(`head${n}.weight`), at(`head${n}.bias`)),
  );
  const found = await logits(head, rows, ones(1, 3));
  expected.forEach((value, i) => expect(found[i]).toBeCloseTo(value, 3));
});

test('linear-probe: statistics of the features stay as they are while it learns', async () => {
  const head = headOf('linear-probe')!.spec({ dim: 2, classes: [2] });
  const statistics = head.statistics!(Float32Array.of(10, -5), Float32Array.of(4, 9));
  const weights = initialWeights(head, seededRandom(0));
  for (const [name, data] of Object.entries(statistics)) weights.set(name, tensor('float32', [2], data));
  await using training = await openTraining(
    {
      name: 'test',
      sizes: { batch: 2, rows: 1 },
      forward: (g) => head.loss!(g, head.forward(g, headInputs(g, head))),
      isTrained: (name) => head.isFrozen?.(name) !== true,
      groups: decayMatrices(0),
      optimiser: { rule: adamw },
    },
    weights,
    { device: 'cpu', threads: 1 },
  );
  const batch = {
    features: tensor('float32', [2, 1, 2], Float32Array.of(12, -5, 8, -5)),
    mask: ones(2, 1),
    'targets.label': classTargets([0, 1], 2),
  };
  const losses: number[] = [];
  for (let i = 0; i < 30; i++) losses.push((await training.run(batch, 0.1)).loss);
  expect(losses.at(-1)).toBeLessThan(0.1 * losses[0]!);
  const after = (await training.state()).weights;
  expect(Array.from(after.get('norm.running_mean')!.data)).toEqual([10, -5]);
  expect(Array.from(after.get('norm.running_var')!.data)).toEqual([4, 9]);
});

test('a head says which kind a single classifier is of', () => {
  const spec = (more: object): unknown =>
    headOf('recognition-head')!.spec({ dim: 4, classes: [6], ...more }).config['kinds'];
  expect(spec({})).toEqual(['label']);
  expect(spec({ verbs: 6, nouns: 9 })).toEqual(['verb']);
  expect(spec({ verbs: 9, nouns: 6 })).toEqual(['noun']);
  expect(spec({ verbs: 6, nouns: 6 })).toEqual(['label']);
  expect(spec({ kinds: ['noun'] })).toEqual(['noun']);
});

test.each([
  [{ classes: [3] }, /`dim`: expected a whole number/],
  [{ dim: 4 }, /`verbs`: expected a whole number/],
  [{ dim: 4, classes: [0] }, /`classes`: expected 1 whole numbers/],
  [{ dim: 4, classes: [1, 2, 3] }, /`classes`: expected 1 whole numbers/],
  [{ dim: 4, classes: [2, 3], kinds: ['verb', 'verb'] }, /`kinds`: expected 2 different ones/],
  [{ dim: 4, classes: [2], kinds: ['mood'] }, /`kinds`: expected 1 different ones/],
  [{ dim: 10, classes: [2], attn_pool_num_heads: 3 }, /a divisor of the width 10/],
])('configuration %j is refused', (given, message) => {
  expect(() => headOf('attentive-probe')!.spec(given)).toThrow(message);
});

test('decode ranks the classes of each kind by score', () => {
  const head = headOf('recognition-head')!.spec({ dim: 4, classes: [2, 3] });
  const logits = tensor('float32', [1, 5], Float32Array.of(0, 1, 3, 3, -1));
  const [items] = head.decode(
    { logits },
    { labels: { verb: ['cut', 'pour'], noun: ['cup', 'knife', 'apple'] }, options: { top: 2 }, clock: null },
  );
  expect(items).toMatchObject([
    { kind: 'verb', label: 'pour', labelId: 1, logit: 1 },
    { kind: 'verb', label: 'cut', labelId: 0 },
    { kind: 'noun', label: 'cup', labelId: 0, logit: 3 },
    { kind: 'noun', label: 'knife', labelId: 1, logit: 3 },
  ]);
  expect(items![0]).toHaveProperty('score', 1 / (1 + Math.exp(-1)));
});

test('every head can be written: its graph is whole and its probe fits', () => {
  for (const family of headFamilies.filter(({ task }) => task === 'recognition')) {
    const head = family.spec(config);
    const graph = headGraph(head);
    const plan = { slots: [], inline: graph.params, totalBytes: 0 };
    const values = initialWeights(head, seededRandom(0));
    expect(onnxBytes(graph, { weightsFile: '', plan, inline: (name) => values.get(name)! }).length).toBeGreaterThan(
      100,
    );
    expect(Object.keys(head.probe(seededRandom(0)))).toEqual(Object.keys(head.inputs));
  }
});
