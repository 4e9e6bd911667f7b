import { EgolensError } from '../errors.js';
import type { ByteSource, DType } from '../types.js';
import { checkedSize, latin1, shortText, utf8 } from './bytes.js';
import { elementTypes, type StoredType } from './element-types.js';

/** What the first bytes of a `.npy` file say about the rest. */
export interface NpyHeader {
  readonly version: 1 | 2 | 3;
  readonly storedType: Exclude<StoredType, 'bfloat16'>;
  readonly byteOrder: 'little' | 'big';
  readonly order: 'C' | 'F';
  readonly shape: readonly number[];
  /** Where the elements begin. */
  readonly dataOffset: number;
  /** Bytes of the elements, as the shape says; more may follow in the file and are no part of the array. */
  readonly dataBytes: number;
}

const maxHeaderBytes = 64 * 2 ** 10;
const maxRank = 64;

const kinds: ReadonlyMap<string, NpyHeader['storedType']> = new Map<string, NpyHeader['storedType']>([
  ['f2', 'float16'],
  ['f4', 'float32'],
  ['f8', 'float64'],
  ['i1', 'int8'],
  ['i2', 'int16'],
  ['i4', 'int32'],
  ['i8', 'int64'],
  ['u1', 'uint8'],
  ['u2', 'uint16'],
  ['u4', 'uint32'],
  ['u8', 'uint64'],
  ['b1', 'bool'],
]);

/**
 * Read the header of a `.npy` file, version 1 to 3, and check that the file holds the elements that it announces.
 *
 * @throws EgolensError input.format for another file or a damaged header, data.dtype for objects, texts and structures,
 *   input.truncated when elements are missing
 * @source numpy/lib/format.py
 */
export async function readNpyHeader(source: ByteSource): Promise<NpyHeader> {
  const fault = (message: string) => new EgolensError('input.format', `\`${source.name}\`: ${message}`);
  if (source.size === 0) throw new EgolensError('input.empty', `\`${source.name}\`: the file has no bytes`);
  const head = await source.read(0, Math.min(12, source.size));
  if (latin1(head.subarray(0, 6)) !== '\x93NUMPY'.slice(0, head.length)) {
    throw fault(`expected \`\\x93NUMPY\`, found \`${shortText(latin1(head.subarray(0, 6)))}\``);
  }
  const version = head[6];
  if (head.length < 12) {
    throw new EgolensError('input.truncated', `\`${source.name}\`: ${head.length} bytes are no whole header`);
  }
  if ((version !== 1 && version !== 2 && version !== 3) || head[7] !== 0) {
    throw fault(`format version ${version}.${head[7]}, expected 1.0, 2.0 or 3.0`);
  }
  const view = new DataView(head.buffer, head.byteOffset);
  const [start, length] = version === 1 ? [10, view.getUint16(8, true)] : [12, view.getUint32(8, true)];
  if (length > maxHeaderBytes) {
    throw new EgolensError(
      'limit.size',
      `\`${source.name}\`: a header of ${length} bytes, expected at most ${maxHeaderBytes}`,
    );
  }
  const bytes = await source.read(start, length);
  const text = version === 3 ? utf8(bytes) : latin1(bytes);
  if (text === null) throw fault('the header is not UTF-8');
  const { descr, order, shape } = parseDictionary(text, fault);
  const { storedType, byteOrder } = elementTypeOf(descr, source.name);
  const size = shape.includes(0) ? 0 : checkedSize(shape);
  const dataBytes = (size ?? Infinity) * elementTypes[storedType].size;
  const dataOffset = start + length;
  if (dataBytes > source.size - dataOffset) {
    throw new EgolensError(
      'input.truncated',
      `\`${source.name}\`: shape (${shape.join(', ')}) of ${storedType} needs ${dataBytes} bytes, found ${source.size - dataOffset}`,
    );
  }
  return { version, storedType, byteOrder, order, shape, dataOffset, dataBytes };
}

function elementTypeOf(descr: string, name: string): Pick<NpyHeader, 'storedType' | 'byteOrder'> {
  const [, mark, kind] = /^([<>|=])([a-zA-Z]\d*)$/.exec(descr) ?? [];
  const storedType = kinds.get(kind ?? '');
  if (storedType === undefined || (mark === '|' && elementTypes[storedType].size > 1)) {
    const why = kind === 'O' ? ' (Python objects are pickles, which are never run)' : '';
    throw new EgolensError(
      'data.dtype',
      `\`${name}\`: element type \`${shortText(descr)}\`${why}, expected one of ${[...kinds.keys()].join(', ')} in either byte order`,
    );
  }
  return { storedType, byteOrder: mark === '>' ? 'big' : 'little' };
}

