/**
 * Fine-tuning of a whole encoder from the clips of labelled segments: frames in, classes out, all weights moving.
 *
 * Recipe: Tong et al., "VideoMAE", 2022 (AdamW, layer-wise rates, warm-up and cosine, label smoothing, drop path); heads as
 * OpenGVLab/ego4d-eccv2022-solutions has them. Random erasing, mixing of clips and RandAugment are left out.
 */
import { totalmem } from 'node:os';
import { EgolensError } from '../errors.js';
import { sha256 } from '../files.js';
import { findModel } from '../hub/cache.js';
import { jsonText, type JsonValue } from '../json.js';
import { openModelFolder, type ModelFolder } from '../models/folder.js';
import { initialWeights, type Head, type HeadFamily } from '../models/head.js';
import { seededRandom } from '../random.js';
import { loadCheckpoint, type RunConfig } from '../train/checkpoint.js';
import { checkGradients, type GradientCheck } from '../train/grad-check.js';
import { stepGraphs } from '../train/graphs.js';
import { memoryText } from '../train/memory.js';
import { epochOrder } from '../train/order.js';
import { warmupCosine } from '../train/schedule.js';
import { openTraining, type Training, type Weights } from '../train/step.js';
import { train, type StepRecord, type TrainingData, type TrainingOutcome } from '../train/trainer.js';
import type { Progress, Tensor } from '../types.js';
import { openClipLoader, Turns, type ClipLoader } from './clip-loader.js';
import type { Augmentation } from './clip-plan.js';
import { scoreClips, tuningData, type TuneSample } from './fine-tune-data.js';
import { writeTuned, type TunedFolders } from './fine-tune-export.js';
import { encoderPrefix, headPrefix, tuningStep, type TuningSettings, type TuningStep } from './fine-tune-step.js';
import type { LabelList } from './label-lists.js';
import { readModelWeights } from './model-weights.js';
import { checkedMetric, writeCurve } from './train-head.js';
import { recognitionMetrics } from './train-recognition.js';

export interface FineTuneOptions {
  /** Model to begin with: a folder, or the name of an installed one. */
  readonly model: string;
  readonly head: HeadFamily;
  /** Class names by kind, in the order of the head's outputs: `verb`, `noun`, or `label` alone. */
  readonly labels: Readonly<Record<string, LabelList>>;
  readonly train: readonly TuneSample[];
  /** What is scored on the way; may be empty. */
  readonly val: readonly TuneSample[];
  /** Of the run. */
  readonly folder: string;
  readonly settings: TuningSettings;
  readonly augmentation: Augmentation;
  readonly epochs: number;
  /** Learning rate at the end of the warm-up, of the head and, times powers of the layer decay, of what lies below. */
  readonly rate: number;
  /** Epochs of the warm-up; parts of one too. */
  readonly warmup: number;
  /** Label smoothing. */
  readonly smoothing: number;
  readonly seed: number;
  /** Batches that make one update. */
  readonly accumulate: number;
  /** Videos that are decoded at a time. */
  readonly loaders: number;
  readonly skipBroken: boolean;
  readonly resume: 'auto' | 'no' | number;
  readonly maxSeconds?: number;
  /** Metric of the best checkpoint; default `top1`. */
  readonly metric?: string;
  /** End after so many epochs without a better score. */
  readonly patience?: number;
  readonly device: string;
  readonly threads?: number;
  readonly signal: AbortSignal;
  readonly progress: Progress;
  readonly onStep?: (record: StepRecord) => void;
}

export interface FineTuned extends TrainingOutcome {
  /** The end product; null where the run was interrupted before its end. */
  readonly final: TunedFolders | null;
  /** Why videos were left out, by path. */
  readonly broken: ReadonlyMap<string, EgolensError>;
}

/** Batches that are ready or being decoded while one is in use. */
const ahead = 2;

/**
 * Tunes the model and writes `final/encoder/` and `final/head/` into the folder of the run: the best scored weights, without validation the
 * last ones.
 *
 * @throws EgolensError model.config for a model that cannot be tuned; limit.memory where the step needs more than the machine has; what
 *   `openClipLoader`, `train` and `writeTuned` throw
 */
