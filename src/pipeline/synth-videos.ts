/** Clips of Tabletop as video files: frames are drawn once and written in every form that is asked for. */
import { join } from 'node:path';
import { asEgolensError, EgolensError } from '../errors.js';
import {
  beginFile,
  makeFolder,
  pathExists,
  readSmallFile,
  temporaryName,
  writeFileAtomic,
  type PendingFile,
} from '../files.js';
import { float, type JsonValue } from '../json.js';
import type { Progress, ProgressItem } from '../types.js';
import { knownEncoders, startEncoding, type EncoderName, type Encoding } from '../video/encode.js';
import type { RunLimits } from '../video/ffmpeg.js';
import { findTools, type Tools } from '../video/tools.js';
import type { Clip } from '../world/data-set.js';
import { openRenderer, type Renderer } from '../world/render.js';
import { cutShare, plain, turnTrack, variants, type Variant, type VariantName } from '../world/variants.js';

export interface VideoOptions {
  readonly variants: readonly VariantName[];
  /** Clips at once. */
  readonly jobs: number;
  /** Write again what is there. */
  readonly force: boolean;
  readonly signal: AbortSignal;
  readonly progress: Progress;
}

/** `egolens.synth/1`: one clip. */
export type SynthRecord = Readonly<Record<string, JsonValue>>;

/**
 * Render clips into `folder/videos`, those that are there already left alone unless `force` is given.
 *
 * @returns a record for each clip, in their order, once its files are complete
 * @throws EgolensError tool.*, limit.disk, output.unwritable; the reason of the signal
 */
export async function* writeVideos(
  folder: string,
  clips: readonly Clip[],
  options: VideoOptions,
): AsyncGenerator<SynthRecord> {
  const { jobs, progress, signal } = options;
  const tools = await findTools();
  const forms = await formsOf(tools, options);
  signal.throwIfAborted();
  // What is written after hours of rendering gets its folder before: one that cannot be written to shows at once.
  for (const name of ['videos', 'annotations']) await makeFolder(join(folder, name));
  const stop = new AbortController();
  const limits: RunLimits = { signal: AbortSignal.any([signal, stop.signal]) };
  const bar = progress.start(
    'synth',
    clips.reduce((sum, { scene }) => sum + scene.frames, 0),
  );
  const running: Promise<SynthRecord | EgolensError>[] = [];
  const idle: Renderer[] = [];
  try {
    for (let next = 0; next < clips.length || running.length > 0;) {
      while (running.length < jobs && next < clips.length) {
        const clip = clips[next++]!; // below the length
        running.push(makeClip(folder, clip, { tools, forms, limits, bar, idle, force: options.force }));
      }
      const result = await running.shift()!; // one was started above
      signal.throwIfAborted();
      if (result instanceof EgolensError) throw result;
      yield result;
    }
  } finally {
    stop.abort();
    await Promise.all(running); // they never reject
    bar.stop();
  }
}

/** What is written of each clip: the plain video, and the wanted variants that this ffmpeg can write. */
interface Forms {
  readonly variants: readonly VariantName[];
}

async function formsOf(tools: Tools, { variants: wanted, progress, signal }: VideoOptions): Promise<Forms> {
  const known = await knownEncoders(tools, signal);
  if (!known.has('libx264')) {
    throw new EgolensError('tool.failed', `ffmpeg ${tools.version} has no encoder libx264`, {
      try: 'install an ffmpeg with x264, or name one in EGOLENS_FFMPEG',
    });
  }
  const lacks = (codec: EncoderName, format: string): boolean => known.get(codec)?.has(format) !== true;
  const possible = [...new Set(wanted)].filter((name) => {
    if (name === 'cut') return true;
    const { codec, pixelFormat } = variants[name];
    if (!lacks(codec, pixelFormat)) return true;
    progress.warn(
      'tool.failed',
      `variant ${name} is left out: ffmpeg ${tools.version} has no ${codec} with ${pixelFormat}`,
    );
    return false;
  });
  return { variants: possible };
}

interface Work {
  readonly tools: Tools;
  readonly forms: Forms;
  readonly limits: RunLimits;
  readonly bar: ProgressItem;
  /** Renderers that no clip uses now. */
  readonly idle: Renderer[];
  readonly force: boolean;
}

/** One file that is being written. */
interface Target {
  readonly name: VariantName | null;
  readonly variant: Variant;
  readonly file: PendingFile;
  readonly path: string;
  readonly encoding: Encoding;
}

