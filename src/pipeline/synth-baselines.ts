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
import { partOf } from './annotation-part.js';
import type { AnnotatedTask, PredictionRecord } from './annotated.js';
import { blindRecords } from './blind-records.js';
import { readDocument } from './documents.js';
import { recognised, recognitionFiles } from './recognition-baseline.js';
import { numberJson } from './score-rows.js';
import { readTabletop } from './tabletop-index.js';
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

/** Clips of a split that are scored together. */
interface Part {
  readonly name: 'all' | 'seen' | 'compositional';
  /** Their videos; null for all. */
  readonly videos: ReadonlySet<string> | null;
}

/** Scores of a part by metric, and which of them rank. */
interface PartScores {
  readonly blind: ReadonlyMap<string, number>;
  readonly ceiling: ReadonlyMap<string, number>;
  readonly primary: readonly string[];
}

/**
 * Blind baseline and ceiling of every track, through the submission writers and evaluators, and of recognition of the actions. What the
 * blind one knows comes from the train split of the folder, where there is one, else from the split itself. A split with compositional
 * clips is scored whole, then its other clips, then these.
 *
 * @throws EgolensError input.not_found for a folder without annotations of the split; data.invalid for files that their challenge refuses
 */
export async function* synthBaselines(folder: string, options: BaselineOptions): AsyncGenerator<BaselineRecord> {
  const { split, signal, progress } = options;
  const parts = await partsOf(folder, options);
  const read = async (task: AnnotatedTask): Promise<readonly [truth: JsonDocument, seen: JsonDocument, of: string]> => {
    const pathOf = (of: string): string => join(folder, 'annotations', `${annotationStems[task]}_${of}.json`);
    const truth = await annotations(challengeFor(task, options), pathOf(split));
    if (split === 'train' || !(await pathExists(pathOf('train')))) return [truth, truth, split];
    return [truth, await annotations(challengeFor(task, options), pathOf('train')), 'train'];
  };
  for (const task of Object.keys(annotationStems) as AnnotatedTask[]) {
    const challenge = challengeFor(task, options);
    const [truth, seen, priors] = await read(task);
    for (const part of parts) {
      signal.throwIfAborted();
      const asked = part.videos === null ? truth : partOf(truth, part.videos);
      const scores = trackScores(challenge, task, seen, asked);
      if (scores === undefined) progress.note(`${task}: nothing to predict in ${told(split, part)}`);
      else yield* rowsOf(task, part, scores, priors, options);
    }
  }
  const [truth, seen, priors] = await read('lta');
  for (const part of parts) {
    signal.throwIfAborted();
    const asked = part.videos === null ? truth : partOf(truth, part.videos);
    const scores = recognitionScores(challengeFor('recognition', options), seen, asked);
    if (scores === undefined) progress.note(`recognition: no action in ${told(split, part)}`);
    else yield* rowsOf('recognition', part, scores, priors, options);
  }
}

const told = (split: string, { name }: Part): string =>
  name === 'all' ? 'this split' : `the ${name} clips of this ${split} split`;

function challengeFor(task: ScoredTask, { challengeOf }: BaselineOptions): Challenge {
  const challenge = challengeOf(task);
  if (challenge === undefined) throw new EgolensError('internal.bug', `no challenge for \`${task}\``);
  return challenge;
}

/** The whole split, and where it has both kinds of clips, each of them. */
async function partsOf(folder: string, { split, progress }: BaselineOptions): Promise<readonly Part[]> {
  const all: Part = { name: 'all', videos: null };
  const path = join(folder, 'annotations', 'tabletop.json');
  if (!(await pathExists(path))) {
    progress.note(`\`${path}\` is missing, so compositional clips are not told apart`);
    return [all];
  }
  const clips = (await readTabletop(path)).clips.filter((clip) => clip.split === split);
  const videosOf = (isCompositional: boolean): ReadonlySet<string> =>
    new Set(clips.filter(({ compositional }) => compositional === isCompositional).map((clip) => clip.video_uid));
  const parts: readonly Part[] = [
    { name: 'seen', videos: videosOf(false) },
    { name: 'compositional', videos: videosOf(true) },
  ];
  return parts.every(({ videos }) => videos !== null && videos.size > 0) ? [all, ...parts] : [all];
}

function* rowsOf(
  task: ScoredTask,
  part: Part,
  { blind, ceiling, primary }: PartScores,
  priors: string,
  { split, all }: BaselineOptions,
): Generator<BaselineRecord> {
  for (const [metric, value] of ceiling) {
    const isPrimary = primary.includes(metric);
    if (!all && !isPrimary) continue;
    yield {
      schema: 'egolens.baseline/1',
      task,
      split,
      part: part.name,
      metric,
      primary: isPrimary,
      blind: numberJson(blind.get(metric) ?? NaN),
      ceiling: numberJson(value),
      priors,
    };
  }
}

/** undefined where nothing is asked. */
function trackScores(
  challenge: Challenge,
  task: AnnotatedTask,
  seen: JsonDocument,
  asked: JsonDocument,
): PartScores | undefined {
  const ceiling = scoresOf(challenge, asked, makeTruth(task, asked));
  if (ceiling === undefined) return undefined;
  const blind = scoresOf(challenge, asked, makeBlind(task, seen, asked));
  return blind && { blind, ceiling, primary: [challenge.primary.metric] };
}

/** undefined where there is no action. */
function recognitionScores(challenge: Challenge, seen: JsonDocument, asked: JsonDocument): PartScores | undefined {
  const [blind, ceiling] = [new Map<string, number>(), new Map<string, number>()];
  for (const of of recognised) {
    const files = recognitionFiles(fileOf(seen), fileOf(asked), of);
    if (files === undefined) return undefined;
    for (const [scores, predictions] of [
      [blind, files.blind],
      [ceiling, files.ceiling],
    ] as const) {
      for (const [metric, value] of evaluated(challenge, files.truth, predictions))
        scores.set(`${of} ${metric}`, value);
    }
  }
  return { blind, ceiling, primary: recognised.map((of) => `${of} ${challenge.primary.metric}`) };
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
  return evaluated(challenge, truth, submission);
}

/** Values by metric and, where it has one, its place (`tiou=0.5`). */
function evaluated(challenge: Challenge, truth: JsonDocument, predictions: JsonDocument): Map<string, number> {
  const options = { ties: 'numpy', detail: false } as const;
  const { rows } = challenge.prepare([truth], [predictions], options).evaluate(options);
  return new Map(
    rows.map(({ metric, at = {}, value }) => [
      [metric, ...Object.entries(at).map(([key, taken]) => `${key}=${taken}`)].join(' '),
      value,
    ]),
  );
}