export async function fineTuneRecognition(options: FineTuneOptions): Promise<FineTuned> {
  const { folder, signal, progress, onStep, seed, settings, maxSeconds } = options;
  await using tuning = await openTuning(options);
  const { training, data, head, clips, val } = tuning;
  const perEpoch = Math.floor(data.samples / (settings.batch * options.accumulate));
  const updates = Math.max(1, perEpoch * options.epochs);
  const weights = settings.average > 0 ? 'average' : 'current';
  const { metric } = tuning;
  const outcome = await train({
    training,
    folder,
    config: configOf(options, tuning),
    data,
    updates,
    rate: warmupCosine({
      base: options.rate,
      updates,
      warmup: Math.min(updates - 1, Math.round(options.warmup * perEpoch)),
    }),
    seed,
    accumulate: options.accumulate,
    ahead: ahead * options.accumulate,
    resume: options.resume,
    ...(maxSeconds !== undefined && { maxSeconds }),
    ...(val !== undefined && {
      scoring: {
        every: perEpoch,
        run: (one: Training) =>
          scoreClips(one, { clips: val, kinds: head.kinds, batch: settings.batch, ahead, weights }),
        metric,
        better: recognitionMetrics(head.kinds)[metric]!, // openTuning checked it
        ...(options.patience !== undefined && { patience: options.patience }),
      },
    }),
    signal,
    ...(onStep && { onStep }),
  });
  await writeCurve(folder, outcome, metric, 'recognition');
  const broken = new Map([...clips.broken, ...(val?.broken ?? [])]);
  if (broken.size > 0) progress.warn('decode.damaged', `${broken.size} videos were left out or replaced in part`);
  if (outcome.ended === 'interrupted') return { ...outcome, final: null, broken };
  const final = await writeTuned({
    model: tuning.model,
    head,
    labels: options.labels,
    weights: new Map([...tuning.initial, ...(await bestWeights(training, outcome, { folder, weights }))]),
    folder,
    signal,
    progress,
  });
  return { ...outcome, final, broken };
}

/**
 * The gradient of the real step on the first batch of the run against finite differences; nothing is written.
 *
 * @throws EgolensError as `fineTuneRecognition`
 */
export async function checkFineTuning(options: FineTuneOptions): Promise<GradientCheck[]> {
  await using tuning = await openTuning(options);
  const { training, data } = tuning;
  const first = epochOrder(options.seed, 1, data.samples).slice(0, data.batch);
  return await checkGradients(training, await data.load(first, 1), options.seed);
}

/** Everything that a run needs, opened. */
interface Tuning extends AsyncDisposable {
  readonly model: ModelFolder;
  readonly head: Head;
  readonly training: Training;
  readonly clips: ClipLoader;
  readonly val: ClipLoader | undefined;
  readonly data: TrainingData;
  /** Of the best checkpoint. */
  readonly metric: string;
  /** Weights before the first step, frozen ones included. */
  readonly initial: Weights;
}

async function openTuning(options: FineTuneOptions): Promise<Tuning> {
  const { settings, labels, seed, signal, progress, device, threads } = options;
  const model = await openModelFolder(await findModel(options.model));
  const head = headFor(options, model);
  const metric = checkedMetric(options.metric, Object.keys(recognitionMetrics(head.kinds)));
  const step = tuningStep(model, head, settings);
  planMemory(step, options);
  checkLabels(options, head);
  const turns = new Turns(options.loaders);
  const shared = {
    preset: model.preset,
    augmentation: options.augmentation,
    seed,
    turns,
    skipBroken: options.skipBroken,
    signal,
  };
  const clips = await openClipLoader({ ...shared, segments: options.train });
  const val = options.val.length === 0 ? undefined : await openClipLoader({ ...shared, segments: options.val });
  const initial = new Map([
    ...prefixed(encoderPrefix, await readModelWeights(model)),
    ...prefixed(headPrefix, initialWeights(head, seededRandom(seed, 'head'))),
  ]);
  // The last thing that can fail: nothing is open before it.
  const training = await openTraining(step.description, initial, {
    device,
    signal,
    ...(threads !== undefined && { threads }),
  });
  progress.note(
    `${model.id}: ${training.parameters.length} tensors are trained, ${Object.keys(labels).join(' and ')}; ${clips.segments.length} segments, ${val?.segments.length ?? 0} to score`,
  );
  const { batch, dropout } = settings;
  const data = tuningData({ clips, step, kinds: head.kinds, batch, smoothing: options.smoothing, dropout, seed });
  const dispose = async (): Promise<void> => {
    for (const one of [clips, val, training]) await one?.[Symbol.asyncDispose]();
  };
  return { model, head, training, clips, val, data, metric, initial, [Symbol.asyncDispose]: dispose };
}

