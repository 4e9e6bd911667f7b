import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { builtProgram } from '../../src/files.js';
import { findModel } from '../../src/hub/cache.js';
import { float } from '../../src/json.js';
import type { GraphOpening } from './graph-program.js';
import { runReporting } from './child.js';
import { medianOf, valuesOf, type BenchContext, type Case, type Sample, type SpeedBenchmark } from './harness.js';
import { encoderSpec, madeGraph, type MadeGraph } from './material.js';

const mostSeconds = 0.5;

/** Opening a model by path, in a process of its own: its peak is that of the model alone. */
export const graph: SpeedBenchmark = {
  name: 'graph',
  summary: 'opening ViT-B by path: memory and time',
  figures: [
    {
      name: 'memory',
      summary: 'peak resident memory of a process with one open session / size of the weights',
      limit: 1.3,
    },
    { name: 'time', summary: `session creation with the file in memory / ${mostSeconds} s`, limit: 1 },
  ],
  async *cases(context) {
    yield graphCase(await graphOf(context), context);
  },
};

async function graphOf(context: BenchContext): Promise<MadeGraph> {
  if (context.model === undefined) {
    const name = context.isSmoke ? 'encoder-nano' : 'videomae-b-seeded';
    return await madeGraph(name, encoderSpec(context).build({ input: 'frames', form: 'fused' }), context);
  }
  const folder = await findModel(context.model);
  return { path: join(folder, 'graph.onnx'), weightsBytes: (await stat(join(folder, 'weights.bin'))).size };
}

function graphCase({ path, weightsBytes }: MadeGraph, context: BenchContext): Case {
  const open = async (): Promise<Sample> => {
    const program = builtProgram('benchmarks/speed/graph-program.js');
    const threads = context.threads === undefined ? [] : [String(context.threads)];
    const { stdout, atExit } = await runReporting(program, [path, ...threads], context.signal);
    const { milliseconds } = JSON.parse(stdout) as GraphOpening; // written by graph-program.ts
    return { milliseconds, peakBytes: atExit.peakBytes };
  };
  return {
    input: null,
    steps: [{ name: 'open', run: open }],
    figures: (samples) => {
      const detail = {
        weightsMegabytes: float(weightsBytes / 1e6),
        peakMegabytes: float(medianOf(samples, 'open', 'peakBytes') / 1e6),
        openMs: float(medianOf(samples, 'open', 'milliseconds')),
      };
      return [
        { name: 'memory', ratios: valuesOf(samples, 'open', 'peakBytes').map((bytes) => bytes / weightsBytes), detail },
        {
          name: 'time',
          ratios: valuesOf(samples, 'open', 'milliseconds').map((ms) => ms / (mostSeconds * 1000)),
          detail,
        },
      ];
    },
  };
}
