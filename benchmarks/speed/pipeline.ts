import { float } from '../../src/json.js';
import { readPreset } from '../../src/models/presets.js';
import { encodeVideo } from '../../src/pipeline/encode-video.js';
import { BufferPool } from '../../src/runtime/buffers.js';
import { openStandIn, type Session } from '../../src/runtime/session.js';
import { sizeOf, tensor } from '../../src/tensor.js';
import { openVideo, type VideoSource } from '../../src/video/probe.js';
import { readAll, recipeName } from './decode.js';
import { medianOf, valuesOf, type BenchContext, type Case, type Sample, type SpeedBenchmark } from './harness.js';
import { madeClip, type ClipPlan } from './material.js';

/** A device that is busy for so long a window and leaves the CPU alone, beside a decoder that takes about as long. */
interface Pairing {
  readonly figure: 'large' | 'small';
  readonly clip: ClipPlan;
  readonly windowMs: number;
}
const pairings: readonly Pairing[] = [
  { figure: 'large', clip: { width: 1440, height: 1080, seconds: 20, kilobitsPerSecond: 8500 }, windowMs: 60 },
  { figure: 'small', clip: { width: 340, height: 256, seconds: 60, kilobitsPerSecond: 600 }, windowMs: 12 },
];
const smokePairings: readonly Pairing[] = [
  { figure: 'small', clip: { width: 320, height: 240, seconds: 2, kilobitsPerSecond: 500 }, windowMs: 2 },
];

/** Reading and encoding at once, as `extract` does it, against the slower of the two alone. */
export const pipeline: SpeedBenchmark = {
  name: 'pipeline',
  summary: 'decoding and encoding at once, against the slower of the two alone',
  figures: pairings.map(({ figure, clip, windowMs }) => ({
    name: figure,
    summary: `time of ${clip.width}x${clip.height} beside a device of ${windowMs} ms a window / max(decode alone, device alone)`,
    limit: 1.1,
  })),
  async *cases(context) {
    const { paths, signal } = context;
    for (const { figure, clip, windowMs } of context.isSmoke ? smokePairings : pairings) {
      for (const path of paths.length > 0 ? paths : [await madeClip(clip, context)]) {
        const source = await openVideo(path, signal && { signal });
        await using session = await openStandIn({
          millisecondsPerRun: windowMs,
          inputs: [{ name: 'frames', dtype: 'uint8', shape: ['batch', ...windowShape()] }],
          outputs: [{ name: 'pooled', dtype: 'float32', shape: ['batch', 768] }],
          ...(signal && { signal }),
        });
        yield pipelineCase({ figure, windowMs, source, session, input: paths.length > 0 ? path : null }, context);
      }
    }
  },
};

interface PipelineWork {
  readonly figure: string;
  readonly windowMs: number;
  readonly source: VideoSource;
  readonly session: Session;
  readonly input: string | null;
}

function pipelineCase(work: PipelineWork, context: BenchContext): Case {
  const { figure, windowMs, source, session, input } = work;
  let windows = 1;
  const decode = async (): Promise<Sample> => {
    const sample = await readAll(source, 'exact', context.signal);
    windows = sample['windows']!; // readAll counts them
    return sample;
  };
  return {
    input,
    steps: [
      { name: 'decode', run: decode },
      { name: 'encode', run: () => deviceAlone(session, windows) },
      { name: 'both', run: () => both(source, session, context.signal) },
    ],
    figures: (samples) => {
      const decodeMs = valuesOf(samples, 'decode', 'wallMs');
      const encodeMs = valuesOf(samples, 'encode', 'wallMs');
      const bothMs = valuesOf(samples, 'both', 'wallMs');
      return [
        {
          name: figure,
          ratios: bothMs.map((ms, round) => ms / Math.max(decodeMs[round]!, encodeMs[round]!)),
          detail: {
            width: source.width,
            height: source.height,
            windows,
            deviceMsPerWindow: float(windowMs),
            decodeMs: float(medianOf(samples, 'decode', 'wallMs')),
            encodeMs: float(medianOf(samples, 'encode', 'wallMs')),
            bothMs: float(medianOf(samples, 'both', 'wallMs')),
            windowsPerSecond: float((windows * 1000) / medianOf(samples, 'both', 'wallMs')),
          },
        },
      ];
    },
  };
}

/** [t, h, w, 3] of the recipe. */
function windowShape(): readonly [number, number, number, number] {
  const { sampling, pixels } = readPreset(recipeName);
  return [sampling.frames, pixels.size, pixels.size, 3];
}

/** The device with windows always at hand. */
async function deviceAlone(session: Session, windows: number): Promise<Sample> {
  const shape = [1, ...windowShape()];
  using buffers = new BufferPool(2, sizeOf(shape));
  const start = performance.now();
  const runs: Promise<unknown>[] = [];
  for (let i = 0; i < windows; i++) {
    const frames = tensor('uint8', shape, new Uint8Array(await buffers.take()));
    runs.push(session.run({ frames }, ['pooled'], { pool: buffers }));
  }
  await Promise.all(runs);
  return { wallMs: performance.now() - start };
}

/** The program's own loop; nothing is written. */
async function both(source: VideoSource, session: Session, signal: AbortSignal | undefined): Promise<Sample> {
  const start = performance.now();
  await encodeVideo(source, {
    session,
    preset: readPreset(recipeName),
    output: 'pooled',
    level: 'clip',
    batch: 1,
    write: () => Promise.resolve(),
    limits: signal ? { signal } : {},
  });
  return { wallMs: performance.now() - start };
}
