/**
 * The JSON parser behind `json-reader.ts`: UTF-8 bytes in, values out, never one string of the whole text.
 *
 * Strict but for what Python's reader lets pass and real files hold: bare `NaN`, `Infinity` and `-Infinity`, keys that stand twice
 * (the last wins), lone surrogates, a byte order mark (which Python's refuses, with a message that nobody understands).
 */
import { Buffer, constants, isAscii, isUtf8 } from 'node:buffer';
import { EgolensError } from './errors.js';

/** Bytes with one 0 behind the text, so that no read of the parser leaves the array. */
export type JsonText = Uint8Array<ArrayBuffer>;

/** What the parser lets pass, with its place. */
export interface TextFault {
  readonly kind: 'bom' | 'nan' | 'duplicate' | 'surrogate' | 'integer' | 'overflow';
  readonly pointer: string;
  /** Of the value, or of the second key. */
  readonly offset: number;
  /** The text as it stands; the key of a duplicate. */
  readonly text: string;
  /** Offset of the same key before it. */
  readonly earlier?: number;
}

export interface ParsedText {
  readonly value: unknown;
  /** The first ones by place, at most `faultLimit` of each kind. */
  readonly faults: readonly TextFault[];
  /** All of them, by kind. */
  readonly counts: Readonly<Record<TextFault['kind'], number>>;
  /** Keys in the order of the text, of the objects that JavaScript lists in another: keys that look like integers come first there. */
  readonly keyOrders: ReadonlyMap<object, readonly string[]>;
}

/** Faults that are kept with their place, of each kind. */
export const faultLimit = 100;

/** Containers inside each other; Python's reader gives up at about 1000. */
export const depthLimit = 512;

/** Python refuses integers of more digits; turning them into a bigint takes quadratic time. */
const digitLimit = 4300;

const powersOfTen = Array.from({ length: 23 }, (_, exponent) => Number(`1e${exponent}`)); // the last exact double is 1e22

/** The objects that have the same keys in the same order so far. A known step of the tree needs no search for a repeated key. */
interface Shape {
  readonly key: string;
  /** UTF-8 of the key, as it stands in the text between the quotes. */
  readonly raw: Uint8Array;
  readonly parent: Shape | undefined;
  readonly size: number;
  /** Largest key so far that looks like an array index; Infinity from the first key on that does not. */
  readonly lastIndex: number;
  /** Does JavaScript list these keys in another order? */
  readonly isReordered: boolean;
  /** The key that came after this one the last time. */
  next: Shape | undefined;
  children: Map<string, Shape> | undefined;
}
const shapeLimit = 20_000;
const shapeKeyLimit = 48;
const stringCacheSize = 4096;
const longestCached = 40;

/**
 * The value of a JSON text.
 *
 * @param text one byte longer than the JSON, ending in 0
 * @param literals integers without point or exponent become `bigint`
 * @throws EgolensError data.invalid with line, column and what was expected; limit.size for a string beyond what JavaScript holds
 */
