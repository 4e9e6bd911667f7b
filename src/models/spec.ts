import type { Graph } from '../graph/builder.js';
import type { AttentionForm } from '../graph/layers.js';
import type { JsonValue } from '../json.js';
import type { AnyTensor, Dim, Preset, StateDict, Tensor } from '../types.js';
import type { Grid } from './positions.js';

/** Which of the graphs over one weights file (files.md 4). */
export interface GraphVariant {
  /** `frames`: uint8 [batch, t, h, w, 3], normalised inside. `normalised`: float32 [batch, 3, t, h, w], normalised by the caller. */
  readonly input: 'frames' | 'normalised';
  /** `fused` for cpu and cuda; `separate` for WebGPU, which also casts before it transposes. */
  readonly form: AttentionForm;
}

/** File name of each variant in a model folder. */
export const graphFiles = [
  { file: 'graph.onnx', input: 'frames', form: 'fused' },
  { file: 'graph.webgpu.onnx', input: 'frames', form: 'separate' },
  { file: 'graph.float.onnx', input: 'normalised', form: 'fused' },
  { file: 'graph.float.webgpu.onnx', input: 'normalised', form: 'separate' },
] as const satisfies readonly (GraphVariant & { file: string })[];

/** The graphs of the text tower, over the same weights file. WebGPU runs none: texts go to the cpu there. */
export const textFiles = [
  { file: 'text.onnx', form: 'fused' },
  { file: 'text.webgpu.onnx', form: 'separate' },
] as const satisfies readonly { file: string; form: AttentionForm }[];

export interface OutputInfo {
  readonly shape: readonly Dim[];
  readonly meaning: string;
}

/** What a checkpoint says about itself before it is read: key -> shape, prefix already stripped. */
export type KeyShapes = ReadonlyMap<string, readonly number[]>;

/**
 * The text half of a two-tower model. Its graph takes `tokens` int64 [rows, length] with length <= context (shorter is quicker and
 * gives the same `text_embed`: tokens after the end token are never seen), and gives `text_last` [rows, length, width], `text_embed`
 * [rows, embed] (not normalised), and `scale` [] where `scale` is `learned`.
 */
export interface TextTower {
  /** Most tokens of a row, start and end token included: 77, 32. */
  readonly context: number;
  readonly vocabulary: number;
  /** Of a token in `text_last`. */
  readonly width: number;
  /** Of `text_embed` and of the picture vector it is compared with. */
  readonly embed: number;
  /** Output of the picture graphs that lies in the same space. */
  readonly against: string;
  /** Logits are scale x cosine: a constant of the official code, or the exponential of a learned `logit_scale`. */
  readonly scale: number | 'learned';
  /** What the official code does with a text over the context: keep its beginning and the end token, or refuse it. */
  readonly overlong: 'cut' | 'refuse';
  /** What `encode` computes from both towers' vectors: cosine; softmax over texts of the logits; the logits. */
  readonly joint: readonly ('similarity' | 'probs' | 'logits_per_image')[];
  readonly outputs: Readonly<Record<string, OutputInfo>>;
  build(form: AttentionForm): Graph;
}

/** One model, fully configured: everything that import, encode and extract need to know about it. */
export interface ModelSpec {
  readonly family: string;
  readonly kind: 'encoder' | 'two-tower' | 'coordination';
  /** Complete configuration, under the official names; goes into model.json. */
  readonly config: Readonly<Record<string, JsonValue>>;
  readonly preset: Preset;
  /** Frames of a window; 1 for an image model. */
  readonly frames: number;
  /** Arrays of frames have no time axis: `encode` takes [b, h, w, 3]. The graph has one, of size 1. */
  readonly isImage?: true;
  /** Side of the square input in pixels. */
  readonly size: number;
  /** Length of the class list; 0 for a model without a classifier. */
  readonly classes: number;
  readonly outputs: Readonly<Record<string, OutputInfo>>;
  /** Output with one row of tokens per window, for `--pool tokens`. */
  readonly tokenOutput: string;
  /** Where the tokens of `tokenOutput` are one grid in raster order: times, rows, columns. */
  readonly tokenGrid?: Grid;
  /** Further arrays that `encode` takes beside the frames, and what they hold. */
  readonly arrays: Readonly<Record<string, string>>;
  build(variant: GraphVariant): Graph;
  readonly text?: TextTower;
  /**
   * Inputs beside the frames that a second stream takes, made of the same window: uint8 [b, t, size, size, 3] -> name -> array. Present
   * where `extract` and `recognize` can run the model although it has `arrays`.
   */
  companions?(frames: Tensor<'uint8'>): Readonly<Record<string, AnyTensor>>;
  /** Official tensors -> the graph's parameters, where names or sizes depend on the configuration. Values are still read late. */
  adapt(tensors: StateDict): StateDict;
  /** Why this tensor of the file has no place in the graph; undefined when it should have one. */
  leftover(key: string): string | undefined;
  /** The named arrays of `encode` as inputs of the graph, for a batch of `batch`. Throws `data.shape`. */
  feeds(arrays: Readonly<Record<string, AnyTensor>>, batch: number): Readonly<Record<string, AnyTensor>>;
  /** Arrays for the stored probe of one window. */
  probeArrays(): Readonly<Record<string, AnyTensor>>;
}

/** A family of models: what `models import --arch` takes. */
export interface ModelFamily {
  readonly name: string;
  readonly summary: string;
  /** Known sizes: name that --arch takes -> configuration. */
  readonly sizes: Readonly<Record<string, Readonly<Record<string, JsonValue>>>>;
  /** Set where no output of the official code is at hand to compare with; said wherever the family is listed. */
  readonly parity?: 'no parity data';
  /** Families whose checkpoints `models import --with NAME=FILE` adds; their official keys come under `NAME.`. */
  readonly parts?: Readonly<Record<string, ModelFamily>>;
  /** Whether official keys look like this family's: what an import of another family's file says. No two families claim one file. */
  recognises(keys: KeyShapes): boolean;
  /** Third-party spellings of the keys -> the official ones; other files come back as they are. */
  official(tensors: StateDict): StateDict;
  /** What configuration the official keys and shapes of a checkpoint imply. */
  infer(keys: KeyShapes): Readonly<Record<string, JsonValue>>;
  /**
   * The model for a configuration; members that are absent take the official defaults. Throws `model.config` naming the member,
   * what was found and what was expected.
   */
  spec(config: Readonly<Record<string, unknown>>, context: ConfigContext): ModelSpec;
}

export interface ConfigContext {
  /** `official.repository` beside the configuration, which decides what the configuration leaves open (encoder.md 2.5). */
  readonly repository?: string;
  /** A preset that replaces the family's default. */
  readonly preset?: Preset;
}
