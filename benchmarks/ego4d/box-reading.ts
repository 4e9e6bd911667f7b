/** What the challenges about boxes read alike: numbers in either form that the reader gives, and boxes of four of them. */
import { EgolensError } from '../../src/errors.js';
import type { JsonDocument } from '../../src/types.js';
import { fault } from '../reading.js';

/** Is this value a JSON number, whichever way the reader gives integers? */
export function isNumber(value: unknown): value is number | bigint {
  return typeof value === 'number' || typeof value === 'bigint';
}

/** Is this value a whole number, whichever way the reader gives integers? */
export function isInteger(value: unknown): value is number | bigint {
  return typeof value === 'bigint' || Number.isInteger(value);
}

/** Four numbers of a file, put into place `at` of `into`; anything else is a fault at `place()`. */
export function putBox(
  document: JsonDocument,
  box: unknown,
  into: Float64Array,
  at: number,
  place: () => string,
  form = '[x1, y1, x2, y2]',
): void {
  if (!Array.isArray(box) || box.length !== 4) {
    throw fault(document, place(), `a list of four numbers ${form}`, box, `write the box as ${form}`);
  }
  for (let side = 0; side < 4; side++) {
    const value: unknown = box[side];
    if (!isNumber(value)) throw fault(document, `${place()}/${side}`, 'a number', value, `write the box as ${form}`);
    into[4 * at + side] = Number(value);
  }
}

/** The one document of a list, or an error that says which file the challenge takes. */
export function onlyDocument(documents: readonly JsonDocument[], what: string, flag: string): JsonDocument {
  const [document, second] = documents;
  if (document !== undefined && second === undefined) return document;
  const names = documents.map(({ name }) => `\`${name}\``).join(', ');
  throw new EgolensError(
    'data.invalid',
    `expected one file, ${what}; found ${document === undefined ? 'none' : names}`,
    {
      try: `give it once, with \`${flag}\``,
    },
  );
}
