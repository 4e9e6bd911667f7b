import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { readLabels, type ModelFolder } from '../models/folder.js';
import { labelLists } from '../models/presets.js';
import { classNames } from './class-names.js';

const folder = mkdtempSync(join(tmpdir(), 'egolens-names-'));
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

/** What `classNames` looks at of a model. */
function model(classes: number, labels: readonly string[] | null = null, family = 'videomae-classifier'): ModelFolder {
  const outputs = classes === 0 ? {} : { logits: { shape: ['batch', classes], meaning: 'logits' } };
  return { id: 'm@0123456789ab', labels, spec: { family, classes, outputs } } as unknown as ModelFolder; // the rest is not read
}

describe('which order a file of 400 classes has cannot be seen in it', () => {
  test.each(['uniformerv2', 'uniformer-v1', 'videomae-classifier', 'internvideo2'])(
    'a %s without names is refused, with both lists',
    async (family) => {
      await expect(classNames(model(400, null, family), undefined)).rejects.toMatchObject({
        code: 'model.config',
        message: 'm@0123456789ab: 400 classes, and no list of their names',
        details: { try: expect.stringMatching(/`--labels k400`.*docs\/models\.md/) as unknown },
      });
      await expect(classNames(model(400, null, family), undefined)).rejects.toMatchObject({
        details: { try: expect.stringContaining('`--labels k400-k710-order`') as unknown },
      });
    },
  );

  test('the two lists hold the same names in another order, and the user says which', async () => {
    const alphabetical = await classNames(model(400), 'k400');
    const mixed = await classNames(model(400), 'k400-k710-order');
    expect([alphabetical[0], mixed[0], mixed[1], mixed[2]]).toEqual([
      'abseiling',
      'riding a bike',
      'marching',
      'dodgeball',
    ]);
    expect([...alphabetical].sort()).toEqual([...mixed].sort());
    expect((await readLabels(labelLists().get('k710')!)).slice(0, 400)).toEqual(mixed);
  });

  test('one fitting list is no proof either: 710 classes without names are refused', async () => {
    await expect(classNames(model(710), undefined)).rejects.toMatchObject({
      code: 'model.config',
      details: { try: expect.stringContaining('`--labels k710`') as unknown },
    });
  });
});

test('the names that the model was imported with are its own; --labels replaces them', async () => {
  expect(await classNames(model(2, ['cut', 'wash']), undefined)).toEqual(['cut', 'wash']);
  const path = join(folder, 'two.json');
  const list = { schema: 'egolens.labels/1', name: 'two', version: 1, order: 'ours', labels: ['a', 'b'] };
  writeFileSync(path, JSON.stringify(list));
  expect(await classNames(model(2, ['cut', 'wash']), path)).toEqual(['a', 'b']);
});

test('--labels none numbers the classes', async () => {
  const names = await classNames(model(19), 'none');
  expect([names.length, names[17]]).toEqual([19, 'class 17']);
});

test.each([
  ['a list of another length', model(400), 'ssv2', '`ssv2`: 174 labels; m@0123456789ab has 400 classes'],
  [
    'own names of another number',
    model(3, ['a']),
    undefined,
    'm@0123456789ab: labels.json: 1 labels; m@0123456789ab has 3 classes',
  ],
])('%s is refused, with both numbers', async (_, broken, labels, message) => {
  await expect(classNames(broken, labels)).rejects.toMatchObject({ code: 'model.config', message });
});

test('where no list of the program fits, a file is asked for', async () => {
  await expect(classNames(model(123), undefined)).rejects.toMatchObject({
    details: { try: expect.stringContaining('no list of the program has 123 classes') as unknown },
  });
});

test('a list that is not there is said with the names there are', async () => {
  await expect(classNames(model(400), 'k4000')).rejects.toMatchObject({ code: 'input.not_found' });
});

test('a model without classes is refused, and a two-tower model is asked for texts', async () => {
  await expect(classNames(model(0), 'none')).rejects.toMatchObject({
    code: 'model.config',
    message: expect.stringContaining('features only') as unknown,
  });
  const twoTower = model(0);
  (twoTower.spec as { text?: object }).text = {};
  await expect(classNames(twoTower, undefined)).rejects.toMatchObject({
    details: { try: expect.stringContaining('--class "cut vegetables"') as unknown },
  });
});