export function parseText(name: string, text: JsonText, literals: boolean): ParsedText {
  const end = text.length - 1;
  const buffer = Buffer.from(text.buffer, text.byteOffset, end);
  if (!isUtf8(buffer)) throw badUtf8(name, text);
  const onlyAscii = isAscii(buffer);

  const faults: TextFault[] = [];
  const counts = { bom: 0, nan: 0, duplicate: 0, surrogate: 0, integer: 0, overflow: 0 };
  /** Key or index of what is being read, by depth. */
  const path: (string | number)[] = [];
  let depth = 0;
  let pos = 0;

  const rootShape: Shape = {
    key: '',
    raw: text.subarray(0, 0),
    parent: undefined,
    size: 0,
    lastIndex: -1,
    isReordered: false,
    next: undefined,
    children: undefined,
  };
  let shapeCount = 1;
  const keyOrders = new Map<object, readonly string[]>();
  const cachedText = new Array<string | undefined>(stringCacheSize).fill(undefined);
  const cachedStart = new Float64Array(stringCacheSize);

  function report(kind: TextFault['kind'], offset: number, found: string, earlier?: () => number): void {
    counts[kind]++;
    if (counts[kind] > faultLimit) return;
    const fault = { kind, pointer: pointerHere(), offset, text: found };
    faults.push(earlier === undefined ? fault : { ...fault, earlier: earlier() });
  }

  function pointerHere(): string {
    let pointer = '';
    for (let level = 0; level < depth; level++) {
      pointer += `/${escapePointer(String(path[level]))}`;
    }
    return pointer;
  }

  function fail(expected: string, offset = pos): never {
    throw syntaxError(name, text, offset, expected);
  }

  function skipSpace(): number {
    let byte = text[pos]!; // the 0 behind the text ends every loop
    while (byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09) byte = text[++pos]!;
    return byte;
  }

  function readValue(byte: number): unknown {
    switch (byte) {
      case 0x22:
        return readString();
      case 0x7b:
        return readObject();
      case 0x5b:
        return readList();
      case 0x74:
        return readWord('true', true);
      case 0x66:
        return readWord('false', false);
      case 0x6e:
        return readWord('null', null);
      case 0x4e:
        return readNotFinite('NaN', NaN);
      case 0x49:
        return readNotFinite('Infinity', Infinity);
      default:
        return readNumber();
    }
  }

  function readWord(word: string, value: boolean | null): boolean | null {
    for (let i = 0; i < word.length; i++) {
      if (text[pos + i] !== word.charCodeAt(i)) fail(`\`${word}\``, pos + i === end ? end : pos);
    }
    pos += word.length;
    return value;
  }

  function readNotFinite(word: string, value: number): number {
    const start = pos;
    readWord(word, null);
    report('nan', value === -Infinity ? start - 1 : start, String(value));
    return value;
  }

  function readNumber(): number | bigint {
    const start = pos;
    let p = pos;
    let byte = text[p]!;
    const negative = byte === 0x2d;
    if (negative) {
      byte = text[++p]!;
      if (byte === 0x49) {
        pos = p;
        return readNotFinite('Infinity', -Infinity);
      }
    }
    let mantissa = 0;
    if (byte === 0x30) {
      byte = text[++p]!;
      if (byte >= 0x30 && byte <= 0x39) fail('no digit after a leading 0', p);
    } else if (byte >= 0x31 && byte <= 0x39) {
      do {
        mantissa = mantissa * 10 + (byte - 0x30);
        byte = text[++p]!;
      } while (byte >= 0x30 && byte <= 0x39);
    } else {
      fail(negative ? 'a digit after `-`' : 'a value', p);
    }
    if (byte !== 0x2e && byte !== 0x65 && byte !== 0x45) {
      pos = p;
      return readInteger(start, negative, mantissa);
    }
    let places = 0;
    if (byte === 0x2e) {
      const point = p;
      byte = text[++p]!;
      while (byte >= 0x30 && byte <= 0x39) {
        mantissa = mantissa * 10 + (byte - 0x30);
        byte = text[++p]!;
      }
      places = p - point - 1;
      if (places === 0) fail('a digit after the point', p);
    }
    if (byte === 0x65 || byte === 0x45) {
      byte = text[++p]!;
      if (byte === 0x2b || byte === 0x2d) byte = text[++p]!;
      if (byte < 0x30 || byte > 0x39) fail('a digit of the exponent', p);
      while (byte >= 0x30 && byte <= 0x39) byte = text[++p]!;
    } else if (mantissa <= Number.MAX_SAFE_INTEGER && places <= 22) {
      // Both are exact doubles, so one division rounds once: the nearest double, as the slow way gives it.
      pos = p;
      const value = mantissa / powersOfTen[places]!;
      return negative ? -value : value;
    }
    pos = p;
    const value = Number(buffer.toString('latin1', start, p));
    if (!Number.isFinite(value)) report('overflow', start, short(start, p));
    return value;
  }

  function readInteger(start: number, negative: boolean, magnitude: number): number | bigint {
    if (magnitude <= Number.MAX_SAFE_INTEGER) {
      const value = negative ? -magnitude : magnitude;
      return literals ? BigInt(value) : value;
    }
    if (pos - start > digitLimit) fail(`an integer of at most ${digitLimit} digits`, start);
    const digits = buffer.toString('latin1', start, pos);
    if (literals) return BigInt(digits);
    report('integer', start, short(start, pos));
    return Number(digits);
  }

  function short(from: number, to: number): string {
    const found = buffer.toString('utf8', from, Math.min(to, from + 60));
    return to - from > 60 ? `${found}…` : found;
  }

  function readString(): string {
    const start = pos + 1;
    let p = start;
    let hash = 0;
    let byte = text[p]!;
    while (byte !== 0x22) {
      if (byte < 0x20 || byte === 0x5c || byte > 0x7e) return readOtherString(start, p);
      hash = (Math.imul(hash, 31) + byte) | 0;
      byte = text[++p]!;
    }
    pos = p + 1;
    const length = p - start;
    if (length > longestCached) return sliceOf(start, p, true);
    const slot = (hash ^ (hash >>> 15) ^ length) & (stringCacheSize - 1);
    const known = cachedText[slot];
    if (known?.length === length && isSame(cachedStart[slot]!, start, length)) return known;
    const value = buffer.toString('latin1', start, p);
    cachedText[slot] = value;
    cachedStart[slot] = start;
    return value;
  }

  function isSame(a: number, b: number, length: number): boolean {
    for (let i = 0; i < length; i++) if (text[a + i] !== text[b + i]) return false;
    return true;
  }

  function sliceOf(from: number, to: number, isLatin: boolean): string {
    if (to - from > constants.MAX_STRING_LENGTH) {
      throw new EgolensError(
        'limit.size',
        `\`${name}\`: ${placeText(text, from)}: a text of ${to - from} bytes, expected at most ${constants.MAX_STRING_LENGTH}`,
      );
    }
    return isLatin ? buffer.toString('latin1', from, to) : buffer.toString('utf8', from, to);
  }

  /** A string with escapes, or with letters beyond ASCII. */
  function readOtherString(start: number, from: number): string {
    let p = from;
    let hasEscape = false;
    for (let byte = text[p]!; byte !== 0x22; byte = text[++p]!) {
      if (byte === 0x5c) {
        hasEscape = true;
        p += escapeLength(p) - 1;
      } else if (byte < 0x20) {
        if (p >= end) fail('`"`', p);
        fail('no control character inside a text', p);
      }
    }
    pos = p + 1;
    const raw = sliceOf(start, p, onlyAscii);
    if (!hasEscape) return raw;
    const value = JSON.parse(`"${raw}"`) as string; // every escape was looked at
    if (/\p{Surrogate}/u.test(value)) report('surrogate', start - 1, short(start, p));
    return value;
  }

  function escapeLength(p: number): number {
    const letter = text[p + 1]!;
    if (letter === 0x75) {
      for (let i = 2; i < 6; i++) if (!isHex(text[p + i]!)) fail('four hexadecimal digits after `\\u`', p + i);
      return 6;
    }
    if (!'"\\/bfnrt'.includes(String.fromCharCode(letter)) || letter === 0) {
      fail('one of `" \\ / b f n r t u` after `\\`', p + 1);
    }
    return 2;
  }

  function enter(): void {
    if (depth >= depthLimit) fail(`at most ${depthLimit} lists and objects inside each other`);
  }

  function readList(): unknown[] {
    enter();
    const level = depth++;
    path[level] = 0;
    pos++;
    const byte = skipSpace();
    if (byte === 0x5d) {
      pos++;
      depth--;
      return [];
    }
    // A list that grows from nothing takes room for 17 items at its first; lists of numbers are kept apart, unboxed.
    const first = readValue(byte);
    const list = typeof first === 'number' ? readNumbers(level, first) : readItems(level, [first]);
    pos++;
    depth--;
    return list;
  }

  /** The list that begins with this number, up to its `]`. */
  function readNumbers(level: number, a: number): unknown[] {
    let byte = skipComma(level);
    if (byte === 0x5d) return [a];
    const b = readValue(byte);
    if (typeof b !== 'number') return readItems(level, [a, b]);
    byte = skipComma(level);
    if (byte === 0x5d) return [a, b];
    const c = readValue(byte);
    if (typeof c !== 'number') return readItems(level, [a, b, c]);
    byte = skipComma(level);
    if (byte === 0x5d) return [a, b, c];
    const d = readValue(byte);
    if (typeof d !== 'number') return readItems(level, [a, b, c, d]);
    return readItems(level, [a, b, c, d]);
  }

  /** Further items up to `]`. */
  function readItems(level: number, list: unknown[]): unknown[] {
    for (let byte = skipComma(level); byte !== 0x5d; byte = skipComma(level)) list.push(readValue(byte));
    return list;
  }

  /** Over `,` to the first byte of the next item, or to `]`. */
  function skipComma(level: number): number {
    let byte = text[pos]!;
    if (byte !== 0x2c && byte !== 0x5d) byte = skipSpace();
    if (byte === 0x5d) return byte;
    if (byte !== 0x2c) fail('`,` or `]`');
    byte = text[++pos]!;
    if (byte <= 0x20) byte = skipSpace();
    if (byte === 0x5d) fail('a value after `,`');
    path[level] = (path[level] as number) + 1; // set to 0 where the list began
    return byte;
  }

  function readObject(): Record<string, unknown> {
    enter();
    const object: Record<string, unknown> = {};
    const opened = pos;
    const level = depth++;
    let shape: Shape | undefined = rootShape;
    let earlier: Map<string, number> | undefined;
    // The same as in shapes, for the keys after them.
    let [lastIndex, isReordered] = [-1, false];
    pos++;
    let byte = skipSpace();
    if (byte === 0x7d) {
      pos++;
      depth--;
      return object;
    }
    for (;;) {
      if (byte !== 0x22) fail(shape === rootShape ? 'a key in double quotes or `}`' : 'a key in double quotes');
      const next: Shape | undefined = shape?.next;
      let key: string;
      if (next !== undefined && isNext(next.raw)) {
        shape = next;
        key = next.key;
        pos += next.raw.length + 2;
        path[level] = key;
      } else {
        const start = pos;
        key = readString();
        path[level] = key;
        const known: Shape | undefined = shape === undefined ? undefined : follow(shape, key, start + 1, pos - 1);
        if (known === undefined ? Object.hasOwn(object, key) : known === shape) {
          report('duplicate', start, key, () => {
            earlier ??= keyOffsets(text, opened, start);
            return earlier.get(key) ?? opened;
          });
          earlier?.set(key, start);
        } else if (known === undefined) {
          if (shape !== undefined) ({ lastIndex, isReordered } = shape);
          const index = arrayIndexOf(key);
          isReordered ||= index !== undefined && lastIndex > index;
          lastIndex = index ?? Infinity;
        }
        shape = known;
      }
      byte = text[pos]!;
      if (byte !== 0x3a) {
        byte = skipSpace();
        if (byte !== 0x3a) fail('`:`');
      }
      byte = text[++pos]!;
      if (byte <= 0x20) byte = skipSpace();
      const value = readValue(byte);
      if (key === '__proto__') {
        Object.defineProperty(object, key, { value, enumerable: true, configurable: true, writable: true });
      } else {
        object[key] = value;
      }
      byte = text[pos]!;
      if (byte !== 0x2c && byte !== 0x7d) byte = skipSpace();
      if (byte === 0x7d) break;
      if (byte !== 0x2c) fail('`,` or `}`');
      byte = text[++pos]!;
      if (byte <= 0x20) byte = skipSpace();
      if (byte === 0x7d) fail('a key in double quotes after `,`');
    }
    pos++;
    depth--;
    if (shape === undefined ? isReordered : shape.isReordered) {
      keyOrders.set(object, shape === undefined ? [...keyOffsets(text, opened, pos - 1).keys()] : keysOf(shape));
    }
    return object;
  }

  function isNext(raw: Uint8Array): boolean {
    const start = pos + 1;
    const length = raw.length;
    if (text[start + length] !== 0x22) return false;
    for (let i = 0; i < length; i++) if (text[start + i] !== raw[i]) return false;
    return true;
  }

  /** The shape with one more key; the shape itself when it has the key; undefined where shapes end and the object itself must tell. */
  function follow(shape: Shape, key: string, from: number, to: number): Shape | undefined {
    const known = shape.children?.get(key);
    if (known !== undefined) {
      shape.next = known;
      return known;
    }
    for (let at: Shape | undefined = shape; at !== rootShape && at !== undefined; at = at.parent) {
      if (at.key === key) return shape;
    }
    if (shapeCount >= shapeLimit || shape.size >= shapeKeyLimit || to - from > 64) return undefined;
    shapeCount++;
    const index = arrayIndexOf(key);
    const child: Shape = {
      key,
      raw: text.slice(from, to),
      parent: shape,
      size: shape.size + 1,
      lastIndex: index ?? Infinity,
      isReordered: shape.isReordered || (index !== undefined && shape.lastIndex > index),
      next: undefined,
      children: undefined,
    };
    shape.children ??= new Map();
    shape.children.set(key, child);
    shape.next = child;
    return child;
  }

  if (text[0] === 0xef && text[1] === 0xbb && text[2] === 0xbf) {
    pos = 3;
    report('bom', 0, 'EF BB BF');
  }
  const first = skipSpace();
  if (pos >= end) fail('a value');
  const value = readValue(first);
  skipSpace();
  if (pos < end) {
    throw syntaxError(name, text, pos, 'the end of the file after the first value', {
      try: 'a program that appends to its output leaves two values in the file; delete the file before the program runs again',
    });
  }
  return { value, faults, counts, keyOrders };
}

