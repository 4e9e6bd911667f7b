/** Files of challenges: JSON, or our own records line by line, plain or gzipped. */
import { EgolensError } from '../errors.js';
import { openFileSource } from '../files.js';
import { readJson, type JsonReadOptions } from '../json-reader.js';
import type { ByteSource, Challenge, JsonDocument, ScoredTask } from '../types.js';
import { parseCsv } from './csv.js';
import { unpacked } from './json-files.js';

/** Up to this size the text stays in memory beside the values, so that an error can name its line. */
const keptText = 64 * 2 ** 20;

/** Which task the records of a schema belong to (files.md 7). `tal` takes moments too. */
export const recordTasks = {
  'egolens.moment/1': 'mq',
  'egolens.answer/1': 'nlq',
  'egolens.track/1': 'vq2d',
  'egolens.hands/1': 'fhp',
  'egolens.interaction/1': 'sta',
  'egolens.sequence/1': 'lta',
  'egolens.object/1': 'scod',
  'egolens.pnr/1': 'pnr',
  'egolens.oscc/1': 'oscc',
  'egolens.label/1': 'recognition',
} as const satisfies Readonly<Record<string, ScoredTask>>;
export type RecordSchema = keyof typeof recordTasks;

/** Schema of the first record of a list of our own records; undefined for anything else, and for a list of nothing. */
export function recordSchemaOf(value: unknown): RecordSchema | undefined {
  const first: unknown = Array.isArray(value) ? value[0] : undefined;
  if (typeof first !== 'object' || first === null) return undefined;
  const { schema } = first as { readonly schema?: unknown };
  return typeof schema === 'string' && Object.hasOwn(recordTasks, schema) ? (schema as RecordSchema) : undefined;
}

/** A JSON file, or a list of the records in an NDJSON or CSV file; lines are those of the file. */
export async function readDocument(path: string, options: JsonReadOptions = {}): Promise<JsonDocument> {
  await using file = await openFileSource(path);
  if (/\.csv$/i.test(path)) return parseCsv(path, new TextDecoder().decode(await file.read(0, file.size)));
  const magic = await file.read(0, Math.min(2, file.size));
  const source = magic[0] === 0x1f && magic[1] === 0x8b ? await unpacked(path) : file;
  const list = (await isLines(source)) ? await listOfLines(source) : source;
  return await readJson(list, { check: source.size <= keptText ? 'full' : 'values', ...options });
}

/** The files of an evaluation, with what the challenge asks of its reader. A byte order mark is refused, as Python does. */
export async function readDocuments(challenge: Challenge, paths: readonly string[]): Promise<JsonDocument[]> {
  const documents: JsonDocument[] = [];
  for (const path of paths) {
    const document = await readDocument(path, { literals: challenge.keepsLiterals ?? false });
    const mark = document.findings.find(({ code }) => code === 'json.bom');
    if (mark !== undefined) {
      throw new EgolensError('data.invalid', `\`${path}\`: found a byte order mark, expected ${mark.expected}`, {
        try: 'save the file as UTF-8 without it: the official reader refuses it',
        input: path,
      });
    }
    documents.push(document);
  }
  return documents;
}

/** NDJSON by its name, or by a first line that begins one of our records. */
async function isLines(source: ByteSource): Promise<boolean> {
  if (/\.(ndjson|jsonl)(\.gz)?$/i.test(source.name)) return true;
  const head = Buffer.from(await source.read(0, Math.min(4096, source.size))).toString('latin1');
  return /^[ \t]*\{[ \t]*"schema"[ \t]*:[ \t]*"egolens\.[a-z-]+\/\d+"/.test(head);
}

/** `[`, the lines with a comma before each but the first, `]`: JSON whose lines are those of the file. */
async function listOfLines(source: ByteSource): Promise<ByteSource> {
  const lines = Buffer.from(await source.read(0, source.size));
  let commas = 0;
  for (const start of lineStarts(lines)) commas += Number(start >= 0);
  const list = Buffer.alloc(lines.length + commas + 2);
  let to = list.write('[', 0, 'latin1');
  let from = 0;
  let isFirst = true;
  for (const start of lineStarts(lines)) {
    to += lines.copy(list, to, from, start);
    if (!isFirst) to += list.write(',', to, 'latin1');
    isFirst = false;
    from = start;
  }
  to += lines.copy(list, to, from);
  to += list.write(']', to, 'latin1');
  const text = new Uint8Array(list.buffer, list.byteOffset, to);
  return {
    name: source.name,
    size: to,
    read: (offset, length) => Promise.resolve(text.slice(offset, offset + length)),
  };
}

/** Offsets of the lines that are not blank. */
function* lineStarts(text: Buffer): Generator<number, void, undefined> {
  for (let start = 0; start < text.length;) {
    const newline = text.indexOf(0x0a, start);
    const end = newline < 0 ? text.length : newline;
    for (let at = start; at < end; at++) {
      if (text[at]! > 0x20) {
        yield start;
        break;
      }
    }
    start = end + 1;
  }
}
