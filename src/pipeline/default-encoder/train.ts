/** Trains the default encoder on Tabletop: draws its windows, runs the trainer, scores it on clips of the val split. */
import { join } from 'node:path';
import { makeFolder } from '../../files.js';
import { sinusoidTable } from '../../models/positions.js';
import { tokenCount } from '../../models/patches.js';
import { seededRandom } from '../../random.js';
import { sizeOf, tensor } from '../../tensor.js';
import { stepGraphs } from '../../train/graphs.js';
import type { Parameter } from '../../train/groups.js';
import { memoryText } from '../../train/memory.js';
import { warmupCosine } from '../../train/schedule.js';
import { openTraining, type Training, type Weights } from '../../train/step.js';
import { train, type StepRecord, type TrainingOutcome } from '../../train/trainer.js';
import type { Progress } from '../../types.js';
import { loadBatch } from './batches.js';
import { drawPool, type Pool } from './pool.js';
import { config, form, lossWeights, model, recipe } from './recipe.js';
import { defaultEncoderStep } from './step.js';
import { chooseWindows, type Window } from './windows.js';

export interface DefaultTraining {
  /** Checkpoints, log and drawn windows. */
  readonly folder: string;
  readonly device: string;
  readonly threads?: number;
  /** Windows to draw, and how many of them to learn from, one after the other; default: the recipe's. */
  readonly windows?: number;
  readonly samples?: number;
  /** Show the frame in the middle of a window only: the baseline without motion. */
  readonly still?: boolean;
  readonly signal?: AbortSignal;
  readonly progress?: Progress;
  readonly onStep?: (record: StepRecord) => void;
}

/** What is scored after the training: held-out windows of difficulty 2, in the middle of their actions. */
const heldOut = {
  val: { split: 'val', keep: () => true },
  'test seen': { split: 'test', keep: (index: number) => index % 2 === 0 },
  'test compositional': { split: 'test', keep: (index: number) => index % 2 === 1 },
} as const;

export type HeldOut = keyof typeof heldOut;

export interface DefaultOutcome {
  readonly outcome: TrainingOutcome;
  /** The average of the weights, heads for dense truth included. */
  readonly weights: Weights;
  /** Null where the run was interrupted. */
  readonly scores: Readonly<Record<HeldOut, Readonly<Record<string, number>>>> | null;
}

/** Trains, or goes on with what is in the folder. */
export async function trainDefaultEncoder(options: DefaultTraining): Promise<DefaultOutcome> {
  const { folder, device, threads, signal, progress, onStep, still = false } = options;
  const { seed, batch, rate, warmup, decay, average, jitter, idleShare, difficulties } = recipe;
  const count = options.windows ?? recipe.windows;
  const updates = Math.floor((options.samples ?? recipe.samples) / batch);
  await makeFolder(folder);
  const draw = (name: string, windows: readonly Window[]): Promise<Pool> =>
    drawPool(join(folder, `${name.replace(' ', '-')}.bin`), {
      ...{ form, progress, signal, windows },
      label: `drawing ${name} windows`,
    });
  const heldOutPool = (name: HeldOut): Promise<Pool> => {
    const { split, keep } = heldOut[name];
    const chosen = {
      count: Math.min(count, 800),
      seed,
      split,
      keep,
      difficulties: [2],
      jitter: 0,
      idleShare: 0,
    } as const;
    return draw(name, chooseWindows(form, chosen));
  };
  const chosen = { count, seed, split: 'train', difficulties, jitter, idleShare } as const;
  await using pool = await draw('train', chooseWindows(form, chosen));
  await using val = await heldOutPool('val');

  const description = defaultEncoderStep(model, { batch, weights: lossWeights, decay, average });
  const { trained, frozen } = stepGraphs(description);
  await using training = await openTraining(description, initialWeights([...trained, ...frozen]), {
    device,
    ...(threads !== undefined && { threads }),
    ...(signal && { signal }),
  });
  progress?.note(`memory of a step, at least: ${memoryText(training.memory)}`);
  const outcome = await train({
    training,
    folder,
    config: {
      recipe: { ...recipe, difficulties: [...difficulties], windows: count, samples: updates * batch },
      model: config,
      losses: { ...lossWeights },
      still,
    },
    data: {
      samples: pool.count,
      batch,
      load: async (samples, epoch) => (await loadBatch(pool, form, samples, { random: { seed, epoch }, still })).inputs,
    },
    updates,
    rate: warmupCosine({ base: rate, updates, warmup: Math.min(warmup, Math.floor(updates / 4)), final: rate / 100 }),
    seed,
    saveEvery: 500,
    scoring: {
      every: 500,
      metric: 'verb_top1',
      better: 'higher',
      run: (current) => accuracies(current, val, still),
    },
    ...(signal && { signal }),
    ...(onStep && { onStep }),
  });
  const scores = outcome.ended === 'done' ? await scoresOf(training, heldOutPool, still) : null;
  const { moments } = await training.state();
  return { outcome, weights: moments.ema!, scores }; // the optimiser keeps an average
}