function keysOf(shape: Shape): string[] {
  const keys: string[] = [];
  for (let at = shape; at.parent !== undefined; at = at.parent) keys.push(at.key);
  return keys.reverse();
}

/** The number of a key that JavaScript sorts before the others: `0`, `17`, not `07`. */
function arrayIndexOf(key: string): number | undefined {
  const first = key.charCodeAt(0);
  if (!(first >= 0x30 && first <= 0x39)) return undefined;
  return /^(0|[1-9]\d{0,9})$/.test(key) && Number(key) < 2 ** 32 - 1 ? Number(key) : undefined;
}

function isHex(byte: number): boolean {
  return (byte >= 0x30 && byte <= 0x39) || (byte >= 0x41 && byte <= 0x46) || (byte >= 0x61 && byte <= 0x66);
}

/** `a/b~c` -> `a~1b~0c` */
export function escapePointer(key: string): string {
  return key.includes('~') || key.includes('/') ? key.replaceAll('~', '~0').replaceAll('/', '~1') : key;
}

/** Offset behind the string whose opening quote is at `at`. The text is known to be good up to there. */
export function stringEnd(text: JsonText, at: number): number {
  let p = at + 1;
  for (let byte = text[p]!; byte !== 0x22; byte = text[++p]!) if (byte === 0x5c) p++;
  return p + 1;
}

