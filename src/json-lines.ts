/** Lines of values in a JSON text, found when they are asked for: no table is kept while the text is read. */
import { escapePointer, lineCounter, stringAt, stringEnd, type JsonText } from './json-text.js';

/** Offsets of the members of one object or list. */
type Members = ReadonlyMap<string, number> | Float64Array;

/** Members that are remembered over all containers; beyond that the memory is emptied and fills again. */
const memberLimit = 4_000_000;

/**
 * Looks up the line (from 1) of the value at a JSON pointer in a text that was read without error. The first look at a list or
 * object passes over its text once; further looks inside it are quick.
 */
export function lineFinder(text: JsonText): (pointer: string) => number | undefined {
  const known = new Map<number, Members>();
  let size = 0;
  const lineAt = lineCounter(text);

  function membersAt(offset: number): Members | undefined {
    const remembered = known.get(offset);
    if (remembered !== undefined) return remembered;
    const byte = text[offset];
    if (byte !== 0x7b && byte !== 0x5b) return undefined;
    const members = byte === 0x7b ? objectMembers(text, offset) : listMembers(text, offset);
    const count = members instanceof Float64Array ? members.length : members.size;
    if (size + count > memberLimit) {
      known.clear();
      size = 0;
    }
    known.set(offset, members);
    size += count;
    return members;
  }

  return (pointer) => {
    if (pointer !== '' && !pointer.startsWith('/')) return undefined;
    let offset: number | undefined = valueStart(text, text[0] === 0xef ? 3 : 0);
    for (const part of pointer.split('/').slice(1)) {
      const members = membersAt(offset);
      if (members === undefined) return undefined;
      if (members instanceof Float64Array)
        offset = /^(?:0|[1-9]\d{0,15})$/.test(part) ? members[Number(part)] : undefined;
      else offset = members.get(part);
      if (offset === undefined) return undefined;
    }
    return lineAt(offset);
  };
}

function valueStart(text: JsonText, from: number): number {
  let p = from;
  while (text[p] === 0x20 || text[p] === 0x0a || text[p] === 0x0d || text[p] === 0x09) p++;
  return p;
}

/** Offsets of the items of the list that opens at `opened`. */
function listMembers(text: JsonText, opened: number): Float64Array {
  let offsets = new Float64Array(64);
  let count = 0;
  let p = valueStart(text, opened + 1);
  while (text[p] !== 0x5d) {
    if (count === offsets.length) {
      const larger = new Float64Array(count * 2);
      larger.set(offsets);
      offsets = larger;
    }
    offsets[count++] = p;
    p = valueStart(text, valueEnd(text, p));
    if (text[p] === 0x2c) p = valueStart(text, p + 1);
  }
  return offsets.slice(0, count);
}

/** Offsets of the values of an object by key, as a pointer writes the key; of a repeated key the last, as readers take it. */
function objectMembers(text: JsonText, opened: number): ReadonlyMap<string, number> {
  const offsets = new Map<string, number>();
  let p = valueStart(text, opened + 1);
  while (text[p] !== 0x7d) {
    const behind = stringEnd(text, p);
    const key = escapePointer(stringAt(text, p, behind));
    p = valueStart(text, valueStart(text, behind) + 1);
    offsets.set(key, p);
    p = valueStart(text, valueEnd(text, p));
    if (text[p] === 0x2c) p = valueStart(text, p + 1);
  }
  return offsets;
}

/** Offset behind the value that begins at `start`. */
function valueEnd(text: JsonText, start: number): number {
  let p = start;
  let depth = 0;
  do {
    const byte = text[p]!; // the text is good: it ends after its last bracket
    if (byte === 0x22) {
      p = stringEnd(text, p);
      continue;
    }
    if (byte === 0x7b || byte === 0x5b) depth++;
    else if (byte === 0x7d || byte === 0x5d) depth--;
    p++;
  } while (depth > 0);
  const first = text[start]!;
  if (first === 0x22 || first === 0x7b || first === 0x5b) return p;
  while (!isDelimiter(text[p]!)) p++; // a word or a number
  return p;
}

function isDelimiter(byte: number): boolean {
  return byte <= 0x20 || byte === 0x2c || byte === 0x5d || byte === 0x7d;
}
