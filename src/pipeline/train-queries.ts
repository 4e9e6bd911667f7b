/** `train nlq`: a head for Natural Language Queries over cached features, scored by the official evaluator on the way. */
import { EgolensError } from '../errors.js';
import { sha256, sha256File } from '../files.js';
import { canonicalText } from '../json.js';
import type { Head } from '../models/head.js';
import type { Random } from '../random.js';
import type { TensorsByName } from '../runtime/training-session.js';
import { sampleRandom } from '../train/order.js';
import type { TrainingData } from '../train/trainer.js';
import type { JsonDocument, Seconds, Span, Tensor } from '../types.js';
import { readDocument } from './documents.js';
import { readRows } from './feature-rows.js';
import { keptTensors } from './kept-tensors.js';
import { formOfClips } from './missing-clips.js';
import { spanIn } from './predict.js';
import { queryStretches, type QueryStretch } from './query-stretches.js';
import { featureSet, type FeatureSet } from './recognize-head.js';
import type { FeatureForm } from './segment-features.js';
import { checkedMetric, usualBatch, type Evaluate, type HeadTraining, type HeadTrainingOptions } from './train-head.js';

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
export interface QueryTraining extends HeadTrainingOptions {
  readonly method: QueryMethod;
  /** Metrics of answers on the validation file, by the evaluator of the challenge: more is better. */
  readonly score: (truth: JsonDocument, answers: readonly ScoredAnswer[]) => Readonly<Record<string, number>>;
  /** Metrics that `score` gives; the first one chooses the best checkpoint where `metric` is absent. */
  readonly metrics: readonly string[];
}

/** A question of the training split; its answer in seconds from the first row. */
interface Sample {
  readonly stretch: QueryStretch;
  readonly text: string;
  readonly answer: Span;
}

/** The clips of a file. */
interface Split {
  readonly document: JsonDocument;
  readonly stretches: readonly QueryStretch[];
  readonly form: FeatureForm;
  readonly digest: string;
}

/** What batches are made with. */
interface Batches {
  readonly head: Head;
  readonly method: QueryMethod;
  readonly vocabulary: readonly string[];
  readonly unitsOf: (stretch: QueryStretch) => Promise<Tensor<'float32'>>;
}

/** Words that become unknown in training, so that the vector of unknown words is learned too. */
const unknownShare = 0.02;
/** Questions of one run of the scoring graph. */
const scoredAtOnce = 64;
/** Answers that the challenge looks at. */
const answersPerQuestion = 5;

/**
 * Reads what a head for Natural Language Queries is trained on.
 *
 * @throws EgolensError data.invalid for annotations of another form or without an answer; input.not_found for clips without features;
 *   data.clock, data.shape, usage.conflict as `queryStretches`; usage.flag for a metric that there is not
 */
export async function prepareQueries(options: QueryTraining): Promise<HeadTraining> {
  const { features, method, metrics, reading, signal, seed, score } = options;
  checkedMetric(options.metric, metrics);
  const [gt, truth] = [await readDocument(options.gt), await readDocument(options.val)];
  const set = await featureSet(features);
  const own = await splitOf(gt, set, options);
  const val = await splitOf(truth, set, options, own.form);
  const samples = samplesOf(own.stretches);
  if (samples.length === 0) {
    throw new EgolensError('data.invalid', `\`${gt.name}\`: expected questions with answers, found none`, {
      input: gt.name,
      try: '`nlq_train.json`, whose queries have `clip_start_sec` and `clip_end_sec`',
    });
  }
  const vocabulary = method.vocabulary(samples.map(({ text }) => text));
  const head = method.head({ width: own.form.width, words: vocabulary.length });
  const unitsOf = keptTensors(async ({ path, rows }: QueryStretch) =>
    method.units(head, await readRows(path, rows, reading)),
  );
  const sizes = { words: samples.reduce((most, { text }) => Math.max(most, method.words(head, text)), 1), rows: 1 };
  for (const stretch of new Set(samples.map((sample) => sample.stretch))) {
    signal.throwIfAborted();
    sizes.rows = Math.max(sizes.rows, (await unitsOf(stretch)).shape[0] ?? 1);
  }
  const asked = val.stretches.reduce((count, { questions }) => count + questions.length, 0);
  const batches: Batches = { head, method, vocabulary, unitsOf };
  return {
    task: 'nlq',
    head,
    summary: `${samples.length} questions, ${asked} to validate, ${vocabulary.length} words`,
    samples: samples.length,
    usual: { batch: usualBatch(samples.length, options), updates: 3000, epochs: [20, 100] },
    sizes,
    data: (batch) => dataOf(samples, { ...batches, sizes, batch, seed }),
    digests: {
      gt: await sha256File(options.gt),
      val: await sha256File(options.val),
      train_features: own.digest,
      val_features: val.digest,
      words: sha256(canonicalText([...vocabulary])),
    },
    metrics: Object.fromEntries(metrics.map((name) => [name, 'higher' as const])),
    score: async (evaluate) => score(val.document, await answersOf(evaluate, val.stretches, batches)),
    final: {
      labels: {
        word: {
          schema: 'egolens.labels/1',
          name: 'words',
          version: 1,
          order: 'training questions',
          labels: vocabulary,
        },
      },
      features: [own.form],
      clock: own.form.clock ?? null,
    },
  };
}

async function splitOf(
  document: JsonDocument,
  set: FeatureSet,
  options: QueryTraining,
  like?: FeatureForm,
): Promise<Split> {
  const { forceFeatures, reading, signal, progress } = options;
  const { name } = document;
  const { form, stretches, missing, silent, digest } = await queryStretches(document, set, {
    ...(like && { like }),
    ...(reading && { reading }),
    mixed: forceFeatures,
    signal,
    progress,
  });
  const found = { form, found: stretches.length, missing };
  const split = { document, form: formOfClips(name, found, options), stretches, digest };
  if (silent > 0) progress.note(`${name}: ${silent} queries without text left out`);
  return split;
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

function dataOf(
  samples: readonly Sample[],
  {
    head,
    method,
    vocabulary,
    unitsOf,
    sizes,
    batch,
    seed,
  }: Batches & {
    readonly sizes: { readonly rows: number; readonly words: number };
    readonly batch: number;
    readonly seed: number;
  },
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

/** The best answers to all questions. */
async function answersOf(
  evaluate: Evaluate,
  stretches: readonly QueryStretch[],
  { head, method, vocabulary, unitsOf }: Batches,
): Promise<ScoredAnswer[]> {
  const asked = stretches.flatMap((stretch) => stretch.questions.map((question) => ({ stretch, question })));
  const answers: ScoredAnswer[] = [];
  for (let first = 0; first < asked.length; first += scoredAtOnce) {
    const group = asked.slice(first, first + scoredAtOnce);
    const items = await Promise.all(
      group.map(async ({ stretch, question: { text } }) => ({ units: await unitsOf(stretch), text })),
    );
    const found = head.decode(await evaluate(method.batch(head, items, { vocabulary })), {
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
  return answers;
}
