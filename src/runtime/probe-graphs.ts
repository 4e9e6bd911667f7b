import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { GraphBuilder, type Graph } from '../graph/builder.js';
import { attention, matMul, sum, type AttentionForm } from '../graph/layers.js';
import { onnxBytes } from '../graph/onnx.js';
import { planWeights } from '../graph/weights.js';
import { bytesOf, sizeOf, tensor } from '../tensor.js';
import type { Tensor } from '../types.js';

/** Small graphs that tell whether a device works, computes right, and is worth its trouble; and a writer for graphs of this size. */

/** Attention over 64 tokens, 4 heads of 64 channels: q, k, v float32 [1, 64, 256] -> y [1, 64, 256]. */
export function attentionProbe(form: AttentionForm): Graph {
  const g = new GraphBuilder(`attention-${form}`);
  const shape = [1, 64, 256];
  const q = g.input('q', 'float32', shape);
  const k = g.input('k', 'float32', shape);
  const v = g.input('v', 'float32', shape);
  g.output('y', attention(g, [q, k, v], { heads: 4, scale: 0.125, form }));
  return g.finish();
}

/** `count` products of x float32 [size, size] with one weight; y [size] holds the row sums. Size 1024: 2.1 GFLOP a product. */
export function productsProbe(count: number, size = 1024): Graph {
  const g = new GraphBuilder(`products-${count}-${size}`);
  let x = g.input('x', 'float32', [size, size]);
  const weight = g.param('weight', [size, size]);
  for (let i = 0; i < count; i++) x = matMul(g, x, weight);
  g.output('y', sum(g, x, [1]));
  return g.finish();
}

/** Writes `NAME.onnx` and `NAME.bin` into `folder` and gives the path of the first. Parameters are zeros unless `values` says else. */
export async function writeGraph(
  folder: string,
  graph: Graph,
  values: (name: string, size: number) => Float32Array<ArrayBuffer> = (_name, size) => new Float32Array(size),
): Promise<string> {
  const parameter = (name: string, shape: readonly number[]): Tensor<'float32'> =>
    tensor('float32', shape, values(name, sizeOf(shape)));
  const plan = planWeights([graph]);
  const weights = new Uint8Array(plan.totalBytes);
  for (const { name, shape, offset, constant } of plan.slots) {
    weights.set(bytesOf(constant ?? parameter(name, shape)), offset);
  }
  const shapes = new Map(plan.inline.map(({ name, shape }) => [name, shape]));
  const weightsFile = `${graph.name}.bin`;
  const path = join(folder, `${graph.name}.onnx`);
  await writeFile(join(folder, weightsFile), weights);
  await writeFile(path, onnxBytes(graph, { weightsFile, plan, inline: (name) => parameter(name, shapes.get(name)!) }));
  return path;
}
