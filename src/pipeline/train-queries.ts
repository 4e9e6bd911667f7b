/** `train nlq`: a head for Natural Language Queries over cached features, scored by the official evaluator on the way. */
import { stat } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { EgolensError } from '../errors.js';
import type { ReadOptions } from '../features/store.js';
import { makeFolder, sha256, sha256File } from '../files.js';
import { canonicalText, type JsonValue } from '../json.js';
import type { StoredModel } from '../models/folder.js';
import { headClockJson } from '../models/head-folder.js';
import { headInputs, initialWeights, type Head } from '../models/head.js';
import { seededRandom, type Random } from '../random.js';
import type { TensorsByName } from '../runtime/training-session.js';
import { checkpointName, loadCheckpoint, type RunConfig } from '../train/checkpoint.js';
import { checkGradients, type GradientCheck } from '../train/grad-check.js';
import { decayMatrices } from '../train/groups.js';
import { memoryText } from '../train/memory.js';
import { adamw } from '../train/optimiser.js';
import { epochOrder, sampleRandom } from '../train/order.js';
import { warmupCosine } from '../train/schedule.js';
import { openTraining, type Training, type Weights } from '../train/step.js';
import { train, type StepRecord, type TrainingData, type TrainingOutcome } from '../train/trainer.js';
import type { JsonDocument, Progress, Seconds, Span, Tensor } from '../types.js';
import { readDocument } from './documents.js';
import { readRows } from './feature-rows.js';
import { stateDictOf, writeHeadFolder } from './head-writer.js';
import { defaultName } from './model-folders.js';
import { spanIn } from './predict.js';
import { queryStretches, type QueryStretch, type QueryStretches } from './query-stretches.js';
import { featureSet } from './recognize-head.js';
import type { FeatureForm } from './segment-features.js';
import { writeCurve } from './train-recognition.js';

/** One question about one clip. */
interface QueryItem {
  /** [units, width] */
  readonly units: Tensor<'float32'>;
  readonly text: string;
}

/** What a family of heads for questions brings to a training run; the command gives it. */
export interface QueryMethod {
  vocabulary(texts: Iterable<string>): readonly string[];
  head(given: { readonly width: number; readonly words: number }): Head;
  /** Rows of a clip as the head takes them: [rows, width] -> [units, width]. */
  units(head: Head, rows: Tensor<'float32'>): Tensor<'float32'>;
  /** Words of a question that the head looks at. */
  words(head: Head, text: string): number;
  batch(
    head: Head,
    items: readonly QueryItem[],
    options: {
      readonly vocabulary: readonly string[];
      readonly sizes?: { readonly rows: number; readonly words: number };
      readonly unknown?: { readonly share: number; readonly random: Random };
    },
  ): TensorsByName;
  targets(
    items: readonly (QueryItem & { readonly answer: Span; readonly duration: Seconds })[],
    rows: number,
  ): TensorsByName;
}

/** An entry of the results as the challenge has it: seconds of the clip, best first. */
export interface ScoredAnswer {
  readonly clip_uid: string;
  readonly annotation_uid: string | null;
  readonly query_idx: number | null;
  readonly predicted_times: readonly Span[];
}

/** Everything that decides a run. */
export interface QueryTraining {
  /** `nlq_train.json` and its kind. */
  readonly gt: string;
  readonly val: string;
  readonly features: string;
  /** Of the run. */
  readonly folder: string;
  readonly method: QueryMethod;
  /** Metrics of answers on the validation file, by the evaluator of the challenge. */
  readonly score: (truth: JsonDocument, answers: readonly ScoredAnswer[]) => Readonly<Record<string, number>>;
  /** Metrics that `score` gives; the first one chooses the best checkpoint where `metric` is absent. */
  readonly metrics: readonly string[];
  readonly epochs?: number;
  readonly rate: number;
  readonly batch?: number;
  readonly accumulate: number;
  readonly weightDecay: number;
  /** Epochs; parts of one too. */
  readonly warmup?: number;
  /** Decay of a moving average of the weights, which is then scored and kept. */
  readonly average?: number;
  readonly seed: number;
  readonly resume: 'auto' | 'no' | number;
  readonly metric?: string;
  /** End after so many epochs without a better score. */
  readonly patience?: number;
  readonly maxSeconds?: number;
  readonly skipMissing: boolean;
  readonly forceFeatures: boolean;
  readonly reading?: ReadOptions;
  readonly device: string;
  readonly threads?: number;
  /** The number of threads is part of the run. */
  readonly isDeterministic: boolean;
  readonly name?: string;
  readonly signal: AbortSignal;
  readonly progress: Progress;
  readonly onStep?: (record: StepRecord) => void;
}

