import { builtProgram } from '../../src/files.js';
import { float } from '../../src/json.js';
import { openTraining, type Training } from '../../src/train/step.js';
import { runReporting } from './child.js';
import { costOf } from './cost.js';
import {
  medianOf,
  pairRatios,
  spreadOf,
  valuesOf,
  type BenchContext,
  type Case,
  type Sample,
  type SpeedBenchmark,
} from './harness.js';
import { probeModel, stackModel, type Stack, type Trained } from './training-material.js';
import type { TrainingMemory } from './training-program.js';

const mostTimesForward = 3.3;
const mostFixedMs = 0.3;
const mostTimesPlan = 2;
/** Steps in one pass where one is too short for a clock. */
const shortSteps = 50;

const stacks = [
  { width: 384, heads: 6, blocks: 4, tokens: 196, batch: 4 },
  { width: 768, heads: 12, blocks: 2, tokens: 196, batch: 2 },
  { width: 192, heads: 3, blocks: 4, tokens: 784, batch: 2 },
] as const satisfies readonly Stack[];
const tiny: Stack = { width: 16, heads: 2, blocks: 1, tokens: 8, batch: 2 };
const stackName = ({ width, heads, blocks, tokens, batch }: Stack): string =>
  [width, heads, blocks, tokens, batch].join('/');

/** Training steps on one thread: against the forward pass of the same graph, against a clock, and against the memory plan. */
export const training: SpeedBenchmark = {
  name: 'training',
  summary: 'a training step, against the forward pass of the same graph; its memory, against the plan',
  figures: [
    ...stacks.map((stack) => ({
      name: `step-${stack.width}`,
      summary: `CPU time of a step / of the forward pass, blocks ${stackName(stack)} (width/heads/blocks/tokens/batch)`,
      limit: mostTimesForward,
    })),
    {
      name: 'step-probe',
      summary: 'the same for a linear probe, 1024 x 768 features, 110 classes',
      limit: mostTimesForward,
    },
    { name: 'fixed', summary: `time of a step of next to nothing / ${mostFixedMs} ms`, limit: 1 },
    ...stacks.map((stack) => ({
      name: `memory-${stack.width}`,
      summary: `what five steps of these blocks add to the resident memory of a process / the memory plan`,
      limit: mostTimesPlan,
    })),
  ],
  async *cases(context) {
    const sized = (stack: Stack): Stack => (context.isSmoke ? tiny : stack);
    for (const stack of stacks) {
      yield* stepCase(`step-${stack.width}`, stackModel(sized(stack)), { context, count: 1 });
    }
    yield* stepCase('step-probe', context.isSmoke ? probeModel(8, 4, 3) : probeModel(1024, 768, 110), {
      context,
      count: shortSteps,
    });
    yield* fixedCase(context);
    for (const stack of stacks) yield memoryCase(`memory-${stack.width}`, sized(stack), context);
  },
};

async function opened({ description, weights }: Trained, context: BenchContext): Promise<Training> {
  const { threads = 1, signal } = context;
  return await openTraining(description, weights, { device: 'cpu', threads, ...(signal && { signal }) });
}

async function timed(count: number, run: () => Promise<unknown>): Promise<Sample> {
  const { wallMs, ownCpuMs } = await costOf(async () => {
    for (let i = 0; i < count; i++) await run();
  });
  return { wallMs: wallMs / count, ownCpuMs: ownCpuMs / count };
}

async function* stepCase(
  name: string,
  model: Trained,
  { context, count }: { readonly context: BenchContext; readonly count: number },
): AsyncGenerator<Case, void> {
  await using session = await opened(model, context);
  yield {
    input: null,
    steps: [
      { name: 'forward', run: () => timed(count, () => session.evaluate('forward', model.batch)) },
      { name: 'step', run: () => timed(count, () => session.run(model.batch, 1e-4)) },
    ],
    figures(samples) {
      const ratiosOf = (key: string): readonly number[] =>
        pairRatios(valuesOf(samples, 'step', key), valuesOf(samples, 'forward', key));
      return [
        {
          name,
          // CPU time is the time of one thread, and hardly touched by other work on the machine.
          ratios: ratiosOf('ownCpuMs'),
          detail: {
            wallTimeRatio: float(spreadOf(ratiosOf('wallMs')).median),
            stepMs: float(medianOf(samples, 'step', 'ownCpuMs')),
            forwardMs: float(medianOf(samples, 'forward', 'ownCpuMs')),
          },
        },
      ];
    },
  };
}

async function* fixedCase(context: BenchContext): AsyncGenerator<Case, void> {
  const model = probeModel(1, 1, 2);
  await using session = await opened(model, context);
  yield {
    input: null,
    steps: [{ name: 'step', run: () => timed(10 * shortSteps, () => session.run(model.batch, 1e-4)) }],
    figures: (samples) => [
      {
        name: 'fixed',
        ratios: valuesOf(samples, 'step', 'wallMs').map((ms) => ms / mostFixedMs),
        detail: { stepMs: float(medianOf(samples, 'step', 'wallMs')) },
      },
    ],
  };
}

function memoryCase(name: string, stack: Stack, context: BenchContext): Case {
  const { width, heads, blocks, tokens, batch } = stack;
  const parameters = [width, heads, blocks, tokens, batch].map(String);
  const train = async (): Promise<Sample> => {
    const program = builtProgram('benchmarks/speed/training-program.js');
    const { stdout, atExit } = await runReporting(program, parameters, context.signal);
    const { planBytes, baseBytes } = JSON.parse(stdout) as TrainingMemory; // written by training-program.ts
    return { planBytes, baseBytes, peakBytes: atExit.peakBytes };
  };
  return {
    input: null,
    steps: [{ name: 'train', run: train }],
    warmUps: 0,
    mostRounds: 3,
    figures(samples) {
      const [plan, base, peak] = ['planBytes', 'baseBytes', 'peakBytes'].map((key) => valuesOf(samples, 'train', key));
      return [
        {
          name,
          ratios: peak!.map((bytes, i) => (bytes - base![i]!) / plan![i]!), // one of each a round
          detail: {
            planMegabytes: float(medianOf(samples, 'train', 'planBytes') / 1e6),
            peakMegabytes: float(medianOf(samples, 'train', 'peakBytes') / 1e6),
            baseMegabytes: float(medianOf(samples, 'train', 'baseBytes') / 1e6),
          },
        },
      ];
    },
  };
}
