/**
 * Features of Tabletop clips without a video: only the frames that the windows show are drawn, at the size of the encoder. Files of the same
 * form as `extract` writes, in a fortieth of its time; pixels lack what compression does to them.
 */
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { EgolensError } from '../../errors.js';
import { openFeatureWriter, type FeatureTarget } from '../../features/store.js';
import { builtProgram, makeFolder, pathExists, sha256 } from '../../files.js';
import { canonicalText } from '../../json.js';
import type { ModelFolder } from '../../models/folder.js';
import type { Session } from '../../runtime/session.js';
import { tensor } from '../../tensor.js';
import { windowExtent } from '../../time.js';
import type { Progress, RowTime, SamplingRecipe } from '../../types.js';
import { denseStarts, windowSamples } from '../../video/windows.js';
import { clipsOf, type Clip, type SetRequest } from '../../world/data-set.js';
import { openModelSession } from '../probe.js';
import { programVersion, runtimeVersion } from '../versions.js';
import type { DrawFrames, DrawnFrames } from './draw-frames-program.js';

/** Which windows of each clip are drawn. */
export type DrawnPlan =
  /** All of the preset, pooled. */
  | { readonly kind: 'dense' }
  /** Those that end at these frames, by the uid of the video; rows of tokens. */
  | { readonly kind: 'ends'; readonly frames: ReadonlyMap<string, readonly number[]> };

export interface DrawnOptions {
  readonly model: ModelFolder;
  readonly plan: DrawnPlan;
  readonly device: string;
  readonly threads?: number;
  readonly signal: AbortSignal;
  readonly progress: Progress;
}

/** Windows of one run of the encoder. */
const windowsAtOnce = 8;

/**
 * Writes a feature file for each clip of the set, called by the uid of its video; what is there is kept.
 *
 * @throws EgolensError model.config for a preset without a rate; output.*, limit.disk; the reason of the signal
 */
export async function drawFeatures(folder: string, set: SetRequest, options: DrawnOptions): Promise<void> {
  const { model, progress, signal, device, threads } = options;
  const { sampling } = model.preset;
  if (sampling.rate === 'source' || set.fps * sampling.rate.den !== sampling.rate.num) {
    throw new EgolensError('model.config', `${model.id}: expected a preset with windows at ${set.fps} frames a second`);
  }
  await makeFolder(folder);
  const missing: Clip[] = [];
  for (const clip of clipsOf(set)) if (!(await pathExists(targetOf(folder, clip).meta))) missing.push(clip);
  if (missing.length === 0) return;
  await using session = await openModelSession(model, { device, signal, ...(threads !== undefined && { threads }) });
  await using drawing = openDrawing(threads ?? availableParallelism());
  const bar = progress.start(`features of ${missing.length} drawn clips`, missing.length);
  try {
    const plans = missing.map((clip) => ({ clip, ends: endsOf(clip, options) }));
    const ask = ({ clip, ends }: (typeof plans)[number]): Promise<Uint8Array> =>
      drawing.frames(clip.scene.request, framesOf(ends, sampling, clip.scene.frames), model.spec.size);
    // One clip is drawn ahead by each thread.
    const ahead = plans.slice(0, drawing.threads + 1).map(ask);
    for (const [i, plan] of plans.entries()) {
      signal.throwIfAborted();
      const pixels = await ahead.shift()!; // one for each plan
      const next = plans[i + drawing.threads + 1];
      if (next !== undefined) ahead.push(ask(next));
      await writeClip(targetOf(folder, plan.clip), plan, { pixels, session, options });
      bar.advance(1);
    }
  } finally {
    bar.stop();
  }
}

function targetOf(folder: string, { videoUid }: Clip): FeatureTarget {
  const array = join(folder, `${videoUid}.npy`);
  return { type: 'npy', array, times: join(folder, `${videoUid}.times.csv`), meta: `${array}.meta.json` };
}

/** Last sample of each window. */
function endsOf({ scene, videoUid }: Clip, { model, plan }: DrawnOptions): readonly number[] {
  const { sampling } = model.preset;
  if (plan.kind === 'ends') return [...new Set(plan.frames.get(videoUid) ?? [])].sort((a, b) => a - b);
  return denseStarts(scene.frames, sampling).map((start) => start + (sampling.frames - 1) * sampling.step);
}

/** Samples of the window that ends at one. */
function samplesTo(end: number, { frames, step }: SamplingRecipe, count: number): readonly number[] {
  return windowSamples(end - (frames - 1) * step, count, { frames, step } as SamplingRecipe).map((n) => Math.max(0, n));
}

