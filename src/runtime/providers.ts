import { existsSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { EgolensError } from '../errors.js';
import { probeDevice, type ProbeOptions } from './probe.js';
import type { Choice, GpuName, Place, ProbeAnswer, ProviderName } from './provider-types.js';

/** One execution provider: how it is found, and what helps when it fails. To add one, add an object to `gpuProviders`. */
interface GpuProvider {
  readonly name: GpuName;
  /** A cheap look at files: is a trial worth its time? Undefined when it is, else the reason. */
  readonly missing: () => string | undefined;
  /** Automatic choice demands that this device beats the cpu by that factor on 8.6 GFLOP of products. */
  readonly leastGain: number;
  readonly remedy: string;
}

const gpuProviders: readonly GpuProvider[] = [
  {
    name: 'cuda',
    missing: () => {
      if (!anyExists(['/dev/nvidiactl', '/dev/nvidia0', '/dev/dxg'])) return 'no NVIDIA device';
      return existsSync(cudaLibrary()) ? undefined : "the runtime's CUDA library is not installed";
    },
    leastGain: 1,
    remedy:
      '`ONNXRUNTIME_NODE_INSTALL=cuda12 node node_modules/onnxruntime-node/script/install.js` (Linux x64), with CUDA 12 and cuDNN 9 on the loader path; or `--device cpu`',
  },
  {
    name: 'webgpu',
    missing: () => {
      if (process.platform !== 'linux') return undefined;
      return hasRenderNode() || anyExists(['/dev/nvidia0', '/dev/dxg']) ? undefined : 'no GPU device';
    },
    leastGain: 1.5,
    remedy: 'a GPU driver with Vulkan (Linux), Direct3D 12 (Windows) or Metal (macOS); or `--device cpu`',
  },
];

const anyExists = (paths: readonly string[]): boolean => paths.some((path) => existsSync(path));

function hasRenderNode(): boolean {
  return existsSync('/dev/dri') && readdirSync('/dev/dri').some((name) => name.startsWith('renderD'));
}

/** Path that the installer of onnxruntime-node gives the CUDA provider; the package itself is not loaded. */
function cudaLibrary(): string {
  const main = createRequire(import.meta.url).resolve('onnxruntime-node'); // <package>/dist/index.js
  const folder = join(dirname(dirname(main)), 'bin', 'napi-v6', process.platform, process.arch);
  return join(folder, 'libonnxruntime_providers_cuda.so');
}

/** Above this the separate form itself is broken there. TensorFloat-32 stays below. */
const deviceTolerance = 1e-2;
/** Above this the separate form is taken (performance.md 7.1). */
const fusedTolerance = 1e-3;

/** What can be said about one provider on this machine. */
export interface ProviderReport {
  readonly name: ProviderName;
  readonly ok: boolean;
  readonly why: string;
  readonly remedy?: string;
  readonly attention?: 'fused' | 'separate';
  /** Speed over the cpu's on plain products, where it was measured. */
  readonly gain?: number;
}

/** Reads `--device`. Throws `usage.flag`. */
export function parseDevice(device: string): Place | 'auto' {
  if (device === 'auto') return 'auto';
  const [, provider, digits] = /^(cpu|cuda|webgpu)(?::(\d{1,3}))?$/.exec(device) ?? [];
  if (provider === undefined || (provider === 'cpu' && digits !== undefined)) {
    throw new EgolensError('usage.flag', `--device \`${device}\`: expected auto, cpu, cuda[:N] or webgpu[:N]`);
  }
  return { provider: provider as ProviderName, index: Number(digits ?? 0) };
}

/** Tries one device with real runs, in a child process; the cpu needs no trial. */
export async function tryDevice(place: Place, options: ProbeOptions): Promise<ProviderReport> {
  const { provider, index } = place;
  if (provider === 'cpu') return { name: 'cpu', ok: true, why: 'always there', attention: 'fused' };
  const { remedy } = gpuProviders.find(({ name }) => name === provider)!; // one for each GpuName
  // onnxruntime-node 1.30 takes no adapter choice: a higher number would silently mean the first one.
  if (provider === 'webgpu' && index > 0) {
    return { name: provider, ok: false, why: 'the runtime offers only its first adapter', remedy: '`--device webgpu`' };
  }
  return judge(provider, await probeDevice({ provider, index }, options), remedy);
}

/** What a trial means: usable or not, and with which form of attention. */
export function judge(name: GpuName, answer: ProbeAnswer, remedy: string): ProviderReport {
  if (!answer.ok) return { name, ok: false, why: answer.why, remedy };
  const { error, fusedError, milliseconds } = answer;
  if (error === null || error > deviceTolerance) {
    const found = error === null ? 'no numbers' : `a relative error of ${error.toExponential(1)}`;
    return { name, ok: false, why: `computes wrong values: ${found} against the cpu`, remedy };
  }
  const attention = fusedError !== null && fusedError <= fusedTolerance ? 'fused' : 'separate';
  const fused = fusedError === null ? 'gives no numbers' : `differs by ${fusedError.toExponential(1)}`;
  const gain = milliseconds ? milliseconds.cpu / milliseconds.device : undefined;
  const speed = gain === undefined ? '' : `, ${gain.toPrecision(2)} times the cpu's speed`;
  return {
    name,
    ok: true,
    why: attention === 'fused' ? `works${speed}` : `works with separate attention (fused ${fused})${speed}`,
    attention,
    ...(gain === undefined ? {} : { gain }),
  };
}

/**
 * The device to run on. A named device that fails is `device.unavailable` with the runtime's reason, never another device; `auto` takes
 * the first of cuda, webgpu and cpu that works and is faster than the cpu, and says why. Throws `usage.flag` for other words.
 */
export async function chooseProvider(device: string, signal?: AbortSignal): Promise<Choice> {
  signal?.throwIfAborted();
  const place = parseDevice(device);
  if (place === 'auto') return await chooseFastest(signal);
  const report = await tryDevice(place, { timed: false, signal });
  if (!report.ok) {
    throw new EgolensError('device.unavailable', `provider ${place.provider}: ${report.why}`, {
      ...(report.remedy === undefined ? {} : { try: report.remedy }),
    });
  }
  return choiceOf(report, place, 'asked for');
}

async function chooseFastest(signal: AbortSignal | undefined): Promise<Choice> {
  const passed: string[] = [];
  for (const { name, missing, leastGain } of gpuProviders) {
    const absent = missing();
    if (absent !== undefined) {
      passed.push(`${name}: ${absent}`);
      continue;
    }
    const report = await tryDevice({ provider: name, index: 0 }, { timed: true, signal });
    if (report.ok && (report.gain ?? 0) >= leastGain) {
      return choiceOf(report, { provider: name, index: 0 }, [...passed, `${name}: ${report.why}`].join('; '));
    }
    passed.push(`${name}: ${report.why}`);
  }
  const cpu = { provider: 'cpu', index: 0 } as const;
  return choiceOf(await tryDevice(cpu, { timed: false }), cpu, passed.join('; '));
}

function choiceOf({ attention = 'separate' }: ProviderReport, { provider, index }: Place, why: string): Choice {
  return { provider, index, device: provider === 'cpu' ? 'cpu' : `${provider}:${index}`, attention, why };
}

/** Every provider with its state on this machine, for `doctor`: all are really tried, a software adapter included. */
export async function describeProviders(options: ProbeOptions): Promise<ProviderReport[]> {
  const reports: ProviderReport[] = [];
  for (const provider of ['cpu', ...gpuProviders.map(({ name }) => name)] as const) {
    reports.push(await tryDevice({ provider, index: 0 }, options));
  }
  return reports;
}
