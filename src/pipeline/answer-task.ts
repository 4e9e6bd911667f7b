/** Natural Language Queries as a task of `predict`: the same records from `nlq` and from the scoring of `train nlq`. */
import type { Question } from '../ego4d/query-clips.js';
import { EgolensError } from '../errors.js';
import { readSmallFile } from '../files.js';
import { float } from '../json.js';
import type { HeadPrediction } from '../models/head.js';
import { isQuestion } from '../text/questions.js';
import { spanIn, type Stretch, type TaskRecord } from './predict.js';

export const answerSchema = 'egolens.answer/1';

/** The members of `egolens.answer/1` beside the common ones; undefined for what lies outside the clip. */
export function answerRecord(
  prediction: HeadPrediction,
  stretch: Stretch,
  { text, annotationUid, index }: Question,
  rank: number,
): TaskRecord | undefined {
  if (prediction.task !== 'nlq') return undefined;
  const span = spanIn(stretch, prediction.start, prediction.end);
  if (span === undefined) return undefined;
  return {
    clip_uid: stretch.clipUid,
    annotation_uid: annotationUid,
    query_idx: index,
    query: text,
    rank,
    start: float(span[0]),
    end: float(span[1]),
    score: float(prediction.score),
  };
}

const maxFileBytes = 64 * 2 ** 20;

/**
 * One's own questions: those of the flags, then those of a file, one a line or records `{"query":…,"id":…}`. Without an `id` a question goes
 * by its number, from 0.
 *
 * @throws EgolensError usage.flag for a text that asks nothing; data.invalid for a line of the file that does, or is no record; input.*
 */
export async function ownQuestions(texts: readonly string[], path?: string): Promise<Question[]> {
  const asked: { readonly text: string; readonly id?: string }[] = texts.map((text) => {
    if (isQuestion(text)) return { text };
    throw new EgolensError('usage.flag', `--query \`${text}\`: expected a question, found no word in it`);
  });
  if (path !== undefined) {
    const lines = new TextDecoder().decode(await readSmallFile(path, maxFileBytes)).split(/\r?\n/);
    const found = lines.flatMap((line, i) =>
      line.trim() === '' ? [] : [lineQuestion(line, `${path}:${i + 1}`, path)],
    );
    if (found.length === 0) {
      throw new EgolensError('data.invalid', `\`${path}\`: expected a question a line, found none`, { input: path });
    }
    asked.push(...found);
  }
  return asked.map(({ text, id }, i) => numbered(text, id ?? String(i)));
}

/** A question of one's own. */
export function numbered(text: string, id: string): Question {
  return { text, id, annotationUid: null, index: null };
}

function lineQuestion(line: string, place: string, input: string): { text: string; id?: string } {
  const fault = (found: string): EgolensError =>
    new EgolensError('data.invalid', `\`${place}\`: ${found}`, {
      input,
      try: 'a question a line, or `{"query":"where is the cup?","id":"cup"}`',
    });
  if (!/^\s*\{.*\}\s*$/.test(line)) {
    if (isQuestion(line)) return { text: line.trim() };
    throw fault('expected a question, found no word in it');
  }
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    throw fault(`no JSON: ${(cause as Error).message}`);
  }
  const { query, id } = value as Readonly<Record<string, unknown>>; // the line is in braces
  if (typeof query !== 'string' || !isQuestion(query)) throw fault('expected a question in `query`');
  if (id !== undefined && (typeof id !== 'string' || id === '')) throw fault('`id`: expected text');
  return { text: query, ...(typeof id === 'string' && { id }) };
}
