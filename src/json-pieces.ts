/** JSON text in pieces, for files larger than the longest string. */
import { EgolensError } from './errors.js';
import { Float, floatText } from './json.js';

const pieceLength = 64 * 1024;

/**
 * The text of `jsonText(value)` in pieces of about 64 Ki characters, one line without a final newline.
 *
 * Takes JSON values with `Float`, and bigints, which become integers of any size; anything else is a fault of ours. With `literals`, every `number` is written with point or exponent, as `Float` is, and `bigint` without: so a document that was
 * read with `literals` keeps what Python calls int and float. Throws `data.not_finite` for NaN and infinities.
 */
export function* jsonPieces(value: unknown, { literals = false } = {}): Generator<string, void, undefined> {
  /** Containers that are open: their items, or keys and values, and what comes next. */
  const open: { readonly keys: readonly string[] | undefined; readonly of: object; index: number; written: number }[] =
    [];
  let text = '';
  let item = value;
  for (;;) {
    if (typeof item === 'object' && item !== null && !(item instanceof Float)) {
      const keys = Array.isArray(item) ? undefined : Object.keys(item);
      text += keys === undefined ? '[' : '{';
      open.push({ keys, of: item, index: 0, written: 0 });
    } else {
      text += scalarText(item, literals);
    }
    // The next item of the innermost container; containers that are through are closed.
    for (;;) {
      if (text.length >= pieceLength) {
        yield text;
        text = '';
      }
      const top = open.at(-1);
      if (top === undefined) {
        if (text !== '') yield text;
        return;
      }
      if (top.keys === undefined) {
        const items = top.of as readonly unknown[]; // a container without keys is a list
        if (top.index < items.length) {
          if (top.index > 0) text += ',';
          item = items[top.index++];
          break;
        }
        text += ']';
        open.pop();
        continue;
      }
      const key: string | undefined = top.keys[top.index++];
      if (key === undefined) {
        text += '}';
        open.pop();
        continue;
      }
      item = (top.of as Readonly<Record<string, unknown>>)[key]; // a container with keys is an object
      if (item === undefined) continue;
      text += `${top.written++ > 0 ? ',' : ''}${JSON.stringify(key)}:`;
      break;
    }
  }
}

function scalarText(value: unknown, literals: boolean): string {
  if (value instanceof Float) return floatText(value.value);
  switch (typeof value) {
    case 'number':
      if (literals) return floatText(value);
      if (!Number.isFinite(value)) {
        throw new EgolensError('data.not_finite', `expected a finite number, found ${value}`);
      }
      return JSON.stringify(value);
    case 'bigint':
      return String(value);
    case 'undefined':
      return 'null';
    case 'string':
    case 'boolean':
      return JSON.stringify(value);
    default:
      if (value === null) return 'null';
      throw new EgolensError('internal.bug', `expected a JSON value, found a ${typeof value}`);
  }
}
