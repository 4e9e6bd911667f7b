/**
 * Text -> token ids, as CLIP, ViCLIP and the multimodal InternVideo models count them. The byte-pair merging is that of
 * `@huggingface/tokenizers`; clean-up, cutting into words and special tokens follow CLIP's own code, which that package's pipeline
 * does not do exactly (it finds special tokens inside runs of punctuation, and knows no entities).
 *
 * @source openai/CLIP clip/simple_tokenizer.py and clip/clip.py (tokenize); OpenGVLab/InternVideo viclip_text.py (tokenize)
 */
import * as tokenizers from '@huggingface/tokenizers';
import { EgolensError } from '../errors.js';
import { tensor } from '../tensor.js';
import type { Tensor } from '../types.js';
import { cleanText } from './clean.js';
import {
  byteSymbols,
  clipTokenizerJson,
  endToken,
  isMergesFile,
  splitPattern,
  startToken,
  symbolOfByte,
  wordEnd,
} from './clip-merges.js';

export { clipTokenizerJson, isClipVocabulary } from './clip-merges.js';

export interface RowOptions {
  /** Most tokens of a row, start and end included. */
  readonly context: number;
  /** A text over the context: keep its beginning and the end token (ViCLIP), or refuse it (CLIP). */
  readonly overlong: 'cut' | 'refuse';
}

/** A vocabulary with its merges, ready to use. */
export interface Tokenizer {
  /** Number of ids; the text tower's table has as many rows. */
  readonly size: number;
  readonly start: number;
  /** The highest id: towers find the end of a text as the position of the largest id. */
  readonly end: number;
  /** Ids of a text without start and end. Special tokens written out in the text count as such, as they do in CLIP. */
  encode(text: string): readonly number[];
  /**
   * Texts as rows for a text tower: start, ids, end, zeros.
   *
   * @returns int64 [texts, longest row of these texts]
   * @throws EgolensError data.invalid naming the text, its count of tokens and the context, where `overlong` is `refuse`
   */
  rows(texts: readonly string[], options: RowOptions): Tensor<'int64'>;
}

/** What is used of the package. Its own declarations do not resolve under Node's rules for modules (imports without extension). */
interface BytePairs {
  /** Words, their bytes as symbols -> tokens of the vocabulary. */
  encode(words: string[]): string[];
}
const { BPE } = tokenizers as unknown as {
  readonly BPE: new (config: {
    readonly type: 'BPE';
    readonly vocab: Readonly<Record<string, number>>;
    readonly merges: readonly (readonly [string, string])[];
    readonly end_of_word_suffix: string;
  }) => BytePairs;
};

/** CLIP's file has 2.2 MB and 49,408 tokens. */
const maxJsonBytes = 32 * 2 ** 20;
const maxVocabulary = 2 ** 20;
const maxTokenLength = 1024;
/** UTF-16 units of one text: far more than any context holds, and no work worth mentioning. */
const maxTextLength = 2 ** 16;

/** CLIP's way to cut a clean text, its two special tokens first. Lower case is a matter of the clean-up. */
const pieces = new RegExp(
  `${[startToken, endToken].map((token) => token.replaceAll('|', String.raw`\|`)).join('|')}|${splitPattern}`,
  'gu',
);

/** What of a `tokenizer.json` counts. */
interface Parts {
  readonly vocabulary: ReadonlyMap<string, number>;
  readonly merges: readonly (readonly [string, string])[];
}

/**
 * A tokenizer out of a `tokenizer.json` of CLIP's kind, ours or Hugging Face's: byte-level BPE with `</w>`, start and end token, ids
 * without gap, the end token with the highest one. Nothing else in the file is carried out.
 *
 * @param name what messages call it
 * @throws EgolensError limit.size above 32 MiB; data.invalid naming the part, what was found and what was expected
 */
