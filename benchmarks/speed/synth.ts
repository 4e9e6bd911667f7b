import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { EgolensError } from '../../src/errors.js';
import { float } from '../../src/json.js';
import { writeVideos } from '../../src/pipeline/synth-videos.js';
import type { Progress } from '../../src/types.js';
import { clipOf, type SetRequest } from '../../src/world/data-set.js';
import { costOf, hasChildTime } from './cost.js';
import { medianOf, valuesOf, type BenchContext, type Case, type Sample, type SpeedBenchmark } from './harness.js';

/** The clip of the promise: the default size and difficulty of `synth`. */
const clip = {
  width: 320,
  height: 240,
  seconds: 10,
  fps: 30,
  difficulty: 2,
  seed: 1,
  split: 'train',
} as const satisfies Omit<SetRequest, 'clips'>;
/** One core draws and encodes at least so many seconds of video in a second. */
const leastRealTime = 4;

/** Drawing and encoding Tabletop, against the length of the video. */
export const synth: SpeedBenchmark = {
  name: 'synth',
  summary: 'drawing and encoding a clip of Tabletop, against the length of the video',
  figures: [
    {
      name: 'realtime',
      summary: `CPU time of drawing and encoding ${clip.width}x${clip.height} at ${clip.fps} frames a second (this process and ffmpeg) / length of the video: 1/${leastRealTime} is ${leastRealTime} times real time on one core`,
      limit: 1 / leastRealTime,
    },
  ],
  async *cases(context) {
    await mkdir(context.cache, { recursive: true });
    const folder = await mkdtemp(join(context.cache, 'synth-'));
    try {
      yield synthCase(folder, context);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },
};

function synthCase(folder: string, context: BenchContext): Case {
  const size = context.isSmoke ? { ...clip, width: 64, height: 48, seconds: 1 } : clip;
  return {
    input: null,
    steps: [{ name: 'synth', run: () => writeOnce(folder, size, context.signal) }],
    figures: (samples) => {
      // Where children's time is not known, two cores may share the work, and the wall time flatters; `measured` says which it is.
      const measure = hasChildTime ? 'cpuMs' : 'wallMs';
      const videoMs = 1000 * size.seconds;
      const frames = size.seconds * size.fps;
      const spent = medianOf(samples, 'synth', measure);
      return [
        {
          name: 'realtime',
          ratios: valuesOf(samples, 'synth', measure).map((ms) => ms / videoMs),
          detail: {
            measured: hasChildTime ? 'CPU time' : 'wall time: this system does not tell the CPU time of children',
            width: size.width,
            height: size.height,
            frames,
            timesRealTime: float(videoMs / spent),
            leastTimesRealTime: leastRealTime,
            framesPerSecond: float((1000 * frames) / spent),
            ofThatOwnCpuMsPerFrame: float(medianOf(samples, 'synth', 'ownCpuMs') / frames),
            cpuMsPerFrame: float(spent / frames),
          },
        },
      ];
    },
  };
}

const quiet: Progress = {
  start: () => ({ advance: () => undefined, stop: () => undefined }),
  note: () => undefined,
  warn: () => undefined,
};

/** One clip, drawn and encoded; the plan of the scene counts too. */
async function writeOnce(
  folder: string,
  set: Omit<SetRequest, 'clips'>,
  signal: AbortSignal = new AbortController().signal,
): Promise<Sample> {
  let written = 0;
  const cost = await costOf(async () => {
    const options = { variants: [], jobs: 1, force: true, signal, progress: quiet };
    for await (const { state } of writeVideos(folder, [clipOf({ ...set, clips: 1 }, 0)], options)) {
      if (state === 'written') written++;
    }
  });
  if (written !== 1) throw new EgolensError('internal.bug', `${written} clips were written, not one`);
  return { ...cost, cpuMs: cost.ownCpuMs + cost.childCpuMs };
}
