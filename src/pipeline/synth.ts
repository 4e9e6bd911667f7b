/** `synth`: clips of Tabletop as videos with annotations in Ego4D's formats. */
import { join } from 'node:path';
import { findings, loadValidator } from '../check.js';
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
import { leastActions } from '../world/annotate-hands.js';
import { dataSetFiles, splitFiles } from '../world/annotations.js';
import { clipsOf, type Clip, type SetRequest } from '../world/data-set.js';
import { openRenderer, type Renderer } from '../world/render.js';
import { contactSheet, type SheetRow } from '../world/sheet.js';
import { splits } from '../world/scene.js';
import { cutShare, plain, turnTrack, variants, type Variant, type VariantName } from '../world/variants.js';
import { verbs } from '../world/vocabulary.js';
import { writeJsonFile } from './write-json.js';

export interface SynthOptions extends SetRequest {
  readonly variants: readonly VariantName[];
  /** Clips at once. */
  readonly jobs: number;
  /** Write again what is there, and replace a set of the same split made otherwise. */
  readonly force: boolean;
  /** Where a contact sheet goes. */
  readonly sheet?: string;
  readonly signal: AbortSignal;
  readonly progress: Progress;
}

/** `egolens.synth/1`: one clip. */
export type SynthRecord = Readonly<Record<string, JsonValue>>;

/**
 * Render the clips of one split into `folder/videos`, then write `folder/annotations`. A video that is there is kept: its name says all
 * that it was made from. Splits that the folder holds already stay part of the data set.
 *
 * @returns a record for each clip, in their order; annotations are written after the last
 * @throws EgolensError usage.flag for numbers that cannot work; output.exists for a split made with other settings; tool.*, limit.disk,
 *         output.unwritable; the reason of the signal
 */
export async function* synth(folder: string, options: SynthOptions): AsyncGenerator<SynthRecord> {
  const { jobs, progress, signal } = options;
  checkRequest(options);
  const sets = await setsWith(folder, options);
  const clips = clipsOf(options);
  const tools = await findTools();
  const forms = await formsOf(tools, options);
  signal.throwIfAborted();
  await makeFolder(join(folder, 'videos'));
  await makeFolder(join(folder, 'annotations'));
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
  for (const files of [splitFiles(options.split, clips), dataSetFiles(sets)]) {
    for (const [name, content] of files) {
      signal.throwIfAborted();
      await writeJsonFile(join(folder, 'annotations', name), content);
    }
  }
  if (options.sheet !== undefined) await writeFileAtomic(options.sheet, await contactSheet(sheetRows(clips)));
  summarise(clips, options);
}

const longestSide = 4096;
const longestSeconds = 4 * 3600;
const mostClips = 20_000;
/** Of all clips together: scenes and annotations of a split are in memory at once. */
const mostSeconds = 1_000_000;

function checkRequest({ clips, seconds, seed, fps, width, height }: SetRequest): void {
  const refuse = (what: string, expected: string, found: number | string): void => {
    throw new EgolensError('usage.flag', `--${what}: expected ${expected}, found ${found}`);
  };
  if (!(clips >= 1 && clips <= mostClips)) refuse('clips', `1 to ${mostClips}`, clips);
  if (!(seconds >= 1 && seconds <= longestSeconds)) refuse('seconds', `1 to ${longestSeconds}`, seconds);
  if (clips * seconds > mostSeconds) refuse('clips', `at most ${mostSeconds} s of all clips together`, clips * seconds);
  if (!(Number.isInteger(seed) && seed >= 0 && seed < 2 ** 32))
    refuse('seed', 'a whole number from 0 to 4294967295', seed);
  // Frames at 5 a second (Visual Queries) have to be frames of the video.
  if (!(fps >= 5 && fps <= 60 && fps % 5 === 0)) refuse('fps', 'a multiple of 5 from 5 to 60', fps);
  for (const side of [width, height]) {
    if (side % 2 !== 0 || side < 32 || side > longestSide) {
      refuse('size', `even sides from 32 to ${longestSide}`, `${width}x${height}`);
    }
  }
}

