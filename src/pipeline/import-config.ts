/** What a user says about a checkpoint in JSON files: its configuration, and other names for its keys. */
import { readFile } from 'node:fs/promises';
import { EgolensError } from '../errors.js';
import type { StateDict } from '../types.js';

/** A configuration as a user gave it. */
export interface GivenConfig {
  readonly config: Record<string, unknown>;
  readonly repository?: string;
}

/** A configuration file: the object itself, or any JSON that holds it under `config`; `official.repository` beside it. */
export async function readConfig(path: string): Promise<GivenConfig> {
  const value = await readJsonObject(path);
  const inner = value['config'];
  const config = isObject(inner) ? inner : value;
  const official = value['official'];
  const repository = isObject(official) ? official['repository'] : undefined;
  return { config, ...(typeof repository === 'string' && { repository }) };
}

/** A known size and a configuration may not say different things. */
export function checkSize(
  arch: string,
  size: Readonly<Record<string, unknown>>,
  config: Readonly<Record<string, unknown>>,
  section = '',
): void {
  for (const [name, value] of Object.entries(size)) {
    const found = config[name] ?? value;
    if (found === value) continue;
    if (isObject(value) && isObject(found)) {
      checkSize(arch, value, found, `${section}${name}.`);
      continue;
    }
    throw new EgolensError(
      'model.config',
      `\`${section}${name}\`: ${arch} has ${JSON.stringify(value)}, the configuration ${JSON.stringify(found)}`,
      { try: 'name the family instead of the size, or leave the member out' },
    );
  }
}

/** Tensors under the names that a map file gives them. @throws EgolensError model.config */
export async function applyMap(tensors: StateDict, path: string): Promise<StateDict> {
  const map = await readJsonObject(path);
  for (const key of Object.keys(map)) {
    if (!tensors.has(key))
      throw new EgolensError('model.config', `\`${path}\`: \`${key}\`: the checkpoint has no such tensor`);
  }
  const renamed = new Map<string, StateDict extends ReadonlyMap<string, infer T> ? T : never>();
  for (const [key, value] of tensors) {
    const to = Object.hasOwn(map, key) ? map[key] : key;
    if (to === null) continue;
    if (typeof to !== 'string')
      throw new EgolensError('model.config', `\`${path}\`: \`${key}\`: expected a name or null`);
    if (renamed.has(to)) throw new EgolensError('model.config', `\`${path}\`: two tensors become \`${to}\``);
    renamed.set(to, value);
  }
  return renamed;
}

/** A JSON file that holds an object. @throws EgolensError model.config */
export async function readJsonObject(path: string): Promise<Record<string, unknown>> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    throw new EgolensError(
      'model.config',
      `\`${path}\`: cannot be read (${(cause as NodeJS.ErrnoException).code ?? 'unknown reason'})`,
      { cause },
    );
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new EgolensError('model.config', `\`${path}\`: no JSON: ${(cause as Error).message}`, { cause });
  }
  if (!isObject(value)) throw new EgolensError('model.config', `\`${path}\`: expected a JSON object`);
  return value;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
