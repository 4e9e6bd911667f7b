import { Flags } from '@oclif/core';
import { EgolensError } from '../errors.js';
import { parseTime } from '../time.js';
import type { AnchorRequest } from '../pipeline/anchors.js';
import type { FrameBound, SpanRequest } from '../pipeline/span.js';
import type { Seconds } from '../types.js';
import { parseDuration } from './flags.js';

/** Flags of commands that decode videos and run a model over their windows; a flag has one meaning in all of them. */

/** Which frames and pixels of a video. */
export const samplingFlags = {
  preset: Flags.string({ helpValue: 'NAME[@V]|FILE', summary: "Sampling and pixels; default: the model's own." }),
  pixels: Flags.option({
    options: ['exact', 'fast'] as const,
    summary: 'Official resize on the host, or scaling inside ffmpeg.',
  })(),
  window: Flags.string({ helpValue: 'N|1.5s', summary: 'Extent of a window, in frames or seconds.' }),
  stride: Flags.string({ helpValue: 'N|1.5s', summary: 'Distance of windows, in frames or seconds.' }),
  fps: Flags.string({ helpValue: 'source|30', summary: 'Sampling rate.' }),
  tail: Flags.option({ options: ['pad', 'align', 'drop'] as const, summary: 'What becomes of the last frames.' })(),
  views: Flags.string({ helpValue: 'CxK', summary: 'Clips x crops instead of sliding windows.' }),
  stream: Flags.string({ default: '0', helpValue: 'N|best', summary: 'Which video stream.' }),
  start: Flags.string({
    helpValue: 'TIME|#FRAME',
    summary: 'Begin here: seconds or hh:mm:ss.mmm after the first frame, or a frame, which costs a pass of decoding.',
  }),
  end: Flags.string({ helpValue: 'TIME|#FRAME', summary: 'End before this.' }),
};

/** How a run over many videos goes, and what it does about bad ones. */
export const runFlags = {
  batch: Flags.integer({ min: 1, max: 1024, summary: 'Windows in one run; default: 1 on the cpu, 8 elsewhere.' }),
  jobs: Flags.integer({ char: 'j', min: 1, max: 64, default: 1, summary: 'Videos at once.' }),
  shard: Flags.string({
    helpValue: 'I/N|auto',
    summary:
      "This process's part of the list; I counts from 0. auto (extract): what no other process has locked or done.",
  }),
  'on-error': Flags.option({
    options: ['skip', 'stop'] as const,
    default: 'skip',
    summary: 'After a bad video: go on, or stop.',
  })(),
  'decode-errors': Flags.string({
    default: 'ignore',
    helpValue: 'ignore|limit=N|fail',
    summary: 'How much damage a video may have.',
  }),
  'strict-decode': Flags.boolean({ summary: 'No decoding error, and no fewer frames than the header claims.' }),
  timeout: Flags.string({ helpValue: '10m', summary: 'Time limit per video.' }),
  'stall-timeout': Flags.string({
    default: '60s',
    helpValue: '60s',
    summary: 'Limit for a decoder that gives nothing.',
  }),
  errors: Flags.string({ helpValue: 'FILE', summary: 'Error records as ndjson.' }),
  summary: Flags.string({ helpValue: 'FILE', summary: 'Counts and times of the run as JSON.' }),
};

/** `--start` and `--end`; undefined without them. Throws `usage.flag`. */
export function spanOf(flags: {
  readonly start?: string | undefined;
  readonly end?: string | undefined;
}): SpanRequest | undefined {
  if (flags.start === undefined && flags.end === undefined) return undefined;
  const span = [
    flags.start === undefined ? 0 : parseBound(flags.start),
    flags.end === undefined ? Infinity : parseBound(flags.end),
  ] as const;
  const [from, to] = span.map((bound) => (typeof bound === 'number' ? bound : bound.frame)) as [number, number]; // two
  // A frame and a time can only be compared in the video.
  if (typeof span[0] === typeof span[1] && from >= to)
    throw new EgolensError(
      'usage.flag',
      `expected --start before --end, found ${flags.start ?? from} and ${flags.end ?? to}`,
    );
  return span;
}

/** Windows that end where `--at` and `--every` say; undefined without them. @throws EgolensError usage.flag */
export function anchorsOf(flags: {
  readonly at?: string | undefined;
  readonly every?: string | undefined;
}): AnchorRequest | 'annotations' | undefined {
  if (flags.every !== undefined) return { every: parseDuration(flags.every) / 1000 };
  if (flags.at === undefined || flags.at === 'annotations') return flags.at;
  return flags.at.split(',').map((text) => parseBound(text.trim()));
}

/** `90`, `1:30`, or a frame as `#2700`. */
function parseBound(text: string): Seconds | FrameBound {
  if (!text.startsWith('#')) return parseTime(text);
  if (!/^#\d{1,9}$/.test(text)) {
    throw new EgolensError('usage.flag', `expected a frame such as #2700, counted from 0, found \`${text}\``);
  }
  return { frame: Number(text.slice(1)) };
}
