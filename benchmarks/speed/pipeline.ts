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

/**
 * Clips whose decoding is slow and quick. The device takes as long a window as the decoder needs (measured in a pass that does not
 * count): the case in which waiting for each other costs most. It leaves the CPU alone.
 */
const clips: Readonly<Record<'large' | 'small', ClipPlan>> = {
  large: { width: 1440, height: 1080, seconds: 20, kilobitsPerSecond: 8500 },
  small: { width: 340, height: 256, seconds: 60, kilobitsPerSecond: 600 },
};

/** Reading and encoding at once, as `extract` does it, against the slower of the two alone. */
export const pipeline: SpeedBenchmark = {
  name: 'pipeline',
  summary: 'decoding and encoding at once, against the slower of the two alone',
  figures: Object.entries(clips).map(([name, { width, height }]) => ({
    name,
    summary: `time of reading and encoding ${width}x${height} (or PATH) / max(reading alone, device alone)`,
    limit: 1.1,
  })),
  async *cases(context) {
    const { paths, signal } = context;
    const inputs =
      paths.length > 0
        ? paths.map((path) => ({ figure: 'large', path, input: path }))
        : [
            { figure: 'large', path: await madeClip(clips.large, context), input: null },
            { figure: 'small', path: await madeClip(clips.small, context), input: null },
          ];
    for (const { figure, path, input } of inputs) {
      const source = await openVideo(path, signal && { signal });
      const { wallMs, windows } = await readAll(source, 'exact', signal);
      const windowMs = Math.max(1, Math.round(wallMs! / windows!)); // readAll gives both
      await using session = await openStandIn({
        millisecondsPerRun: windowMs,
        inputs: [{ name: 'frames', dtype: 'uint8', shape: ['batch', ...windowShape()] }],
        outputs: [{ name: 'pooled', dtype: 'float32', shape: ['batch', 768] }],
        ...(signal && { signal }),
      });
      yield pipelineCase({ figure, windowMs, windows: windows!, source, session, input }, context);
    }
  },
};

interface PipelineWork {
  readonly figure: string;
  readonly windowMs: number;
  readonly windows: number;
  readonly source: VideoSource;
  readonly session: Session;
  readonly input: string | null;
}

function pipelineCase(work: PipelineWork, context: BenchContext): Case {
  const { figure, windowMs, windows, source, session, input } = work;
  return {
    input,
    steps: [
      { name: 'decode', run: () => readAll(source, 'exact', context.signal) },
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
