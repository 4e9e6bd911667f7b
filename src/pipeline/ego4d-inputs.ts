/** Ego4D as it lies on disk (ego4d.md 1): uids of annotation files -> videos to work on. */
import { readdir, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import {
  annotatedVideos,
  annotationNames,
  ego4dSplits,
  isUid,
  type AnnotatedClip,
  type AnnotatedVideos,
  type Ego4dSplit,
  type Ego4dTask,
} from '../ego4d/annotated-videos.js';
import { readDataSet } from '../ego4d/manifest.js';
import { EgolensError } from '../errors.js';
import { pathExists, readSmallFile } from '../files.js';
import type { InputItem } from './inputs.js';
import { readJsonFile } from './json-files.js';

/** Which videos or clips of an Ego4D folder. */
export interface Ego4dSelection {
  /** The folder of a version (`annotations/`, `full_scale/`, … in it), the one above it, or what `synth` wrote. */
  readonly folder: string;
  /** The task whose annotation files name the videos; where absent `ego4d.json` does. */
  readonly task?: Ego4dTask;
  /** Where absent all splits whose file is there. */
  readonly split?: Ego4dSplit;
  readonly videoUids?: readonly string[];
  readonly clipUids?: readonly string[];
  /** Uids of videos or clips, one a line. */
  readonly uidFile?: string;
}

/** Where canonical videos and clips lie below the folder of a version; `videos` is Tabletop's. The first that has the file counts. */
const videoFolders = ['full_scale', 'video_540ss', 'videos'] as const;
const clipFolders = ['clips', 'clips_540ss'] as const;

const maxUidFileBytes = 16 * 2 ** 20;

/**
 * The selected videos, each once, in the order of the annotation files or of the uids that were given: all videos where no uid is
 * given, or all clips where no folder of videos is there but one of clips. A clip without a file of its own is its range of the
 * video. A file that is missing becomes an item with an error, so that the others go on.
 *
 * @throws EgolensError input.not_found for a folder or annotation file that is not there, data.invalid, data.unknown_id
 */
export async function ego4dInputs(selection: Ego4dSelection): Promise<readonly InputItem[]> {
  const root = await rootOf(selection.folder);
  const known = await knownOf(root, selection);
  const wanted = await wantedOf(selection, known);
  const isClips =
    wanted === undefined && !(await hasFolder(root, videoFolders)) && (await hasFolder(root, clipFolders));
  const uids = wanted ?? (isClips ? known.clips.keys() : known.videos);
  const items: InputItem[] = [];
  let ranges: AnnotatedVideos['clips'] | undefined;
  for (const uid of uids) {
    const clip = known.clips.get(uid);
    if (clip === undefined) {
      items.push(await videoItem(root, uid));
      continue;
    }
    let place = clip;
    // Some files name a clip without saying where it lies.
    if (clip.start === null && (await findFile(root, clipFolders, uid)) === undefined) {
      ranges ??= (await dataSetOf(root))?.clips ?? new Map<string, AnnotatedClip>();
      place = ranges.get(uid) ?? clip;
    }
    items.push(await clipItem(root, place));
  }
  return items;
}

/** The folder of a version: the one that was given, or the newest version in it. */
async function rootOf(folder: string): Promise<string> {
  const isRoot = (path: string): Promise<boolean> => hasFolder(path, ['annotations', ...videoFolders, ...clipFolders]);
  if (await isRoot(folder)) return folder;
  const entries = await readdir(folder).catch(() => undefined);
  if (entries === undefined) throw notFound(folder, 'no such folder');
  const versions = entries.filter((name) => /^v\d/.test(name)).sort((a, b) => compareVersions(b, a));
  for (const name of versions) if (await isRoot(join(folder, name))) return join(folder, name);
  throw notFound(
    folder,
    'expected Ego4D: `annotations/`, `full_scale/` or `clips/` in it or in a `v2` below it, found neither',
  );
}

/** `v2_1` after `v2`, `v10` after `v2`. */
function compareVersions(a: string, b: string): number {
  return a.localeCompare(b, 'en', { numeric: true });
}

function notFound(input: string, why: string): EgolensError {
  return new EgolensError('input.not_found', `\`${input}\`: ${why}`, { input });
}

async function hasFolder(root: string, names: readonly string[]): Promise<boolean> {
  for (const name of names) if ((await stat(join(root, name)).catch(() => undefined))?.isDirectory()) return true;
  return false;
}

/** What may be named, and the files that name it. */
interface Known extends AnnotatedVideos {
  readonly sources: readonly string[];
}

async function knownOf(root: string, { folder, task, split }: Ego4dSelection): Promise<Known> {
  if (task === undefined) {
    const all = await dataSetOf(root);
    if (all === undefined) {
      const looked = [...new Set(dataSetPaths(root))].map((path) => `\`${path}\``).join(', ');
      throw new EgolensError('input.not_found', `\`${folder}\`: no \`ego4d.json\`; looked at ${looked}`, {
        try: '`--task` and `--split` take the videos of an annotation file',
      });
    }
    return all;
  }
  const sources = await filesOf(root, task, split);
  const videos = new Set<string>();
  const clips = new Map<string, AnnotatedClip>();
  for (const path of sources) {
    const found = annotatedVideos(await readJsonFile(path));
    for (const uid of found.videos) videos.add(uid);
    for (const [uid, clip] of found.clips) if ((clips.get(uid)?.start ?? null) === null) clips.set(uid, clip);
  }
  return { videos: [...videos], clips, sources };
}

/**
 * The annotation files of a task: of one split, else of all that are there.
 *
 * @throws EgolensError input.not_found
 */
export async function annotationFiles(folder: string, task: Ego4dTask, split?: Ego4dSplit): Promise<string[]> {
  return await filesOf(await rootOf(folder), task, split);
}

async function filesOf(root: string, task: Ego4dTask, split: Ego4dSplit | undefined): Promise<string[]> {
  const splits = split === undefined ? ego4dSplits : [split];
  const paths: string[] = [];
  for (const one of splits) {
    const path = await firstOf(annotationNames(task, one).map((name) => join(root, 'annotations', name)));
    if (path !== undefined) paths.push(path);
  }
  if (paths.length > 0) return paths;
  const names = splits.map((one) => `\`${annotationNames(task, one)[0]!}\``);
  throw notFound(join(root, 'annotations'), `no annotations of ${task}; expected ${names.join(' or ')} in it`);
}

function dataSetPaths(root: string): readonly string[] {
  return [root, join(root, 'annotations'), dirname(resolve(root))].map((folder) => join(folder, 'ego4d.json'));
}

/** `ego4d.json` in the folder, in its annotations or above it; undefined where there is none. */
async function dataSetOf(root: string): Promise<Known | undefined> {
  const path = await firstOf(dataSetPaths(root));
  if (path === undefined) return undefined;
  const { videos, clips } = await readDataSet(await readJsonFile(path));
  const odd = [...videos.keys(), ...clips.keys()].find((uid) => !isUid(uid));
  if (odd !== undefined) {
    throw new EgolensError('data.invalid', `\`${path}\`: expected a uid, found ${JSON.stringify(odd).slice(0, 60)}`);
  }
  return { videos: [...videos.keys()], clips, sources: [path] };
}

async function firstOf(paths: readonly string[]): Promise<string | undefined> {
  for (const path of paths) if (await pathExists(path)) return path;
  return undefined;
}

/** The uids that were asked for, each once; undefined where none was. */
async function wantedOf(
  { videoUids = [], clipUids = [], uidFile }: Ego4dSelection,
  { videos, clips, sources }: Known,
): Promise<readonly string[] | undefined> {
  const listed = uidFile === undefined ? [] : linesOf(await readSmallFile(uidFile, maxUidFileBytes));
  if (videoUids.length + clipUids.length === 0 && uidFile === undefined) return undefined;
  const isVideo = new Set(videos);
  const where = sources.map((path) => `\`${path}\``).join(' and ');
  refuseUnknown('--video-uids', videoUids, (uid) => isVideo.has(uid), where);
  refuseUnknown('--clip-uids', clipUids, (uid) => clips.has(uid), where);
  refuseUnknown(`\`${uidFile ?? ''}\``, listed, (uid) => isVideo.has(uid) || clips.has(uid), where);
  return [...new Set([...videoUids, ...clipUids, ...listed])];
}

function linesOf(bytes: Uint8Array): readonly string[] {
  const lines = new TextDecoder().decode(bytes).split(/\r?\n/);
  return lines.map((line) => line.trim()).filter((line) => line !== '');
}

/** How many unknown uids are named. */
const fewest = 3;

function refuseUnknown(from: string, uids: readonly string[], isKnown: (uid: string) => boolean, where: string): void {
  const unknown = uids.filter((uid) => !isKnown(uid));
  if (unknown.length === 0) return;
  const named = unknown.slice(0, fewest).map((uid) => `\`${uid.slice(0, 60)}\``);
  const more = unknown.length > fewest ? ', …' : '';
  throw new EgolensError(
    'data.unknown_id',
    `${from}: ${unknown.length} of ${uids.length} uids are not in ${where}: ${named.join(', ')}${more}`,
    { try: 'another `--task` or `--split`, or none: then all of `ego4d.json` counts' },
  );
}

async function findFile(root: string, folders: readonly string[], uid: string): Promise<string | undefined> {
  return await firstOf(folders.map((folder) => join(root, folder, `${uid}.mp4`)));
}

async function videoItem(root: string, uid: string): Promise<InputItem> {
  const path = await findFile(root, videoFolders, uid);
  return path === undefined ? missing(root, videoFolders, uid) : itemOf(path, uid, { kind: 'video', uid });
}

async function clipItem(root: string, { clipUid, videoUid, start, end }: AnnotatedClip): Promise<InputItem> {
  const own = await findFile(root, clipFolders, clipUid);
  if (own !== undefined) return itemOf(own, clipUid, { kind: 'clip', uid: clipUid });
  const video = await findFile(root, videoFolders, videoUid);
  if (video === undefined || start === null || end === null) return missing(root, clipFolders, clipUid);
  // Its seconds are those of the video.
  return { ...itemOf(video, clipUid, { kind: 'video', uid: videoUid }), start, end };
}

function itemOf(path: string, name: string, of: NonNullable<InputItem['of']>): InputItem {
  return { input: path, path: resolve(path), relpath: '', name, of };
}

function missing(root: string, folders: readonly string[], uid: string): InputItem {
  const input = join(root, folders[0]!, `${uid}.mp4`); // both lists have a first
  const others = folders.slice(1).map((folder) => `\`${folder}/\``);
  const error = notFound(input, `no such file, nor one in ${others.join(' or ')}`);
  return { input, path: resolve(input), relpath: '', name: uid, error };
}
