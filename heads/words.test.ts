import { describe, expect, test } from 'vitest';
import { seededRandom } from '../src/random.js';
import { padWord, unknownWord, unknownWords, vocabularyOf, wordFeeds, wordsOf } from './words.js';

describe('words of a text', () => {
  test('are runs of letters and digits in lower case, with the apostrophes inside', () => {
    expect(wordsOf("What's in the Box, no. 3?")).toEqual(["what's", 'in', 'the', 'box', 'no', '3']);
    expect(wordsOf('What\u2019s \uFF12 na\u00EFve')).toEqual(["what's", '2', 'naïve']);
    expect(wordsOf("'quoted' -- dash-ed")).toEqual(['quoted', 'dash', 'ed']);
  });

  test('of a text without any are none', () => {
    expect(wordsOf('')).toEqual([]);
    expect(wordsOf(' ?! \u{1F600} ')).toEqual([]);
  });
});

describe('a vocabulary', () => {
  const texts = ['find the red cup', 'find the blue box', 'where is the cup'];

  test('holds the special words, then the others by falling count, equal ones by code unit', () => {
    expect(vocabularyOf(texts)).toEqual([
      padWord,
      unknownWord,
      'the',
      'cup',
      'find',
      'blue',
      'box',
      'is',
      'red',
      'where',
    ]);
  });

  test('leaves rare words out, and the rarest first where there are too many', () => {
    expect(vocabularyOf(texts, { least: 2 })).toEqual([padWord, unknownWord, 'the', 'cup', 'find']);
    expect(vocabularyOf(texts, { most: 3 })).toEqual([padWord, unknownWord, 'the']);
  });

  test('is not disturbed by words that objects have as members', () => {
    expect(vocabularyOf(['constructor __proto__ toString'])).toContain('constructor');
    expect(wordFeeds([padWord, unknownWord], ['constructor']).word_ids.data).toEqual(BigInt64Array.of(1n));
  });

  test('tells which words of other texts it does not know, the special ones among them', () => {
    expect(unknownWords(vocabularyOf(texts), ['find the green cup', 'green unk pad'])).toEqual(['green', 'unk', 'pad']);
  });
});

describe('texts as inputs', () => {
  const vocabulary = [padWord, unknownWord, 'find', 'cup'];

  test('are padded to the longest; unknown words and texts without words are 1', () => {
    const { word_ids, query_mask } = wordFeeds(vocabulary, ['find cup now', '?']);
    expect(word_ids.shape).toEqual([2, 3]);
    expect(Array.from(word_ids.data, Number)).toEqual([2, 3, 1, 1, 0, 0]);
    expect(Array.from(query_mask.data)).toEqual([1, 1, 1, 1, 0, 0]);
  });

  test('are cut and padded to a length that is asked for', () => {
    const { word_ids } = wordFeeds(vocabulary, ['find find cup', 'cup'], { length: 2 });
    expect(Array.from(word_ids.data, Number)).toEqual([2, 2, 3, 0]);
  });

  test('lose words in training as often as asked, the same ones for one seed', () => {
    const text = Array.from({ length: 1000 }, () => 'find').join(' ');
    const ids = (): number[] =>
      Array.from(
        wordFeeds(vocabulary, [text], { unknown: { share: 0.1, random: seededRandom(4) } }).word_ids.data,
        Number,
      );
    const lost = ids().filter((id) => id === 1).length;
    expect(lost).toBeGreaterThan(70);
    expect(lost).toBeLessThan(130);
    expect(ids()).toEqual(ids());
  });

  test('need a vocabulary that begins with the special words', () => {
    expect(() => wordFeeds(['find'], ['find'])).toThrow('begins with <pad>, <unk>');
  });
});
