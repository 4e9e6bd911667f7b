/** `synth`: clips of Tabletop as videos with annotations in Ego4D's formats. */
import { join } from 'node:path';
import { EgolensError } from '../errors.js';
import { makeFolder, pathExists, writeFileAtomic } from '../files.js';
import { leastActions } from '../world/annotate-hands.js';
import { dataSetFiles, splitFiles } from '../world/annotations.js';
import { clipsOf, type Clip, type SetRequest } from '../world/data-set.js';
import { contactSheet, type SheetRow } from '../world/sheet.js';
import { splits } from '../world/scene.js';
import { verbs } from '../world/vocabulary.js';
import { unrenderedRecord, writeVideos, type SynthRecord, type VideoOptions } from './synth-videos.js';
import { readTabletop } from './tabletop-index.js';
import { writeJsonFile } from './write-json.js';

export type { SynthRecord } from './synth-videos.js';

export interface SynthOptions extends SetRequest, VideoOptions {
  /** Write annotations alone: no picture is drawn, no ffmpeg is needed. Videos that are there are left alone. */
  readonly annotationsOnly: boolean;
  /** Where a contact sheet goes. */
  readonly sheet?: string;
}

/**
 * Render the clips of one split into `folder/videos`, then write `folder/annotations`. A video that is there is kept: its name says all
 * that it was made from. Splits that the folder holds already stay part of the data set; one made with other settings is replaced by
 * `force` alone.
 *
 * @returns a record for each clip, in their order; annotations are written after the last
 * @throws EgolensError usage.flag for numbers that cannot work; output.exists for a split made with other settings; tool.*, limit.disk,
 *         output.unwritable; the reason of the signal
 */
export async function* synth(folder: string, options: SynthOptions): AsyncGenerator<SynthRecord> {
  const { signal } = options;
  checkRequest(options);
  const sets = await setsWith(folder, options);
  const clips = clipsOf(options);
  signal.throwIfAborted();
  if (options.annotationsOnly) {
    await makeFolder(join(folder, 'annotations'));
    for (const clip of clips) yield await unrenderedRecord(folder, clip);
  } else yield* writeVideos(folder, clips, options);
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
  const others = (await pathExists(path)) ? (await readTabletop(path)).sets : [];
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
  if (actions === 0) progress.note('no clip is long enough for an action: try --seconds 5 or more');
  const counts = clips.map(({ scene }) => scene.actions.length);
  const enough = counts.filter((count) => count >= leastActions).length;
  if (enough === clips.length) return;
  const found =
    enough === 0
      ? `no instance: the longest clip has ${counted(Math.max(...counts), 'action')}`
      : `instances in ${enough} of ${counted(clips.length, 'clip')} only`;
  progress.note(`lta: ${found}, an instance needs ${leastActions} actions of one clip; try --seconds 120`);
}

function counted(count: number, thing: string): string {
  return `${count} ${thing}${count === 1 ? '' : 's'}`;
}