async function scoresOf(
  training: Training,
  pool: (name: HeldOut) => Promise<Pool>,
  still: boolean,
): Promise<Record<HeldOut, Record<string, number>>> {
  const of = async (name: HeldOut): Promise<Record<string, number>> => {
    await using windows = await pool(name);
    return await accuracies(training, windows, still);
  };
  return {
    val: await of('val'),
    'test seen': await of('test seen'),
    'test compositional': await of('test compositional'),
  };
}

/** Accuracies over all windows of a pool, with the average of the weights. */
async function accuracies(training: Training, pool: Pool, still: boolean): Promise<Record<string, number>> {
  const heads = ['verb', 'noun', 'colour'] as const;
  const right = { verb: 0, noun: 0, colour: 0 };
  for (let first = 0; first < pool.count; first += 32) {
    const indices = Array.from({ length: Math.min(32, pool.count - first) }, (_, i) => first + i);
    const { inputs, labels } = await loadBatch(pool, form, indices, { still });
    const values = await training.evaluate('scores', { frames: inputs['frames']! }, 'average');
    for (const [h, head] of heads.entries()) {
      const { data, shape } = values[head]!;
      const classes = shape[1]!;
      labels.forEach((row, i) => {
        const logits = data.subarray(i * classes, (i + 1) * classes);
        if (logits.indexOf(Math.max(...logits)) === row[h]) right[head]++;
      });
    }
  }
  return Object.fromEntries(heads.map((head) => [`${head}_top1`, right[head] / pool.count]));
}

/** Matrices and kernels with unit gain (twice that before a ReLU), heads small, norms as identity, positions as the sinusoid. */
function initialWeights(parameters: readonly Parameter[]): Weights {
  const random = seededRandom(recipe.seed, 'weights');
  const { geometry, tower } = model;
  return new Map(
    parameters.map(({ name, shape }) => {
      const size = sizeOf(shape);
      if (name === 'pos_embed') {
        const table = sinusoidTable(tokenCount(geometry), tower.width);
        return [
          name,
          tensor(
            'float32',
            shape,
            table.data.map((value) => 0.3 * value),
          ),
        ];
      }
      if (shape.length === 1) {
        // Most tokens show none of what the dense heads ask for.
        const start = name === 'shares.bias' ? -4 : Number(name.includes('norm') && name.endsWith('weight'));
        return [name, tensor('float32', shape, new Float32Array(size).fill(start))];
      }
      const gain = name.includes('stem')
        ? Math.SQRT2
        : name.includes('blocks') || name.includes('patch_embed')
          ? 0.7
          : 0.2;
      const deviation = gain / Math.sqrt(sizeOf(shape.slice(1)));
      return [
        name,
        tensor(
          'float32',
          shape,
          Float32Array.from({ length: size }, () => deviation * random.normal()),
        ),
      ];
    }),
  );
}
