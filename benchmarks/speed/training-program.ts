/**
 * A process that trains a stack of blocks for a few steps: `training-program.js WIDTH HEADS BLOCKS TOKENS BATCH`. It says what the plan asks for, and what
 * the process had when a model of next to nothing had been trained.
 */
import { openTraining } from '../../src/train/step.js';
import { probeModel, stackModel, type Trained } from './training-material.js';

/** What it prints. */
export interface TrainingMemory {
  readonly planBytes: number;
  readonly baseBytes: number;
}

const steps = 5;

async function train({ description, weights, batch }: Trained): Promise<number> {
  await using training = await openTraining(description, weights, { device: 'cpu', threads: 1 });
  for (let i = 0; i < steps; i++) await training.run(batch, 1e-4);
  return training.memory.total;
}

const [width, heads, blocks, tokens, batch] = process.argv.slice(2).map(Number) as [
  number,
  number,
  number,
  number,
  number,
]; // the benchmark gives five
await train(probeModel(2, 4, 3));
const baseBytes = process.memoryUsage().rss;
const planBytes = await train(stackModel({ width, heads, blocks, tokens, batch }));
process.stdout.write(JSON.stringify({ planBytes, baseBytes } satisfies TrainingMemory));
