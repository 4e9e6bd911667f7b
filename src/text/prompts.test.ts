import { describe, expect, test } from 'vitest';
import { EgolensError } from '../errors.js';
import {
  checkClasses,
  checkTemplates,
  fillTemplate,
  parseClassFile,
  parseTemplateFile,
  promptName,
  templateLists,
} from './prompts.js';

const file = (text: string): Buffer => Buffer.from(text);

function faultOf(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    if (error instanceof EgolensError) return `${error.code} ${error.message}`;
    throw error;
  }
  return 'no error';
}

test('a class name keeps what stands in parentheses and loses its underscores, in every place of the template', () => {
  expect(promptName(' cut_(trim,_slice)  an onion')).toBe('cut (trim, slice) an onion');
  expect(fillTemplate('{}: a video of {}', "don't_$&_stop")).toBe("don't $& stop: a video of don't $& stop");
});

test('our own lists of templates pass their own check', () => {
  for (const [name, templates] of Object.entries(templateLists))
    expect(checkTemplates(templates, name)).toBe(templates);
  expect(templateLists.actions).toHaveLength(8);
});

describe('class files', () => {
  test('one a line, a JSON list and a label list give the same names', () => {
    const names = ['cut onion', 'wash_dishes', '#C C walks'];
    expect(parseClassFile(file('cut onion\r\nwash_dishes\r\n#C C walks'), 'a')).toEqual(names);
    expect(parseClassFile(file('\ufeffcut onion\nwash_dishes\n#C C walks\n'), 'a')).toEqual(names);
    expect(parseClassFile(file(JSON.stringify(names)), 'a')).toEqual(names);
    const labels = { schema: 'egolens.labels/1', name: 'own', version: 1, order: 'mine', labels: names };
    expect(parseClassFile(file(JSON.stringify(labels, null, 2)), 'a')).toEqual(names);
  });

  test.each([
    ['nothing', '', 'data.invalid `c.txt`: expected at least one class name, found none'],
    ['a blank line', 'a\n \nb\n', 'data.invalid `c.txt`: line 2: expected a class name, found ` `'],
    ['blank lines at the end', 'a\n\n', 'data.invalid `c.txt`: line 2: expected a class name, found ``'],
    [
      'one name in two spellings',
      'cut onion\nb\nCut_Onion\n',
      'data.invalid `c.txt`: line 3: `Cut_Onion` stands in line 1 already',
    ],
    [
      'a list that repeats',
      '[\n"a",\n"b",\n"a"]',
      'data.invalid `c.txt`: line 4 (number 3): `a` stands in line 2 (number 1) already',
    ],
    ['a number in the list', '["a",\n7]', 'data.invalid `c.txt`: line 2: expected a class name as text'],
    ['another object', '{"labels": ["a"]}', 'data.invalid `c.txt`: line 1: expected a list of class names'],
    [
      'labels that are none',
      '{"schema": "egolens.labels/1", "labels": 3}',
      'data.invalid `c.txt`: line 1: expected a list of class names',
    ],
    ['an endless line', 'x'.repeat(1001), 'data.invalid `c.txt`: line 1: expected at most 1000 characters, found 1001'],
  ])('%s is refused with its place', (_, text, message) => {
    expect(faultOf(() => parseClassFile(file(text), 'c.txt'))).toBe(message);
  });

  test('broken JSON, other encodings and files without end are refused', () => {
    expect(faultOf(() => parseClassFile(file('["a"'), 'c.json'))).toMatch(/^data.invalid `c.json`: line 1/);
    expect(faultOf(() => parseClassFile(Buffer.from([0x61, 0xe9]), 'c'))).toBe(
      'data.invalid `c`: expected text in UTF-8',
    );
    expect(faultOf(() => parseClassFile(Buffer.alloc(17 * 2 ** 20, 'a\n'), 'c'))).toMatch(/^limit.size/);
    const many = file(Array.from({ length: 100_001 }, (_, i) => i).join('\n'));
    expect(faultOf(() => parseClassFile(many, 'c'))).toBe('limit.size `c`: 100001 entries, expected at most 100000');
  });

  test('names on the command line are counted instead', () => {
    expect(checkClasses(['a', 'b'], '--class')).toEqual(['a', 'b']);
    expect(faultOf(() => checkClasses(['a', 'A'], '--class'))).toBe(
      'data.invalid `--class`: number 2: `A` stands in number 1 already',
    );
  });
});

describe('templates', () => {
  test('of a file may begin with the placeholder and hold it twice', () => {
    expect(parseTemplateFile(file('{}, again {}\na video of {}\n'), 't')).toEqual(['{}, again {}', 'a video of {}']);
    expect(parseTemplateFile(file('["{}", "x {}"]'), 't')).toEqual(['{}', 'x {}']);
  });

  test('without a place for the name are refused, as are repeated ones and label lists', () => {
    expect(faultOf(() => parseTemplateFile(file('a video of {}\na video of {c}\n'), 't'))).toBe(
      'data.invalid `t`: line 2: expected a template with `{}` where the class name goes, found `a video of {c}`',
    );
    expect(faultOf(() => checkTemplates(['a {}', 'A {}'], '--template'))).toMatch(
      /number 2: `A {}` stands in number 1/,
    );
    const labels = '{"schema": "egolens.labels/1", "labels": ["a"]}';
    expect(faultOf(() => parseTemplateFile(file(labels), 't'))).toMatch(/expected a list of templates/);
  });
});
