/** `train lta`: a head for the next actions over cached features, scored by the official evaluator on the way. */
import { actionClips, futureActions, type ActionAsk, type ActionClip } from '../ego4d/action-clips.js';
import { EgolensError } from '../errors.js';
import { sha256File } from '../files.js';
import type { Head } from '../models/head.js';
import type { TrainingData } from '../train/trainer.js';
import type { FeatureClock, JsonDocument, Tensor } from '../types.js';
import { actionClasses, pairsOf, verbRepeats } from './action-classes.js';
import { actionRecord, samplesOf, sequenceSchema, type ActionFeeds } from './action-task.js';
import { actionFiles, type ActionWindow } from './action-windows.js';
import { gridClock } from './clip-sequences.js';
import { readDocument } from './documents.js';
import { indexFeatures, type FeatureIndex } from './feature-index.js';
import { readRows } from './feature-rows.js';
import { formOfClips } from './missing-clips.js';
import { rowsOf } from './placed-clips.js';
import type { TaskRecord } from './predict.js';
import type { FeatureForm } from './segment-features.js';
import { usualBatch, type Evaluate, type HeadTraining, type HeadTrainingOptions } from './train-head.js';

interface ActionSizes {
  readonly verbs: number;
  readonly nouns: number;
  /** Actions to come. */
  readonly z: number;
}

/** What the family of heads brings to a run; the command gives it. */
export interface ActionMethod {
  head(given: ActionSizes & { readonly width: number; readonly rows: number }): Head;
  readonly feeds: ActionFeeds;
  /** Targets of a batch under the names of the loss, without `targets.`; futures may be shorter. */
  targets(
    futures: readonly (readonly { readonly verb: number; readonly noun: number }[])[],
    sizes: ActionSizes,
  ): Readonly<Record<'verb' | 'noun' | 'counted', Tensor<'float32'>>>;
}

/** Metrics of a run by what the evaluator calls them; the first one ranks. */
export const sequenceMetrics = {
  action_ed20: 'action ED@20',
  verb_ed20: 'verb ED@20',
  noun_ed20: 'noun ED@20',
} as const;

/** Everything that decides a run. */
export interface ActionTraining extends HeadTrainingOptions {
  readonly method: ActionMethod;
  /** Taxonomy in place of the one beside the annotations. */
  readonly labels?: string;
  /** Actions seen before the first ask of a clip. */
  readonly inputActions: number;
  /** `sequenceMetrics` of records on the validation file. */
  readonly score: (truth: JsonDocument, records: readonly TaskRecord[]) => Readonly<Record<string, number>>;
}

interface Item {
  readonly ask: ActionAsk;
  readonly window: ActionWindow;
  /** Of the file, from its row `first` on. */
  readonly source: { readonly rows: Tensor<'float32'>; readonly first: number };
}

interface Split {
  readonly document: JsonDocument;
  readonly clips: readonly ActionClip[];
  readonly items: readonly Item[];
  readonly form: FeatureForm;
  readonly digest: string;
}

/** Asks of one run of the scoring graph. */
const scoredAtOnce = 64;
/** Most numbers that are kept of a split: 16 GiB of float32. */
const mostElements = 2 ** 32;

/**
 * Reads what a head for actions is trained on.
 *
 * @throws EgolensError data.*, input.*, usage.conflict as `actionFiles` and `actionClasses`; limit.memory
 */
export async function prepareLta(options: ActionTraining): Promise<HeadTraining> {
  const { gt, val: valFile, method, inputActions, labels } = options;
  const index = await indexFeatures(options.features);
  const own = await readSplit(gt, index, options, { least: 1 });
  const classes = await actionClasses(gt, own.clips, labels);
  const val = await readSplit(valFile, index, options, { least: futureActions, like: own.form });
  const sizes = { verbs: classes.verb.labels.length, nouns: classes.noun.labels.length, z: futureActions };
  const longest = own.items.reduce((most, { window: { rows } }) => Math.max(most, rows[1] - rows[0]), 1);
  const head = method.head({ ...sizes, width: own.form.width, rows: longest });
  const clock = gridClock(own.form.clock, own.form.path);
  const pairs = pairsOf(own.clips).map((pair) => [...pair]);
  const feeds = (items: readonly Item[]) =>
    method.feeds(
      items.map(({ window: { rows }, source }) =>
        rowsOf(source.rows, [rows[0] - source.first, rows[1] - source.first]),
      ),
      { rows: longest, width: own.form.width },
    );
  const decode = { pairs, verb_repeats: verbRepeats(own.clips, futureActions - 1) };
  return {
    task: 'lta',
    head,
    summary: `${own.items.length} asks in ${own.clips.length} clips, ${val.items.length} to validate; ${sizes.verbs} verbs, ${sizes.nouns} nouns, ${pairs.length} pairs; ${longest} rows`,
    samples: own.items.length,
    usual: { batch: usualBatch(own.items.length, options), updates: 1500, epochs: [10, 60] },
    data: (batch) => dataOf(own.items, { method, sizes, feeds, batch }),
    digests: {
      gt: await sha256File(gt),
      val: await sha256File(valFile),
      train_features: own.digest,
      val_features: val.digest,
    },
    settings: { input_actions: inputActions },
    metrics: { action_ed20: 'lower', verb_ed20: 'lower', noun_ed20: 'lower' },
    score: (evaluate) => scoreRun(evaluate, options, { head, clock, val, feeds, decode }),
    final: { labels: { ...classes }, features: [own.form], clock, options: decode },
  };
}

