import type { AttentionForm } from '../graph/layers.js';
import type { ExecutionProvider } from './protocol.js';

export type ProviderName = 'cpu' | 'cuda' | 'webgpu';
export type GpuName = Exclude<ProviderName, 'cpu'>;

/** One device of one provider: `cuda:1` is index 1. */
export interface Place {
  readonly provider: ProviderName;
  readonly index: number;
}

/** The device that runs, and why. */
export interface Choice extends Place {
  /** As `--device` spells it: `cpu`, `cuda:0`. */
  readonly device: string;
  /** Which form of a model's graph computes right there. */
  readonly attention: AttentionForm;
  /** For people: what else was looked at and why it was not taken. */
  readonly why: string;
}

/** What the probe program found. Errors are relative (L2); NaN travels as null through JSON. */
export type ProbeAnswer =
  | {
      readonly ok: true;
      /** Separate attention here against the cpu. */
      readonly error: number | null;
      /** Fused against separate attention here; null also when the fused operator does not run. */
      readonly fusedError: number | null;
      /** Time of one run of matrix products here and on the cpu, where it was asked for. */
      readonly milliseconds: { readonly device: number; readonly cpu: number } | null;
    }
  | { readonly ok: false; readonly why: string };

/** What onnxruntime-node is given. */
export function executionProvider({ provider, index }: Place): ExecutionProvider {
  if (provider === 'cpu') return 'cpu';
  return provider === 'cuda' ? { name: 'cuda', deviceId: index } : { name: 'webgpu' };
}
