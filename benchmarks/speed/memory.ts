import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { float } from '../../src/json.js';
import { openVideo, listPackets } from '../../src/video/probe.js';
import { commandLine, runReporting } from './child.js';
import { medianOf, pairRatios, valuesOf, type BenchContext, type Case, type SpeedBenchmark } from './harness.js';
import { madeClip, madeModel } from './material.js';

/** Short enough to decode quickly, and from one minute on: below that the peak still grows with young garbage (performance.md 6). */
const clip = { width: 320, height: 240, kilobitsPerSecond: 500 } as const;
const seconds = [60, 180] as const;

/** Memory of the whole program on a long video, against a shorter one. */
export const memory: SpeedBenchmark = {
  name: 'memory',
  summary: 'peak memory of `extract` on a long video, against a shorter one; two PATHs replace the made clips',
  figures: [
    {
      name: 'flatness',
      summary: 'peak resident memory of `extract` on the longer video / on the shorter one (ffmpeg not counted)',
      limit: 1.1,
    },
  ],
  async *cases(context) {
    const isOwn = context.paths.length >= 2;
    const pair = isOwn ? context.paths.slice(0, 2) : await madePair(context);
    const timed = await Promise.all(pair.map(async (path) => ({ path, length: await lengthOf(path, context) })));
    const [short, long] = timed.sort((a, b) => a.length - b.length);
    const model = context.model ?? (await madeModel(context));
    const folder = await mkdtemp(join(tmpdir(), 'egolens-bench-'));
    try {
      yield memoryCase({ model, short: short!, long: long!, folder, isOwn }, context);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },
};

async function madePair(context: BenchContext): Promise<readonly string[]> {
  const paths: string[] = [];
  for (const length of seconds) paths.push(await madeClip({ ...clip, seconds: length }, context));
  return paths;
}

async function lengthOf(path: string, { signal }: BenchContext): Promise<number> {
  const limits = signal ? { signal } : {};
  return (await listPackets(await openVideo(path, limits), limits)).times.at(-1) ?? 0;
}

interface Video {
  readonly path: string;
  /** Seconds. */
  readonly length: number;
}

interface MemoryWork {
  readonly model: string;
  readonly short: Video;
  readonly long: Video;
  readonly folder: string;
  readonly isOwn: boolean;
}

function memoryCase({ model, short, long, folder, isOwn }: MemoryWork, context: BenchContext): Case {
  const peakOn = async ({ path }: Video): Promise<{ readonly peakBytes: number }> => {
    const threads = context.threads === undefined ? [] : ['--threads', String(context.threads)];
    const { atExit } = await runReporting(
      commandLine,
      ['extract', path, '--model', model, '-o', folder, '--force', '-q', '--device', context.device, ...threads],
      context.signal,
    );
    return { peakBytes: atExit.peakBytes };
  };
  return {
    input: isOwn ? long.path : null,
    steps: [
      { name: 'short', run: () => peakOn(short) },
      { name: 'long', run: () => peakOn(long) },
    ],
    warmUps: 0,
    mostRounds: 3,
    figures: (samples) => [
      {
        name: 'flatness',
        ratios: pairRatios(valuesOf(samples, 'long', 'peakBytes'), valuesOf(samples, 'short', 'peakBytes')),
        detail: {
          longSeconds: float(long.length),
          shortSeconds: float(short.length),
          longMegabytes: float(medianOf(samples, 'long', 'peakBytes') / 1e6),
          shortMegabytes: float(medianOf(samples, 'short', 'peakBytes') / 1e6),
        },
      },
    ],
  };
}