async function readSplit(
  path: string,
  index: FeatureIndex,
  options: ActionTraining,
  { least, like }: { readonly least: number; readonly like?: FeatureForm },
): Promise<Split> {
  const { forceFeatures, inputActions, reading, signal, progress } = options;
  const document = await readDocument(path);
  const clips = actionClips(document);
  const found = await actionFiles(
    document,
    index,
    { inputActions, least },
    {
      ...(like && { like }),
      ...(reading && { reading }),
      mixed: forceFeatures,
      signal,
      progress,
    },
  );
  const placed = found.files.reduce((sum, file) => sum + file.clips.length, 0);
  if (placed + found.missing.length === 0) {
    throw new EgolensError(
      'data.invalid',
      `\`${path}\`: expected a clip of ${inputActions + least} actions at least, found none`,
      {
        input: path,
        try: least > 1 ? `clips with ${least} actions after the ${inputActions} that are seen` : 'the train split',
      },
    );
  }
  // Asks before the first row of their features have nothing to look at.
  const early = new Set(found.outside);
  const missing = found.missing.filter((id) => !early.has(id));
  const form = formOfClips(path, { form: found.form, found: placed, missing }, options);
  if (early.size > 0) progress.note(`${path}: ${early.size} asks left out, for they end before the first row`);
  const files = found.files.flatMap(({ path: features, clips: asked }) => {
    if (asked.length === 0) return [];
    const first = Math.min(...asked.map(({ window }) => window.rows[0]));
    return [{ features, asked, first, end: Math.max(...asked.map(({ window }) => window.rows[1])) }];
  });
  const elements = files.reduce((sum, { first, end }) => sum + (end - first) * form.width, 0);
  if (elements > mostElements) {
    throw new EgolensError(
      'limit.memory',
      `\`${path}\`: ${elements} numbers of features; expected ${mostElements} at most`,
      {
        input: path,
        try: 'features with a longer hop, or fewer clips',
      },
    );
  }
  const items: Item[] = [];
  for (const { features, asked, first, end } of files) {
    signal.throwIfAborted();
    const source = { rows: await readRows(features, [first, end], reading), first };
    for (const { clip: ask, window } of asked) {
      if (ask.future === null) {
        throw new EgolensError(
          'data.invalid',
          `\`${path}\`: clip \`${ask.clipUid}\`: expected \`verb_label\`, found none`,
          {
            input: path,
            try: 'the train and val splits: the test split has no annotations',
          },
        );
      }
      items.push({ ask, window, source });
    }
  }
  return { document, clips, items, form, digest: found.digest };
}

type Feeds = (items: readonly Item[]) => ReturnType<ActionFeeds>;

function dataOf(
  items: readonly Item[],
  {
    method,
    sizes,
    feeds,
    batch,
  }: { readonly method: ActionMethod; readonly sizes: ActionSizes; readonly feeds: Feeds; readonly batch: number },
): TrainingData {
  return {
    samples: items.length,
    batch,
    load(samples) {
      const chosen = samples.map((sample) => items[sample]!); // the trainer's numbers are below `samples`
      const futures = chosen.map(({ ask: { future } }) =>
        (future ?? []).map(({ verb, noun }) => ({ verb: verb.label, noun: noun.label })),
      );
      const targets = Object.entries(method.targets(futures, sizes));
      return Promise.resolve({
        ...feeds(chosen),
        ...Object.fromEntries(targets.map(([name, value]) => [`targets.${name}`, value])),
      });
    },
  };
}

/** The official numbers on the validation split, over the asks that have features. */
async function scoreRun(
  evaluate: Evaluate,
  { score }: ActionTraining,
  {
    head,
    clock,
    val: { document, items },
    feeds,
    decode,
  }: {
    readonly head: Head;
    readonly clock: FeatureClock;
    readonly val: Split;
    readonly feeds: Feeds;
    readonly decode: NonNullable<HeadTraining['final']['options']>;
  },
): Promise<Readonly<Record<string, number>>> {
  const records: TaskRecord[] = [];
  for (let first = 0; first < items.length; first += scoredAtOnce) {
    const group = items.slice(first, first + scoredAtOnce);
    const names = group.map(({ window }) => samplesOf(window));
    const found = head.decode(await evaluate(feeds(group)), {
      labels: {},
      options: { ...decode, items: names },
      clock,
    });
    group.forEach(({ window }, i) => {
      for (const prediction of found[i] ?? []) {
        const record = actionRecord(prediction, window);
        if (record !== undefined) records.push({ schema: sequenceSchema, ...record });
      }
    });
  }
  return score(document, records);
}