/** Offsets of the keys of an object that opens at `opened`, those before `until`; of a repeated key the last. */
function keyOffsets(text: JsonText, opened: number, until: number): Map<string, number> {
  const offsets = new Map<string, number>();
  let depth = 0;
  let isKey = true;
  for (let p = opened + 1; p < until;) {
    const byte = text[p]!;
    if (byte === 0x22) {
      const behind = stringEnd(text, p);
      if (depth === 0 && isKey) offsets.set(stringAt(text, p, behind), p);
      isKey = false;
      p = behind;
      continue;
    }
    if (byte === 0x7b || byte === 0x5b) depth++;
    else if (byte === 0x7d || byte === 0x5d) depth--;
    else if (byte === 0x2c && depth === 0) isKey = true;
    p++;
  }
  return offsets;
}

/** The string between two offsets, its quotes included. */
export function stringAt(text: JsonText, from: number, to: number): string {
  return JSON.parse(Buffer.from(text.buffer, text.byteOffset + from, to - from).toString()) as string; // quotes stand at both ends
}

/** Counts lines up to growing offsets: one pass over the text for all of them. */
export function lineCounter(text: JsonText): (offset: number) => number {
  let line = 1;
  let counted = 0;
  return (offset) => {
    if (offset < counted) [line, counted] = [1, 0];
    for (;;) {
      const at = text.indexOf(0x0a, counted);
      if (at < 0 || at >= offset) break;
      line++;
      counted = at + 1;
    }
    counted = Math.max(counted, Math.min(offset, text.length));
    return line;
  };
}

