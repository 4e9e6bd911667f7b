/**
 * CLIP's byte-pair vocabulary, from the file of merges that its projects share to the `tokenizer.json` of a model folder.
 *
 * @source openai/CLIP clip/simple_tokenizer.py: bytes_to_unicode, SimpleTokenizer.__init__
 */
import { createHash } from 'node:crypto';
import { gunzipSync } from 'node:zlib';
import { EgolensError } from '../errors.js';
import { jsonText } from '../json.js';

export const startToken = '<|startoftext|>';
export const endToken = '<|endoftext|>';
/** Marks the last symbol of a word. */
export const wordEnd = '</w>';

/** How CLIP cuts a clean text: contractions, runs of letters, single digits, runs of anything else. The form its tokenizer.json has. */
export const splitPattern = String.raw`'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+`;

/** The file that the released models use: `bpe_simple_vocab_16e6.txt.gz`, of which the first merges count. */
const official = {
  sha256: '924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a',
  merges: 49152 - 256 - 2,
} as const;

const maxFileBytes = 8 * 2 ** 20;
/** The official file unpacks to 3 MB. */
const maxTextBytes = 32 * 2 ** 20;

/** One printable character for each byte, in the order of their ids: printable bytes stand for themselves, the others follow. */
export const byteSymbols: readonly string[] = symbolsInIdOrder().map(({ symbol }) => symbol);

/** The symbol of each byte: index = byte. */
export const symbolOfByte: readonly string[] = symbolsInIdOrder()
  .sort((a, b) => a.byte - b.byte)
  .map(({ symbol }) => symbol);

function symbolsInIdOrder(): { byte: number; symbol: string }[] {
  const isPrintable = (byte: number): boolean =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
  const bytes = Array.from({ length: 256 }, (_, byte) => byte);
  const others = bytes.filter((byte) => !isPrintable(byte));
  return [
    ...bytes.filter(isPrintable).map((byte) => ({ byte, symbol: String.fromCharCode(byte) })),
    ...others.map((byte, i) => ({ byte, symbol: String.fromCharCode(256 + i) })),
  ];
}

/** Is this the merges file of the released CLIP, ViCLIP and InternVideo models, to the byte? */
export function isClipVocabulary(file: Uint8Array): boolean {
  return createHash('sha256').update(file).digest('hex') === official.sha256;
}

/**
 * CLIP's merges file as the text of a `tokenizer.json`. At most the first 48,894 merges after the header line count; a shorter list
 * gives a smaller vocabulary: 512 byte symbols, the merges, start and end.
 *
 * @param file gzipped or plain; `bpe_simple_vocab_16e6.txt.gz`, or a `merges.txt`
 * @param name what messages call it
 * @throws EgolensError limit.size above 8 MiB, or 32 MiB unpacked; data.invalid naming the line
 */
export function clipTokenizerJson(file: Uint8Array, name: string): string {
  const merges = readMerges(mergesText(file, name), name);
  const tokens = [
    ...byteSymbols,
    ...byteSymbols.map((symbol) => symbol + wordEnd),
    ...merges.map(([left, right]) => left + right),
    startToken,
    endToken,
  ];
  const added = (content: string, id: number) => ({
    id,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: true,
    special: true,
  });
  const [start, end] = [tokens.length - 2, tokens.length - 1];
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true };
  const text = jsonText(
    {
      version: '1.0',
      truncation: null,
      padding: null,
      added_tokens: [added(startToken, start), added(endToken, end)],
      normalizer: {
        type: 'Sequence',
        normalizers: [
          { type: 'NFC' },
          { type: 'Replace', pattern: { Regex: '\\s+' }, content: ' ' },
          { type: 'Lowercase' },
        ],
      },
      pre_tokenizer: {
        type: 'Sequence',
        pretokenizers: [
          { type: 'Split', pattern: { Regex: splitPattern }, behavior: 'Removed', invert: true },
          { ...byteLevel, use_regex: false },
        ],
      },
      post_processor: {
        type: 'RobertaProcessing',
        sep: [endToken, end],
        cls: [startToken, start],
        trim_offsets: false,
        add_prefix_space: false,
      },
      decoder: byteLevel,
      model: {
        type: 'BPE',
        dropout: null,
        unk_token: endToken,
        continuing_subword_prefix: '',
        end_of_word_suffix: wordEnd,
        fuse_unk: false,
        vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
        merges: merges.map(([left, right]) => `${left} ${right}`),
      },
    },
    0,
  );
  return `${text}\n`;
}

/** Does a file begin as a merges file does: gzipped, or with its `#version` line? */
export function isMergesFile(file: Uint8Array): boolean {
  const head = Buffer.from(file.subarray(0, 200)).toString('latin1');
  return isGzip(file) || (!head.trimStart().startsWith('{') && head.includes('#version'));
}

function isGzip(file: Uint8Array): boolean {
  return file[0] === 0x1f && file[1] === 0x8b;
}

function mergesText(file: Uint8Array, name: string): string {
  if (file.length > maxFileBytes) throw tooLarge(name, `${file.length} bytes`, maxFileBytes);
  let bytes = file;
  if (isGzip(file)) {
    try {
      bytes = gunzipSync(file, { maxOutputLength: maxTextBytes });
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE')
        throw tooLarge(name, 'more bytes when unpacked', maxTextBytes);
      throw new EgolensError('data.invalid', `\`${name}\`: damaged gzip data: ${(cause as Error).message}`, { cause });
    }
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new EgolensError('data.invalid', `\`${name}\`: expected text in UTF-8`, { cause });
  }
}

function tooLarge(name: string, found: string, most: number): EgolensError {
  return new EgolensError('limit.size', `\`${name}\`: ${found}, expected at most ${most}`, {
    try: 'take the merges file of CLIP, `bpe_simple_vocab_16e6.txt.gz`',
  });
}

type Merge = readonly [left: string, right: string];

function readMerges(text: string, name: string): Merge[] {
  const lines = text.split('\n', official.merges + 2);
  const fault = (line: number, expected: string): EgolensError =>
    new EgolensError(
      'data.invalid',
      `\`${name}\`: line ${line + 1}: expected ${expected}, found \`${(lines[line] ?? '').slice(0, 60)}\``,
      { try: 'take the merges file of CLIP, `bpe_simple_vocab_16e6.txt.gz`, or the `tokenizer.json` of the model' },
    );
  if (lines[0]?.includes('#version') !== true) throw fault(0, 'a header with `#version`');
  if (lines.at(-1) === '') lines.pop();
  const known = new Set([...byteSymbols, ...byteSymbols.map((symbol) => symbol + wordEnd)]);
  return lines.slice(1, 1 + official.merges).map((raw, i) => {
    const parts = raw.replace(/\r$/, '').split(' ');
    const [left, right] = parts;
    if (parts.length !== 2 || left === undefined || right === undefined)
      throw fault(i + 1, 'two symbols with one blank between');
    if (!known.has(left) || !known.has(right)) throw fault(i + 1, 'two symbols that bytes and earlier merges make');
    if (left.endsWith(wordEnd)) throw fault(i + 1, `\`${wordEnd}\` at the end of the second symbol only`);
    if (known.has(left + right)) throw fault(i + 1, 'a merge that gives a new symbol');
    known.add(left + right);
    return [left, right];
  });
}
