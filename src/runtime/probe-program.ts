import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { AttentionForm } from '../graph/layers.js';
import { seededRandom } from '../random.js';
import { tensor, zeros } from '../tensor.js';
import type { Tensor } from '../types.js';
import { openNative, type NativeSession } from './native.js';
import { attentionProbe, productsProbe, writeGraph } from './probe-graphs.js';
import { executionProvider, type GpuName, type ProbeAnswer } from './provider-types.js';

/**
 * The program of a child process that tries one device: `probe-program.js cuda 0 [timed]`. The last line of its standard output is a
 * ProbeAnswer as JSON. A process of its own, because a GPU library may crash, hang, or write to standard error.
 */

/** Products of one timed run: 8.6 GFLOP at size 1024. */
const products = 4;
/** No GPU needs that long for 0.13 GFLOP; software adapters do, and would take half a minute for the large run. */
const hopelessMs = 20;

async function probe(provider: GpuName, index: number, timed: boolean): Promise<ProbeAnswer> {
  const folder = await mkdtemp(join(tmpdir(), 'egolens-probe-'));
  try {
    const device = executionProvider({ provider, index });
    const open = (path: string, on: typeof device): Promise<NativeSession> =>
      // Verbose: what the library says on standard error names the missing file.
      openNative({ kind: 'graph', path, provider: on, threads: null, verbose: true, warmUp: false });

    const feeds = attentionFeeds();
    const attend = async (form: AttentionForm, on: typeof device): Promise<Float32Array> => {
      const session = await open(await writeGraph(folder, attentionProbe(form)), on);
      const { y } = await session.run(feeds, ['y']);
      await session.release();
      return y!.data; // fetched by that name
    };
    const separate = await attend('separate', device);
    const fused = await attend('fused', device).catch(() => undefined);
    const reference = await attend('separate', 'cpu');

    const time = async (on: typeof device, size: number): Promise<number> => {
      const session = await open(await writeGraph(folder, productsProbe(products, size)), on);
      const x = zeros('float32', [size, size]);
      await session.run({ x }, ['y']);
      const times: number[] = [];
      for (let round = 0; round < 3; round++) {
        const start = performance.now();
        await session.run({ x }, ['y']);
        times.push(performance.now() - start);
      }
      await session.release();
      return Math.min(...times);
    };
    const compare = async (size: number): Promise<{ device: number; cpu: number }> => ({
      device: await time(device, size),
      cpu: await time('cpu', size),
    });
    const small = timed ? await compare(256) : null;
    return {
      ok: true,
      error: relativeError(separate, reference),
      fusedError: fused === undefined ? null : relativeError(fused, separate),
      milliseconds: small && small.device < hopelessMs ? await compare(1024) : small,
    };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function attentionFeeds(): Record<'q' | 'k' | 'v', Tensor<'float32'>> {
  const random = seededRandom(0, 'attention probe');
  const draw = (): Tensor<'float32'> => {
    const shape = [1, 64, 256];
    return tensor(
      'float32',
      shape,
      Float32Array.from({ length: 64 * 256 }, () => random.normal()),
    );
  };
  return { q: draw(), k: draw(), v: draw() };
}

/** |a - b| / |b|, L2. NaN anywhere gives NaN. */
function relativeError(a: Float32Array, b: Float32Array): number {
  let difference = 0;
  let size = 0;
  for (let i = 0; i < b.length; i++) {
    difference += (a[i]! - b[i]!) ** 2;
    size += b[i]! ** 2;
  }
  return Math.sqrt(difference / size);
}

const [provider, index, timed] = process.argv.slice(2);
const answer = await probe(provider as GpuName, Number(index), timed === 'timed').catch(
  (error: unknown): ProbeAnswer => ({ ok: false, why: error instanceof Error ? error.message : String(error) }),
);
process.stdout.write(`\n${JSON.stringify(answer)}\n`);
