/** `synth baselines`: what each track's metric gives for no look at the pictures, and for the truth itself. */
import { join } from 'node:path';
import { annotationStems } from '../ego4d/annotated-videos.js';
import { EgolensError } from '../errors.js';
import { pathExists } from '../files.js';
import { countFindings } from '../findings.js';
import { jsonPieces } from '../json-pieces.js';
import { parseJson } from '../json-reader.js';
import type { JsonValue } from '../json.js';
import type { Challenge, JsonDocument, Progress, ScoredTask } from '../types.js';
import type { AnnotatedTask, PredictionRecord } from './annotated.js';
import { blindRecords } from './blind-records.js';
import { readDocument } from './documents.js';
import { numberJson } from './score-rows.js';
import { truthRecords } from './truth-records.js';

export interface BaselineOptions {
  readonly split: 'train' | 'val' | 'test';
  /** All numbers of each track instead of the one that ranks. */
  readonly all: boolean;
  readonly challengeOf: (task: ScoredTask) => Challenge | undefined;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

/** `egolens.baseline/1`: one metric of one task. */
export type BaselineRecord = Readonly<Record<string, JsonValue>>;

/**
 * Blind baseline and ceiling of every track, through the submission writers and evaluators. What the blind one knows comes from the
 * train split of the folder, where there is one, else from the split itself.
 *
 * @throws EgolensError input.not_found for a folder without annotations of the split; data.invalid for files that their challenge refuses
 */
export async function* synthBaselines(folder: string, options: BaselineOptions): AsyncGenerator<BaselineRecord> {
  const { split, signal, progress } = options;
  const pathOf = (task: AnnotatedTask, of: string): string =>
    join(folder, 'annotations', `${annotationStems[task]}_${of}.json`);
  for (const task of Object.keys(annotationStems) as AnnotatedTask[]) {
    signal.throwIfAborted();
    const challenge = options.challengeOf(task);
    if (challenge === undefined) throw new EgolensError('internal.bug', `no challenge for \`${task}\``);
    const truth = await annotations(challenge, pathOf(task, split));
    const trainPath = pathOf(task, 'train');
    const hasTrain = split !== 'train' && (await pathExists(trainPath));
    const seen = hasTrain ? await annotations(challenge, trainPath) : truth;
    const from = hasTrain ? 'train' : split;
    const blind = scoresOf(challenge, truth, makeBlind(task, seen, truth));
    const ceiling = scoresOf(challenge, truth, makeTruth(task, truth));
    if (blind === undefined || ceiling === undefined) {
      progress.note(`${task}: nothing to predict in this split`);
      continue;
    }
    for (const [metric, value] of ceiling) {
      if (!options.all && metric !== challenge.primary.metric) continue;
      yield {
        schema: 'egolens.baseline/1',
        task,
        split,
        metric,
        primary: metric === challenge.primary.metric,
        blind: numberJson(blind.get(metric) ?? NaN),
        ceiling: numberJson(value),
        priors: from,
      };
    }
  }
}

async function annotations(challenge: Challenge, path: string): Promise<JsonDocument> {
  const document = await readDocument(path, { literals: challenge.keepsLiterals ?? false });
  const { errors } = countFindings(challenge.check('annotations', document));
  if (errors > 0) {
    throw new EgolensError('data.invalid', `\`${path}\`: ${errors} errors`, {
      try: `\`egolens validate annotations ${path}\` lists them`,
      input: path,
    });
  }
  return document;
}

/** The document's value with numbers as numbers, where its reader told integers apart. */
function plain(value: unknown): unknown {
  if (typeof value === 'bigint') return Number(value);
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, plain(member)]));
}

/** The file of the task whose maker takes it: its challenge has found no fault in it. */
function fileOf(document: JsonDocument): never {
  return plain(document.value) as never;
}

function makeTruth(task: AnnotatedTask, truth: JsonDocument): PredictionRecord[] {
  const make: (file: never) => PredictionRecord[] = truthRecords[task];
  return make(fileOf(truth));
}

function makeBlind(task: AnnotatedTask, seen: JsonDocument, asked: JsonDocument): PredictionRecord[] {
  const make: (seen: never, asked: never) => PredictionRecord[] = blindRecords[task];
  return make(fileOf(seen), fileOf(asked));
}

/** Records -> submission -> evaluator; undefined without anything to predict. */
function scoresOf(
  challenge: Challenge,
  truth: JsonDocument,
  records: readonly PredictionRecord[],
): Map<string, number> | undefined {
  if (records.length === 0 || challenge.submission === undefined) return undefined;
  const { json } = challenge.submission(records, truth, { fillMissing: true });
  const text = [...jsonPieces(json)].join('');
  const submission = parseJson(`the submission of ${challenge.task}`, text, {
    literals: challenge.keepsLiterals ?? false,
  });
  const options = { ties: 'numpy', detail: false } as const;
  const { rows } = challenge.prepare([truth], [submission], options).evaluate(options);
  return new Map(
    rows.map(({ metric, at = {}, value }) => [
      [metric, ...Object.entries(at).map(([key, taken]) => `${key}=${taken}`)].join(' '),
      value,
    ]),
  );
}