async function makeClip(folder: string, clip: Clip, work: Work): Promise<SynthRecord | EgolensError> {
  const { forms, bar, force } = work;
  const pathOf = (name: VariantName | null): string => videoPath(folder, clip, name);
  try {
    const missing: (VariantName | null)[] = [];
    for (const name of [null, ...forms.variants]) {
      if (force || !(await pathExists(pathOf(name)))) missing.push(name);
    }
    const encoded = missing.filter((name) => name !== 'cut');
    if (encoded.length > 0) await encodeClip(clip, encoded, pathOf, work);
    else bar.advance(clip.scene.frames);
    if (missing.includes('cut')) await cutFile(pathOf(null), pathOf('cut'));
    return clipRecord(folder, clip, forms.variants, missing.includes(null) ? 'written' : 'kept');
  } catch (error) {
    return asEgolensError(error);
  }
}

/** All forms at once, from frames that are drawn once. */
async function encodeClip(
  clip: Clip,
  names: readonly (VariantName | null)[],
  pathOf: (name: VariantName | null) => string,
  { tools, limits, bar, idle }: Work,
): Promise<void> {
  const { scene, width, height } = clip;
  const renderer = idle.pop() ?? (await openRenderer({ width, height }));
  await using stack = new AsyncDisposableStackOf();
  const targets: Target[] = [];
  for (const name of names) {
    const variant = name === null || name === 'cut' ? plain : variants[name];
    const path = pathOf(name);
    const file = stack.use(await beginFile(path));
    const options = { ...variant, width, height, fps: scene.request.fps };
    const encoding = stack.use(await startEncoding(tools, temporaryName(path), options, limits));
    targets.push({ name, variant, file, path, encoding });
  }
  for (let frame = 0; frame < scene.frames; frame++) {
    limits.signal?.throwIfAborted();
    const picture = renderer.rgba(scene, frame);
    await Promise.all(targets.map(({ encoding }) => encoding.write(picture)));
    bar.advance(1);
  }
  await Promise.all(targets.map(({ encoding }) => encoding.finish()));
  for (const { variant, file, path } of targets) {
    if (variant.shownTurned !== 0) await turnFile(file, path, width);
    await file.commit();
  }
  idle.push(renderer);
}

/** Disposes what it was given, the last first. */
class AsyncDisposableStackOf implements AsyncDisposable {
  readonly #owned: AsyncDisposable[] = [];

  use<T extends AsyncDisposable>(resource: T): T {
    this.#owned.push(resource);
    return resource;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const resource of this.#owned.reverse()) await resource[Symbol.asyncDispose]();
  }
}

const headBytes = 1 << 16;

/** `storedHeight`: pictures of a turned file lie on their side. */
async function turnFile({ handle }: PendingFile, path: string, storedHeight: number): Promise<void> {
  const head = new Uint8Array(headBytes);
  const { bytesRead } = await handle.read(head, 0, headBytes, 0);
  if (!turnTrack(head.subarray(0, bytesRead), storedHeight)) {
    throw new EgolensError('internal.bug', `\`${path}\`: no track header at the beginning of the mp4`);
  }
  await handle.write(head, 0, bytesRead, 0);
}

/** The first half of the bytes. */
async function cutFile(from: string, to: string): Promise<void> {
  const bytes = await readSmallFile(from, 2 ** 31);
  await writeFileAtomic(to, bytes.subarray(0, Math.floor(bytes.length * cutShare)));
}

/** Where the video of a clip lies, or a variant of it. */
function videoPath(folder: string, { videoUid }: Clip, name: VariantName | null): string {
  return join(folder, 'videos', name === null ? `${videoUid}.mp4` : `${videoUid}.${name}.mp4`);
}

/** The record of a clip whose video is there already, or is not wanted. */
export async function unrenderedRecord(folder: string, clip: Clip): Promise<SynthRecord> {
  return clipRecord(folder, clip, [], (await pathExists(videoPath(folder, clip, null))) ? 'kept' : 'skipped');
}

function clipRecord(
  folder: string,
  clip: Clip,
  forms: readonly VariantName[],
  state: 'written' | 'kept' | 'skipped',
): SynthRecord {
  const { scene, videoUid, clipUid, width, height } = clip;
  const { split, index, fps, difficulty } = scene.request;
  return {
    schema: 'egolens.synth/1',
    path: videoPath(folder, clip, null),
    uid: videoUid,
    clip_uid: clipUid,
    split,
    index,
    state,
    frames: scene.frames,
    fps,
    width,
    height,
    seconds: float(scene.frames / fps),
    difficulty,
    compositional: scene.isCompositional,
    actions: scene.actions.length,
    variants: forms.map((name) => ({
      name,
      path: videoPath(folder, clip, name),
      frames: name === 'cut' ? null : variants[name].framesOf(scene.frames),
    })),
  };
}