export function openTokenizer(bytes: Uint8Array, name: string): Tokenizer {
  const { vocabulary, merges } = readParts(bytes, name);
  const model = new BPE({
    type: 'BPE',
    vocab: Object.fromEntries(vocabulary),
    merges,
    end_of_word_suffix: wordEnd,
  });
  const start = vocabulary.get(startToken)!; // readParts checked both
  const end = vocabulary.get(endToken)!;
  const idsOf = (piece: string): number[] => {
    if (piece === startToken) return [start];
    if (piece === endToken) return [end];
    const symbols = Array.from(Buffer.from(piece), (byte) => symbolOfByte[byte]!).join(''); // a byte is 0 to 255
    return model.encode([symbols]).map((token) => vocabulary.get(token)!); // merges give known tokens: readParts checked
  };
  const encode = (text: string): number[] => {
    if (text.length > maxTextLength) {
      throw new EgolensError(
        'data.invalid',
        `text ${excerpt(text)}: expected at most ${maxTextLength} characters, found ${text.length}`,
      );
    }
    return (cleanText(text).match(pieces) ?? []).flatMap(idsOf);
  };
  return {
    size: vocabulary.size,
    start,
    end,
    encode,
    rows(texts, { context, overlong }) {
      const rows = texts.map((text, i) => {
        const ids = encode(text);
        if (ids.length + 2 <= context) return [start, ...ids, end];
        if (overlong === 'cut') return [start, ...ids.slice(0, context - 2), end];
        const where = texts.length === 1 ? '' : ` (number ${i + 1} of ${texts.length})`;
        throw new EgolensError(
          'data.invalid',
          `text ${excerpt(text)}${where}: ${ids.length + 2} tokens with start and end, expected at most ${context}`,
          { try: 'shorten the text' },
        );
      });
      const longest = rows.reduce((most, row) => Math.max(most, row.length), 0);
      const ids = new BigInt64Array(rows.length * longest);
      rows.forEach((row, i) => ids.set(row.map(BigInt), i * longest));
      return tensor('int64', [rows.length, longest], ids);
    },
  };
}

/**
 * A vocabulary file in either form as the text of a `tokenizer.json`, checked: CLIP's merges (gzipped or plain) are put into that
 * form, a `tokenizer.json` comes back as it is.
 *
 * @throws EgolensError the codes of `clipTokenizerJson` and `openTokenizer`
 */
export function tokenizerJson(file: Uint8Array, name: string): string {
  const text = isMergesFile(file) ? clipTokenizerJson(file, name) : undefined;
  openTokenizer(text === undefined ? file : Buffer.from(text), name);
  return text ?? new TextDecoder().decode(file);
}

function excerpt(text: string): string {
  return `\`${text.length > 60 ? `${text.slice(0, 57)}…` : text}\``;
}

type Fault = (where: string, expected: string, found: string) => EgolensError;

function readParts(bytes: Uint8Array, name: string): Parts {
  const fault: Fault = (where, expected, found) =>
    new EgolensError('data.invalid', `\`${name}\`: ${where}: expected ${expected}, found ${found}`, {
      try: "take CLIP's merges file `bpe_simple_vocab_16e6.txt.gz`, or the `tokenizer.json` that comes with the model",
    });
  if (bytes.length > maxJsonBytes)
    throw new EgolensError('limit.size', `\`${name}\`: ${bytes.length} bytes, expected at most ${maxJsonBytes}`);
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (cause) {
    throw fault('the file', 'JSON', (cause as Error).message);
  }
  const file = object(value, 'the file', fault);
  const model = object(file['model'], 'model', fault);
  if (model['type'] !== 'BPE') throw fault('model.type', '`BPE`', shown(model['type']));
  if (model['end_of_word_suffix'] !== wordEnd)
    throw fault('model.end_of_word_suffix', `\`${wordEnd}\``, shown(model['end_of_word_suffix']));
  for (const key of ['byte_fallback', 'ignore_merges'] as const) {
    if (model[key] !== undefined && model[key] !== false) throw fault(`model.${key}`, 'false', shown(model[key]));
  }
  if (!splitsLikeClip(file['pre_tokenizer']))
    throw fault('pre_tokenizer', `a split by \`${splitPattern}\` as CLIP has it`, 'another one');
  const vocabulary = readVocabulary(model['vocab'], fault);
  addSpecialTokens(vocabulary, file['added_tokens'], fault);
  checkIds(vocabulary, fault);
  return { vocabulary, merges: readMerges(model['merges'], vocabulary, fault) };
}

function readVocabulary(value: unknown, fault: Fault): Map<string, number> {
  const entries = Object.entries(object(value, 'model.vocab', fault));
  if (entries.length > maxVocabulary)
    throw fault('model.vocab', `at most ${maxVocabulary} tokens`, String(entries.length));
  for (const [token, id] of entries) {
    if (token === '' || token.length > maxTokenLength)
      throw fault('model.vocab', `tokens of 1 to ${maxTokenLength} characters`, `one of ${token.length}`);
    if (!isId(id)) throw fault(`model.vocab[${JSON.stringify(token)}]`, 'a whole number from 0', shown(id));
  }
  return new Map(entries as [string, number][]); // checked one by one
}

