import { EgolensError } from '../../src/errors.js';
import { readPreset } from '../../src/models/presets.js';
import { BufferPool } from '../../src/runtime/buffers.js';
import { float } from '../../src/json.js';
import type { PixelRecipe } from '../../src/types.js';
import { openVideo, type VideoSource } from '../../src/video/probe.js';
import { readWindows, windowLayout } from '../../src/video/windows.js';
import { runChild } from './child.js';
import { costOf, hasChildTime } from './cost.js';
import {
  medianOf,
  pairRatios,
  valuesOf,
  type BenchContext,
  type Case,
  type Figure,
  type Sample,
  type Samples,
  type SpeedBenchmark,
} from './harness.js';
import { madeClip } from './material.js';

/** The clip of the promise: as large as first-person cameras record, as busy as filmed video. */
const clip = { width: 1440, height: 1080, seconds: 10, kilobitsPerSecond: 8500 } as const;

/** Sampling and pixels of the published features: 16 frames of 224 pixels, no frame twice. */
export const recipeName = 'ego4d-mq';

/** The program's own reader against ffmpeg that throws the frames away. */
export const decode: SpeedBenchmark = {
  name: 'decode',
  summary: 'video -> windows of 224 pixels, against ffmpeg that decodes and drops the frames',
  figures: [
    {
      name: 'fast',
      summary: 'CPU time of decode + scale inside ffmpeg (ffmpeg and this process) / that of `ffmpeg -f null`',
      limit: 1.25,
    },
    {
      name: 'exact',
      summary: 'CPU time of decode + full frames + exact resize here / that of `ffmpeg -f null`',
      limit: 1.8,
    },
  ],
  async *cases(context) {
    const { paths } = context;
    const made = paths.length === 0 ? await madeClip(clip, context) : undefined;
    for (const path of made === undefined ? paths : [made]) {
      const source = await openVideo(path, context.signal && { signal: context.signal });
      yield decodeCase(source, made === undefined ? path : null, context);
    }
  },
};

function decodeCase(source: VideoSource, input: string | null, context: BenchContext): Case {
  return {
    input,
    steps: [
      { name: 'null', run: () => decodeOnly(source, context.signal) },
      { name: 'fast', run: () => readAll(source, 'fast', context.signal) },
      { name: 'exact', run: () => readAll(source, 'exact', context.signal) },
    ],
    figures: (samples) => (['fast', 'exact'] as const).map((path) => figureOf(source, path, samples)),
  };
}

/** Wall time where the system does not tell the CPU time of children. */
const measure = hasChildTime ? 'cpuMs' : 'wallMs';

function figureOf(source: VideoSource, path: 'fast' | 'exact', samples: Samples): Figure {
  const frames = medianOf(samples, path, 'frames');
  const perFrame = (step: string, key: string): ReturnType<typeof float> =>
    float(medianOf(samples, step, key) / frames);
  return {
    name: path,
    ratios: pairRatios(valuesOf(samples, path, measure), valuesOf(samples, 'null', measure)),
    detail: {
      measured: hasChildTime ? 'CPU time' : 'wall time: this system does not tell the CPU time of children',
      codec: source.codec,
      width: source.width,
      height: source.height,
      frames,
      cpuMsPerFrame: perFrame(path, 'cpuMs'),
      ofThatOwnCpuMsPerFrame: perFrame(path, 'ownCpuMs'),
      nullCpuMsPerFrame: perFrame('null', 'cpuMs'),
      framesPerSecond: float((frames * 1000) / medianOf(samples, path, 'wallMs')),
      nullFramesPerSecond: float((frames * 1000) / medianOf(samples, 'null', 'wallMs')),
    },
  };
}

/** ffmpeg with its own defaults, its frames thrown away. Our own share is not counted: we only wait. */
async function decodeOnly(source: VideoSource, signal: AbortSignal | undefined): Promise<Sample> {
  const cost = await costOf(async () => {
    await runChild(
      source.tools.ffmpegPath,
      [
        ...['-nostdin', '-hide_banner', '-nostats', '-loglevel', 'error', '-i', `file:${source.path}`],
        ...['-map', `0:${source.streamIndex}`, '-f', 'null', '-'],
      ],
      signal,
    );
  });
  return { ...cost, cpuMs: cost.childCpuMs };
}

/** All windows of a video through the program's reader, each given back at once. */
export async function readAll(
  source: VideoSource,
  path: PixelRecipe['path'],
  signal: AbortSignal | undefined,
): Promise<Sample> {
  const { sampling, pixels: full } = readPreset(recipeName);
  const pixels = { ...full, path };
  const layout = windowLayout(source, sampling, pixels);
  let frames = 0;
  let windowCount = 0;
  const cost = await costOf(async () => {
    using buffers = new BufferPool(2, layout.bytes, signal);
    const windows = readWindows(source, { sampling, pixels, batch: 1, buffers, signal });
    for (;;) {
      const next = await windows.next();
      if (next.done === true) {
        frames = next.value.decodedFrames;
        break;
      }
      windowCount += next.value.count;
      buffers.give(next.value.buffer);
    }
  });
  if (frames === 0) throw new EgolensError('decode.no_frames', `\`${source.path}\`: nothing to time`);
  return { ...cost, cpuMs: cost.ownCpuMs + cost.childCpuMs, frames, windows: windowCount };
}