export interface TrainedQueries extends Pick<TrainingOutcome, 'ended' | 'step' | 'best'> {
  /** The end product; null where the run was interrupted. */
  readonly head: StoredModel | null;
  /** Scores of the end product on the validation split. */
  readonly scores: Readonly<Record<string, number>>;
}

/** A question of the training split; its answer in seconds from the first row. */
interface Sample {
  readonly stretch: QueryStretch;
  readonly text: string;
  readonly answer: Span;
}

interface Prepared {
  readonly head: Head;
  readonly vocabulary: readonly string[];
  readonly form: FeatureForm;
  readonly samples: readonly Sample[];
  readonly sizes: { readonly rows: number; readonly words: number };
  readonly val: readonly QueryStretch[];
  readonly truth: JsonDocument;
  readonly unitsOf: (stretch: QueryStretch) => Promise<Tensor<'float32'>>;
  readonly data: Readonly<Record<string, JsonValue>>;
}

/** Most elements of units that a run keeps in memory: 2 GiB of float32. */
const keptElements = 2 ** 29;
/** Words that become unknown in training, so that the vector of unknown words is learned too. */
const unknownShare = 0.02;
/** Questions of one run of the scoring graph. */
const scoredAtOnce = 64;
/** Answers that the challenge looks at. */
const answersPerQuestion = 5;

/**
 * Trains a head for Natural Language Queries and writes it to `final/` of the run.
 *
 * @throws EgolensError data.invalid for annotations of another form or without an answer; input.not_found for clips without features;
 *   data.clock, data.shape, usage.conflict as `queryStretches`; usage.flag for a metric that there is not; as `train`
 */
export async function trainQueries(options: QueryTraining): Promise<TrainedQueries> {
  const { progress, folder, seed, accumulate, threads, patience, maxSeconds, onStep, average } = options;
  const metric = checkedMetric(options);
  const prepared = await prepare(options);
  const { head, samples, val, vocabulary } = prepared;
  await makeFolder(folder);
  const { batch, perEpoch, epochs } = planOf(options, samples.length);
  const updates = epochs * perEpoch;
  const warmup = Math.min(updates - 1, Math.round((options.warmup ?? epochs / 20) * perEpoch));
  const config: RunConfig = {
    task: 'nlq',
    head: { family: head.family, config: head.config },
    data: prepared.data,
    ...{ epochs, batch, accumulate, lr: options.rate, weight_decay: options.weightDecay, warmup },
    ...{ average: average ?? null, seed, metric },
    threads: options.isDeterministic ? (threads ?? null) : null,
  };
  const weights = initialWeights(head, seededRandom(seed, 'weights'));
  await using training = await openStep(options, prepared, { batch, weights });
  const asked = val.reduce((count, { questions }) => count + questions.length, 0);
  progress.note(
    `${samples.length} questions, ${asked} to validate, ${vocabulary.length} words; ${head.family} on ${training.device}`,
  );
  progress.note(`memory: ${memoryText(training.memory)}`);
  const used = average === undefined ? 'current' : 'average';
  const outcome = await train({
    training,
    folder,
    config,
    data: dataOf(options, prepared, batch),
    updates,
    rate: warmupCosine({ base: options.rate, updates, warmup }),
    seed,
    accumulate,
    scoring: {
      every: perEpoch,
      run: (current) => scoreRun(current, options, prepared, used),
      metric,
      better: 'higher',
      ...(patience !== undefined && { patience }),
    },
    resume: options.resume,
    signal: options.signal,
    ...(maxSeconds !== undefined && { maxSeconds }),
    ...(onStep && { onStep }),
  });
  await writeCurve(folder, outcome, metric, 'nlq');
  if (outcome.ended === 'interrupted') return { ...outcome, head: null, scores: {} };
  const step = outcome.best?.step ?? outcome.step;
  const { state } = await loadCheckpoint(folder, step);
  const best = average === undefined ? state.weights : (state.moments.ema ?? state.weights);
  const whole: Weights = new Map([...weights, ...best]);
  await training.load({ ...(await training.state()), weights: whole });
  const scores = await scoreRun(training, options, prepared, 'current');
  const source = join(folder, checkpointName(step), 'model.safetensors');
  return { ...outcome, scores, head: await writeFinal(options, prepared, { weights: whole, source }) };
}

/**
 * The gradient of the step on the first batch of the run against finite differences; nothing is written.
 *
 * @throws EgolensError as `trainQueries`
 */
export async function checkQueryGradients(options: QueryTraining): Promise<GradientCheck[]> {
  const prepared = await prepare(options);
  const { batch } = planOf(options, prepared.samples.length);
  const weights = initialWeights(prepared.head, seededRandom(options.seed, 'weights'));
  await using training = await openStep(options, prepared, { batch, weights });
  const data = dataOf(options, prepared, batch);
  const first = epochOrder(options.seed, 1, data.samples).slice(0, batch);
  return await checkGradients(training, await data.load(first, 1), options.seed);
}

