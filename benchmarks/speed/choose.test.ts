import { join } from 'node:path';
import { expect, test } from 'vitest';
import { packageRoot } from '../../src/files.js';
import { chooseBenchmarks } from './choose.js';
import { speedBenchmarks } from './index.js';

const clip = join(packageRoot, 'fixtures', 'videos', 'three-seconds.mp4');

test('names come first, files behind them; no name means all', () => {
  const { benchmarks, paths } = chooseBenchmarks(['decode', 'pipeline', 'decode', clip]);
  expect(benchmarks.map(({ name }) => name)).toEqual(['decode', 'pipeline']);
  expect(paths).toEqual([clip]);
  expect(chooseBenchmarks([clip]).benchmarks).toEqual(speedBenchmarks);
});

test('a word that is neither is refused, a folder too', () => {
  expect(() => chooseBenchmarks(['decod'])).toThrow('`decod` is neither a benchmark nor a file');
  expect(() => chooseBenchmarks([packageRoot])).toThrow('neither a benchmark nor a file');
});

test('names of benchmarks and of their figures are unique', () => {
  const names = speedBenchmarks.flatMap(({ name, figures }) => figures.map((figure) => `${name}/${figure.name}`));
  expect(new Set(names).size).toBe(names.length);
});
