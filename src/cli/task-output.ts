/** Where the records of task heads go: standard output or a file, as records or as cues of one video. */
import { assert, EgolensError } from '../errors.js';
import { pathExists, writeFileAtomic } from '../files.js';
import { Float } from '../json.js';
import type { PredictedStretch, PredictionRecord } from '../pipeline/predict.js';
import { cueText, type Cue, type CueFormat } from '../report/subtitles.js';
import type { OutputFormat, Shell } from './base-command.js';
import { formatOfPath, isCueFormat } from './label-output.js';
import { column, isRecordFormat, RecordWriter, type Column } from './output.js';

/** What the records of a task look like. */
export interface RecordLook {
  /** Columns of a table, of csv and tsv. */
  columns(format: OutputFormat): readonly Column[];
  /** A record as something to be seen in a player; absent: the task has no spans. */
  cue?(record: PredictionRecord): Cue;
}

/** Members that are numbers. */
const numbers = ['rank', 'start', 'end', 'time', 'frame', 'time_to_contact', 'score'];

/** Columns of members of a record; those of numbers stand to the right. */
export function columnsOf(...names: readonly string[]): readonly Column[] {
  return names.map((name) => column(name, numbers.includes(name) ? 'right' : undefined));
}

/**
 * A record with `start`, `end` and `score` as a cue.
 *
 * @param name what the span is called
 */
export function spanCue(
  { start, end, score }: PredictionRecord,
  name: unknown,
  scoreText: (score: number) => string,
): Cue {
  const called = typeof name === 'string' ? name : '';
  return {
    start: numberOf(start),
    end: numberOf(end),
    name: called,
    lines: [`${called} (${scoreText(numberOf(score))})`],
  };
}

function numberOf(value: unknown): number {
  return value instanceof Float ? value.value : 0;
}

/** Where records go. */
export interface Output {
  /** Absent: standard output. */
  readonly path?: string;
  readonly format: OutputFormat;
}

/**
 * What the flags and the ending of the file say.
 *
 * @throws EgolensError usage.conflict for cues of a task without spans; output.exists
 */
export async function outputOf(
  flags: { readonly output?: string | undefined; readonly force: boolean },
  { cue, task }: Pick<RecordLook, 'cue'> & { readonly task: string },
  shell: Pick<Shell, 'format' | 'asksForm'>,
): Promise<Output> {
  const path = flags.output === '-' ? undefined : flags.output;
  const format = path === undefined || shell.asksForm ? shell.format : (formatOfPath(path) ?? 'ndjson');
  if (isCueFormat(format) && cue === undefined) {
    throw new EgolensError('usage.conflict', `--format ${format} is for spans; ${task} has none`);
  }
  if (path !== undefined && !flags.force && (await pathExists(path))) {
    throw new EgolensError('output.exists', `\`${path}\`: exists already`, { try: '`--force` replaces it' });
  }
  return { ...(path !== undefined && { path }), format };
}

/** Takes what was found in one video or clip after another. */
export interface Sink {
  add(found: PredictedStretch): Promise<void>;
  end(): Promise<void>;
}

export function sinkFor({ path, format }: Output, look: RecordLook): Sink {
  return isCueFormat(format) ? cueSink(path, format, look) : recordSink(path, format, look);
}

/** Records: to standard output as they come, into a file when all are there. */
function recordSink(path: string | undefined, format: OutputFormat, look: RecordLook): Sink {
  assert(isRecordFormat(format), `${format} holds no records`);
  const pieces: string[] = [];
  const stream = path === undefined ? process.stdout : { write: (text: string) => pieces.push(text) };
  const writer = new RecordWriter(stream, format, look.columns(format));
  return {
    async add({ records }) {
      for (const record of records) await writer.write(record);
    },
    async end() {
      await writer.end();
      if (path !== undefined) await writeFileAtomic(path, pieces.join(''));
    },
  };
}

/** Cues hold one video: a second one is refused before anything is written. */
function cueSink(path: string | undefined, format: CueFormat, look: RecordLook): Sink {
  let first: PredictedStretch | undefined;
  return {
    add(found) {
      if (first !== undefined) {
        throw new EgolensError('usage.conflict', `--format ${format} holds one video or clip, found more`, {
          try: 'one video at a time, or `--format ndjson`',
        });
      }
      first = found;
      return Promise.resolve();
    },
    async end() {
      if (first === undefined) return;
      const { cueVideo } = await import('../pipeline/predict.js');
      const cues = first.records.map((record) => look.cue!(record)); // asked before the run
      cues.sort((a, b) => a.start - b.start);
      const text = cueText(format, cues, cueVideo(first.stretch));
      if (path === undefined) process.stdout.write(text);
      else await writeFileAtomic(path, text);
    },
  };
}