function checkedMetric({ metric, metrics }: QueryTraining): string {
  const name = metric ?? metrics[0]!; // there are some
  if (metrics.includes(name)) return name;
  throw new EgolensError('usage.flag', `--early-stop ${name}: expected one of ${metrics.join('; ')}`);
}

async function prepare(options: QueryTraining): Promise<Prepared> {
  const { features, method, reading, progress, signal, forceFeatures } = options;
  const [gt, truth] = [await readDocument(options.gt), await readDocument(options.val)];
  const set = await featureSet(features);
  const shared = { mixed: forceFeatures, signal, progress, ...(reading && { reading }) };
  const own = withFeatures(options, gt.name, await queryStretches(gt, set, shared));
  const val = withFeatures(options, truth.name, await queryStretches(truth, set, { ...shared, like: own.form }));
  const samples = samplesOf(own.stretches);
  const first = samples[0];
  if (first === undefined) {
    throw new EgolensError('data.invalid', `\`${gt.name}\`: expected questions with answers, found none`, {
      input: gt.name,
      try: '`nlq_train.json`, whose queries have `clip_start_sec` and `clip_end_sec`',
    });
  }
  const vocabulary = method.vocabulary(samples.map(({ text }) => text));
  const head = method.head({ width: own.form.width, words: vocabulary.length });
  const unitsOf = unitCache(head, method, reading);
  const sizes = {
    words: samples.reduce((most, { text }) => Math.max(most, method.words(head, text)), 1),
    rows: 1,
  };
  for (const stretch of new Set(samples.map((sample) => sample.stretch))) {
    signal.throwIfAborted();
    sizes.rows = Math.max(sizes.rows, (await unitsOf(stretch)).shape[0] ?? 1);
  }
  return {
    head,
    vocabulary,
    form: own.form,
    samples,
    sizes,
    val: val.stretches,
    truth,
    unitsOf,
    data: {
      gt: await sha256File(options.gt),
      val: await sha256File(options.val),
      train_features: own.digest,
      val_features: val.digest,
      words: sha256(canonicalText([...vocabulary])),
    },
  };
}

function withFeatures(
  { skipMissing, progress, features }: QueryTraining,
  name: string,
  { form, stretches, missing, silent, digest }: QueryStretches,
): { readonly form: FeatureForm; readonly stretches: readonly QueryStretch[]; readonly digest: string } {
  const count = stretches.length + missing.length;
  if (form === undefined || stretches.length === 0 || (missing.length > 0 && !skipMissing)) {
    const which = missing[0] === undefined ? '' : `: \`${missing[0]}\``;
    throw new EgolensError(
      'input.not_found',
      `\`${name}\`: ${missing.length} of ${count} clips have no features in \`${features}\`, nor their videos${which}`,
      { input: name, try: '`egolens extract` for these videos, or `--skip-missing`' },
    );
  }
  if (missing.length > 0) progress.note(`${name}: ${missing.length} of ${count} clips left out, for want of features`);
  if (silent > 0) progress.note(`${name}: ${silent} queries without text left out`);
  return { form, stretches, digest };
}

/** Questions whose answers lie in what the rows cover. */
function samplesOf(stretches: readonly QueryStretch[]): Sample[] {
  return stretches.flatMap((stretch) =>
    stretch.questions.flatMap(({ text, answer }): Sample[] => {
      if (answer === undefined) return [];
      const from = Math.max(0, answer[0] - stretch.offset);
      const to = Math.min(stretch.duration, answer[1] - stretch.offset);
      return from < to ? [{ stretch, text, answer: [from, to] }] : [];
    }),
  );
}

/** Units of clips; the first ones up to a limit are kept. */
function unitCache(head: Head, method: QueryMethod, reading: ReadOptions | undefined): Prepared['unitsOf'] {
  const kept = new Map<QueryStretch, Tensor<'float32'>>();
  let elements = 0;
  return async (stretch) => {
    const known = kept.get(stretch);
    if (known !== undefined) return known;
    const units = method.units(head, await readRows(stretch.path, stretch.rows, reading));
    if (elements + units.data.length <= keptElements) {
      kept.set(stretch, units);
      elements += units.data.length;
    }
    return units;
  };
}

/** Updates that the default number of epochs comes to, within its bounds. */
const usualUpdates = 3000;

