import { EgolensError, type ErrorCode } from '../errors.js';

/** What ffmpeg says on standard error, and which stable code it means. Pure. */

// ---- lines -------------------------------------------------------------------------------------------------------

/** What a child said on standard error, bounded; levels as ffmpeg states them (`-loglevel level+…`). */
export interface MessageLog {
  /** Lines of level error, fatal and panic. */
  readonly errorCount: number;
  /** The first of them, without the addresses of ffmpeg's objects. */
  readonly firstErrors: readonly string[];
  /** The last lines of level warning and above. */
  readonly tail: readonly string[];
}

/** Lines kept of each kind. */
export const keptLines = 24;
const keptChars = 500;

/** `[mov @ 0x55] [error] text` -> its level and `[mov] text`; lines without a level are of level `error` for a program that prints errors only. */
export function parseLogLine(line: string): { readonly level: string; readonly text: string } {
  const match = /^((?:\[[^\]]* @ [^\]]*\] )*)\[(panic|fatal|error|warning|info|verbose|debug|trace)\] (.*)$/s.exec(
    line,
  );
  if (!match) return { level: 'info', text: line };
  return { level: match[2]!, text: match[1]!.replace(/ @ [^\]]*/g, '') + match[3]! };
}

/** A collector for one run; `add` gives back the text of a line of level info, else ''. */
export function collectMessages(): { add(line: string): string; log(): MessageLog } {
  let errorCount = 0;
  const firstErrors: string[] = [];
  const tail: string[] = [];
  return {
    add(line) {
      const { level, text } = parseLogLine(line);
      const short = text.slice(0, keptChars);
      const bad = level === 'error' || level === 'fatal' || level === 'panic';
      if (bad) {
        errorCount++;
        if (firstErrors.length < keptLines) firstErrors.push(short);
      }
      if (bad || level === 'warning') {
        tail.push(short);
        if (tail.length > keptLines) tail.shift();
      }
      return level === 'info' ? text : '';
    },
    log: () => ({ errorCount, firstErrors: [...firstErrors], tail: [...tail] }),
  };
}

// ---- what went wrong ---------------------------------------------------------------------------------------------

/** Wordings of ffmpeg 2018 to 9.0, the more telling first. Exit codes differ between versions and say nothing. */
const wordings: readonly (readonly [RegExp, ErrorCode])[] = [
  [/cannot allocate memory|std::bad_alloc/i, 'limit.memory'],
  // Text and noise with a video's suffix: the mov demuxer is tried on the suffix alone and misses its index.
  [/detected only with low score/i, 'input.not_a_video'],
  [/moov atom not found|atom truncated|reached eof, corrupted|file ended prematurely/i, 'decode.truncated'],
  [/decryption key|is encrypted|encrypted stream|Unable to decrypt|Incorrect.*decryption/i, 'decode.encrypted'],
  [
    /matches no streams|does not contain any stream|no streams? (?:was|were) found|Output file .* contains no stream/i,
    'decode.no_video_stream',
  ],
  [
    /no decoder found|decoder (?:\(codec [^)]*\) )?not found|unknown decoder|unsupported codec|Decoding requested, but/i,
    'decode.unsupported_codec',
  ],
  [/No such file or directory/i, 'input.not_found'],
  [/Permission denied/i, 'input.unreadable'],
  [/Picture size \S+ is invalid|image size is invalid|dimensions too large/i, 'decode.limit'],
  [/EBML header parsing failed|could not find codec parameters/i, 'input.not_a_video'],
  [
    /Invalid data found when processing input|Invalid argument.*Error opening input|error reading header|End of file/i,
    'input.not_a_video',
  ],
];

/** What an end means, and the line that says so. */
interface Classified {
  readonly code: ErrorCode;
  readonly line?: string;
}
const unclassified: Classified = { code: 'decode.failed' };

/** The stable code for what ffmpeg said; `decode.failed` when nothing is known about it. */
export function classifyMessages(lines: readonly string[]): Classified {
  for (const [pattern, code] of wordings) {
    const line = lines.find((each) => pattern.test(each));
    if (line !== undefined) return { code, line };
  }
  return unclassified;
}

/** What was expected and what was found, in front of ffmpeg's own words: those name neither. */
const findings: Partial<Record<ErrorCode, string>> = {
  'input.not_a_video': 'expected a video, found no media that ffmpeg knows',
  'decode.truncated': 'expected a whole file, found one that is cut off or without its index',
  'decode.encrypted': 'expected a readable stream, found an encrypted one',
  'decode.no_video_stream': 'expected a video stream, found none',
  'decode.unsupported_codec': 'expected a codec that this ffmpeg decodes, found another',
};

const hints: Partial<Record<ErrorCode, string>> = {
  'decode.truncated': 'copy the file again; a recording that was cut off may be repaired by tools for its camera',
  'decode.unsupported_codec': 'use a newer ffmpeg: `egolens doctor` says which one is used',
  'decode.encrypted': 'the video needs a licence that ffmpeg does not have',
};

/** Does a message say that the file ends too early? (Matroska, mp4 with its index in front, others) */
export function saysTruncated(lines: readonly string[]): boolean {
  return lines.some((line) => /file ended prematurely|: partial file/i.test(line));
}

/** How a process ended. */
export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** How a process ended, and what it said last; `said` in place of that where one line tells more. */
export function exitText(program: string, exit: Exit, log: MessageLog, said?: string): string {
  const how = exit.signal === null ? `exit ${exit.code}` : exit.signal;
  const words = said ?? log.tail.at(-1) ?? log.firstErrors.at(-1);
  return `${program} stopped (${how})${words === undefined ? '' : `: ${words}`}`;
}

/** The error that an end of reading with a code or a signal means. */
export function exitError(name: string, program: string, exit: Exit, log: MessageLog): EgolensError {
  const { code, line } = exit.signal === null ? classifyMessages([...log.firstErrors, ...log.tail]) : unclassified;
  const finding = findings[code] === undefined ? '' : `${findings[code]}; `;
  const hint = hints[code];
  return new EgolensError(code, `\`${name}\`: ${finding}${exitText(program, exit, log, line)}`, {
    ...(hint === undefined ? {} : { try: hint }),
    ...(exit.signal === null ? {} : { retryable: true }),
  });
}
