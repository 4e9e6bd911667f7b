/**
 * JSON files of strangers: Python's leniencies pass and are reported, everything else is refused with line and column. Works on
 * bytes, so a file may be larger than the longest string. About as fast as `JSON.parse` on files of some MB, faster and with less
 * memory on larger ones, so there is no second way for files whose faults do not matter.
 */
import { Buffer } from 'node:buffer';
import { EgolensError } from './errors.js';
import { moreFindings } from './findings.js';
import { lineFinder } from './json-lines.js';
import { faultLimit, lineCounter, parseText, type JsonText, type ParsedText, type TextFault } from './json-text.js';
import type { ByteSource, Finding, JsonDocument } from './types.js';

export interface JsonReadOptions {
  /** Integers without point or exponent become `bigint`, of any size, as Python tells int from float. */
  readonly literals?: boolean;
  /**
   * `full` (default): the bytes stay in memory as long as the document, so that lines of values can be told.
   * `values`: the bytes go; lines can only be told where the file is one line.
   */
  readonly check?: 'full' | 'values';
}

/** The longest array of bytes. */
const sizeLimit = 2 ** 32 - 2;
const pieceSize = 16 * 2 ** 20;

/**
 * Read a JSON file, uncompressed. Memory: the file's size, and the values.
 *
 * @throws EgolensError data.invalid with line, column and what was expected; limit.size above 4 GiB
 */
export async function readJson(source: ByteSource, options: JsonReadOptions = {}): Promise<JsonDocument> {
  if (source.size > sizeLimit) {
    throw new EgolensError('limit.size', `\`${source.name}\`: ${source.size} bytes, expected at most ${sizeLimit}`);
  }
  const text = new Uint8Array(source.size + 1);
  for (let offset = 0; offset < source.size; offset += pieceSize) {
    text.set(await source.read(offset, Math.min(pieceSize, source.size - offset)), offset);
  }
  return documentOf(source.name, text, options);
}

/** The same for bytes or text in memory. */
export function parseJson(name: string, json: string | Uint8Array, options: JsonReadOptions = {}): JsonDocument {
  const bytes = typeof json === 'string' ? Buffer.from(json) : json;
  const text = new Uint8Array(bytes.length + 1);
  text.set(bytes);
  return documentOf(name, text, options);
}

function documentOf(name: string, text: JsonText, options: JsonReadOptions): JsonDocument {
  const bytes = text.length - 1;
  const parsed = parseText(name, text, options.literals ?? false);
  // Python writes one line unless told otherwise: then the bytes can go in any case.
  const first = text.indexOf(0x0a);
  const isOneLine = first < 0 || first >= lastByte(text);
  const find = isOneLine ? () => 1 : options.check === 'values' ? () => undefined : lineFinder(text);
  return {
    name,
    bytes,
    value: parsed.value,
    findings: textFindings(parsed, text),
    line: (pointer) => (hasPointer(parsed.value, pointer) ? find(pointer) : undefined),
    keys: (object) => parsed.keyOrders.get(object) ?? Object.keys(object),
  };
}

/** Offset of the last byte that is no white space. */
function lastByte(text: JsonText): number {
  let at = text.length - 2;
  while (at > 0 && text[at]! <= 0x20) at--;
  return at;
}

function hasPointer(value: unknown, pointer: string): boolean {
  let at = value;
  for (const part of pointer.split('/').slice(1)) {
    const key = part.replaceAll('~1', '/').replaceAll('~0', '~');
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, key)) return false;
    at = (at as Readonly<Record<string, unknown>>)[key];
  }
  return pointer === '' || pointer.startsWith('/');
}

const expectations: Readonly<Record<TextFault['kind'], Pick<Finding, 'level' | 'code' | 'expected' | 'hint'>>> = {
  bom: {
    level: 'error',
    code: 'json.bom',
    expected: 'no byte order mark',
    hint: "save the file as UTF-8 without it: Python's reader refuses it",
  },
  nan: {
    level: 'error',
    code: 'json.nan',
    expected: 'a finite number',
    hint: "only Python's reader takes this token; JSON has none for it",
  },
  duplicate: {
    level: 'error',
    code: 'json.duplicate_key',
    expected: 'each key once',
    hint: 'readers take the last one and drop the others without a word',
  },
  surrogate: {
    level: 'warning',
    code: 'json.surrogate',
    expected: 'surrogates in pairs',
    hint: 'this text cannot be written as UTF-8',
  },
  integer: {
    level: 'warning',
    code: 'json.integer',
    expected: 'an integer of at most 2^53 - 1',
    hint: 'it was rounded to the nearest double; write it as text',
  },
  overflow: {
    level: 'warning',
    code: 'json.overflow',
    expected: 'a number below 1.8e308',
    hint: 'it reads as infinity',
  },
};

function textFindings({ faults, counts }: ParsedText, text: JsonText): Finding[] {
  const lineAt = lineCounter(text);
  const earlierLine = lineCounter(text);
  const found = faults.map((fault): Finding => {
    const { level, code, expected, hint } = expectations[fault.kind];
    const name = fault.text.length > 60 ? `${fault.text.slice(0, 57)}…` : fault.text;
    return {
      level,
      code,
      at: fault.pointer,
      line: lineAt(fault.offset),
      expected,
      found:
        fault.earlier === undefined
          ? `\`${name}\``
          : `\`${name}\` a second time, before in line ${earlierLine(fault.earlier)}`,
      ...(hint === undefined ? {} : { hint }),
    };
  });
  // The counts have the kinds as keys.
  for (const [kind, count] of Object.entries(counts) as [TextFault['kind'], number][]) {
    if (count <= faultLimit) continue;
    const { level, code } = expectations[kind];
    found.push(moreFindings(level, code, count - faultLimit));
  }
  return found;
}
