/** A vocabulary of CLIP's kind that is small enough to be made on the spot: for tests. */
import { clipTokenizerJson } from '../src/text/clip-merges.js';
import { openTokenizer, type Tokenizer } from '../src/text/tokenizer.js';

/** A merges file with five merges: ids 512 to 516 are `th`, `the</w>`, `in`, `ing</w>` and `on</w>`. */
export const toyMerges = '#version: 0.2\nt h\nth e</w>\ni n\nin g</w>\no n</w>\n';

/** Byte symbols, the same with `</w>`, five merges, start (517) and end (518). */
export const toyVocabulary = 519;

/** The `tokenizer.json` of the toy vocabulary; always the same text. */
export function toyTokenizerJson(): string {
  return clipTokenizerJson(Buffer.from(toyMerges), 'toy merges');
}

/** The toy vocabulary, ready to use. */
export function toyTokenizer(): Tokenizer {
  return openTokenizer(Buffer.from(toyTokenizerJson()), 'toy tokenizer.json');
}
