/** Features of texts: `extract --text`. One array, one table and one meta file per list of texts, the meta file last. */
import { rm, stat } from 'node:fs/promises';
import { basename, extname, join } from 'node:path';
import { stringify } from 'csv-stringify/sync';
import { assertValid } from '../check.js';
import { npyHeader } from '../checkpoint/npy-header.js';
import { EgolensError } from '../errors.js';
import { featureVersion } from '../features/store.js';
import { beginFile, makeFolder, readSmallFile, sha256, sha256File, writeAt, writeFileAtomic } from '../files.js';
import { findModel } from '../hub/cache.js';
import { canonicalText, jsonText, type JsonValue } from '../json.js';
import { openModelFolder, type ModelFolder } from '../models/folder.js';
import { bytesOf, tensor } from '../tensor.js';
import type { Tensor } from '../types.js';
import { openTextEncoder, textTowerOf, type TextEncoder, type TextOptions } from './text-encoder.js';
import { programVersion, runtimeVersion } from './versions.js';

export interface ExtractTextOptions extends TextOptions {
  /** Folder for the results. */
  readonly output: string;
  /** Name or folder of a two-tower model. */
  readonly model: string;
  /** `mean`: one vector a text, as the model gives it. `tokens`: the states of all its tokens. */
  readonly pool: 'mean' | 'tokens';
  /** Replace results that are there. */
  readonly force: boolean;
}

/** `egolens.text-features/1` */
export type TextFeatureRecord = {
  readonly schema: 'egolens.text-features/1';
  readonly input: string;
  readonly id: string;
  readonly model: string;
  readonly path: string;
  /** [texts, embed], or [texts, longest, width]. */
  readonly shape: readonly number[];
  readonly rows: number;
  readonly key: string;
};

/** One text of a list. */
export interface ListedText {
  /** Null where the list gives none. */
  readonly id: string | null;
  readonly text: string;
}

const maxListBytes = 64 * 2 ** 20;
const maxTexts = 1_000_000;

/**
 * Texts of a list, in order: one a line, or NDJSON records `{"id": …, "text": …}` (`query` in place of `text`, `id` may be missing,
 * other members are passed over).
 *
 * @param name decides with its ending; a first line that begins with `{"` makes a list NDJSON as well
 * @throws EgolensError data.invalid with the line, also for a blank one; limit.size
 */
export function parseTexts(bytes: Uint8Array, name: string): ListedText[] {
  const fault = (line: number, expected: string, found: string): EgolensError =>
    new EgolensError('data.invalid', `\`${name}\`: line ${line}: expected ${expected}, found ${found}`, {
      try: 'one text a line, or NDJSON records such as {"id": "q1", "text": "cut an onion"}',
    });
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new EgolensError('data.invalid', `\`${name}\`: expected text in UTF-8`, { cause });
  }
  const lines = text.split(/\r?\n/);
  if (lines.at(-1) === '') lines.pop();
  if (lines.length === 0) throw new EgolensError('input.empty', `\`${name}\`: expected texts, found none`);
  if (lines.length > maxTexts)
    throw new EgolensError('limit.size', `\`${name}\`: ${lines.length} texts, expected at most ${maxTexts}`);
  const isRecords = /\.(?:ndjson|jsonl)$/i.test(name) || /^\s*\{\s*"/.test(lines[0]!); // there is a first line
  return lines.map((line, i) => {
    if (line.trim() === '') throw fault(i + 1, isRecords ? 'a record' : 'a text', 'a blank line');
    return isRecords ? recordText(line, (expected, found) => fault(i + 1, expected, found)) : { id: null, text: line };
  });
}

function recordText(line: string, fault: (expected: string, found: string) => EgolensError): ListedText {
  let record: unknown;
  try {
    record = JSON.parse(line);
  } catch (cause) {
    throw fault('a JSON object', (cause as Error).message);
  }
  if (typeof record !== 'object' || record === null || Array.isArray(record))
    throw fault('a JSON object', 'another value');
  const {
    id = null,
    text,
    query,
  } = record as { readonly id?: unknown; readonly text?: unknown; readonly query?: unknown };
  if ((text === undefined) === (query === undefined))
    throw fault('`text` or `query`', text === undefined ? 'neither' : 'both');
  const value = text ?? query;
  if (typeof value !== 'string' || value.trim() === '') throw fault('a text that is not empty', JSON.stringify(value));
  if (id !== null && typeof id !== 'string' && typeof id !== 'number')
    throw fault('`id` as text or number', 'another value');
  return { id: id === null ? null : String(id), text: value };
}

/**
 * Features of the texts in a file: `<stem>.text.npy`, float32 [texts, embed] as the model gives them (not normalised), or with `tokens`
 * [texts, longest, width] and `<stem>.text.lengths.npy`; `<stem>.text.csv` with the texts; `<stem>.text.npy.meta.json`. Complete
 * results of the same texts and model are kept.
 *
 * @throws EgolensError input.*, data.invalid, model.*, device.*, limit.*, output.*
 */
