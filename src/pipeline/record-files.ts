/** Files of records, one a video, each with a meta file: what is complete is kept, what is not ours is never replaced unasked. */
import { rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { assertValid } from '../check.js';
import { EgolensError } from '../errors.js';
import { makeFolder, pathExists, readSmallFile, sha256, sha256File, writeFileAtomic } from '../files.js';
import type { MetaFacts } from '../features/store.js';
import { float, jsonText } from '../json.js';

export interface RecordTarget {
  readonly path: string;
  readonly meta: string;
}

/** What a meta file states, but for the digest of the file. No date, host or path: equal runs leave equal bytes. */
export interface RecordFacts extends Omit<MetaFacts, 'clock'> {
  readonly records: number;
}

/** `egolens.records-meta/1` */
export interface RecordsMeta extends RecordFacts {
  readonly file: { readonly bytes: number; readonly sha256: string };
}

/** The meta file of a target that holds the records of this key, whole and unchanged; else undefined. */
export async function keptRecords(target: RecordTarget, key: string): Promise<RecordsMeta | undefined> {
  const meta = await readMeta(target.meta);
  return meta?.key === key && (await holds(target.path, meta)) ? meta : undefined;
}

/** Throws `output.exists` where the file was not written by this program, or was changed since. */
export async function refuseForeign(target: RecordTarget): Promise<void> {
  if (!(await pathExists(target.path))) return;
  const meta = await readMeta(target.meta);
  if (meta !== undefined && (await holds(target.path, meta))) return;
  throw new EgolensError(
    'output.exists',
    `\`${target.path}\`: exists, and was ${meta === undefined ? 'not written by this program' : 'changed since it was written'}`,
    { try: '`--force` replaces it' },
  );
}

/**
 * Removes an older file, writes meta file and file, in this order, each atomically: a run that is killed between them leaves nothing
 * that counts as complete, and nothing that a next run would take for somebody else's.
 */
export async function writeRecords(target: RecordTarget, text: string, facts: RecordFacts): Promise<void> {
  await makeFolder(dirname(target.path));
  const file = { bytes: Buffer.byteLength(text), sha256: sha256(text) };
  const meta = { schema: 'egolens.records-meta/1', ...facts, startOffset: float(facts.startOffset), file };
  await rm(target.path, { force: true });
  await writeFileAtomic(target.meta, `${jsonText(meta, 2)}\n`);
  await writeFileAtomic(target.path, text);
}

async function holds(path: string, { file }: RecordsMeta): Promise<boolean> {
  return (await sha256File(path).catch(() => '')) === file.sha256;
}

async function readMeta(path: string): Promise<RecordsMeta | undefined> {
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(await readSmallFile(path, 16 * 2 ** 20)));
    await assertValid('egolens.records-meta/1', value, path);
    return value as RecordsMeta; // the schema says so
  } catch {
    // Missing or damaged: the file counts as missing, or as not ours.
    return undefined;
  }
}