function framesOf(ends: readonly number[], sampling: SamplingRecipe, count: number): number[] {
  return [...new Set(ends.flatMap((end) => samplesTo(end, sampling, count)))].sort((a, b) => a - b);
}

async function writeClip(
  target: FeatureTarget,
  { clip, ends }: { readonly clip: Clip; readonly ends: readonly number[] },
  {
    pixels,
    session,
    options: { model, plan },
  }: { readonly pixels: Uint8Array; readonly session: Session; readonly options: DrawnOptions },
): Promise<void> {
  const { spec, preset, manifest } = model;
  const { sampling } = preset;
  const count = clip.scene.frames;
  const places = new Map(framesOf(ends, sampling, count).map((frame, place) => [frame, place]));
  const output = plan.kind === 'dense' ? preset.feature : spec.tokenOutput;
  await using writer = await openFeatureWriter(target, spec.outputs[output]!.shape.slice(1) as number[]); // fixed sizes
  const length = spec.size * spec.size * 3;
  for (let first = 0; first < ends.length; first += windowsAtOnce) {
    const group = ends.slice(first, first + windowsAtOnce);
    const data = new Uint8Array(group.length * spec.frames * length);
    group.forEach((end, i) => {
      samplesTo(end, sampling, count).forEach((frame, t) => {
        const place = places.get(frame)!; // all were drawn
        data.set(pixels.subarray(place * length, (place + 1) * length), (i * spec.frames + t) * length);
      });
    });
    const frames = tensor('uint8', [group.length, spec.frames, spec.size, spec.size, 3], data);
    const outputs = await session.run({ frames }, [output], { transfer: true });
    await writer.append(outputs[output]!); // asked for
  }
  const rate = clip.scene.request.fps;
  const extent = windowExtent(sampling);
  const rows = ends.map((end, index): RowTime => {
    const start = end - (sampling.frames - 1) * sampling.step;
    const last = plan.kind === 'dense' ? Math.min(start + extent, count) : end + 1;
    const firstFrame = Math.max(0, start);
    return { index, firstFrame, lastFrame: Math.min(end, count - 1), start: firstFrame / rate, end: last / rate };
  });
  const { hop, frames, step, tail } = sampling;
  // The uid of a clip says all that it is made from.
  const identity = `content:${sha256(clip.videoUid)}`;
  await writer.finish(
    {
      input: { name: `${clip.videoUid}, drawn`, bytes: 0, identity },
      stream: 0,
      startOffset: 0,
      frames: { claimed: count, decoded: count },
      decodeErrors: 0,
      warnings: [],
      clock:
        plan.kind === 'dense'
          ? {
              ...{ rate: sampling.rate, hop, frames, step, tail, rows: rows.length },
              ...(sampling.extent !== undefined && { extent: sampling.extent }),
            }
          : null,
      of: { kind: 'video', uid: clip.videoUid },
      preset: `${preset.name}@${preset.version}`,
      pixels: preset.pixels.path,
      model: { name: manifest.name, digest: manifest.digest },
      output,
      precision: manifest.precision,
      provider: session.provider === 'stand-in' ? 'cpu' : session.provider,
      versions: { program: programVersion(), runtime: runtimeVersion(), ffmpeg: 'none' },
      key: sha256(canonicalText([identity, manifest.digest, output, ends])),
    },
    rows,
  );
}

interface Drawing extends AsyncDisposable {
  readonly threads: number;
  /** uint8 [frames, size, size, 3] */
  frames(clip: Clip['scene']['request'], frames: readonly number[], size: number): Promise<Uint8Array>;
}

function openDrawing(threads: number): Drawing {
  const waiting = new Map<number, { resolve: (pixels: Uint8Array) => void; reject: (error: Error) => void }>();
  const workers = Array.from({ length: threads }, () => {
    const worker = new Worker(builtProgram('src/pipeline/default-heads/draw-frames-program.js'), {
      execArgv: [],
      name: 'egolens drawing',
    });
    worker.on('message', ({ id, pixels }: DrawnFrames) => {
      waiting.get(id)?.resolve(new Uint8Array(pixels));
      waiting.delete(id);
    });
    worker.on('error', (error) => {
      for (const { reject } of waiting.values()) reject(error);
      waiting.clear();
    });
    return worker;
  });
  let asked = 0;
  return {
    threads,
    frames: (clip, frames, size) =>
      new Promise((resolve, reject) => {
        const id = asked++;
        waiting.set(id, { resolve, reject });
        workers[id % threads]!.postMessage({ id, clip, frames, size } satisfies DrawFrames);
      }),
    async [Symbol.asyncDispose]() {
      await Promise.all(workers.map((worker) => worker.terminate()));
    },
  };
}