/** The Python dict literal `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`, these keys once each, in any order. */
function parseDictionary(
  text: string,
  fault: (message: string) => EgolensError,
): { descr: string; order: 'C' | 'F'; shape: number[] } {
  let at = 0;
  const wrong = (expected: string) => {
    const found = at < text.length ? `\`${shortText(text.slice(at, at + 16))}\`` : 'the end';
    return fault(`header, character ${at}: expected ${expected}, found ${found}`);
  };
  /** The text that the pattern matches here, with the blanks before it passed over. */
  const match = (pattern: RegExp): string | null => {
    while (/[ \t\n\r]/.test(text.charAt(at))) at++;
    pattern.lastIndex = at;
    const found = pattern.exec(text)?.[0] ?? null;
    at += found?.length ?? 0;
    return found;
  };
  const expect = (pattern: RegExp, expected: string): string => {
    const found = match(pattern);
    if (found === null) throw wrong(expected);
    return found;
  };
  const shapeTuple = (): number[] => {
    const shape: number[] = [];
    expect(/\(/y, 'a tuple of whole numbers');
    while (match(/\)/y) === null) {
      // Python 2 wrote `3L`.
      const digits = expect(/\d{1,16}(?=L?[ ,)])/y, 'a whole number from 0 to 2^53');
      const n = Number(digits);
      if (!Number.isSafeInteger(n) || shape.length === maxRank) throw wrong(`at most ${maxRank} numbers up to 2^53`);
      shape.push(n);
      match(/L/y);
      if (match(/,/y) === null) {
        // `(3)` is a number in Python, not a tuple.
        if (shape.length === 1) throw wrong('`,`: a tuple of one has a comma');
        expect(/\)/y, '`,` or `)`');
        break;
      }
    }
    return shape;
  };

  let descr: string | undefined;
  let order: 'C' | 'F' | undefined;
  let shape: number[] | undefined;
  expect(/\{/y, '`{`');
  while (match(/\}/y) === null) {
    const key = expect(
      /'(?:descr|fortran_order|shape)'|"(?:descr|fortran_order|shape)"/y,
      'one of the keys descr, fortran_order, shape',
    );
    expect(/:/y, '`:`');
    const name = key.slice(1, -1);
    if ({ descr, fortran_order: order, shape }[name] !== undefined) throw wrong(`the key ${name} once`);
    if (name === 'shape') shape = shapeTuple();
    else if (name === 'fortran_order') order = expect(/True|False/y, 'True or False') === 'True' ? 'F' : 'C';
    // A list describes a structure: it is kept as text, and refused as an element type.
    else
      descr = (match(/\[[^\]]{0,1000}\]/y) ?? expect(/'[^'\\]{1,100}'|"[^"\\]{1,100}"/y, 'a type in quotes')).replace(
        /^['"]|['"]$/g,
        '',
      );
    if (match(/,/y) === null) {
      expect(/\}/y, '`,` or `}`');
      break;
    }
  }
  match(/[ \t\n\r]*/y);
  if (at !== text.length) throw wrong('nothing but blanks after the dictionary');
  if (descr === undefined || order === undefined || shape === undefined) {
    throw fault('the header lacks one of the keys descr, fortran_order, shape');
  }
  return { descr, order, shape };
}

const descrOf: { readonly [D in DType]: string } = {
  float32: '<f4',
  float16: '<f2',
  uint8: '|u1',
  int32: '<i4',
  int64: '<i8',
  bool: '|b1',
};

/** Headers have at least this length, so that the count of rows can grow in place. */
const minHeaderBytes = 128;

/**
 * Header of version 1.0, little-endian, C order, a multiple of 64 bytes.
 *
 * Its length depends on the element type and on all sizes but the first: a writer may put a header with 0 rows, then rows, then this
 * header again with the final count over the first one, and gets the bytes that `writeNpy` gives for the finished array.
 */
export function npyHeader(dtype: DType, shape: readonly number[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(headerLength(dtype, shape));
  bytes.fill(0x20);
  bytes.set([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0]);
  new DataView(bytes.buffer).setUint16(8, bytes.length - 10, true);
  bytes.set(Buffer.from(dictionary(dtype, shape), 'latin1'), 10);
  bytes[bytes.length - 1] = 0x0a;
  return bytes;
}

function dictionary(dtype: DType, shape: readonly number[]): string {
  const tuple = shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(', ')})`;
  return `{'descr': '${descrOf[dtype]}', 'fortran_order': False, 'shape': ${tuple}, }`;
}

function headerLength(dtype: DType, shape: readonly number[]): number {
  const widest = shape.length === 0 ? shape : [Number.MAX_SAFE_INTEGER, ...shape.slice(1)];
  return Math.max(minHeaderBytes, Math.ceil((10 + dictionary(dtype, widest).length + 1) / 64) * 64);
}
