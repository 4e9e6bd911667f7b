import { statSync } from 'node:fs';
import { EgolensError } from '../../src/errors.js';
import type { SpeedBenchmark } from './harness.js';
import { speedBenchmarks } from './index.js';

/** What the arguments of `bench` name: benchmarks first, then videos. */
export interface Chosen {
  readonly benchmarks: readonly SpeedBenchmark[];
  readonly paths: readonly string[];
}

/**
 * Names of benchmarks (all where none is given), and files. A file that is called like a benchmark is written `./decode`.
 *
 * @throws EgolensError usage.flag for what is neither
 */
export function chooseBenchmarks(words: readonly string[]): Chosen {
  const benchmarks: SpeedBenchmark[] = [];
  const paths: string[] = [];
  for (const word of words) {
    const named = speedBenchmarks.find(({ name }) => name === word);
    if (named !== undefined && paths.length === 0) {
      if (!benchmarks.includes(named)) benchmarks.push(named);
    } else if (statSync(word, { throwIfNoEntry: false })?.isFile() === true) {
      paths.push(word);
    } else {
      throw new EgolensError('usage.flag', `\`${word}\` is neither a benchmark nor a file`, {
        try: `one of ${speedBenchmarks.map(({ name }) => name).join(', ')}, before the paths of videos`,
      });
    }
  }
  return { benchmarks: benchmarks.length === 0 ? speedBenchmarks : benchmarks, paths };
}
