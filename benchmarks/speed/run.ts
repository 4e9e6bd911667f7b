import { availableParallelism, cpus } from 'node:os';
import { join } from 'node:path';
import { cacheFolder } from '../../src/files.js';
import { Float, float, type JsonValue } from '../../src/json.js';
import type { Progress } from '../../src/types.js';
import { alternate, spreadOf, type BenchContext, type Case, type Figure, type SpeedBenchmark } from './harness.js';

/** What to measure, on what, how often. */
export interface BenchOptions {
  /** Which, in this order. */
  readonly benchmarks: readonly SpeedBenchmark[];
  /** Rounds that count. */
  readonly repeat: number;
  /** Videos in place of the made clips. */
  readonly paths?: readonly string[];
  /** Name or folder, in place of the seeded ViT-B. */
  readonly model?: string;
  /** Names or folders of heads, in place of the embedded ones. */
  readonly heads?: readonly string[];
  /** `cpu` where absent: the promises are about it. */
  readonly device?: string;
  readonly threads?: number;
  /** Folder of made clips and models; where absent, in the cache. */
  readonly cache?: string;
  /** A tiny model, for tests. */
  readonly isSmoke?: boolean;
  readonly signal?: AbortSignal;
  readonly progress?: Progress;
}

/** The machine that was measured. */
export type Machine = {
  readonly cpu: string;
  readonly threads: number;
  readonly platform: string;
  readonly node: string;
};

/** `egolens.bench/1`: one figure. */
export type BenchRecord = {
  readonly schema: 'egolens.bench/1';
  readonly name: string;
  readonly figure: string;
  /** The user's file; null for what the benchmark made itself. */
  readonly input: string | null;
  /** What is divided by what. */
  readonly of: string;
  /** Null where there is nothing to divide by. */
  readonly ratio: { readonly median: Float; readonly min: Float; readonly max: Float } | null;
  readonly limit: Float | null;
  /** Is the median within the limit? Null without a limit. */
  readonly ok: boolean | null;
  readonly rounds: number;
  readonly detail: Readonly<Record<string, JsonValue>>;
  readonly machine: Machine;
};

/** Runs benchmarks one after the other and gives their figures as they come. Rejects with the signal's reason, or what a benchmark throws. */
export async function* runBenchmarks(options: BenchOptions): AsyncGenerator<BenchRecord, void> {
  const { benchmarks, repeat, paths = [], device = 'cpu', cache = join(cacheFolder(), 'bench'), ...rest } = options;
  const context: BenchContext = { ...rest, paths, device, cache };
  const machine = machineOf();
  try {
    for (const benchmark of benchmarks) {
      for await (const one of benchmark.cases(context)) {
        for (const figure of await measure(benchmark, one, repeat, context)) {
          yield recordOf(benchmark, one, figure, machine);
        }
      }
    }
  } catch (error) {
    // An interrupted child or decoder says so in its own words; what counts is why.
    options.signal?.throwIfAborted();
    throw error;
  }
}

async function measure(
  benchmark: SpeedBenchmark,
  one: Case,
  repeat: number,
  { signal, progress }: BenchContext,
): Promise<readonly Figure[]> {
  const rounds = Math.min(repeat, one.mostRounds ?? repeat);
  const warmUps = one.warmUps ?? 1;
  const bar = progress?.start(`bench ${benchmark.name}`, (rounds + warmUps) * one.steps.length);
  try {
    return one.figures(await alternate(one.steps, { rounds, warmUps, signal, onPass: () => bar?.advance(1) }));
  } finally {
    bar?.stop();
  }
}

/** Enough digits for any comparison, and few enough to read. */
const digits = (value: number): Float => float(Number(value.toPrecision(5)));

function recordOf(benchmark: SpeedBenchmark, one: Case, figure: Figure, machine: Machine): BenchRecord {
  const { name, ratios, detail } = figure;
  const info = benchmark.figures.find((each) => each.name === name);
  const limit = figure.limit === null ? null : (info?.limit ?? null);
  const spread = ratios.length === 0 ? null : spreadOf(ratios);
  return {
    schema: 'egolens.bench/1',
    name: benchmark.name,
    figure: name,
    input: one.input,
    of: info?.summary ?? '',
    ratio: spread && { median: digits(spread.median), min: digits(spread.min), max: digits(spread.max) },
    limit: limit === null ? null : float(limit),
    ok: limit === null || spread === null ? null : spread.median <= limit,
    rounds: ratios.length,
    detail: Object.fromEntries(
      Object.entries(detail).map(([key, value]) => [key, value instanceof Float ? digits(value.value) : value]),
    ),
    machine,
  };
}

function machineOf(): Machine {
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    threads: availableParallelism(),
    platform: `${process.platform}-${process.arch}`,
    node: process.versions.node,
  };
}