/** Start and end token stand in the vocabulary, or only among the added tokens. Others of those must be in the vocabulary. */
function addSpecialTokens(vocabulary: Map<string, number>, value: unknown, fault: Fault): void {
  if (value !== undefined && !Array.isArray(value)) throw fault('added_tokens', 'a list', shown(value));
  const added = (value ?? []) as readonly unknown[];
  if (added.length > maxTokenLength) throw fault('added_tokens', `at most ${maxTokenLength}`, String(added.length));
  added.forEach((item, i) => {
    const { content, id } = object(item, `added_tokens[${i}]`, fault);
    if (typeof content !== 'string' || !isId(id))
      throw fault(`added_tokens[${i}]`, '`content` and `id`', 'something else');
    const known = vocabulary.get(content);
    if (known !== undefined && known !== id)
      throw fault(`added_tokens[${i}].id`, `${known}, as in model.vocab`, shown(id));
    if (known === undefined && content !== startToken && content !== endToken)
      throw fault(`added_tokens[${i}].content`, 'a token of model.vocab', shown(content));
    vocabulary.set(content, id);
  });
}

function checkIds(vocabulary: ReadonlyMap<string, number>, fault: Fault): void {
  for (const symbol of byteSymbols) {
    for (const token of [symbol, symbol + wordEnd]) {
      if (!vocabulary.has(token)) throw fault('model.vocab', `the byte symbol \`${token}\``, 'none');
    }
  }
  for (const token of [startToken, endToken]) {
    if (!vocabulary.has(token)) throw fault('added_tokens', `the token \`${token}\``, 'none');
  }
  const ids = new Set(vocabulary.values());
  const gap = [...vocabulary.values()].find((id) => id >= vocabulary.size);
  if (ids.size !== vocabulary.size || gap !== undefined) {
    throw fault(
      'model.vocab',
      `the ids 0 to ${vocabulary.size - 1}, each once`,
      gap === undefined ? `${vocabulary.size - ids.size} of them twice` : `the id ${gap}`,
    );
  }
  const end = vocabulary.get(endToken);
  if (end !== vocabulary.size - 1)
    throw fault(`the id of \`${endToken}\``, `${vocabulary.size - 1}, the highest one`, String(end));
}

function readMerges(value: unknown, vocabulary: ReadonlyMap<string, number>, fault: Fault): [string, string][] {
  if (!Array.isArray(value)) throw fault('model.merges', 'a list', shown(value));
  if (value.length > maxVocabulary) throw fault('model.merges', `at most ${maxVocabulary}`, String(value.length));
  return (value as readonly unknown[]).map((merge, i) => {
    const pair: unknown = typeof merge === 'string' ? merge.split(' ') : merge;
    const [left, right] = Array.isArray(pair) ? (pair as readonly unknown[]) : [];
    if (!Array.isArray(pair) || pair.length !== 2 || typeof left !== 'string' || typeof right !== 'string')
      throw fault(`model.merges[${i}]`, 'two tokens', shown(merge));
    for (const token of [left, right, left + right]) {
      if (!vocabulary.has(token))
        throw fault(`model.merges[${i}]`, 'tokens of model.vocab', `\`${token.slice(0, 60)}\``);
    }
    return [left, right];
  });
}

/** Is there a split by CLIP's pattern among the pre-tokenizers, alone or in one sequence? Files spell classes with and without brackets. */
function splitsLikeClip(value: unknown, mayBeSequence = true): boolean {
  if (typeof value !== 'object' || value === null) return false;
  const { pretokenizers, pattern } = value as { readonly pretokenizers?: unknown; readonly pattern?: unknown };
  if (mayBeSequence && Array.isArray(pretokenizers)) return pretokenizers.some((part) => splitsLikeClip(part, false));
  const regex = (pattern as { readonly Regex?: unknown } | null | undefined)?.Regex;
  return typeof regex === 'string' && spelling(regex) === spelling(splitPattern);
}

function spelling(regex: string): string {
  return regex
    .replaceAll('[\\p{L}]', '\\p{L}')
    .replaceAll('[\\p{N}]', '\\p{N}')
    .replace(/^<\\?\|startoftext\\?\|>\|<\\?\|endoftext\\?\|>\|/, '');
}

function isId(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

function object(value: unknown, where: string, fault: Fault): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw fault(where, 'an object', shown(value));
  return value as Readonly<Record<string, unknown>>; // an object of JSON
}

function shown(value: unknown): string {
  if (value === undefined) return 'none';
  if (typeof value === 'object') return value === null ? 'null' : Array.isArray(value) ? 'a list' : 'an object';
  return `\`${JSON.stringify(value).slice(0, 60)}\``;
}
