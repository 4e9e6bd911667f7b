import { readFile } from 'node:fs/promises';
import { isSchemaName, loadValidator, schemaNames, type SchemaName } from '../check.js';
import { EgolensError, errorCodes, exitCodeOf, type ErrorCode } from '../errors.js';
import type { JsonValue } from '../json.js';
import { labelLists, presetJson, presetNames, readPreset } from '../models/presets.js';
import { presetOf } from './import-model.js';
import { labelList } from './label-lists.js';

/** What the program knows by name: presets, label lists, schemas, error codes. */

type Row = Readonly<Record<string, JsonValue | undefined>>;

/** Every preset of the program, `egolens.preset/1`, by name. */
export function listPresets(): Row[] {
  return presetNames().map((name) => presetJson(readPreset(name)) as Row); // a preset file is an object
}

/** One preset by name, `name@version` or path of a file. Throws `usage.flag`, `model.config`, `data.invalid`. */
export async function showPreset(nameOrPath: string): Promise<JsonValue> {
  return presetJson(await presetOf(nameOrPath));
}

/** Every label list of the program, `egolens.label-list/1`, by name. */
export async function listLabels(): Promise<Row[]> {
  return await Promise.all(
    [...labelLists()].map(async ([name, path]) => {
      const list = JSON.parse(await readFile(path, 'utf8')) as { version: number; order: string; labels: string[] }; // ours, tested against its schema
      const { version, order, labels } = list;
      return { schema: 'egolens.label-list/1', name, version, classes: labels.length, order };
    }),
  );
}

/** The classes of a list, `egolens.class/1`, in index order. Throws `input.not_found`, `data.invalid`. */
export async function showLabels(nameOrPath: string): Promise<Row[]> {
  const { labels } = await labelList(nameOrPath);
  return labels.map((label, index) => ({ schema: 'egolens.class/1', list: nameOrPath, index, label }));
}

/** Every schema of the program, `egolens.schema/1`, by name. */
export async function listSchemas(): Promise<Row[]> {
  return await Promise.all(
    schemaNames.map(async (name) => {
      const { title } = (await loadValidator(name)).schema as { readonly title: string }; // every schema of ours has one
      return { schema: 'egolens.schema/1', name, title };
    }),
  );
}

/** A JSON Schema by its name, or by the middle of it (`probe`) in its newest version. Throws `usage.flag`. */
export async function showSchema(name: string): Promise<JsonValue> {
  const versions = schemaNames.filter((known) => known.startsWith(`egolens.${name}/`));
  const found: SchemaName | undefined = isSchemaName(name) ? name : versions.sort(byVersion).at(-1);
  if (found === undefined) {
    throw new EgolensError('usage.flag', `no schema \`${name}\``, { try: '`egolens schema --list`' });
  }
  return (await loadValidator(found)).schema as JsonValue; // JSON text compiled into a module
}

function byVersion(a: string, b: string): number {
  return Number(a.slice(a.indexOf('/') + 1)) - Number(b.slice(b.indexOf('/') + 1));
}

/** Every error code, `egolens.error-code/1`, in the order of src/errors.ts. */
export function listErrorCodes(): Row[] {
  const codes = Object.entries(errorCodes) as [ErrorCode, string][]; // entries of a constant object
  return codes.map(([code, meaning]) => ({
    schema: 'egolens.error-code/1',
    code,
    meaning,
    exit: exitCodeOf(code),
  }));
}