/** `line 3, column 17`; both from 1, columns in characters. */
export function placeText(text: JsonText, offset: number): string {
  const lineStart = offset === 0 ? 0 : text.lastIndexOf(0x0a, offset - 1) + 1;
  let column = 1;
  for (let p = lineStart; p < offset; p++) if ((text[p]! & 0xc0) !== 0x80) column++;
  return `line ${lineCounter(text)(offset)}, column ${column}`;
}

function syntaxError(
  name: string,
  text: JsonText,
  offset: number,
  expected: string,
  details: { readonly try?: string } = {},
): EgolensError {
  const end = text.length - 1;
  if (offset >= end) {
    const inside = openContainer(text, end);
    return new EgolensError(
      'data.invalid',
      `\`${name}\`: ${placeText(text, end)}: the file ends ${inside ?? 'where a value should begin'}, expected ${expected}`,
      { try: end === 0 ? 'the file is empty' : 'the file is cut off: write or copy it again', input: name },
    );
  }
  return new EgolensError(
    'data.invalid',
    `\`${name}\`: ${placeText(text, offset)}: expected ${expected}, found ${foundText(text, offset)}`,
    { ...hintOf(foundText(text, offset), offset), ...details, input: name },
  );
}

/** `inside the object that begins at line 1, column 1`: what is still open at the end of a good but unfinished text. */
function openContainer(text: JsonText, end: number): string | undefined {
  const open: number[] = [];
  for (let p = 0; p < end; p++) {
    const byte = text[p]!;
    if (byte === 0x22) {
      const start = p++;
      while (p < end && text[p] !== 0x22) p += text[p] === 0x5c ? 2 : 1;
      if (p >= end) return `inside the text that begins at ${placeText(text, start)}`;
    } else if (byte === 0x7b || byte === 0x5b) open.push(p);
    else if (byte === 0x7d || byte === 0x5d) open.pop();
  }
  const last = open.at(-1);
  if (last === undefined) return undefined;
  return `inside the ${text[last] === 0x7b ? 'object' : 'list'} that begins at ${placeText(text, last)}`;
}

