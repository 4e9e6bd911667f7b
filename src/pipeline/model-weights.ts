/** The weights of a model folder, by their official names. */
import { join } from 'node:path';
import { EgolensError } from '../errors.js';
import { openFileSource, readSmallFile, type FileSource } from '../files.js';
import { packedInts, protoField, protoFields } from '../graph/protobuf.js';
import type { ModelFolder } from '../models/folder.js';
import { graphFiles } from '../models/spec.js';
import { shapeText, sizeOf, tensor } from '../tensor.js';
import type { Tensor } from '../types.js';

/** An initialiser of an ONNX graph: where its values are. */
interface Stored {
  readonly shape: readonly number[];
  readonly isFloat: boolean;
  /** Values inside the graph; undefined where they lie in the weights file. */
  readonly inside: Uint8Array | undefined;
  readonly offset: number;
  readonly length: number;
}

/**
 * Reads every parameter of the model's picture graph into memory.
 *
 * @returns float32 values by state-dict key, in the order of the graph
 * @throws EgolensError model.incomplete, input.format, input.truncated for a damaged folder; model.config for one of another precision;
 *   model.key_unmatched, model.shape where the folder's graph is not the one that this program builds
 */
export async function readModelWeights({
  folder,
  manifest,
  spec,
  id,
}: ModelFolder): Promise<Map<string, Tensor<'float32'>>> {
  if (manifest.precision !== 'fp32') {
    throw new EgolensError('model.config', `${id}: weights of precision ${manifest.precision}, expected fp32`, {
      try: 'take the model that it was made from',
    });
  }
  const variant = graphFiles[0];
  const path = join(folder, variant.file);
  const stored = initialisersOf(await readSmallFile(path, 2 ** 31), path);
  await using file = await openFileSource(join(folder, 'weights.bin'));
  const weights = new Map<string, Tensor<'float32'>>();
  for (const { name, shape } of spec.build(variant).params) {
    const found = stored.get(name);
    if (!found?.isFloat) {
      throw new EgolensError('model.key_unmatched', `\`${path}\`: expected float32 weights \`${name}\`, found none`, {
        try: 'import the model again',
      });
    }
    if (shapeText(found.shape) !== shapeText(shape)) {
      throw new EgolensError(
        'model.shape',
        `\`${path}\`: \`${name}\`: expected ${shapeText(shape)}, found ${shapeText(found.shape)}`,
        { try: 'import the model again' },
      );
    }
    weights.set(name, tensor('float32', shape, await valuesOf(found, file, path)));
  }
  return weights;
}

async function valuesOf(
  { shape, inside, offset, length }: Stored,
  file: FileSource,
  path: string,
): Promise<Float32Array<ArrayBuffer>> {
  const bytes = 4 * sizeOf(shape);
  if ((inside?.length ?? length) !== bytes) {
    throw new EgolensError(
      'input.format',
      `\`${path}\`: ${inside?.length ?? length} bytes for ${shapeText(shape)}, expected ${bytes}`,
    );
  }
  return new Float32Array(inside === undefined ? (await file.read(offset, bytes)).buffer : inside.slice().buffer);
}

/** GraphProto in ModelProto: field 7; TensorProto in GraphProto: field 5. Field numbers: onnx/onnx onnx.proto3. */
function initialisersOf(bytes: Uint8Array, path: string): Map<string, Stored> {
  const found = new Map<string, Stored>();
  const graph = protoField(bytes, 7, path)?.bytes ?? new Uint8Array();
  for (const { field, bytes: value } of protoFields(graph, path)) {
    if (field !== 5 || value === undefined) continue;
    const { name, stored } = initialiserOf(value, path);
    found.set(name, stored);
  }
  return found;
}

function initialiserOf(bytes: Uint8Array, path: string): { readonly name: string; readonly stored: Stored } {
  const shape: number[] = [];
  const place = new Map<string, string>();
  let name = '';
  let isFloat = false;
  let inside: Uint8Array | undefined;
  for (const { field, int, bytes: value } of protoFields(bytes, path)) {
    if (field === 1) {
      for (const dim of value === undefined ? [int ?? 0n] : packedInts(value, path)) shape.push(Number(dim));
    } else if (field === 2) isFloat = int === 1n;
    else if (field === 8) name = textOf(value);
    else if (field === 9) inside = value;
    else if (field === 13 && value !== undefined) {
      place.set(textOf(protoField(value, 1, path)?.bytes), textOf(protoField(value, 2, path)?.bytes));
    }
  }
  const number = (key: string): number => Number(place.get(key) ?? 0);
  return { name, stored: { shape, isFloat, inside, offset: number('offset'), length: number('length') } };
}

const textOf = (bytes: Uint8Array | undefined): string => new TextDecoder().decode(bytes);
