import { EgolensError } from '../errors.js';
import type { JsonValue } from '../json.js';
import type { KeyShapes } from './spec.js';

/**
 * What a configuration may ask for: far above every published model (at most 32 frames at 384 pixels, 9216 tokens, width 1664), far
 * below what would exhaust memory while a graph is built or one window is held. Products are bounded as well as factors.
 */
export const limits = {
  width: 16384,
  depth: 512,
  size: 4096,
  frames: 4096,
  classes: 1_000_000,
  /** frames x size x size: 200 MB of bytes, 800 MB as floats. */
  pixels: 2 ** 26,
  tokens: 2 ** 18,
  /** tokens x width of a positional table: 256 MB as float32. */
  table: 2 ** 26,
} as const;

/** Reads members of a model configuration, which a stranger wrote: each is checked once, here. */
export class ConfigReader {
  readonly #family: string;
  readonly #config: Readonly<Record<string, unknown>>;
  /** Members that the configuration leaves open, with what was taken instead. */
  readonly #defaults = new Map<string, unknown>();

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

  /** `count` whole numbers, or up to 8 (`few`), each in [least, most]. */
  integers(
    name: string,
    count: number | 'few',
    least: number,
    most: number,
    absent?: readonly number[],
  ): readonly number[] {
    const value = this.#take(name, absent);
    const fits = (item: unknown): boolean =>
      Number.isInteger(item) && (item as number) >= least && (item as number) <= most;
    const isCounted = Array.isArray(value) && (count === 'few' ? value.length <= 8 : value.length === count);
    if (!isCounted || !value.every(fits)) {
      throw this.fail(name, `${count === 'few' ? 'up to 8' : count} whole numbers from ${least} to ${most}`);
    }
    return value as readonly number[]; // checked in the line above
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

  /** Whole numbers in [least, most], at least one, each above the one before. */
  ascending(name: string, least: number, most: number, absent?: readonly number[]): readonly number[] {
    const value = this.#take(name, absent);
    const items: readonly unknown[] = Array.isArray(value) ? value : [];
    const fits = items.every((item, i) => {
      const from = i === 0 ? least : (items[i - 1] as number) + 1; // the one before was a number, or `every` had ended
      return Number.isInteger(item) && (item as number) >= from && (item as number) <= most;
    });
    if (items.length === 0 || !fits) throw this.fail(name, `ascending whole numbers from ${least} to ${most}`);
    return items as readonly number[]; // checked in the line above
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

  /** The error for a member, with the value found, or the default that took its place. */
  fail(name: string, expected: string): EgolensError {
    const isDefault = this.#defaults.has(name);
    const value = isDefault ? this.#defaults.get(name) : this.#config[name];
    const text = JSON.stringify(value) as string | undefined; // undefined gives undefined
    const found = text === undefined ? 'nothing' : `\`${text.length > 60 ? `${text.slice(0, 57)}…` : text}\``;
    return new EgolensError(
      'model.config',
      `${this.#family}: \`${name}\`: expected ${expected}, found ${found}${isDefault ? ' (the default)' : ''}`,
      { try: 'give it in the file that `--config` names' },
    );
  }

  #take(name: string, absent: unknown): unknown {
    const value = this.#config[name];
    if (value !== undefined && value !== null) return value;
    if (absent !== undefined) this.#defaults.set(name, absent);
    return absent;
  }
}

/** The members that have a value. */
export function defined(values: Readonly<Record<string, JsonValue | undefined>>): Record<string, JsonValue> {
  return Object.fromEntries(
    Object.entries(values).flatMap(([key, value]) => (value === undefined ? [] : [[key, value]])),
  );
}

/** Configurations one over the other: a later member replaces an earlier one; of sections (`vision`, `text`) each member does. */
export function mergedConfig(...configs: readonly Readonly<Record<string, unknown>>[]): Record<string, unknown> {
  const members = new Map<string, unknown>();
  for (const config of configs) {
    for (const [name, value] of Object.entries(config)) {
      const before = members.get(name);
      members.set(name, isSection(before) && isSection(value) ? mergedConfig(before, value) : value);
    }
  }
  return Object.fromEntries(members);
}

/** A configuration with its sections laid flat, for a ConfigReader: `{ text: { width: 512 } }` becomes `{ 'text.width': 512 }`. */
export function flatConfig(config: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(config).flatMap(([name, value]) =>
      isSection(value)
        ? Object.entries(value).map(([inner, member]): [string, unknown] => [`${name}.${inner}`, member])
        : [[name, value]],
    ),
  );
}

function isSection(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Depth of a stack of blocks: one more than the highest number after `prefix` in the keys; 0 where there is none. */
export function depthOf(keys: KeyShapes, prefix: string): number {
  let depth = 0;
  for (const key of keys.keys()) {
    const number = key.startsWith(prefix) ? /^\d+/.exec(key.slice(prefix.length))?.[0] : undefined;
    if (number !== undefined) depth = Math.max(depth, Number(number) + 1);
  }
  return depth;
}

/** The ratio whose product with the width, cut to a whole number, is the hidden width: division may fall just below it. */
export function ratioOf(hidden: number, width: number): number {
  const ratio = hidden / width;
  return Math.trunc(width * ratio) === hidden ? ratio : ratio * (1 + Number.EPSILON);
}
