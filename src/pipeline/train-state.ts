/** `train pnr` and `train oscc`: one head for the point of no return and the change of state, scored by the official evaluators on the way. */
import type { StateClip } from '../ego4d/state-clips.js';
import { EgolensError } from '../errors.js';
import { sha256File } from '../files.js';
import type { Head } from '../models/head.js';
import type { TrainingData } from '../train/trainer.js';
import type { FeatureClock, JsonDocument, Tensor } from '../types.js';
import { gridClock } from './clip-sequences.js';
import { readDocument } from './documents.js';
import { indexFeatures, type FeatureIndex } from './feature-index.js';
import { readRows } from './feature-rows.js';
import { formOfClips } from './missing-clips.js';
import { rowsOf } from './placed-clips.js';
import type { TaskRecord } from './predict.js';
import type { FeatureForm } from './segment-features.js';
import { stateFeeds, stateRecord, stateSchemas, type StateTask } from './state-task.js';
import { stateFiles, type StateWindow } from './state-windows.js';
import { usualBatch, type Evaluate, type HeadTraining, type HeadTrainingOptions } from './train-head.js';

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
export interface StateTraining extends HeadTrainingOptions {
  readonly task: StateTask;
  readonly method: StateMethod;
  /** The primary metric of a task for records on the validation file. */
  readonly score: (task: StateTask, truth: JsonDocument, records: readonly TaskRecord[]) => number;
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

/** Most rows of a clip: eight seconds at 64 rows a second. */
const mostRows = 512;
/** Clips of one run of the scoring graph. */
const scoredAtOnce = 64;

/**
 * Reads what a head for states is trained on.
 *
 * @throws EgolensError data.*, input.*, usage.conflict as `stateFiles`
 */
export async function prepareState(options: StateTraining): Promise<HeadTraining> {
  const { gt, val: valFile, method, task } = options;
  const index = await indexFeatures(options.features);
  const own = await readSplit(gt, index, options);
  const val = await readSplit(valFile, index, options, own.form);
  const longest = [...own.items, ...val.items].reduce((most, { rows }) => Math.max(most, rows.shape[0] ?? 0), 2);
  if (longest > mostRows) {
    throw new EgolensError('data.invalid', `\`${gt}\`: clips of up to ${longest} rows; expected ${mostRows} at most`, {
      input: gt,
      try: 'features with a longer hop',
    });
  }
  const head = method.head({ width: own.form.width, rows: longest });
  const clock = gridClock(own.form.clock, own.form.path);
  const { pnr, oscc } = stateMetrics;
  if ((options.metric ?? stateMetrics[task]) === pnr && !hasPnr(val)) {
    throw new EgolensError('data.invalid', `\`${valFile}\`: no clip with a change; ${pnr} needs one`, {
      input: valFile,
      try: '`--early-stop accuracy`, or another validation file',
    });
  }
  const changes = own.items.filter(({ clip }) => clip.stateChange).length;
  return {
    task,
    head,
    summary: `${own.items.length} clips (${changes} with a change), ${val.items.length} to validate; ${longest} rows`,
    samples: own.items.length,
    usual: { batch: usualBatch(own.items.length, options), updates: 1500, epochs: [10, 60] },
    data: (batch) => dataOf(own.items, { method, rows: longest, batch }),
    digests: {
      gt: await sha256File(gt),
      val: await sha256File(valFile),
      train_features: own.digest,
      val_features: val.digest,
    },
    metrics: task === 'pnr' ? { [pnr]: 'lower', [oscc]: 'higher' } : { [oscc]: 'higher', [pnr]: 'lower' },
    score: (evaluate) => scoreRun(evaluate, options, { head, rows: longest, clock, val }),
    final: { labels: {}, features: [own.form], clock },
  };
}

const hasPnr = ({ items }: Split): boolean => items.some(({ clip }) => clip.pnr !== null);

async function readSplit(
  path: string,
  index: FeatureIndex,
  options: StateTraining,
  like?: FeatureForm,
): Promise<Split> {
  const { forceFeatures, reading, signal, progress } = options;
  const document = await readDocument(path);
  const found = await stateFiles(document, index, {
    ...(like && { like }),
    ...(reading && { reading }),
    mixed: forceFeatures,
    signal,
    progress,
  });
  const placed = found.files.reduce((sum, { clips }) => sum + clips.length, 0);
  const form = formOfClips(path, { form: found.form, found: placed, missing: found.missing }, options);
  const items: Item[] = [];
  for (const { path: features, clips } of found.files) {
    signal.throwIfAborted();
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

function dataOf(
  items: readonly Item[],
  { method, rows, batch }: { readonly method: StateMethod; readonly rows: number; readonly batch: number },
): TrainingData {
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
  evaluate: Evaluate,
  { score }: StateTraining,
  {
    head,
    rows,
    clock,
    val,
  }: { readonly head: Head; readonly rows: number; readonly clock: FeatureClock; readonly val: Split },
): Promise<Readonly<Record<string, number>>> {
  const records: Record<StateTask, TaskRecord[]> = { pnr: [], oscc: [] };
  for (let first = 0; first < val.items.length; first += scoredAtOnce) {
    const group = val.items.slice(first, first + scoredAtOnce);
    const feeds = stateFeeds(
      group.map((item) => item.rows),
      rows,
    );
    const found = head.decode(await evaluate(feeds), { labels: {}, options: {}, clock });
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
  return {
    ...(hasPnr(val) && { [stateMetrics.pnr]: score('pnr', truth, records.pnr) }),
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
