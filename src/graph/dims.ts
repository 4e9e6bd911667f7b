import { EgolensError } from '../errors.js';
import { shapeText } from '../tensor.js';
import type { Dim } from '../types.js';

/**
 * Arithmetic on symbolic sizes. A size is a product of a whole number and names: `batch*16`. A sum of unlike sizes (what Concat
 * makes) is a name of its own in a product: `(decoded+visible)*16`. That is all that transformer graphs need. Equal texts are
 * equal sizes; a sum multiplied out has another text than the product, and counts as another size.
 */
interface Product {
  readonly factor: number;
  /** Sorted. */
  readonly names: readonly string[];
}

function parse(dim: Dim): Product {
  if (typeof dim === 'number') return { factor: dim, names: [] };
  const parts = splitTop(dim, '*');
  const factor = parts.filter((part) => /^\d+$/.test(part)).reduce((product, part) => product * Number(part), 1);
  return { factor, names: parts.filter((part) => !/^\d+$/.test(part)).sort() };
}

/** Splits outside parentheses. */
function splitTop(text: string, separator: '*' | '+'): string[] {
  const parts: string[] = [];
  let depth = 0;
  let start = 0;
  for (let i = 0; i < text.length; i++) {
    if (text[i] === '(') depth++;
    else if (text[i] === ')') depth--;
    else if (text[i] === separator && depth === 0) {
      parts.push(text.slice(start, i));
      start = i + 1;
    }
  }
  parts.push(text.slice(start));
  return parts;
}

function format({ factor, names }: Product): Dim {
  if (names.length === 0 || factor === 0) return factor;
  return [...names, ...(factor === 1 ? [] : [String(factor)])].join('*');
}

/** The product of sizes; 1 for none. */
export function productOf(dims: readonly Dim[]): Dim {
  const products = dims.map(parse);
  return format({
    factor: products.reduce((product, p) => product * p.factor, 1),
    names: products.flatMap((p) => p.names).sort(),
  });
}

/** a / b, or undefined when b does not divide a for every value of the names. */
export function quotientOf(a: Dim, b: Dim): Dim | undefined {
  const [dividend, divisor] = [parse(a), parse(b)];
  if (divisor.factor === 0 || dividend.factor % divisor.factor !== 0) return undefined;
  const names = [...dividend.names];
  for (const name of divisor.names) {
    const at = names.indexOf(name);
    if (at < 0) return undefined;
    names.splice(at, 1);
  }
  return format({ factor: dividend.factor / divisor.factor, names });
}

/** The sum of sizes along a concatenated axis. */
export function sumOf(dims: readonly Dim[]): Dim {
  const factors = new Map<string, Product>(); // like terms are one: a + a is a*2
  for (const { factor, names } of dims.flatMap(termsOf)) {
    const key = names.join('*');
    factors.set(key, { factor: (factors.get(key)?.factor ?? 0) + factor, names });
  }
  const number = factors.get('')?.factor ?? 0;
  factors.delete('');
  const terms = [...factors.values()].filter(({ factor }) => factor !== 0).map((term) => format(term));
  if (terms.length === 0) return number;
  if (terms.length === 1 && number === 0) return terms[0]!;
  return `(${[...terms.map(String).sort(), ...(number === 0 ? [] : [number])].join('+')})`;
}

/** The terms of a sum; a product is one term. */
function termsOf(dim: Dim): Product[] {
  const product = parse(dim);
  const [name, ...others] = product.names;
  if (name?.startsWith('(') !== true || others.length > 0) return [product];
  const terms = splitTop(name.slice(1, -1), '+').flatMap(termsOf);
  return terms.map(({ factor, names }) => ({ factor: factor * product.factor, names }));
}

/** Shape of an elementwise operation on two shapes, by numpy's rule; throws `data.shape` when they do not fit. */
export function broadcast(a: readonly Dim[], b: readonly Dim[], where: string): readonly Dim[] {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, i) => {
    const left = a[a.length - rank + i] ?? 1;
    const right = b[b.length - rank + i] ?? 1;
    if (left === right || right === 1) return left;
    if (left === 1) return right;
    throw new EgolensError('data.shape', `${where}: shapes ${shapeText(a)} and ${shapeText(b)} do not broadcast`);
  });
}