/** Sets of the folder with this one in its place. */
async function setsWith(folder: string, options: SynthOptions): Promise<SetRequest[]> {
  const { split, seed, clips, seconds, fps, difficulty, width, height, force } = options;
  const own: SetRequest = { split, seed, clips, seconds, fps, difficulty, width, height };
  const path = join(folder, 'annotations', 'tabletop.json');
  const others = (await pathExists(path)) ? await readSets(path) : [];
  const before = others.find((set) => set.split === split);
  const told = (set: SetRequest): string =>
    `seed ${set.seed}, ${set.seconds} s, ${set.fps} fps, ${set.width}x${set.height}, difficulty ${set.difficulty}`;
  if (before !== undefined && told(before) !== told(own) && !force) {
    throw new EgolensError(
      'output.exists',
      `\`${folder}\` holds a ${split} split made otherwise: ${told(before)}; asked for ${told(own)}`,
      { try: 'name another folder, or `--force` to replace its annotations' },
    );
  }
  return [...others.filter((set) => set.split !== split), own].sort(
    (p, q) => splits.indexOf(p.split) - splits.indexOf(q.split),
  );
}

async function readSets(path: string): Promise<SetRequest[]> {
  const text = new TextDecoder().decode(await readSmallFile(path, 2 ** 30));
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new EgolensError('data.invalid', `\`${path}\`: no JSON`, {
      cause,
      try: 'name another folder, or remove the file',
    });
  }
  const [fault] = findings(await loadValidator('egolens.tabletop/1'), value);
  if (fault !== undefined) {
    throw new EgolensError(
      'data.invalid',
      `\`${path}\`: ${fault.at}: expected ${fault.expected}, found ${fault.found}`,
      {
        try: 'name another folder, or remove the file',
      },
    );
  }
  return (value as { readonly sets: SetRequest[] }).sets; // the schema was obeyed
}

/** What is written of each clip: the plain video, and the wanted variants that this ffmpeg can write. */
interface Forms {
  readonly variants: readonly VariantName[];
}

async function formsOf(tools: Tools, { variants: wanted, progress, signal }: SynthOptions): Promise<Forms> {
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
  const pathOf = (name: VariantName | null): string =>
    join(folder, 'videos', name === null ? `${clip.videoUid}.mp4` : `${clip.videoUid}.${name}.mp4`);
  try {
    const missing: (VariantName | null)[] = [];
    for (const name of [null, ...forms.variants]) {
      if (force || !(await pathExists(pathOf(name)))) missing.push(name);
    }
    const encoded = missing.filter((name) => name !== 'cut');
    if (encoded.length > 0) await encodeClip(clip, encoded, pathOf, work);
    else bar.advance(clip.scene.frames);
    if (missing.includes('cut')) await cutFile(pathOf(null), pathOf('cut'));
    return recordOf(clip, pathOf, forms.variants, missing.includes(null) ? 'written' : 'kept');
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

function recordOf(
  clip: Clip,
  pathOf: (name: VariantName | null) => string,
  forms: readonly VariantName[],
  state: 'written' | 'kept',
): SynthRecord {
  const { scene, videoUid, clipUid, width, height } = clip;
  const { split, index, fps, difficulty } = scene.request;
  return {
    schema: 'egolens.synth/1',
    path: pathOf(null),
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
      path: pathOf(name),
      frames: name === 'cut' ? null : variants[name].framesOf(scene.frames),
    })),
  };
}

/** One action of each verb that occurs, in the order of the verbs. */
function sheetRows(clips: readonly Clip[]): SheetRow[] {
  return verbs.flatMap((verb): SheetRow[] => {
    for (const { scene } of clips) {
      const action = scene.actions.find((one) => one.verb === verb);
      if (action !== undefined) return [{ scene, action }];
    }
    return [];
  });
}

function summarise(clips: readonly Clip[], { progress, split }: SynthOptions): void {
  const actions = clips.reduce((sum, { scene }) => sum + scene.actions.length, 0);
  const unseen = clips.filter(({ scene }) => scene.isCompositional).length;
  const note =
    unseen === 0
      ? ''
      : `, ${unseen} of them with wearers, textures and pairs of noun and colour that training never shows`;
  progress.note(`${split}: ${counted(clips.length, 'clip')}, ${counted(actions, 'action')}${note}`);
  const most = Math.max(...clips.map(({ scene }) => scene.actions.length));
  if (most < leastActions) {
    progress.note(
      `lta: no instance: the longest clip has ${counted(most, 'action')}, an instance needs ${leastActions}; try --seconds 120`,
    );
  }
  if (actions === 0) progress.note('no clip is long enough for an action: try --seconds 5 or more');
}

function counted(count: number, thing: string): string {
  return `${count} ${thing}${count === 1 ? '' : 's'}`;
}
