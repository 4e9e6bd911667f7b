import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { EgolensError } from '../errors.js';
import { packageRoot } from '../files.js';
import { cleanText, unescapeHtml } from './clean.js';
import { clipTokenizerJson, isClipVocabulary, openTokenizer, tokenizerJson } from './tokenizer.js';
import { toyMerges, toyTokenizer, toyTokenizerJson, toyVocabulary } from '../../test/toy-tokenizer.js';

const toy = toyTokenizer();
const other = toyTokenizer();

function errorOf(work: () => unknown): EgolensError {
  try {
    work();
  } catch (error) {
    if (error instanceof EgolensError) return error;
    throw error;
  }
  throw new Error('expected an error, found none');
}

const faultOf = (work: () => unknown): string => {
  const { code, message } = errorOf(work);
  return `${code} ${message}`;
};

describe('clean-up', () => {
  test('entities are replaced twice: names, numbers, and names without a semicolon by their longest beginning', () => {
    expect(cleanText('salt &amp;amp; pepper')).toBe('salt & pepper');
    expect(unescapeHtml('&lt;b&gt; &quot;x&quot; &apos;y&apos; &eacute;&#233;&#xE9;')).toBe(`<b> "x" 'y' ééé`);
    expect(unescapeHtml('&ampere &copy2 &notanentity; &unknown; &; & &#; 5 &lt 6')).toBe(
      '&ere ©2 ¬anentity; &unknown; &; & &#; 5 < 6',
    );
    expect(cleanText('one&nbsp;&nbsp;two')).toBe('one two');
  });

  test('numbers that are no character follow the rules of HTML', () => {
    expect(unescapeHtml('&#150;|&#0;|&#xD800;|&#x110000;|&#99999999999999999999;|&#1;')).toBe(
      '–|\ufffd|\ufffd|\ufffd|\ufffd|',
    );
  });

  test('quotes become straight, letters composed and lower case, white space one blank', () => {
    expect(cleanText(' It’s “HERE”\t\n‘cafe\u0301’ \x1c x\u0085y ')).toBe(`it's "here" 'café' x y`);
    expect(cleanText('it&rsquo;s')).toBe("it's");
    expect(cleanText(' \n ')).toBe('');
  });
});

describe('a vocabulary of five merges', () => {
  test('has ids for bytes, bytes at a word’s end, merges in order, start and end', () => {
    expect([toy.size, toy.start, toy.end]).toEqual([toyVocabulary, 517, 518]);
    expect(toy.encode('the thing')).toEqual([513, 512, 515]);
    // `!` is the first printable byte; é is the bytes c3 a9, of which only the last ends the word.
    expect(toy.encode('! é')).toEqual([256, 0xc3 - 0xae + 106, 256 + 0xa9 - 0xa1 + 94]);
  });

  test('cuts contractions, single digits and runs of punctuation apart', () => {
    const word = (text: string): readonly number[] => toy.encode(text);
    expect(word("it's on 42?!")).toEqual(['it', "'s", 'on', '4', '2', '?!'].flatMap(word));
    expect(word('ON')).toEqual([516]);
    expect(word('')).toEqual([]);
  });

  test('special tokens written out count as such, but not inside a run of punctuation, as in CLIP', () => {
    expect(toy.encode('on<|endoftext|>on <|STARTOFTEXT|>')).toEqual([516, 518, 516, 517]);
    expect(toy.encode('!<|endoftext|>')).not.toContain(518);
  });

  test('any text gives ids of the vocabulary, the same each time', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 60 }), (text) => {
        const ids = toy.encode(text);
        expect(ids.every((id) => id >= 0 && id < toyVocabulary)).toBe(true);
        expect(other.encode(text)).toEqual(ids);
      }),
      { numRuns: 25 },
    );
  });
});