function headFor({ head, labels }: FineTuneOptions, { spec, preset, id }: ModelFolder): Head {
  const width = spec.outputs[preset.feature]?.shape.at(-1);
  if (typeof width !== 'number') {
    throw new EgolensError(
      'model.config',
      `${id}: cannot be fine-tuned: it has no feature \`${preset.feature}\` of a fixed width`,
    );
  }
  const kinds = Object.keys(labels);
  return head.spec({ dim: width, kinds, classes: kinds.map((kind) => labels[kind]!.labels.length) });
}

/** Prints what a step takes at least, and refuses what the machine does not have. */
function planMemory({ description }: TuningStep, { progress, device, settings }: FineTuneOptions): void {
  const plan = stepGraphs(description).memory(device === 'cpu' || device === 'auto' ? 'host' : 'graph');
  progress.note(`memory of a step, at least: ${memoryText(plan)}`);
  const most = memoryOfMachine();
  if (plan.total <= most) return;
  const text = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(1)} GiB`;
  const smaller =
    settings.batch > 1 ? `\`--batch ${Math.max(1, Math.floor(settings.batch / 2))}\` with \`--accumulate 2\`` : '';
  const again = settings.checkpointBlocks ? '' : '`--checkpoint-blocks`';
  throw new EgolensError(
    'limit.memory',
    `a step takes at least ${text(plan.total)} (${memoryText(plan)}), the machine has ${text(most)}`,
    {
      try:
        [again, smaller].filter((part) => part !== '').join(', or ') ||
        'a smaller model, or `--freeze` for parts of it',
    },
  );
}

/** Bytes that this process may have: those of the machine, or the limit of its container. */
function memoryOfMachine(): number {
  const limit = process.constrainedMemory();
  return limit > 0 ? Math.min(limit, totalmem()) : totalmem();
}

function checkLabels({ train: samples, val }: FineTuneOptions, { kinds }: Head): void {
  for (const { path, start, labels } of [...samples, ...val]) {
    for (const { kind, count } of kinds) {
      const label = labels[kind];
      if (label !== undefined && Number.isInteger(label) && label >= 0 && label < count) continue;
      throw new EgolensError(
        'data.invalid',
        `\`${path}\` at ${start} s: ${kind} ${label ?? 'is missing'}, expected a number from 0 to ${count - 1}`,
      );
    }
  }
}

/** What a resumed run must share. No paths: a data set may move. */
function configOf(options: FineTuneOptions, { model, head, training, metric }: Tuning): RunConfig {
  const { settings, augmentation, epochs, rate, warmup, smoothing, seed, accumulate, skipBroken } = options;
  const nameOf = (sample: TuneSample): JsonValue => [
    sample.path.replaceAll('\\', '/').split('/').at(-1)!, // split gives at least one
    sample.start,
    sample.end ?? null,
    { ...sample.labels },
  ];
  const data = { train: options.train.length, val: options.val.length };
  return {
    kind: 'fine-tune recognition',
    model: model.id,
    preset: {
      ...model.preset.sampling,
      rate: jsonText(model.preset.sampling.rate as unknown as JsonValue),
      views: [...model.preset.sampling.views],
    },
    head: head.config,
    family: head.family,
    ...{ epochs, rate, warmup, smoothing, seed, accumulate, skipBroken },
    settings: { ...settings, freeze: [...settings.freeze] },
    augmentation: { ...augmentation },
    metric,
    data: { ...data, sha256: sha256(jsonText([options.train.map(nameOf), options.val.map(nameOf)])) },
    device: training.device,
  };
}

/** The weights of the best checkpoint, else those of the end; their average where one is kept. */
async function bestWeights(
  training: Training,
  { best }: TrainingOutcome,
  { folder, weights }: { readonly folder: string; readonly weights: 'current' | 'average' },
): Promise<Weights> {
  const state = best === null ? await training.state() : (await loadCheckpoint(folder, best.step)).state;
  return new Map([...state.weights, ...(weights === 'average' ? (state.moments.ema ?? []) : [])]);
}

function prefixed(prefix: string, weights: Weights): Map<string, Tensor<'float32'>> {
  return new Map([...weights].map(([name, value]) => [prefix + name, value]));
}
