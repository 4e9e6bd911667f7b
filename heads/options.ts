/** Options of `decode` that several heads read: what is known of each item of the batch. */
import { EgolensError } from '../src/errors.js';
import type { JsonValue } from '../src/json.js';

type Options = Readonly<Record<string, JsonValue>>;

/** A finite number of the options, or the default. @throws EgolensError data.invalid */
export function numberOption(options: Options, name: string, absent: number): number {
  const value = options[name];
  if (value === undefined || value === null) return absent;
  if (typeof value === 'number' && Number.isFinite(value)) return value;
  throw refused(name, 'a number', value);
}

/**
 * Sizes of the annotated frames, [width, height] in pixels: option `sizes`, a list of one for each item, or one for all.
 *
 * @throws EgolensError data.invalid where the option is missing or has another form
 */
export function frameSizes(options: Options, items: number): (readonly [width: number, height: number])[] {
  const given = options['sizes'];
  if (isSize(given)) return Array.from({ length: items }, () => given);
  if (Array.isArray(given) && given.length === items && given.every(isSize)) return given;
  throw refused('sizes', `[width, height] in pixels, or ${items} of them`, given);
}

function isSize(value: unknown): value is readonly [number, number] {
  return (
    Array.isArray(value) &&
    value.length === 2 &&
    value.every((side) => typeof side === 'number' && Number.isFinite(side) && side > 0)
  );
}

/** The error for an option of another form. */
export function refused(name: string, expected: string, found: JsonValue | undefined): EgolensError {
  const text = found === undefined ? 'nothing' : JSON.stringify(found);
  const shown = text.length > 60 ? `${text.slice(0, 57)}…` : text;
  return new EgolensError('data.invalid', `option \`${name}\`: expected ${expected}, found ${shown}`);
}
