import { expect, test } from 'vitest';
import { checkFolder } from '../test/fit-head.js';
import { headGraph, type Head } from '../src/models/head.js';
import { forecastFamilies } from './forecast-families.js';

/** Configurations as small as they go, and those of the default heads over an encoder of 192 channels and 8 x 8 tokens. */
const configs: Readonly<Record<string, readonly [small: object, usual: object]>> = {
  hands: [
    { dim: 6, grid: [2, 2, 3], hidden: 8 },
    { dim: 192, grid: [8, 8, 8] },
  ],
  'sta-roi': [
    { dim: 6, nouns: 3, verbs: 2, grid: [3, 4], hidden: 8 },
    { dim: 192, nouns: 12, verbs: 10 },
  ],
  scod: [
    { dim: 6, classes: 3, maps: 2, grid: [2, 3], hidden: 8 },
    { dim: 192, maps: 3 },
  ],
  'pnr-oscc': [{ dim: 6, rows: 5, hidden: 8 }, { dim: 192 }],
  lta: [
    { dim: 6, verbs: 3, nouns: 2, z: 4, rows: 5, hidden: 8 },
    { dim: 192, verbs: 10, nouns: 12 },
  ],
  'fhp-head': [{ dim: 6, norm: true }, { dim: 512 }],
  'sta-roi-head': [
    { dim: 6, num_verbs: 2, grid: [3, 4] },
    { dim: 192, num_verbs: 10 },
  ],
  stillfast: [
    { channels_2d: 3, channels_3d: 2, still_size: [5, 7], fast_size: [2, 3] },
    { channels_2d: 3, channels_3d: 2 },
  ],
  'lta-head': [
    { dim: 6, verbs: 3, nouns: 2, z: 4, clips: 2 },
    { dim: 192, verbs: 10, nouns: 12 },
  ],
};

const trained = (head: Head): boolean => head.loss !== undefined && head.family !== 'fhp-head';
const parameterBytes = (head: Head): number =>
  headGraph(head).params.reduce((total, { shape }) => total + 4 * shape.reduce((a, b) => a * b, 1), 0);

test.each(forecastFamilies.map((family) => [family.name, family] as const))(
  '%s: a folder of it opens and gives outputs of the declared shapes',
  async (name, family) => {
    const head = family.spec({ ...configs[name]![0] });
    // The stored configuration is complete: it describes the same head.
    expect(family.spec(head.config).config).toEqual(head.config);
    const { outputs } = await checkFolder(head);
    for (const [output, { shape }] of Object.entries(head.outputs)) {
      const found = outputs[output]!.shape;
      expect(found).toHaveLength(shape.length);
      shape.forEach((dim, i) => {
        if (typeof dim === 'number') expect(found[i]).toBe(dim);
      });
    }
    // An untrained head's outputs decode.
    const classes = head.kinds.map(
      ({ kind, count }) => [kind, Array.from({ length: count }, (_, i) => `${kind} ${i}`)] as const,
    );
    const predictions = head.decode(outputs, {
      labels: Object.fromEntries(classes),
      options: { sizes: [64, 48] },
      clock: null,
    });
    expect(predictions).toHaveLength(1);
  },
);

test('the heads that are trained here stay small together: 12 MB at 192 channels', () => {
  const heads = forecastFamilies.map((family) => family.spec({ ...configs[family.name]![1] })).filter(trained);
  const sizes = heads.map((head) => [head.family, parameterBytes(head) / 1e6] as const);
  console.log(sizes.map(([name, megabytes]) => `${name} ${megabytes.toFixed(2)} MB`).join(', '));
  expect(sizes.map(([name]) => name)).toEqual(['hands', 'sta-roi', 'scod', 'pnr-oscc', 'lta']);
  expect(sizes.reduce((total, [, megabytes]) => total + megabytes, 0)).toBeLessThan(12);
});

test.each(forecastFamilies.map((family) => [family.name, family] as const))(
  '%s: a configuration without sizes is refused by name',
  (name, family) => {
    expect(() => family.spec({})).toThrow(new RegExp(`${name}: \`\\w+\`: expected`));
    expect(() => family.spec({ ...configs[name]![0], dim: -1, channels_2d: 1e9 })).toThrow(/expected a whole number/);
  },
);

test('class parameters bear the names of the official checkpoints', () => {
  const keysOf = (name: string): string[] => {
    const head = forecastFamilies.find((family) => family.name === name)!.spec({ ...configs[name]![0] });
    return headGraph(head).params.map((param) => param.name);
  };
  expect(keysOf('fhp-head')).toContain('norm.running_mean');
  expect(keysOf('sta-roi-head')).toEqual([
    'ttc_projection.weight',
    'ttc_projection.bias',
    'verb_projection.weight',
    'verb_projection.bias',
  ]);
  expect(keysOf('lta-head').slice(0, 2)).toEqual(['projections.0.weight', 'projections.0.bias']);
});
