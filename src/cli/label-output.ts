/** Labels as text: records in the usual formats, or cues for players, editors and ffmpeg. */
import type { LabelRecord, RecognizedVideo } from '../pipeline/recognize.js';
import { cueEndings, cueFormats, cueText, type Cue, type CueFormat } from '../report/subtitles.js';
import { Float } from '../json.js';
import type { OutputFormat } from './base-command.js';
import { column, formats, RecordWriter, type Column, type Format } from './output.js';

export const labelFormats: readonly OutputFormat[] = [...formats, ...cueFormats];

export function isCueFormat(format: string): format is CueFormat {
  return (cueFormats as readonly string[]).includes(format);
}

/** Ending of a file in each format, without the dot. */
export function endingOf(format: OutputFormat): string {
  return isCueFormat(format) ? cueEndings[format] : format === 'table' ? 'txt' : format;
}

/** The format whose ending a path has; undefined where none has. */
export function formatOfPath(path: string): OutputFormat | undefined {
  return labelFormats.find((format) => path.toLowerCase().endsWith(`.${endingOf(format)}`));
}

const barWidth = 20;

/** The share of a bar that a score fills; rounded up to an eighth of a cell, so that a small score is seen. */
function barOf(score: number): string {
  const eighths = Math.ceil(score * barWidth * 8);
  const rest = eighths % 8;
  return '█'.repeat(Math.floor(eighths / 8)) + (rest === 0 ? '' : ' ▏▎▍▌▋▊▉'[rest]!);
}

/** Columns of a table, with a bar for people; of csv and tsv, with all numbers. `kinds`: the labels are of several kinds. */
export function labelColumns(format: OutputFormat, kinds = false): readonly Column[] {
  const times = [column('start', 'right'), column('end', 'right'), ...(kinds ? [column('kind')] : [])];
  if (format !== 'table') {
    return [
      column('input'),
      column('id'),
      ...times,
      ...['label', 'label_id', 'score', 'logit'].map((key) => column(key)),
    ];
  }
  const score = (record: Readonly<Record<string, unknown>>): number =>
    record['score'] instanceof Float ? record['score'].value : 0;
  return [
    column('input'),
    ...times,
    column('label'),
    { header: 'score', align: 'right', cell: (record) => score(record).toFixed(4) },
    { header: '', cell: (record) => barOf(score(record)) },
  ];
}

/** One cue a stretch, its labels by falling score. */
function cuesOf(records: readonly LabelRecord[]): Cue[] {
  const stretches = new Map<string, LabelRecord[]>();
  for (const record of records) {
    const labels = stretches.get(record.id);
    if (labels === undefined) stretches.set(record.id, [record]);
    else labels.push(record);
  }
  return [...stretches.values()].map((labels) => ({
    start: labels[0]!.start.value,
    end: labels[0]!.end.value,
    name: labels[0]!.label,
    lines: labels.map(({ label, score }) => `${label} (${score.value.toFixed(2)})`),
  }));
}

/** The content of a file with the labels of one video. */
export async function labelText(video: RecognizedVideo, format: OutputFormat): Promise<string> {
  if (isCueFormat(format)) {
    const { input: path, startOffset: offset, rate } = video;
    return cueText(format, cuesOf(video.records), { path, offset, rate });
  }
  const pieces: string[] = [];
  const writer = labelWriter({ write: (text) => pieces.push(text) }, format);
  for (const record of video.records) await writer.write(record);
  await writer.end();
  return pieces.join('');
}

/** A writer of records of any number of videos. */
export function labelWriter(stream: { write(text: string): unknown }, format: Format, kinds = false): RecordWriter {
  return new RecordWriter(stream, format, labelColumns(format, kinds));
}
