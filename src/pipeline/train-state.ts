/** `train pnr` and `train oscc`: one head for the point of no return and the change of state, scored by the official evaluators on the way. */
import { stat } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import type { StateClip } from '../ego4d/state-clips.js';
import { EgolensError } from '../errors.js';
import type { ReadOptions } from '../features/store.js';
import { makeFolder, sha256File } from '../files.js';
import type { JsonValue } from '../json.js';
import type { StoredModel } from '../models/folder.js';
import { headClockJson } from '../models/head-folder.js';
import { headInputs, initialWeights, type Head } from '../models/head.js';
import { seededRandom } from '../random.js';
import { checkpointName, loadCheckpoint, type RunConfig } from '../train/checkpoint.js';
import { checkGradients, type GradientCheck } from '../train/grad-check.js';
import { decayMatrices } from '../train/groups.js';
import { memoryText } from '../train/memory.js';
import { adamw } from '../train/optimiser.js';
import { epochOrder } from '../train/order.js';
import { warmupCosine } from '../train/schedule.js';
import { openTraining, type Training, type Weights } from '../train/step.js';
import { train, type StepRecord, type TrainingData, type TrainingOutcome } from '../train/trainer.js';
import type { FeatureClock, JsonDocument, Progress, Tensor } from '../types.js';
import { gridClock } from './clip-sequences.js';
import { readDocument } from './documents.js';
import { indexFeatures, type FeatureIndex } from './feature-index.js';
import { readRows } from './feature-rows.js';
import { stateDictOf, writeHeadFolder } from './head-writer.js';
import { defaultName } from './model-folders.js';
import type { TaskRecord } from './predict.js';
import type { FeatureForm } from './segment-features.js';
import { rowsOf, stateFeeds, stateRecord, stateSchemas, type StateTask } from './state-task.js';
import { refuseMissing, stateFiles, type StateWindow } from './state-windows.js';
import { writeCurve } from './train-recognition.js';

/** What is known of a clip, as the head counts: where its point of no return lies, in rows. */
export interface KnownState {
  readonly stateChange: boolean;
  readonly row: number | null;
  /** Rows before the padding. */
  readonly count: number;
}

/** What the family of heads brings to a run; the command gives it. */
export interface StateMethod {
  head(given: { readonly width: number; readonly rows: number }): Head;
  /** Targets of a batch under the names of the loss, without `targets.`. */
  targets(
    clips: readonly KnownState[],
    options: { readonly rows: number },
  ): Readonly<Record<'pnr' | 'counted' | 'state', Tensor<'float32'>>>;
}

/** Metrics by the evaluators of both tasks; the primary one of each. */
export const stateMetrics = { pnr: 'mean_error_sec', oscc: 'accuracy' } as const;