describe('rows', () => {
  test('are start, ids, end and zeros, as long as the longest text', () => {
    const { dtype, shape, data } = toy.rows(['the', '', 'the thing'], { context: 77, overlong: 'refuse' });
    expect([dtype, shape]).toEqual(['int64', [3, 5]]);
    expect(Array.from(data, Number)).toEqual([517, 513, 518, 0, 0, 517, 518, 0, 0, 0, 517, 513, 512, 515, 518]);
    expect(toy.rows([], { context: 77, overlong: 'cut' }).shape).toEqual([0, 0]);
  });

  test('a text over the context keeps its beginning and the end token, or is refused with its count', () => {
    const long = 'on on on on';
    const row = (context: number): number[] => Array.from(toy.rows([long], { context, overlong: 'cut' }).data, Number);
    expect([row(6), row(5)]).toEqual([
      [517, 516, 516, 516, 516, 518],
      [517, 516, 516, 516, 518],
    ]);
    expect(toy.rows([long], { context: 6, overlong: 'refuse' }).shape).toEqual([1, 6]);
    expect(faultOf(() => toy.rows(['on', long], { context: 5, overlong: 'refuse' }))).toBe(
      'data.invalid text `on on on on` (number 2 of 2): 6 tokens with start and end, expected at most 5',
    );
  });

  test('a text of 65,537 characters is refused before work is spent on it', () => {
    expect(toy.encode('x'.repeat(2 ** 16))).toHaveLength(2 ** 16);
    expect(faultOf(() => toy.encode('x'.repeat(2 ** 16 + 1)))).toMatch(
      /^data.invalid text `x+…`: expected at most 65536/,
    );
  });
});

describe('merges files', () => {
  test('gzipped or plain, with either line ending, give the same tokenizer.json', () => {
    const plain = toyTokenizerJson();
    expect(clipTokenizerJson(gzipSync(toyMerges), 'x')).toBe(plain);
    expect(tokenizerJson(gzipSync(toyMerges), 'x')).toBe(plain);
    expect(clipTokenizerJson(Buffer.from(toyMerges.replaceAll('\n', '\r\n')), 'x')).toBe(plain);
    expect(tokenizerJson(Buffer.from(plain), 'x')).toBe(plain);
    expect(isClipVocabulary(Buffer.from(toyMerges))).toBe(false);
  });

  test.each([
    ['no header', 't h\n', /line 1: expected a header with `#version`, found `t h`/],
    ['three symbols', '#version: 0.2\nt h e\n', /line 2: expected two symbols with one blank/],
    ['a blank line', '#version: 0.2\nt h\n\nt o\n', /line 3: expected two symbols with one blank/],
    ['an unknown symbol', '#version: 0.2\nth e\n', /line 2: expected two symbols that bytes and earlier merges make/],
    ['a merge twice', '#version: 0.2\nt h\nt h\n', /line 3: expected a merge that gives a new symbol/],
    ['a word’s end in the middle', '#version: 0.2\nt</w> h\n', /line 2: expected `<\/w>` at the end/],
    ['other bytes', Buffer.from([0x23, 0xff, 0xfe]), /expected text in UTF-8/],
    ['cut gzip data', gzipSync(toyMerges).subarray(0, 30), /damaged gzip data/],
  ])('%s is refused', (_, file, message) => {
    const error = errorOf(() => clipTokenizerJson(Buffer.from(file), 'merges.txt'));
    expect([error.code, error.message]).toEqual(['data.invalid', expect.stringMatching(message)]);
  });

  test('a gzip bomb is stopped', () => {
    const bomb = gzipSync(Buffer.alloc(33 * 2 ** 20));
    expect(faultOf(() => clipTokenizerJson(bomb, 'x.gz'))).toMatch(/^limit.size `x.gz`: more bytes when unpacked/);
    expect(errorOf(() => clipTokenizerJson(Buffer.alloc(9 * 2 ** 20), 'x')).code).toBe('limit.size');
  });
});

