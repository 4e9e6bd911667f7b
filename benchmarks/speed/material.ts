import { mkdir, open, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeSafetensors } from '../../src/checkpoint/safetensors.js';
import { EgolensError } from '../../src/errors.js';
import { pathExists, temporaryName } from '../../src/files.js';
import type { Graph } from '../../src/graph/builder.js';
import { onnxBytes } from '../../src/graph/onnx.js';
import { planWeights } from '../../src/graph/weights.js';
import { videomaeClassifier } from '../../src/models/videomae-family.js';
import type { ModelSpec } from '../../src/models/spec.js';
import { importModel } from '../../src/pipeline/import-model.js';
import { seededRandom } from '../../src/random.js';
import { bytesOf, sizeOf, tensor } from '../../src/tensor.js';
import { findTools } from '../../src/video/tools.js';
import { runChild } from './child.js';
import type { BenchContext } from './harness.js';

/** Clips and models that the benchmarks make themselves, once, and keep in the cache folder. */

/** A moving fractal under fresh noise: something that costs a decoder what filmed video costs. */
export interface ClipPlan {
  readonly width: number;
  readonly height: number;
  readonly seconds: number;
  readonly kilobitsPerSecond: number;
}

/** Path of the clip: h264 (x264 veryfast), 30 frames a second, a key frame every 60. @throws EgolensError tool.failed without libx264 */
export async function madeClip(plan: ClipPlan, context: BenchContext): Promise<string> {
  const { width, height, seconds, kilobitsPerSecond } = plan;
  const path = join(context.cache, `fractal-${width}x${height}-${seconds}s-${kilobitsPerSecond}k.mp4`);
  if (await pathExists(path)) return path;
  const { ffmpegPath } = await findTools();
  const { stdout: encoders } = await runChild(ffmpegPath, ['-hide_banner', '-encoders'], context.signal);
  if (!encoders.includes('libx264')) {
    throw new EgolensError('tool.failed', 'this ffmpeg has no encoder libx264, so no clip can be made', {
      try: 'an ffmpeg with libx264, or the path of a video of your own',
    });
  }
  context.progress?.note(`making ${seconds} s of ${width}x${height} video (once)`);
  await mkdir(context.cache, { recursive: true });
  const temporary = temporaryName(path);
  try {
    await runChild(ffmpegPath, clipArguments(plan, temporary), context.signal);
    await rename(temporary, path);
  } finally {
    await rm(temporary, { force: true });
  }
  return path;
}

function clipArguments({ width, height, seconds, kilobitsPerSecond: rate }: ClipPlan, path: string): readonly string[] {
  // The fractal is drawn small: at full size it would take a minute, and the detail comes from the noise.
  const source = `mandelbrot=size=${Math.ceil(width / 4)}x${Math.ceil(height / 4)}:rate=30:maxiter=1000`;
  const filters = `scale=${width}:${height}:flags=bicubic,noise=alls=8:allf=t:all_seed=1,format=yuv420p`;
  return [
    ...['-hide_banner', '-nostdin', '-loglevel', 'error', '-y'],
    ...['-f', 'lavfi', '-i', source, '-t', String(seconds), '-vf', filters],
    ...['-c:v', 'libx264', '-preset', 'veryfast', '-g', '60'],
    ...['-b:v', `${rate}k`, '-maxrate', `${rate}k`, '-bufsize', `${rate}k`],
    ...['-f', 'mp4', path],
  ];
}

/** A graph with seeded weights beside it. */
export interface MadeGraph {
  readonly path: string;
  readonly weightsBytes: number;
}

/** Writes a graph and its weights in the form of a model folder, unless they are there. */
export async function madeGraph(name: string, graph: Graph, context: BenchContext): Promise<MadeGraph> {
  const folder = join(context.cache, name);
  const plan = planWeights([graph]);
  const path = join(folder, 'graph.onnx');
  if (await pathExists(path)) return { path, weightsBytes: plan.totalBytes };
  context.progress?.note(`writing ${name}, ${Math.round(plan.totalBytes / 1e6)} MB of seeded weights (once)`);
  const temporary = temporaryName(folder);
  try {
    await mkdir(temporary, { recursive: true });
    const inline = (param: string): ReturnType<typeof tensor<'float32'>> => {
      const { shape } = plan.inline.find((each) => each.name === param)!; // asked for these alone
      return tensor('float32', shape, seededWeights(param, shape));
    };
    const bytes = onnxBytes(graph, { weightsFile: 'weights.bin', plan, inline });
    await using file = await open(join(temporary, 'weights.bin'), 'w');
    await file.truncate(plan.totalBytes);
    for (const slot of plan.slots) {
      context.signal?.throwIfAborted();
      const values = slot.constant ?? tensor('float32', slot.shape, seededWeights(slot.name, slot.shape));
      await file.write(bytesOf(values), 0, slot.length, slot.offset);
    }
    await writeFile(join(temporary, 'graph.onnx'), bytes);
    await rename(temporary, folder);
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
  return { path, weightsBytes: plan.totalBytes };
}

/** Uniform values of the deviation 0.02 that vision transformers start with; scales of norms around 1. */
function seededWeights(name: string, shape: readonly number[]): Float32Array<ArrayBuffer> {
  const random = seededRandom(1, name);
  const centre = /norm\d?\.weight$/.test(name) ? 1 : 0;
  const reach = 0.02 * Math.sqrt(3);
  const values = new Float32Array(sizeOf(shape));
  for (let i = 0; i < values.length; i++) values[i] = centre + (2 * random.uniform() - 1) * reach;
  return values;
}

/** The encoder whose speed is promised; a very small one for a smoke run. */
export function encoderSpec(context: BenchContext): ModelSpec {
  return videomaeClassifier.spec(
    context.isSmoke ? nanoConfig : { ...videomaeClassifier.sizes['videomae-b'], num_classes: 0 },
    {},
  );
}

/** A model so small that memory is the reader's and the runtime's own. */
const nanoConfig = { img_size: 96, embed_dim: 96, depth: 2, num_heads: 4, num_classes: 0 };

/** A complete model folder with seeded weights, made by the product's own import. */
export async function madeModel(context: BenchContext): Promise<string> {
  const folder = join(context.cache, 'videomae-nano');
  if (await pathExists(folder)) return folder;
  await mkdir(context.cache, { recursive: true });
  const checkpoint = join(context.cache, 'videomae-nano.safetensors');
  const { params } = videomaeClassifier.spec(nanoConfig, {}).build({ input: 'frames', form: 'fused' });
  const entries = params.map(({ name, shape }) => ({
    name,
    dtype: 'F32' as const,
    shape,
    bytes: () => [bytesOf(tensor('float32', shape, seededWeights(name, shape)))],
  }));
  try {
    await writeFile(checkpoint, writeSafetensors(entries));
    await importModel(checkpoint, {
      arch: 'videomae-classifier',
      name: 'bench-nano',
      output: folder,
      trained: 'untrained',
      ...(await configFile(context)),
      ...(context.signal && { signal: context.signal }),
    });
  } finally {
    await rm(checkpoint, { force: true });
  }
  return folder;
}

async function configFile(context: BenchContext): Promise<{ readonly config: string }> {
  const config = join(context.cache, 'videomae-nano.json');
  await writeFile(config, JSON.stringify(nanoConfig));
  return { config };
}
