/** Tensors that a run reads again and again. */
import type { Tensor } from '../types.js';

/** Most elements that are kept: 2 GiB of float32. */
const keptElements = 2 ** 29;

/** `load`, whose first results are kept as long as there is room for them. */
export function keptTensors<Key extends object>(
  load: (key: Key) => Promise<Tensor<'float32'>>,
): (key: Key) => Promise<Tensor<'float32'>> {
  const kept = new Map<Key, Tensor<'float32'>>();
  let elements = 0;
  return async (key) => {
    const known = kept.get(key);
    if (known !== undefined) return known;
    const found = await load(key);
    if (elements + found.data.length <= keptElements) {
      kept.set(key, found);
      elements += found.data.length;
    }
    return found;
  };
}