describe('tokenizer.json', () => {
  interface Layout {
    added_tokens: { id: number; content: string }[];
    pre_tokenizer: unknown;
    model: { type: string; vocab: Record<string, unknown>; merges: unknown; [key: string]: unknown };
    [key: string]: unknown;
  }
  const changed = (change: (json: Layout) => void): Buffer => {
    const json = JSON.parse(toyTokenizerJson()) as Layout;
    change(json);
    return Buffer.from(JSON.stringify(json));
  };

  test('of other writers is taken: merges as pairs, special tokens only among the added ones, a plain split', () => {
    const other = changed((json) => {
      json.model.merges = (json.model.merges as string[]).map((merge) => merge.split(' '));
      delete json.model.vocab['<|startoftext|>'];
      delete json.model.vocab['<|endoftext|>'];
      const Regex = String.raw`<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+`;
      json.pre_tokenizer = { type: 'Split', pattern: { Regex } };
      delete json['post_processor'];
      delete json['version'];
    });
    expect(openTokenizer(other, 'x').encode('the thing!')).toEqual(toy.encode('the thing!'));
  });

  test.each<[string, (json: Layout) => void, RegExp]>([
    ['another model', (json) => (json.model.type = 'WordPiece'), /model.type: expected `BPE`, found `"WordPiece"`/],
    ['another end of words', (json) => (json.model['end_of_word_suffix'] = ''), /end_of_word_suffix: expected `<\/w>`/],
    ['byte fallback', (json) => (json.model['byte_fallback'] = true), /byte_fallback: expected false, found `true`/],
    ['another split', (json) => (json.pre_tokenizer = { type: 'Whitespace' }), /pre_tokenizer: expected a split by/],
    ['no model', (json) => delete (json as Partial<Layout>).model, /model: expected an object, found none/],
    [
      'a list for a vocabulary',
      (json) => (json.model.vocab = [] as never),
      /model.vocab: expected an object, found a list/,
    ],
    [
      'an id that is no number',
      (json) => (json.model.vocab['!'] = '0'),
      /vocab\["!"\]: expected a whole number from 0, found `"0"`/,
    ],
    ['a negative id', (json) => (json.model.vocab['!'] = -1), /expected a whole number from 0, found `-1`/],
    [
      'a gap in the ids',
      (json) => (json.model.vocab['th'] = 99999),
      /expected the ids 0 to 518, each once, found the id 99999/,
    ],
    [
      'an id twice',
      (json) => (json.model.vocab['th'] = 3),
      /expected the ids 0 to 518, each once, found 1 of them twice/,
    ],
    ['a missing byte', (json) => delete json.model.vocab['a'], /expected the byte symbol `a`, found none/],
    ['an empty token', (json) => (json.model.vocab[''] = 519), /expected tokens of 1 to 1024 characters/],
    [
      'no start token',
      (json) => {
        json.added_tokens.shift();
        delete json.model.vocab['<|startoftext|>'];
      },
      /expected the token `<\|startoftext\|>`, found none/,
    ],
    [
      'an end token that is not the highest id',
      (json) => {
        json.model.vocab['<|endoftext|>'] = 517;
        json.model.vocab['<|startoftext|>'] = 518;
        json.added_tokens = [];
      },
      /the id of `<\|endoftext\|>`: expected 518, the highest one, found 517/,
    ],
    [
      'two ids for a token',
      (json) => (json.added_tokens[0]!.id = 4),
      /added_tokens\[0\].id: expected 517, as in model.vocab/,
    ],
    [
      'a foreign added token',
      (json) => json.added_tokens.push({ id: 519, content: '<pad>' }),
      /expected a token of model.vocab/,
    ],
    [
      'added tokens that are none',
      (json) => (json.added_tokens = [null] as never),
      /added_tokens\[0\]: expected an object, found null/,
    ],
    ['merges that are none', (json) => (json.model.merges = 'x'), /model.merges: expected a list/],
    ['a merge of three', (json) => (json.model.merges = ['a b c']), /model.merges\[0\]: expected two tokens/],
    [
      'a merge of numbers',
      (json) => (json.model.merges = [[1, 2]]),
      /model.merges\[0\]: expected two tokens, found a list/,
    ],
    [
      'a merge into nothing',
      (json) => (json.model.merges = ['q z']),
      /model.merges\[0\]: expected tokens of model.vocab, found `qz`/,
    ],
  ])('%s is refused', (_, change, message) => {
    const error = errorOf(() => openTokenizer(changed(change), 'tokenizer.json'));
    expect([error.code, error.message]).toEqual(['data.invalid', expect.stringMatching(message)]);
    expect(error.message).toMatch(/^`tokenizer.json`: /);
  });

  test('bytes that are no JSON, and JSON of any shape, end in data.invalid', () => {
    expect(faultOf(() => openTokenizer(Buffer.from('{'), 'x'))).toMatch(/^data.invalid `x`: the file: expected JSON/);
    expect(errorOf(() => openTokenizer(Buffer.from([0xff, 0x00]), 'x')).code).toBe('data.invalid');
    const deep = Buffer.from(
      `{"model":{"type":"BPE","end_of_word_suffix":"</w>"},"pre_tokenizer":${'{"pretokenizers":['.repeat(50_000)}${']}'.repeat(50_000)}}`,
    );
    expect(errorOf(() => openTokenizer(deep, 'x')).code).toBe('data.invalid');
    expect(errorOf(() => openTokenizer(Buffer.alloc(33 * 2 ** 20, ' '), 'x')).code).toBe('limit.size');
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        expect(errorOf(() => openTokenizer(Buffer.from(JSON.stringify(value)), 'x')).code).toBe('data.invalid');
      }),
    );
  });
});

