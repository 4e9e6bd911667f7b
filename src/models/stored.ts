/** Tensors of a checkpoint under other names, joined or computed: recipes over the stored ones, whose values are still read late. */
import { sizeOf } from '../tensor.js';
import type { StateDict, StoredTensor } from '../types.js';

/** Tensors under other names. One whose new name is another tensor's keeps its own, and so is reported as unmatched. */
export function renamed(tensors: StateDict, rename: (key: string) => string): Map<string, StoredTensor> {
  return new Map(
    [...tensors].map(([key, value]) => {
      const name = rename(key);
      return [tensors.has(name) ? key : name, value];
    }),
  );
}

/**
 * Tensors that a file holds in parts, as one: the parts one below the other, where the first of them stood. Parts that are incomplete
 * or of unlike shapes stay as they are.
 *
 * @param whole the tensor that a key is part of, and the keys of all its parts in their order
 */
export function joined(
  tensors: StateDict,
  whole: (key: string) => { readonly name: string; readonly parts: readonly string[] } | undefined,
): StateDict {
  const result = new Map<string, StoredTensor>();
  for (const [key, value] of tensors) {
    const { name, parts = [] } = whole(key) ?? {};
    const found = parts.flatMap((part) => tensors.get(part) ?? []);
    const isWhole = found.length === parts.length && found.every(({ shape }) => shape.join() === value.shape.join());
    if (name !== undefined && isWhole) result.set(name, result.get(name) ?? stacked(name, found));
    else result.set(key, value);
  }
  return result;
}

function stacked(name: string, parts: readonly StoredTensor[]): StoredTensor {
  const rows = parts.reduce((sum, part) => sum + (part.shape[0] ?? 0), 0);
  return {
    name,
    storedType: parts[0]!.storedType,
    shape: [rows, ...parts[0]!.shape.slice(1)],
    async *chunks(maxElements) {
      for (const part of parts) yield* part.chunks(maxElements);
    },
  };
}

/** A tensor of another shape made of a stored one, which is read whole: for tables, which are small. */
export function computed(
  source: StoredTensor,
  shape: readonly number[],
  make: (values: Float32Array<ArrayBuffer>) => Float32Array<ArrayBuffer>,
): StoredTensor {
  return {
    name: source.name,
    storedType: source.storedType,
    shape,
    async *chunks(maxElements = Infinity) {
      const values = new Float32Array(sizeOf(source.shape));
      let at = 0;
      for await (const piece of source.chunks()) {
        values.set(piece, at);
        at += piece.length;
      }
      const data = make(values);
      const step = Math.min(maxElements, data.length);
      for (let begin = 0; begin < data.length; begin += step) yield data.slice(begin, begin + step);
    },
  };
}
