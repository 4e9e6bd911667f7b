import { GraphBuilder, type Graph } from '../../src/graph/builder.js';
import { add, matMul } from '../../src/graph/layers.js';
import { findModel } from '../../src/hub/cache.js';
import { float } from '../../src/json.js';
import { openModelFolder, type ModelFolder } from '../../src/models/folder.js';
import type { ModelSpec } from '../../src/models/spec.js';
import { openModelSession, probeFrames } from '../../src/pipeline/probe.js';
import { seededRandom } from '../../src/random.js';
import { openSession, type Session } from '../../src/runtime/session.js';
import { defaultThreads } from '../../src/runtime/threads.js';
import { tensor } from '../../src/tensor.js';
import type { AnyTensor } from '../../src/types.js';
import { costOf } from './cost.js';
import { flopsOf } from './flops.js';
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
import { encoderSpec, madeGraph } from './material.js';

/** The product that bounds an encoder of this kind: the first MLP layer of ViT-B over the tokens of a window. */
const product = { rows: 1568, inner: 768, columns: 3072 } as const;
/** Products in one run, each with weights of its own, as in the encoder. */
const products = 12;
/** Runs in one pass, so that a pass is not much shorter than a window. */
const productRuns = 2;

/** One window through the encoder, against the same work at the speed of the runtime's own matrix product. */
export const encode: SpeedBenchmark = {
  name: 'encode',
  summary: 'one window through ViT-B, against the same FLOPs at the MatMul rate of ONNX Runtime',
  figures: [
    {
      name: 'window',
      summary: `time of a window / time of its FLOPs at the rate of MatMul ${product.rows}x${product.inner}x${product.columns}`,
      limit: 1.15,
    },
  ],
  async *cases(context) {
    const { name, spec, open } = await encoderOf(context);
    const matMuls = await madeGraph('matmul', productGraph(context.isSmoke ? 1 : products), context);
    const place = placeOf(context);
    await using encoder = await open();
    await using multiplier = await openSession({ graph: matMuls.path, ...place });
    yield encodeCase({ name, spec, encoder, multiplier }, context);
  },
};

/** Where sessions run: the same for both, so that devices, threads and their limits are. */
function placeOf({ device, threads, signal }: BenchContext): {
  readonly device: string;
  readonly threads?: number;
  readonly signal?: AbortSignal;
} {
  return { device, ...(threads !== undefined && { threads }), ...(signal && { signal }) };
}

/** The user's model, or the seeded one. */
async function encoderOf(context: BenchContext): Promise<{
  readonly name: string;
  readonly spec: ModelSpec;
  readonly open: () => Promise<Session>;
}> {
  if (context.model !== undefined) {
    const model: ModelFolder = await openModelFolder(await findModel(context.model));
    return { name: model.id, spec: model.spec, open: () => openModelSession(model, placeOf(context)) };
  }
  const spec = encoderSpec(context);
  const name = context.isSmoke ? 'encoder-nano' : 'videomae-b-seeded';
  const { path } = await madeGraph(name, spec.build({ input: 'frames', form: 'fused' }), context);
  const { path: fallbackGraph } = context.device.startsWith('cpu')
    ? { path }
    : await madeGraph(`${name}-separate`, spec.build({ input: 'frames', form: 'separate' }), context);
  return { name, spec, open: () => openSession({ graph: path, fallbackGraph, ...placeOf(context) }) };
}

interface Opened {
  readonly name: string;
  readonly spec: ModelSpec;
  readonly encoder: Session;
  readonly multiplier: Session;
}

function encodeCase({ name, spec, encoder, multiplier }: Opened, context: BenchContext): Case {
  const flops = flopsOf(spec);
  const { rows, inner, columns } = product;
  const count = context.isSmoke ? 1 : products;
  const productFlops = 2 * rows * inner * columns * count * productRuns;
  const random = seededRandom(2, 'product');
  const x = tensor(
    'float32',
    [rows, inner],
    Float32Array.from({ length: rows * inner }, () => random.uniform() - 0.5),
  );
  const feeds = { frames: probeFrames(spec), ...spec.feeds(spec.probeArrays(), 1) };
  return {
    input: null,
    steps: [
      { name: 'product', run: () => timeRuns(multiplier, { x }, 'y', productRuns) },
      { name: 'window', run: () => timeRuns(encoder, feeds, spec.preset.feature, 1) },
    ],
    figures: (samples) => {
      const windowMs = valuesOf(samples, 'window', 'wallMs');
      const productMs = valuesOf(samples, 'product', 'wallMs');
      const rateOf = (work: number, ms: number): ReturnType<typeof float> => float(work / ms / 1e6);
      const detail = {
        model: name,
        device: encoder.device,
        threads: context.threads ?? defaultThreads() ?? "the runtime's choice",
        windowMs: float(medianOf(samples, 'window', 'wallMs')),
        productGflopPerSecond: rateOf(productFlops, medianOf(samples, 'product', 'wallMs')),
        windowsPerSecond: float(1000 / medianOf(samples, 'window', 'wallMs')),
      };
      if (flops === undefined) return [{ name: 'window', ratios: [], limit: null, detail }];
      const ratio = (window: number, product: number): number => window / (flops / (productFlops / product));
      const cpuRatios = pairRatios(valuesOf(samples, 'window', 'ownCpuMs'), valuesOf(samples, 'product', 'ownCpuMs'));
      return [
        {
          name: 'window',
          ratios: windowMs.map((ms, round) => ratio(ms, productMs[round]!)),
          // The promise is about the CPU; elsewhere the ratio is told.
          ...(encoder.provider !== 'cpu' && { limit: null }),
          detail: {
            ...detail,
            // The same in CPU time: blind to threads that wait for each other, and hardly touched by other work on the machine.
            cpuTimeRatio: float(ratio(spreadOf(cpuRatios).median, 1)),
            windowGflop: float(flops / 1e9),
            windowGflopPerSecond: rateOf(flops, medianOf(samples, 'window', 'wallMs')),
          },
        },
      ];
    },
  };
}

async function timeRuns(
  session: Session,
  feeds: Readonly<Record<string, AnyTensor>>,
  output: string,
  count: number,
): Promise<Sample> {
  const { wallMs, ownCpuMs } = await costOf(async () => {
    for (let i = 0; i < count; i++) await session.run(feeds, [output]);
  });
  return { wallMs, ownCpuMs };
}

/**
 * `count` products of x [rows, inner] with constant weights, as the encoder has them. Of each result one row leaves, so that no time goes
 * into handing out 19 MB.
 */
function productGraph(count: number): Graph {
  const g = new GraphBuilder('products');
  const x = g.input('x', 'float32', [product.rows, product.inner]);
  const first = g.constant(tensor('int64', [1], BigInt64Array.of(0n)));
  const rows = Array.from({ length: count }, (_, i) => {
    const whole = matMul(g, x, g.param(`w${i}`, [product.inner, product.columns]));
    return g.op('Gather', [whole, first], { axis: 0 })[0]!;
  });
  g.output(
    'y',
    rows.reduce((sum, row) => add(g, sum, row)),
  );
  return g.finish();
}
