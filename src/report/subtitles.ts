/**
 * Labelled stretches of one video as files for players, editors and ffmpeg. Pure: cues -> text.
 *
 * Times of cues are seconds after the first frame of the stream; players, editors and `ffmpeg -ss` count from the container's start, so
 * each writer adds `offset` (files.md 1).
 */
import type { Rational, Seconds } from '../types.js';
import { rationalNumber, rationalText, timeText } from '../time.js';

/** What is to be seen from `start` to `end`. */
export interface Cue {
  readonly start: Seconds;
  readonly end: Seconds;
  /** What a piece of video is called. */
  readonly name: string;
  /** What is shown. Line breaks inside a line become blanks. */
  readonly lines: readonly string[];
}

/** Which video the cues are of. */
export interface CueVideo {
  /** Path, as the user gave it. */
  readonly path: string;
  /** First time stamp of the stream minus the container's start. */
  readonly offset: Seconds;
  /** Frames a second; null where nothing tells it. Editors count frames: 30 is taken then. */
  readonly rate: Rational | null;
}

export const cueFormats = ['srt', 'vtt', 'edl', 'ffcut'] as const;
export type CueFormat = (typeof cueFormats)[number];

/** Ending of a file in each form. */
export const cueEndings: Readonly<Record<CueFormat, string>> = { srt: 'srt', vtt: 'vtt', edl: 'edl', ffcut: 'sh' };

const writers: Readonly<Record<CueFormat, (cues: readonly Cue[], video: CueVideo) => string>> = {
  srt,
  vtt,
  edl,
  ffcut,
};

/** The cues in one of the forms, each line with its newline. */
export function cueText(format: CueFormat, cues: readonly Cue[], video: CueVideo): string {
  return writers[format](cues, video);
}

/** Line breaks would end a cue, other controls may steer a terminal: blanks instead. */
function oneLine(text: string): string {
  return text.replaceAll(/[\p{Cc}\u2028\u2029]+/gu, ' ').trim();
}

/** `hh:mm:ss.mmm` of both ends; a cue lasts a millisecond at least. */
function span({ start, end }: Cue, { offset }: CueVideo): readonly [string, string] {
  const from = Math.max(0, start + offset);
  return [timeText(from), timeText(Math.max(end + offset, Math.round(from * 1000) / 1000 + 0.001))];
}

/** SubRip. It has no escapes: an arrow inside a text is taken apart, since readers look for it. */
function srt(cues: readonly Cue[], video: CueVideo): string {
  const blocks = cues.map((cue, i) => {
    const [from, to] = span(cue, video).map((time) => time.replace('.', ','));
    const lines = cue.lines.map((line) => oneLine(line).replaceAll('-->', '-- >'));
    return `${i + 1}\n${from} --> ${to}\n${lines.join('\n')}\n`;
  });
  return blocks.join('\n');
}

/** WebVTT, with its entities for `&`, `<` and `>` (so that no arrow is left in a text). */
function vtt(cues: readonly Cue[], video: CueVideo): string {
  const blocks = cues.map((cue) => {
    const [from, to] = span(cue, video);
    const lines = cue.lines.map((line) =>
      oneLine(line).replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;'),
    );
    return `\n${from} --> ${to}\n${lines.join('\n')}\n`;
  });
  return `WEBVTT\n${blocks.join('')}`;
}

/**
 * CMX 3600 edit list, non-drop-frame: one cut an event, laid one after the other on the record side. Time codes count frames at the
 * rate that a comment states; 29.97 is counted as 30 to the second, as editors do.
 */
function edl(cues: readonly Cue[], { path, offset, rate }: CueVideo): string {
  const counted = rate ?? { num: 30, den: 1 };
  const base = Math.max(1, Math.round(rationalNumber(counted)));
  const frameOf = (seconds: Seconds): number => Math.max(0, Math.round((seconds + offset) * rationalNumber(counted)));
  const clip = nameOf(path);
  const events: string[] = [];
  let record = 0;
  cues.forEach((cue, i) => {
    const from = frameOf(cue.start);
    const to = Math.max(from + 1, frameOf(cue.end));
    const times = [from, to, record, record + to - from].map((frame) => timeCode(frame, base));
    record += to - from;
    events.push(
      `${String(i + 1).padStart(3, '0')}  AX       V     C        ${times.join(' ')}`,
      `* FROM CLIP NAME: ${clip}`,
      ...cue.lines.map((line) => `* COMMENT: ${oneLine(line)}`),
    );
  });
  const head = [`TITLE: ${clip}`, 'FCM: NON-DROP FRAME', `* FRAME RATE: ${rationalText(counted)}`, ''];
  return `${[...head, ...events].join('\n')}\n`;
}

/** `hh:mm:ss:ff`; hours start again after a day, as on tape. */
function timeCode(frame: number, base: number): string {
  const two = (n: number): string => String(n).padStart(2, '0');
  const seconds = Math.floor(frame / base);
  return [Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60, seconds % 60, frame % base]
    .map(two)
    .join(':');
}

/**
 * A script for sh with one ffmpeg command a cue; the pieces are encoded anew, because a copy could only begin at key frames. Names of
 * pieces are made of the video's name, the number of the cue and the letters and digits of the cue's own name. Everything from outside
 * stands in single quotes, paths after `file:`, so that no name is an option, a protocol or a command.
 */
function ffcut(cues: readonly Cue[], { path, offset }: CueVideo): string {
  const stem = nameOf(path).replace(/\.[^.]*$/, '') || 'video';
  const digits = Math.max(3, String(cues.length).length);
  const commands = cues.map((cue, i) => {
    const from = Math.max(0, cue.start + offset);
    const length = Math.max(0.001, cue.end + offset - from);
    const piece = `${stem}.${String(i + 1).padStart(digits, '0')}${slug(cue.name)}.mp4`;
    return `ffmpeg -nostdin -v error -n -ss ${from.toFixed(3)} -i ${quoted(`file:${path}`)} -t ${length.toFixed(3)} ${quoted(`file:${piece}`)}\n`;
  });
  return `#!/bin/sh\n${commands.join('')}`;
}

function nameOf(path: string): string {
  return oneLine(path.split(/[/\\]/).at(-1) ?? path);
}

/** `.cut-vegetables`; nothing where no letter or digit is left. */
function slug(text: string): string {
  const words = text.match(/[\p{L}\p{N}]+/gu) ?? [];
  const joined = Array.from(words.join('-')).slice(0, 40).join('');
  return joined === '' ? '' : `.${joined}`;
}

/** One word for sh, whatever is in it. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
