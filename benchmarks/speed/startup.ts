import { EgolensError } from '../../src/errors.js';
import { float } from '../../src/json.js';
import { runChild, commandLine, runReporting } from './child.js';
import { medianOf, pairRatios, valuesOf, type BenchContext, type Case, type SpeedBenchmark } from './harness.js';
import { madeClip } from './material.js';

const smallClip = { width: 320, height: 240, seconds: 2, kilobitsPerSecond: 500 } as const;

/** How long a command takes that computes nothing. */
export const startup: SpeedBenchmark = {
  name: 'startup',
  summary: '--help and probe, against the start of Node alone; neither may load ONNX Runtime',
  figures: [
    { name: 'help', summary: 'time of `egolens --help` / time of `node -e 0`', limit: 8 },
    {
      name: 'probe',
      summary: 'time of `egolens probe` on a short clip, ffprobe included / time of `node -e 0`',
      limit: 20,
    },
    { name: 'runtime', summary: 'how many of the two load ONNX Runtime', limit: 0 },
  ],
  async *cases(context) {
    yield startupCase(context.paths[0] ?? (await madeClip(smallClip, context)), context);
  },
};

function startupCase(clip: string, context: BenchContext): Case {
  const commands = { help: ['--help'], probe: ['probe', clip] } as const;
  const timed = async (parameters: readonly string[]): Promise<{ readonly wallMs: number }> => {
    const { wallMs } = await runChild(process.execPath, parameters, context.signal);
    return { wallMs };
  };
  const loads = async (): Promise<{ readonly loads: number }> => {
    let count = 0;
    for (const parameters of Object.values(commands)) {
      const { stdout, atExit } = await runReporting(commandLine, parameters, context.signal);
      if (stdout === '') throw new EgolensError('tool.failed', `\`egolens ${parameters.join(' ')}\` printed nothing`);
      if (atExit.hasRuntime) count++;
    }
    return { loads: count };
  };
  return {
    input: context.paths[0] ?? null,
    steps: [
      { name: 'node', run: () => timed(['-e', '0']) },
      { name: 'help', run: () => timed([commandLine, ...commands.help]) },
      { name: 'probe', run: () => timed([commandLine, ...commands.probe]) },
      { name: 'runtime', run: loads },
    ],
    figures: (samples) => [
      ...(['help', 'probe'] as const).map((name) => ({
        name,
        ratios: pairRatios(valuesOf(samples, name, 'wallMs'), valuesOf(samples, 'node', 'wallMs')),
        detail: {
          milliseconds: float(medianOf(samples, name, 'wallMs')),
          nodeMilliseconds: float(medianOf(samples, 'node', 'wallMs')),
        },
      })),
      { name: 'runtime', ratios: valuesOf(samples, 'runtime', 'loads'), detail: { commands: Object.keys(commands) } },
    ],
  };
}