interface Golden {
  readonly vocab_size: number;
  readonly cases: readonly {
    readonly text: string;
    readonly bpe: readonly number[];
    readonly context_77: readonly number[];
    readonly context_32: readonly number[];
    readonly fits_77: boolean;
  }[];
}

const shared = join(packageRoot, '../shared');
const vocabularyFile = join(shared, 'data/tokenizers/bpe_simple_vocab_16e6.txt.gz');
const goldenFile = join(shared, 'golden/encoder/tokenizer.json');

const hasGolden = existsSync(vocabularyFile) && existsSync(goldenFile);
const why = hasGolden ? '' : ' (skipped: no ../shared/data/tokenizers or ../shared/golden)';

describe.skipIf(!hasGolden)(`CLIP's own vocabulary and golden ids${why}`, () => {
  test('every golden text has the official ids, rows of 77 and of 32', () => {
    const file = readFileSync(vocabularyFile);
    const golden = JSON.parse(readFileSync(goldenFile, 'utf8')) as Golden;
    expect(isClipVocabulary(file)).toBe(true);
    const clip = openTokenizer(Buffer.from(clipTokenizerJson(file, vocabularyFile)), 'tokenizer.json');
    expect([clip.size, clip.start, clip.end]).toEqual([golden.vocab_size, 49406, 49407]);
    expect(golden.cases).toHaveLength(14);
    for (const { text, bpe, context_77, context_32, fits_77 } of golden.cases) {
      expect(clip.encode(text), text).toEqual(bpe);
      // The official rows are padded to the context; a tower needs no more than the longest row.
      const row = (context: number): number[] => {
        const ids = Array.from(clip.rows([text], { context, overlong: 'cut' }).data, Number);
        return [...ids, ...new Array<number>(context - ids.length).fill(0)];
      };
      expect([row(77), row(32)], text).toEqual([context_77, context_32]);
      const refuse = () => clip.rows([text], { context: 77, overlong: 'refuse' });
      if (fits_77) expect(refuse).not.toThrow();
      else expect(errorOf(refuse).code).toBe('data.invalid');
    }
  });
});
