import { EgolensError } from '../errors.js';

/** One row of a safetensors header, as written. */
export interface HeaderRow {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly dataOffsets: readonly [begin: number, end: number];
}

export interface SafetensorsHeader {
  readonly rows: ReadonlyMap<string, HeaderRow>;
  readonly metadata: ReadonlyMap<string, string>;
}

/** Ten times what the largest published models have. */
const maxRows = 100_000;
/** Names and metadata: some writers store a whole vocabulary in one. */
const maxStringLength = 4 * 2 ** 20;

/**
 * Parse the JSON of a safetensors header: exactly its grammar, nothing more, so that a header of strangers takes memory in
 * proportion to its rows. Names that occur twice are refused; JSON.parse would keep the last without a word.
 *
 * @throws EgolensError checkpoint.format with the place
 */
export function parseHeader(text: string, fileName: string): SafetensorsHeader {
  let at = 0;

  function fault(expected: string): EgolensError {
    const found = at < text.length ? JSON.stringify(text.slice(at, at + 16)) : 'the end';
    return new EgolensError(
      'checkpoint.format',
      `\`${fileName}\`: header, character ${at}: expected ${expected}, found ${found}`,
    );
  }
  function match(pattern: RegExp): string | null {
    pattern.lastIndex = at;
    const found = pattern.exec(text)?.[0];
    if (found === undefined) return null;
    at += found.length;
    return found;
  }
  function accept(character: string): boolean {
    match(/[ \t\r\n]*/y);
    if (text[at] !== character) return false;
    at++;
    return true;
  }
  function expect(character: string): void {
    if (!accept(character)) throw fault(`\`${character}\``);
  }
  function string(): string {
    match(/[ \t\r\n]*/y);
    if (text[at] !== '"') throw fault('a string');
    let end = at + 1;
    while (end < text.length && end - at <= maxStringLength && text[end] !== '"') end += text[end] === '\\' ? 2 : 1;
    try {
      const value: unknown = JSON.parse(text.slice(at, end + 1));
      if (typeof value === 'string') {
        at = end + 1;
        return value;
      }
    } catch {
      // Falls through to the one message for all that is wrong with strings.
    }
    throw fault(`a JSON string of at most ${maxStringLength} characters`);
  }
  function integer(): number {
    match(/[ \t\r\n]*/y);
    const start = at;
    const digits = match(/(?:0|[1-9]\d{0,15})(?![\d.eE])/y);
    if (digits !== null && Number.isSafeInteger(Number(digits))) return Number(digits);
    at = start;
    throw fault('a whole number from 0 to 2^53');
  }
  function integers(limit: number): number[] {
    const values: number[] = [];
    expect('[');
    if (accept(']')) return values;
    do {
      if (values.length === limit) throw fault(`at most ${limit} numbers`);
      values.push(integer());
    } while (accept(','));
    expect(']');
    return values;
  }
  /** The members of an object; `member` reads each value. */
  function object(member: (key: string) => void): void {
    const seen = new Set<string>();
    expect('{');
    if (accept('}')) return;
    do {
      match(/[ \t\r\n]*/y);
      const start = at;
      const key = string();
      if (seen.has(key)) {
        at = start;
        throw fault('a name that did not occur before');
      }
      seen.add(key);
      expect(':');
      member(key);
    } while (accept(','));
    expect('}');
  }
  function row(): HeaderRow {
    let dtype: string | undefined;
    let shape: readonly number[] | undefined;
    let offsets: readonly number[] | undefined;
    object((key) => {
      if (key === 'dtype') dtype = string();
      else if (key === 'shape') shape = integers(64);
      else if (key === 'data_offsets') offsets = integers(2);
      else throw fault('one of `dtype`, `shape`, `data_offsets` before this');
    });
    const [begin, end] = offsets ?? [];
    if (dtype === undefined || shape === undefined || begin === undefined || end === undefined) {
      throw fault('`dtype`, `shape` and two `data_offsets` before this');
    }
    return { dtype, shape, dataOffsets: [begin, end] };
  }

  const rows = new Map<string, HeaderRow>();
  const metadata = new Map<string, string>();
  object((name) => {
    if (name === '__metadata__') object((key) => void metadata.set(key, string()));
    else if (rows.size < maxRows) rows.set(name, row());
    else {
      throw new EgolensError('limit.size', `\`${fileName}\`: expected at most ${maxRows} tensors in the header`);
    }
  });
  match(/ */y);
  if (at !== text.length) throw fault('only blanks after the header');
  return { rows, metadata };
}