export async function extractTexts(file: string, options: ExtractTextOptions): Promise<TextFeatureRecord> {
  const bytes = await readSmallFile(file, maxListBytes);
  const texts = parseTexts(bytes, file);
  const model = await openModelFolder(await findModel(options.model));
  textTowerOf(model);
  const output = options.pool === 'tokens' ? 'text_last' : 'text_embed';
  const digest = sha256(bytes);
  const key = sha256(
    canonicalText({
      featureVersion,
      texts: digest,
      modelDigest: model.manifest.digest,
      output,
      precision: model.manifest.precision,
    }),
  );
  const target = targetOf(file, options);
  const kept = options.force ? undefined : await completeTextMeta(target, key);
  if (kept !== undefined) return recordOf(file, model, target, kept);
  await makeFolder(options.output);
  await using encoder = await openTextEncoder(model, options);
  const meta = await writeTexts(
    { texts, encoder, model, output, key, target },
    {
      name: basename(file),
      bytes: bytes.length,
      sha256: digest,
    },
  );
  return recordOf(file, model, target, meta);
}

/** The files of one list of texts. */
interface TextTarget {
  readonly id: string;
  readonly array: string;
  readonly lengths: string;
  readonly table: string;
  readonly meta: string;
}

function targetOf(file: string, { output }: ExtractTextOptions): TextTarget {
  const id = `${basename(file, extname(file))}.text`;
  const path = join(output, id);
  return {
    id,
    array: `${path}.npy`,
    lengths: `${path}.lengths.npy`,
    table: `${path}.csv`,
    meta: `${path}.npy.meta.json`,
  };
}

interface FileFacts {
  readonly bytes: number;
  readonly sha256: string;
}

/** `egolens.text-meta/1` */
interface TextMeta {
  readonly schema: 'egolens.text-meta/1';
  readonly input: FileFacts & { readonly name: string };
  readonly model: { readonly name: string; readonly digest: string };
  readonly output: string;
  readonly precision: string;
  readonly provider: string;
  readonly versions: { readonly program: string; readonly runtime: string };
  readonly key: string;
  readonly array: FileFacts & { readonly shape: readonly number[] };
  readonly lengths: FileFacts | null;
  readonly table: FileFacts;
}

interface TextWork {
  readonly texts: readonly ListedText[];
  readonly encoder: TextEncoder;
  readonly model: ModelFolder;
  readonly output: 'text_embed' | 'text_last';
  readonly key: string;
  readonly target: TextTarget;
}

async function writeTexts(
  { texts, encoder, model, output, key, target }: TextWork,
  input: TextMeta['input'],
): Promise<TextMeta> {
  const plain = texts.map(({ text }) => text);
  const states = output === 'text_last' ? await encoder.tokens(plain) : undefined;
  const array = states?.rows ?? (await encoder.features(plain));
  const lengths = states?.lengths ?? encoder.counts(plain);
  // A meta file of an earlier run must not vouch for the new array.
  await rm(target.meta, { force: true });
  await writeArray(target.array, array);
  if (states === undefined) await rm(target.lengths, { force: true });
  else await writeArray(target.lengths, tensor('int64', [lengths.length], BigInt64Array.from(lengths, BigInt)));
  const table = stringify([
    ['index', 'id', 'tokens', 'text'],
    ...texts.map(({ id, text }, i) => [i, id ?? '', lengths[i], text]),
  ]);
  await writeFileAtomic(target.table, table);
  const meta: TextMeta = {
    schema: 'egolens.text-meta/1',
    input,
    model: { name: model.manifest.name, digest: model.manifest.digest },
    output,
    precision: model.manifest.precision,
    provider: encoder.provider === 'stand-in' ? 'cpu' : encoder.provider,
    versions: { program: programVersion(), runtime: runtimeVersion() },
    key,
    array: { shape: array.shape, ...(await factsOf(target.array)) },
    lengths: states === undefined ? null : await factsOf(target.lengths),
    table: { bytes: Buffer.byteLength(table), sha256: sha256(table) },
  };
  await assertValid('egolens.text-meta/1', meta, target.meta, 'internal.bug');
  await writeFileAtomic(target.meta, `${jsonText(meta as unknown as JsonValue, 2)}\n`); // plain data
  return meta;
}

async function writeArray(path: string, array: Tensor<'float32'> | Tensor<'int64'>): Promise<void> {
  await using pending = await beginFile(path);
  const start = await writeAt(pending.handle, npyHeader(array.dtype, array.shape), 0);
  await writeAt(pending.handle, bytesOf(array), start);
  await pending.commit();
}

async function factsOf(path: string): Promise<FileFacts> {
  return { bytes: (await stat(path)).size, sha256: await sha256File(path) };
}

/** The meta file of a target that is whole and of this key. */
async function completeTextMeta(target: TextTarget, key: string): Promise<TextMeta | undefined> {
  try {
    const meta: unknown = JSON.parse(new TextDecoder().decode(await readSmallFile(target.meta, 2 ** 20)));
    await assertValid('egolens.text-meta/1', meta, target.meta);
    const checked = meta as TextMeta; // the schema says so
    if (checked.key !== key) return undefined;
    const files = [
      [target.array, checked.array],
      [target.table, checked.table],
      ...(checked.lengths === null ? [] : [[target.lengths, checked.lengths] as const]),
    ] as const;
    for (const [path, { bytes }] of files) if ((await stat(path)).size !== bytes) return undefined;
    return checked;
  } catch {
    // Missing, half copied or damaged: computed anew.
    return undefined;
  }
}

function recordOf(input: string, model: ModelFolder, target: TextTarget, { array, key }: TextMeta): TextFeatureRecord {
  return {
    schema: 'egolens.text-features/1',
    input,
    id: target.id,
    model: model.id,
    path: target.array,
    shape: array.shape,
    rows: array.shape[0]!, // two or three sizes: the schema says so
    key,
  };
}
