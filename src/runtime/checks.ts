import { EgolensError } from '../errors.js';
import type { OnnxValue } from '../graph/onnx.js';
import { shapeText, sizeOf } from '../tensor.js';
/** What is compared of a feed; those that the session holds are known by their form alone. */
export interface FeedForm {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data: { readonly length: number };
}

const quoted = (names: readonly string[]): string =>
  names.length === 0 ? 'none' : names.map((name) => `\`${name}\``).join(', ');

/** An open size without a name stands for itself alone. */
const isNamed = (dim: string): boolean => dim !== '' && dim !== '?';

/**
 * Compares feeds with a graph's inputs: names, element types, shapes; a symbolic size must be the same wherever its name stands.
 * Throws `data.dtype` or `data.shape` with the input's name, what was found and what was expected.
 */
export function checkFeeds(inputs: readonly OnnxValue[], feeds: Readonly<Record<string, FeedForm>>): void {
  const wanted = inputs.map(({ name }) => name);
  const given = Object.keys(feeds);
  if (given.length !== wanted.length || wanted.some((name) => !(name in feeds))) {
    throw new EgolensError('data.shape', `feeds: expected inputs ${quoted(wanted)}, found ${quoted(given)}`);
  }
  const sizes = new Map<string, { readonly size: number; readonly from: string }>();
  for (const { name, dtype, shape } of inputs) {
    const feed = feeds[name]!;
    if (feed.dtype !== dtype) {
      throw new EgolensError('data.dtype', `input ${name}: expected ${dtype}, found ${feed.dtype}`);
    }
    const fits =
      feed.shape.length === shape.length && shape.every((dim, i) => typeof dim === 'string' || dim === feed.shape[i]);
    if (!fits) {
      throw new EgolensError(
        'data.shape',
        `input ${name}: expected ${shapeText(shape)}, found ${shapeText(feed.shape)}`,
      );
    }
    if (feed.data.length !== sizeOf(feed.shape)) {
      throw new EgolensError(
        'data.shape',
        `input ${name}: ${shapeText(feed.shape)} has ${sizeOf(feed.shape)} elements, found ${feed.data.length}`,
      );
    }
    shape.forEach((dim, axis) => {
      if (typeof dim !== 'string' || !isNamed(dim)) return;
      const size = feed.shape[axis]!; // as many axes as `shape`, checked above
      const known = sizes.get(dim);
      if (known && known.size !== size) {
        throw new EgolensError('data.shape', `input ${name}: ${dim} is ${size}, but ${known.size} in ${known.from}`);
      }
      sizes.set(dim, { size, from: name });
    });
  }
}

/** Element types of outputs that a run can give. */
export const isFloat = (dtype: string): boolean => dtype === 'float32' || dtype === 'float16';

/** Names to fetch must be outputs of a float type. Throws `data.shape` or `data.dtype`. */
export function checkFetch(outputs: readonly OnnxValue[], fetch: readonly string[]): void {
  if (fetch.length === 0) throw new EgolensError('data.shape', 'fetch: expected at least one output name, found none');
  for (const name of fetch) {
    const output = outputs.find((candidate) => candidate.name === name);
    if (!output) {
      const names = quoted(outputs.map((candidate) => candidate.name));
      throw new EgolensError('data.shape', `fetch: expected outputs among ${names}, found \`${name}\``);
    }
    if (!isFloat(output.dtype)) {
      throw new EgolensError('data.dtype', `output ${name}: expected float32 or float16, found ${output.dtype}`);
    }
  }
}