/** Everything that decides a run. */
export interface StateTraining {
  readonly task: StateTask;
  /** `fho_oscc-pnr_train.json` and its kind. */
  readonly gt: string;
  readonly val: string;
  readonly features: string;
  /** Of the run. */
  readonly folder: string;
  readonly method: StateMethod;
  /** The primary metric of a task for records on the validation file. */
  readonly score: (task: StateTask, truth: JsonDocument, records: readonly TaskRecord[]) => number;
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
  /** Metric of the best checkpoint; default the primary one of the task. */
  readonly metric?: string;
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

export interface TrainedState extends Pick<TrainingOutcome, 'ended' | 'step' | 'best'> {
  /** The end product; null where the run was interrupted. */
  readonly head: StoredModel | null;
  readonly scores: Readonly<Record<string, number>>;
}

interface Item {
  readonly clip: StateClip;
  readonly window: StateWindow;
  readonly rows: Tensor<'float32'>;
}

interface Split {
  readonly document: JsonDocument;
  readonly items: readonly Item[];
  readonly form: FeatureForm;
  readonly digest: string;
}

interface Prepared {
  readonly head: Head;
  /** Of the head. */
  readonly rows: number;
  readonly clock: FeatureClock;
  readonly train: Split;
  readonly val: Split;
  readonly data: Readonly<Record<string, JsonValue>>;
}

interface Plan {
  readonly batch: number;
  readonly perEpoch: number;
  readonly epochs: number;
  readonly updates: number;
  readonly warmup: number;
  readonly metric: string;
}

/** Most rows of a clip: eight seconds at 64 rows a second. */
const mostRows = 512;
/** Updates that the default number of epochs comes to, within its bounds. */
const usualUpdates = 1500;
/** Clips of one run of the scoring graph. */
const scoredAtOnce = 64;

/**
 * Trains a head for states and writes it to `final/` of the run.
 *
 * @throws EgolensError data.*, input.*, usage.conflict as `stateFiles`; usage.flag for a metric that there is not; as `train`
 */
export async function trainState(options: StateTraining): Promise<TrainedState> {
  const prepared = await prepare(options);
  const { seed, progress, signal, folder, average, accumulate, threads, patience, maxSeconds, onStep, task } = options;
  const { head, train: own, val } = prepared;
  const plan = planOf(options, prepared);
  const { batch, epochs, perEpoch, updates, warmup, metric } = plan;
  await makeFolder(folder);
  const config: RunConfig = {
    task,
    head: { family: head.family, config: head.config },
    data: prepared.data,
    ...{ epochs, batch, accumulate, lr: options.rate, weight_decay: options.weightDecay, warmup },
    ...{ average: average ?? null, seed, metric },
    threads: options.isDeterministic ? (threads ?? null) : null,
  };
  const weights = initialWeights(head, seededRandom(seed, 'weights'));
  await using training = await openStep(options, prepared, { batch, weights });
  const changes = own.items.filter(({ clip }) => clip.stateChange).length;
  progress.note(
    `${own.items.length} clips (${changes} with a change), ${val.items.length} to validate; ${prepared.rows} rows; ${head.family} on ${training.device}`,
  );
  progress.note(`memory: ${memoryText(training.memory)}`);
  const used = average === undefined ? 'current' : 'average';
  const outcome = await train({
    ...{ training, folder, config, updates, seed, accumulate },
    data: dataOf(options, prepared, batch),
    rate: warmupCosine({ base: options.rate, updates, warmup }),
    scoring: {
      every: perEpoch,
      run: () => scoreRun(training, options, prepared, used),
      metric,
      better: metric === stateMetrics.pnr ? 'lower' : 'higher',
      ...(patience !== undefined && { patience }),
    },
    resume: options.resume,
    signal,
    ...(maxSeconds !== undefined && { maxSeconds }),
    ...(onStep && { onStep }),
  });
  await writeCurve(folder, outcome, metric, task);
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
 * @throws EgolensError as `trainState`
 */
export async function checkState(options: StateTraining): Promise<GradientCheck[]> {
  const prepared = await prepare(options);
  const { seed } = options;
  const { batch } = planOf(options, prepared);
  const weights = initialWeights(prepared.head, seededRandom(seed, 'weights'));
  await using training = await openStep(options, prepared, { batch, weights });
  const data = dataOf(options, prepared, batch);
  const first = epochOrder(seed, 1, data.samples).slice(0, batch);
  return await checkGradients(training, await data.load(first, 1), seed);
}

async function prepare(options: StateTraining): Promise<Prepared> {
  const { gt, val, method } = options;
  const index = await indexFeatures(options.features);
  const own = await readSplit(gt, index, options);
  const other = await readSplit(val, index, options, own.form);
  const longest = [...own.items, ...other.items].reduce((most, { rows }) => Math.max(most, rows.shape[0] ?? 0), 2);
  if (longest > mostRows) {
    throw new EgolensError('data.invalid', `\`${gt}\`: clips of up to ${longest} rows; expected ${mostRows} at most`, {
      input: gt,
      try: 'features with a longer hop',
    });
  }
  return {
    head: method.head({ width: own.form.width, rows: longest }),
    rows: longest,
    clock: gridClock(own.form.clock, own.form.path),
    train: own,
    val: other,
    data: {
      gt: await sha256File(gt),
      val: await sha256File(val),
      train_features: own.digest,
      val_features: other.digest,
    },
  };
}

async function readSplit(
  path: string,
  index: FeatureIndex,
  { skipMissing, forceFeatures, reading, signal, progress }: StateTraining,
  like?: FeatureForm,
): Promise<Split> {
  const document = await readDocument(path);
  const found = await stateFiles(document, index, {
    ...(like && { like }),
    ...(reading && { reading }),
    mixed: forceFeatures,
    signal,
    progress,
  });
  const { form, missing } = found;
  const placed = found.files.reduce((sum, { clips }) => sum + clips.length, 0);
  if (!skipMissing || placed === 0) refuseMissing(path, missing, placed + missing.length);
  if (form === undefined || placed === 0) {
    throw new EgolensError('data.invalid', `\`${path}\`: expected at least one clip, found none`, { input: path });
  }
  if (missing.length > 0) progress.note(`${path}: ${missing.length} clips left out, for want of features`);
  const items: Item[] = [];
  for (const { path: features, clips } of found.files) {
    signal.throwIfAborted();
    if (clips.length === 0) continue;
    const first = Math.min(...clips.map(({ window }) => window.rows[0]));
    const end = Math.max(...clips.map(({ window }) => window.rows[1]));
    const rows = await readRows(features, [first, end], reading);
    for (const { clip, window } of clips) {
      if (clip.stateChange === null) {
        throw new EgolensError(
          'data.invalid',
          `\`${path}\`: clip \`${clip.id}\`: expected \`state_change\`, found none`,
          {
            input: path,
            try: 'the train and val splits: the test split has no annotations',
          },
        );
      }
      items.push({ clip, window, rows: rowsOf(rows, [window.rows[0] - first, window.rows[1] - first]) });
    }
  }
  return { document, items, form, digest: found.digest };
}

function planOf(options: StateTraining, { train: own, val }: Prepared): Plan {
  const { accumulate } = options;
  const items = own.items.length;
  const batch =
    options.batch ?? Math.min(32, 2 ** Math.max(0, Math.floor(Math.log2(Math.max(1, items / (8 * accumulate))))));
  const perEpoch = Math.max(1, Math.floor(items / (batch * accumulate)));
  const epochs = options.epochs ?? Math.min(60, Math.max(10, Math.ceil(usualUpdates / perEpoch)));
  const updates = epochs * perEpoch;
  const warmup = Math.min(updates - 1, Math.round((options.warmup ?? epochs / 20) * perEpoch));
  const metric = options.metric ?? stateMetrics[options.task];
  const names: readonly string[] = Object.values(stateMetrics);
  if (!names.includes(metric)) {
    throw new EgolensError('usage.flag', `--early-stop ${metric}: expected one of ${names.join(', ')}`);
  }
  if (metric === stateMetrics.pnr && val.items.every(({ clip }) => clip.pnr === null)) {
    throw new EgolensError('data.invalid', `\`${val.document.name}\`: no clip with a change; ${metric} needs one`, {
      input: val.document.name,
      try: '`--early-stop accuracy`, or another validation file',
    });
  }
  return { batch, perEpoch, epochs, updates, warmup, metric };
}

async function openStep(
  { average, threads, weightDecay, device, task }: StateTraining,
  { head }: Prepared,
  { batch, weights }: { readonly batch: number; readonly weights: Weights },
): Promise<Training> {
  return await openTraining(
    {
      name: task,
      sizes: { batch },
      forward: (g) => head.loss!(g, head.forward(g, headInputs(g, head))), // heads that are trained have one
      isTrained: (name) => head.isFrozen?.(name) !== true,
      groups: decayMatrices(weightDecay),
      optimiser: { rule: adamw, clip: 1, ...(average !== undefined && { average }) },
      evaluations: { outputs: (g) => head.forward(g, headInputs(g, head)) },
    },
    weights,
    { device, ...(threads !== undefined && { threads }) },
  );
}

function dataOf({ method }: StateTraining, { rows, train: { items } }: Prepared, batch: number): TrainingData {
  return {
    samples: items.length,
    batch,
    load(samples) {
      const chosen = samples.map((sample) => items[sample]!); // the trainer's numbers are below `samples`
      const known = chosen.map(({ clip: { stateChange, pnr }, window: { first, step }, rows: { shape } }) => {
        const row = pnr === null ? null : (pnr - first) / step;
        return { stateChange: stateChange === true, row, count: shape[0] ?? 0 };
      });
      const targets = Object.entries(method.targets(known, { rows }));
      return Promise.resolve({
        ...stateFeeds(
          chosen.map((item) => item.rows),
          rows,
        ),
        ...Object.fromEntries(targets.map(([name, value]) => [`targets.${name}`, value])),
      });
    },
  };
}

/** Both official numbers on the validation split; that of the point of no return only where there is one. */
async function scoreRun(
  training: Pick<Training, 'evaluate'>,
  { score, signal }: StateTraining,
  { head, rows, clock, val }: Prepared,
  weights: 'current' | 'average',
): Promise<Readonly<Record<string, number>>> {
  const records: Record<StateTask, TaskRecord[]> = { pnr: [], oscc: [] };
  for (let first = 0; first < val.items.length; first += scoredAtOnce) {
    signal.throwIfAborted();
    const group = val.items.slice(first, first + scoredAtOnce);
    const feeds = stateFeeds(
      group.map((item) => item.rows),
      rows,
    );
    const found = head.decode(await training.evaluate('outputs', feeds, weights), { labels: {}, options: {}, clock });
    group.forEach(({ window }, i) => {
      for (const prediction of found[i] ?? []) {
        for (const task of ['pnr', 'oscc'] as const) {
          const record = stateRecord(task, prediction, window, clock);
          if (record !== undefined) records[task].push({ schema: stateSchemas[task], ...record });
        }
      }
    });
  }
  const truth = truthOf(val);
  const isThere = val.items.some(({ clip }) => clip.pnr !== null);
  return {
    ...(isThere && { [stateMetrics.pnr]: score('pnr', truth, records.pnr) }),
    [stateMetrics.oscc]: score('oscc', truth, records.oscc),
  };
}

/** The validation file without the clips that have no features. */
function truthOf({ document, items }: Split): JsonDocument {
  const kept = new Set(items.map(({ clip }) => clip.id));
  const { value } = document;
  const isKept = (entry: unknown): boolean => kept.has(String((entry as { readonly unique_id: unknown }).unique_id)); // stateClips saw it
  if (Array.isArray(value)) return { ...document, value: value.filter(isKept), line: () => undefined };
  const whole = value as Readonly<Record<string, unknown>>; // stateClips read it
  const clips = (whole['clips'] as readonly unknown[]).filter(isKept); // stateClips read them
  return { ...document, value: { ...whole, clips }, line: () => undefined };
}

async function writeFinal(
  { folder, name, signal }: StateTraining,
  { head, clock, train: { form } }: Prepared,
  { weights, source }: { readonly weights: Weights; readonly source: string },
): Promise<StoredModel> {
  const { model, output, preset, width } = form;
  return await writeHeadFolder(
    {
      name: name ?? defaultName(basename(resolve(folder))),
      head,
      tensors: stateDictOf(weights),
      labels: {},
      features: [{ model: model ?? null, output: output ?? null, width, ...(preset !== undefined && { preset }) }],
      clock: headClockJson(clock),
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