function planOf(
  { batch: asked, accumulate, epochs: wanted }: QueryTraining,
  samples: number,
): { readonly batch: number; readonly perEpoch: number; readonly epochs: number } {
  const eighth = 2 ** Math.max(0, Math.floor(Math.log2(Math.max(1, samples / (8 * accumulate)))));
  const batch = asked ?? Math.min(32, eighth);
  const perEpoch = Math.max(1, Math.floor(samples / (batch * accumulate)));
  return { batch, perEpoch, epochs: wanted ?? Math.min(100, Math.max(20, Math.ceil(usualUpdates / perEpoch))) };
}

async function openStep(
  { average, threads, weightDecay, device }: QueryTraining,
  { head, sizes }: Prepared,
  { batch, weights }: { readonly batch: number; readonly weights: Weights },
): Promise<Training> {
  return await openTraining(
    {
      name: head.family,
      sizes: { batch, ...sizes },
      forward: (g) => head.loss!(g, head.forward(g, headInputs(g, head))), // a method's heads have one
      isTrained: (name) => head.isFrozen?.(name) !== true,
      groups: decayMatrices(weightDecay),
      optimiser: { rule: adamw, clip: 1, ...(average !== undefined && { average }) },
      evaluations: { outputs: (g) => head.forward(g, headInputs(g, head)) },
    },
    weights,
    { device, ...(threads !== undefined && { threads }) },
  );
}

function dataOf(
  { method, seed }: QueryTraining,
  { head, samples, sizes, vocabulary, unitsOf }: Prepared,
  batch: number,
): TrainingData {
  return {
    samples: samples.length,
    batch,
    async load(indexes, epoch) {
      const items = await Promise.all(
        indexes.map(async (index) => {
          const { stretch, text, answer } = samples[index]!; // the trainer's numbers are below `samples`
          return { units: await unitsOf(stretch), text, answer, duration: stretch.duration };
        }),
      );
      const random = sampleRandom(seed, epoch, indexes[0] ?? 0);
      const feeds = method.batch(head, items, { vocabulary, sizes, unknown: { share: unknownShare, random } });
      return { ...feeds, ...method.targets(items, sizes.rows) };
    },
  };
}

/** Scores of the validation split with the weights of the run. */
async function scoreRun(
  training: Pick<Training, 'evaluate'>,
  { method, score, signal }: QueryTraining,
  { head, val, truth, unitsOf, vocabulary }: Prepared,
  weights: 'current' | 'average',
): Promise<Readonly<Record<string, number>>> {
  const asked = val.flatMap((stretch) => stretch.questions.map((question) => ({ stretch, question })));
  const answers: ScoredAnswer[] = [];
  for (let first = 0; first < asked.length; first += scoredAtOnce) {
    signal.throwIfAborted();
    const group = asked.slice(first, first + scoredAtOnce);
    const items = await Promise.all(
      group.map(async ({ stretch, question: { text } }) => ({ units: await unitsOf(stretch), text })),
    );
    const outputs = await training.evaluate('outputs', method.batch(head, items, { vocabulary }), weights);
    const found = head.decode(outputs, {
      labels: { word: vocabulary },
      options: { top: answersPerQuestion },
      clock: null,
      durations: group.map(({ stretch }) => stretch.duration),
    });
    group.forEach(({ stretch, question }, i) => {
      const spans = (found[i] ?? []).flatMap((one) => {
        const span = one.task === 'nlq' ? spanIn(stretch, one.start, one.end) : undefined;
        return span === undefined ? [] : [span];
      });
      if (spans.length === 0) return;
      const { annotationUid, index } = question;
      answers.push({ clip_uid: stretch.id, annotation_uid: annotationUid, query_idx: index, predicted_times: spans });
    });
  }
  return score(truth, answers);
}

async function writeFinal(
  { folder, name, signal }: QueryTraining,
  { head, vocabulary, form }: Prepared,
  { weights, source }: { readonly weights: Weights; readonly source: string },
): Promise<StoredModel> {
  const { model, output, preset, width, clock } = form;
  return await writeHeadFolder(
    {
      name: name ?? defaultName(basename(resolve(folder))),
      head,
      tensors: stateDictOf(weights),
      labels: {
        word: {
          schema: 'egolens.labels/1',
          name: 'words',
          version: 1,
          order: 'training questions',
          labels: vocabulary,
        },
      },
      features: [{ model: model ?? null, output: output ?? null, width, ...(preset !== undefined && { preset }) }],
      clock: clock === undefined ? null : headClockJson(clock),
      options: {},
      trained: `run ${basename(resolve(folder))}`,
      licence: { code: 'unknown', weights: 'unknown' },
      source: {
        name: basename(source),
        bytes: (await stat(source)).size,
        sha256: await sha256File(source),
        container: 'safetensors',
        weightsKey: null,
        prefix: null,
        left: [],
      },
    },
    { output: join(folder, 'final'), force: true, signal },
  );
}
