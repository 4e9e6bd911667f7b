import { EgolensError } from '../../src/errors.js';
import type { JsonValue } from '../../src/json.js';
import type { Progress } from '../../src/types.js';

/**
 * What a speed benchmark is, and how it is timed. A figure is a ratio of two things measured in one run: absolute times wander
 * with the load of the machine, ratios of neighbours in time hold. So the steps of a case run in turn (A B A B …), and the ratio
 * is taken round by round.
 */

/** What one pass of a step took: numbers with their unit in the name (`wallMs`, `cpuMs`, `peakBytes`, `frames`). */
export type Sample = Readonly<Record<string, number>>;

/** One thing that is timed; `run` measures itself, so that set-up inside it does not count. */
export interface Step {
  readonly name: string;
  run(): Promise<Sample>;
}

/** Samples of each step, in order of the rounds. */
export type Samples = ReadonlyMap<string, readonly Sample[]>;

/** A promise of the project: one ratio, and the most it may be. */
export interface FigureInfo {
  readonly name: string;
  /** What is divided by what. */
  readonly summary: string;
  /** Null: reported only. */
  readonly limit: number | null;
}

/** A figure as it came out. */
export interface Figure {
  readonly name: string;
  /** In every round; none where there is nothing to divide by (the work of a model is not counted). */
  readonly ratios: readonly number[];
  /** Replaces the limit of the figure where it does not apply (another device). */
  readonly limit?: null;
  /** Numbers behind the ratio, units in the names. */
  readonly detail: Readonly<Record<string, JsonValue>>;
}

/** Something set up and ready to be timed. Who made it takes it down again. */
export interface Case {
  /** The user's file that it is about; null for what the benchmark made itself. */
  readonly input: string | null;
  /** Run in this order, round after round. */
  readonly steps: readonly Step[];
  /** Passes before the first that counts; 1 where absent. */
  readonly warmUps?: number;
  /** More rounds than this tell nothing new. */
  readonly mostRounds?: number;
  figures(samples: Samples): readonly Figure[];
}

/** What a benchmark is given. */
export interface BenchContext {
  /** Video files in place of the made ones. */
  readonly paths: readonly string[];
  /** Model folder or name in place of the seeded one. */
  readonly model?: string;
  /** Folders or names of heads in place of the embedded ones. */
  readonly heads?: readonly string[];
  readonly device: string;
  readonly threads?: number;
  /** Where made clips and models are kept. */
  readonly cache: string;
  /** A tiny model: for tests of the benchmarks themselves, whose ratios mean nothing then. */
  readonly isSmoke?: boolean;
  readonly signal?: AbortSignal;
  readonly progress?: Progress;
}

/** A speed benchmark: one file, one line in `index.ts`. */
export interface SpeedBenchmark {
  readonly name: string;
  readonly summary: string;
  readonly figures: readonly FigureInfo[];
  /** Sets up case after case; each is taken down when the next is asked for, or when the caller stops. */
  cases(context: BenchContext): AsyncGenerator<Case, void>;
}

/** Runs the steps in turn for `rounds` rounds after the warm-up. Rejects with the signal's reason. */
export async function alternate(
  steps: readonly Step[],
  options: {
    readonly rounds: number;
    readonly warmUps?: number;
    readonly signal?: AbortSignal | undefined;
    /** Called after every pass, those of the warm-up too. */
    readonly onPass?: () => void;
  },
): Promise<Samples> {
  const { rounds, warmUps = 1, signal, onPass } = options;
  const samples = new Map<string, Sample[]>(steps.map(({ name }) => [name, []]));
  for (let round = -warmUps; round < rounds; round++) {
    for (const step of steps) {
      signal?.throwIfAborted();
      const sample = await step.run();
      if (round >= 0) samples.get(step.name)!.push(sample);
      onPass?.();
    }
  }
  return samples;
}

/** Middle and ends of some measurements. */
export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

/** Median, least and greatest of at least one value; of an even count the mean of the two in the middle. */
export function spreadOf(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b);
  if (sorted.length === 0) throw new EgolensError('internal.bug', 'a spread of no values');
  const half = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? sorted[half]! : (sorted[half - 1]! + sorted[half]!) / 2;
  return { median, min: sorted[0]!, max: sorted.at(-1)! };
}

/** Median of one number over the samples of a step. */
export function medianOf(samples: Samples, step: string, key: string): number {
  return spreadOf(valuesOf(samples, step, key)).median;
}

/** One number of a step in every round. */
export function valuesOf(samples: Samples, step: string, key: string): readonly number[] {
  return (samples.get(step) ?? []).map((sample) => {
    const value = sample[key];
    if (value === undefined) throw new EgolensError('internal.bug', `step ${step} measures no ${key}`);
    return value;
  });
}

/** Round by round: `above` over `below`, neighbours in time. */
export function pairRatios(above: readonly number[], below: readonly number[]): readonly number[] {
  if (above.length !== below.length) {
    throw new EgolensError('internal.bug', `${above.length} measurements cannot be paired with ${below.length}`);
  }
  return above.map((value, round) => value / below[round]!);
}
