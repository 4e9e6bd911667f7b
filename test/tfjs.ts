import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { floatToHalf } from '../src/tensor.js';

/** Small graph models of TensorFlow.js, made by hand. */

export interface NodeText {
  readonly name: string;
  readonly op: string;
  readonly input?: readonly string[];
  readonly attr?: Readonly<Record<string, unknown>>;
}

export interface WeightText {
  readonly name: string;
  readonly shape: readonly number[];
  readonly values: readonly number[];
  readonly as?: 'float32' | 'float16' | 'int32' | 'uint8';
  /** Of a weight that is kept as bytes. */
  readonly scale?: number;
  readonly min?: number;
}

const base64 = (text: string): string => Buffer.from(text).toString('base64');

/** Attributes in the spelling of the files. */
export const attr = {
  ints: (...i: readonly number[]) => ({ list: { i: i.map(String) } }),
  text: (s: string) => ({ s: base64(s) }),
  texts: (...s: readonly string[]) => ({ list: { s: s.map(base64) } }),
  bool: (b: boolean) => ({ b }),
  type: (type: string) => ({ type }),
};

/** Attributes of a convolution or pool. */
export const windows = (padding: 'SAME' | 'VALID', stride: number, more: Readonly<Record<string, unknown>> = {}) => ({
  ...{ strides: attr.ints(1, stride, stride, 1), padding: attr.text(padding), data_format: attr.text('NHWC') },
  ...more,
});

function bytesOf({ values, as = 'float32', scale = 1, min = 0 }: WeightText): Uint8Array {
  if (as === 'float16') return new Uint8Array(Uint16Array.from(values, floatToHalf).buffer);
  if (as === 'int32') return new Uint8Array(Int32Array.from(values).buffer);
  if (as === 'uint8') return Uint8Array.from(values, (value) => Math.round((value - min) / scale));
  return new Uint8Array(Float32Array.from(values).buffer);
}

/** model.json and the bytes of its weights. */
export function tfjsModel(
  nodes: readonly NodeText[],
  weights: readonly WeightText[],
  paths: readonly string[] = ['model.bin'],
): { readonly json: Record<string, unknown>; readonly bin: Uint8Array } {
  const listed = weights.map(({ name, shape, as = 'float32', scale = 1, min = 0 }) => ({
    ...{ name, shape, dtype: as === 'int32' ? 'int32' : 'float32' },
    ...(as === 'float16' && { quantization: { dtype: 'float16', original_dtype: 'float32' } }),
    ...(as === 'uint8' && { quantization: { dtype: 'uint8', scale, min, original_dtype: 'float32' } }),
  }));
  const constants = weights.map(({ name }) => ({ name, op: 'Const', attr: { dtype: attr.type('DT_FLOAT') } }));
  return {
    json: {
      format: 'graph-model',
      modelTopology: { node: [...constants, ...nodes], versions: { producer: 440 } },
      weightsManifest: [{ paths, weights: listed }],
    },
    bin: Buffer.concat(weights.map(bytesOf)),
  };
}

/**
 * A detector of two classes that fires at bright pixels: 32 pixels in, a grid of 8 x 8. The second class wants twice as much light and
 * so never wins; edges lie 6 pixels away to the left and above, 10 to the right and below.
 */
export function brightDetector(): ReturnType<typeof tfjsModel> {
  return tfjsModel(
    [
      { name: 'picture', op: 'Placeholder', attr: {} },
      // The middle of each 4 x 4 pixels, all channels together, from 0 to 1.
      {
        ...{ name: 'light', op: '_FusedConv2D', input: ['picture', 'kernel', 'bias'] },
        attr: windows('SAME', 4, { fused_ops: attr.texts('BiasAdd', 'Relu6') }),
      },
      { name: 'half', op: 'Mul', input: ['light', 'shares'] },
      { name: 'scores', op: 'Identity', input: ['half:0', '^light'] },
      { name: 'nothing', op: 'Mul', input: ['light', 'zero'] },
      { name: 'edges4', op: 'ConcatV2', input: ['nothing', 'nothing', 'axis'] },
      { name: 'edges', op: 'Add', input: ['edges4', 'distances'] },
      { name: 'top', op: 'TopKV2', input: ['scores'] },
    ],
    [
      { name: 'kernel', shape: [4, 4, 3, 2], values: Array<number>(96).fill(1 / (48 * 255)), as: 'float32' },
      { name: 'bias', shape: [2], values: [0, 0], as: 'float16' },
      { name: 'shares', shape: [2], values: [1, 0.5], as: 'float16' },
      { name: 'zero', shape: [], values: [0] },
      { name: 'axis', shape: [], values: [3], as: 'int32' },
      { name: 'distances', shape: [1, 1, 1, 4], values: [6, 6, 10, 10] },
    ],
  );
}

/** Writes a model and gives the path of its JSON file. */
export async function writeTfjs(folder: string, { json, bin }: ReturnType<typeof tfjsModel>): Promise<string> {
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'model.bin'), bin);
  await writeFile(join(folder, 'model.json'), JSON.stringify(json));
  return join(folder, 'model.json');
}
