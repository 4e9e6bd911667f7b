import { describe, expect, test } from 'vitest';
import { questionForms, questionText } from './questions.js';

describe('questions in the forms of text models', () => {
  test('the form of VSLNet keeps a blank before the mark, as the official code does', () => {
    expect(questionText(' Where did I put the Knife ?? ', 'bert')).toBe('where did i put the knife ?');
    expect(questionText('what did i wash', 'bert')).toBe('what did i wash?');
  });

  test('the form of CLIP heads takes points, blanks and marks off in that order', () => {
    expect(questionText('Where is it?.', 'clip')).toBe('where is it?');
    expect(questionText('. How many?', 'clip')).toBe('how many?');
  });

  test('a plain question is left as it is', () => {
    expect(questionText(' A ? ', 'plain')).toBe(' A ? ');
  });

  test('no form breaks on an empty question or on marks alone', () => {
    for (const form of questionForms) {
      for (const text of ['', '?', ' . ? ']) expect(typeof questionText(text, form)).toBe('string');
    }
  });
});