function foundText(text: JsonText, offset: number): string {
  const byte = text[offset]!;
  if (byte < 0x20 || byte === 0x7f) return `the byte 0x${byte.toString(16).padStart(2, '0')}`;
  const piece = Buffer.from(text.buffer, text.byteOffset + offset, Math.min(text.length - 1 - offset, 64)).toString();
  const [word] = /^(?:[\w+.-]{1,20}|.)/su.exec(piece) ?? [''];
  return `\`${word}\``;
}

/** What usually stands behind a token that is no JSON. */
function hintOf(found: string, offset: number): { readonly try?: string } {
  if (["`'`", '`True`', '`False`', '`None`', '`nan`', '`inf`'].includes(found))
    return { try: 'this is how Python prints a value: write the file with `json.dump`' };
  if (offset > 0) return {};
  if (found === '`version`') return { try: 'this looks like a pointer of Git LFS: fetch the file itself' };
  return found === '`<`' ? { try: 'this looks like a page of a website: download the file itself' } : {};
}

function badUtf8(name: string, text: JsonText): EgolensError {
  const end = text.length - 1;
  // Halves are good or not; a cut inside a letter is avoided by going back to where one begins.
  let from = 0;
  let to = end;
  while (to - from > 64) {
    let middle = from + ((to - from) >> 1);
    for (let back = 0; back < 3 && middle > from && (text[middle]! & 0xc0) === 0x80; back++) middle--;
    if (isUtf8(text.subarray(from, middle))) from = middle;
    else to = middle;
  }
  let length = 1;
  while (from < to && from < end) {
    for (length = 1; length <= 4 && !isUtf8(text.subarray(from, Math.min(from + length, end))); length++);
    if (length > 4) break;
    from += length;
  }
  return new EgolensError(
    'data.invalid',
    `\`${name}\`: ${placeText(text, from)}: expected UTF-8, found the byte 0x${text[from]!.toString(16).padStart(2, '0')}`,
    { try: 'save the file as UTF-8; a zip archive, a pickle or an array is no JSON', input: name },
  );
}
