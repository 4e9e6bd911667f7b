import { EgolensError } from '../errors.js';
import { shapeText } from '../tensor.js';

/** Reads members of a model configuration, which a stranger wrote: each is checked once, here. */
export class ConfigReader {
  readonly #family: string;
  readonly #config: Readonly<Record<string, unknown>>;

  constructor(family: string, config: Readonly<Record<string, unknown>>) {
    this.#family = family;
    this.#config = config;
  }

  /** A whole number in [least, most]. */
  integer(name: string, least: number, most: number, absent?: number): number {
    const value = this.#take(name, absent);
    if (!Number.isInteger(value) || (value as number) < least || (value as number) > most) {
      throw this.fail(name, `a whole number from ${least} to ${most}`);
    }
    return value as number;
  }

  /** A finite number above 0. */
  positive(name: string, absent: number): number {
    const value = this.#take(name, absent);
    if (typeof value !== 'number' || !Number.isFinite(value) || value <= 0) throw this.fail(name, 'a number above 0');
    return value;
  }

  /** A finite number, 0 or more. */
  nonNegative(name: string, absent: number): number {
    const value = this.#take(name, absent);
    if (typeof value !== 'number' || !Number.isFinite(value) || value < 0) throw this.fail(name, 'a number, 0 or more');
    return value;
  }

  flag(name: string, absent: boolean): boolean {
    const value = this.#take(name, absent);
    if (typeof value !== 'boolean') throw this.fail(name, 'true or false');
    return value;
  }

  oneOf<T extends string>(name: string, choices: readonly T[], absent: T): T {
    const value = this.#take(name, absent);
    const found = choices.find((choice) => choice === value);
    if (found === undefined) throw this.fail(name, `one of ${choices.map((choice) => `\`${choice}\``).join(', ')}`);
    return found;
  }

  /** Three finite numbers. */
  triple(name: string, absent: readonly [number, number, number]): readonly [number, number, number] {
    const value = this.#take(name, absent);
    const isTriple = Array.isArray(value) && value.length === 3 && value.every((item) => Number.isFinite(item));
    if (!isTriple) throw this.fail(name, 'three numbers');
    return value as unknown as readonly [number, number, number]; // checked in the line above
  }

  fail(name: string, expected: string): EgolensError {
    const value = this.#config[name];
    const found = Array.isArray(value) ? shapeText(value.map(String)) : `\`${String(value)}\``;
    return new EgolensError(
      'model.config',
      `${this.#family}: \`${name}\`: expected ${expected}, found ${value === undefined ? 'nothing' : found}`,
      { try: 'give it in the file that `--config` names' },
    );
  }

  #take(name: string, absent: unknown): unknown {
    const value = this.#config[name];
    return value === undefined || value === null ? absent : value;
  }
}
