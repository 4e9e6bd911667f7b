import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { float } from '../../src/json.js';
import { commandLine, runChild, runReporting } from './child.js';
import { scodInputs, staInputs, vq2dInputs, type EvaluateInputs } from './evaluate-inputs.js';
import { medianOf, pairRatios, valuesOf, type BenchContext, type Case, type SpeedBenchmark } from './harness.js';
import { ltaInputs, mqInputs, nlqInputs } from './span-inputs.js';

/** One challenge over inputs of the size of its validation split. */
interface Timed {
  readonly task: string;
  readonly inputs: (seed: number, count?: number) => EvaluateInputs;
  /** Seconds that the official Python evaluator took on inputs of this size, files already parsed (performance.md 10). */
  readonly officialSeconds: number;
  /** Most times the parsing alone: where matching is light. */
  readonly limit: number | null;
  /** The largest share of the official code's time. */
  readonly officialLimit: number | null;
}

/** Memory that a process may take beside three times the bytes of its files. */
const spareBytes = 200e6;

const timed: readonly Timed[] = [
  { task: 'mq', inputs: mqInputs, officialSeconds: 84.6, limit: null, officialLimit: 0.1 },
  { task: 'nlq', inputs: nlqInputs, officialSeconds: 0.3, limit: 2, officialLimit: null },
  { task: 'vq2d', inputs: vq2dInputs, officialSeconds: 9.8, limit: 2, officialLimit: 0.1 },
  { task: 'sta', inputs: staInputs, officialSeconds: 16.1, limit: null, officialLimit: 0.1 },
  { task: 'lta', inputs: ltaInputs, officialSeconds: 40.2, limit: null, officialLimit: 0.1 },
  { task: 'scod', inputs: scodInputs, officialSeconds: 5.8, limit: null, officialLimit: 1 / 3 },
];

const parser = `for (const path of process.argv.slice(1)) JSON.parse(require('node:fs').readFileSync(path, 'utf8'))`;

/** How long a whole `eval` takes, reading included. */
export const evaluate: SpeedBenchmark = {
  name: 'evaluate',
  summary: '`eval` on inputs of validation size, against a Node that parses the same files',
  figures: timed.flatMap(({ task, limit, officialLimit }) => [
    {
      name: task,
      summary: `time of \`egolens eval ${task}\` / time of Node with JSON.parse on the same files`,
      limit,
    },
    {
      name: `${task}-official`,
      summary: `time of \`egolens eval ${task}\` / what the official Python code took, its files already parsed`,
      limit: officialLimit,
    },
    {
      name: `${task}-memory`,
      summary: `peak memory of \`egolens eval ${task}\` / (3 x the files + 200 MB)`,
      limit: 1,
    },
  ]),
  async *cases(context) {
    await mkdir(context.cache, { recursive: true });
    for (const one of timed) {
      const folder = await mkdtemp(join(context.cache, `evaluate-${one.task}-`));
      try {
        yield await evaluateCase(one, folder, context);
      } finally {
        await rm(folder, { recursive: true, force: true });
      }
    }
  },
};

async function evaluateCase(
  { task, inputs, officialSeconds }: Timed,
  folder: string,
  context: BenchContext,
): Promise<Case> {
  const { truth, predictions } = context.isSmoke === true ? inputs(1, 200) : inputs(1);
  const written = async (files: Readonly<Record<string, string>>): Promise<string[]> => {
    const paths = Object.keys(files).map((name) => join(folder, name));
    await Promise.all(Object.values(files).map((text, i) => writeFile(paths[i]!, text)));
    return paths;
  };
  const [truthPaths, predictionPaths] = [await written(truth), await written(predictions)];
  const bytes = Object.values({ ...truth, ...predictions }).reduce((sum, text) => sum + Buffer.byteLength(text), 0);
  const files = [
    ...truthPaths.flatMap((path) => ['--gt', path]),
    ...predictionPaths.flatMap((path) => ['--pred', path]),
  ];
  return {
    input: null,
    steps: [
      {
        name: 'parse',
        run: async () => {
          const { wallMs } = await runChild(
            process.execPath,
            ['-e', parser, ...truthPaths, ...predictionPaths],
            context.signal,
          );
          return { wallMs };
        },
      },
      {
        name: 'eval',
        run: async () => {
          const { wallMs, atExit } = await runReporting(commandLine, ['eval', task, ...files, '-q'], context.signal);
          return { wallMs, peakBytes: atExit.peakBytes };
        },
      },
    ],
    figures: (samples) => {
      const milliseconds = medianOf(samples, 'eval', 'wallMs');
      return [
        {
          name: task,
          ratios: pairRatios(valuesOf(samples, 'eval', 'wallMs'), valuesOf(samples, 'parse', 'wallMs')),
          detail: {
            milliseconds: float(milliseconds),
            parseMilliseconds: float(medianOf(samples, 'parse', 'wallMs')),
          },
        },
        {
          name: `${task}-official`,
          ratios: valuesOf(samples, 'eval', 'wallMs').map((wallMs) => wallMs / (1000 * officialSeconds)),
          detail: { timesFaster: float((1000 * officialSeconds) / milliseconds) },
        },
        {
          name: `${task}-memory`,
          ratios: valuesOf(samples, 'eval', 'peakBytes').map((peakBytes) => peakBytes / (3 * bytes + spareBytes)),
          detail: { inputBytes: bytes, peakBytes: medianOf(samples, 'eval', 'peakBytes') },
        },
      ];
    },
  };
}
