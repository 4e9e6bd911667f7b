import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { assertValid, findings, isSchemaName, loadValidator, schemaNames } from './check.js';

const labels = { schema: 'egolens.labels/1', name: 'k400', version: 1, order: 'as published', labels: ['abseiling'] };

test('a valid value gives no findings, with members that no schema knows too', async () => {
  const validator = await loadValidator('egolens.labels/1');
  expect(findings(validator, labels)).toEqual([]);
  expect(findings(validator, { ...labels, addedLater: { a: 1 } })).toEqual([]);
});

test('a finding says where, what was expected and what was found', async () => {
  const validator = await loadValidator('egolens.labels/1');
  const { order, ...rest } = labels;
  expect(order).toBe('as published');
  expect(findings(validator, { ...rest, version: 0, name: 'K 400', labels: ['a', 7, ' '] })).toEqual([
    { level: 'error', code: 'data.invalid', at: '/order', expected: 'a member `order`', found: 'none' },
    {
      level: 'error',
      code: 'data.invalid',
      at: '/name',
      expected: 'lower-case letters and digits, joined by `-`, `.` or `_`',
      found: '`"K 400"`',
    },
    { level: 'error', code: 'data.invalid', at: '/version', expected: 'a whole number of 1 or more', found: '`0`' },
    { level: 'error', code: 'data.invalid', at: '/labels/1', expected: 'a text that is not empty', found: '`7`' },
    { level: 'error', code: 'data.invalid', at: '/labels/2', expected: 'a text that is not empty', found: '`" "`' },
  ]);
});

test('a value of the wrong kind is named by its kind', async () => {
  const validator = await loadValidator('egolens.error/1');
  expect(findings(validator, [1, 2])[0]).toMatchObject({ at: '', expected: 'an object', found: 'a list of 2' });
  const record = { schema: 'egolens.error/2', input: { a: 1 }, code: 'x', message: 'm', retryable: 'yes' };
  expect(findings(validator, record).map(({ at, expected, found }) => [at, expected, found])).toEqual([
    ['/schema', '`egolens.error/1`', '`"egolens.error/2"`'],
    ['/input', 'the input as given; null where the failure is about none', 'an object of 1 members'],
    ['/code', 'a dotted code such as `decode.truncated`', '`"x"`'],
    ['/retryable', 'true or false', '`"yes"`'],
  ]);
});

test('a file with a million faults gives a bounded list, in bounded time', async () => {
  const validator = await loadValidator('egolens.labels/1');
  const begin = performance.now();
  const found = findings(validator, { ...labels, labels: new Array(1_000_000).fill(null) });
  expect(found).toHaveLength(1000);
  expect(found.at(-1)?.at).toBe('/labels/999');
  expect(findings(validator, { ...labels, labels: [1, 2, 3] }, 2)).toHaveLength(2);
  expect(performance.now() - begin).toBeLessThan(10_000);
});

test('faults of one value do not stay for the next', async () => {
  const validator = await loadValidator('egolens.labels/1');
  expect(findings(validator, {})).not.toEqual([]);
  expect(findings(validator, labels)).toEqual([]);
});

test('assertValid throws the first fault and counts the others', async () => {
  await expect(assertValid('egolens.labels/1', labels, 'labels.json')).resolves.toBeUndefined();
  await expect(assertValid('egolens.labels/1', { ...labels, labels: [1, 2] }, 'labels.json')).rejects.toMatchObject({
    code: 'data.invalid',
    message: '`labels.json`: /labels/0: expected a text that is not empty, found `1` (and 1 more faults)',
    suggestions: ['`egolens schema egolens.labels/1` prints the form that is expected'],
  });
  await expect(assertValid('egolens.labels/1', null, 'x', 'model.config')).rejects.toMatchObject({
    code: 'model.config',
    message: '`x`: the whole value: expected an object, found `null`',
  });
});

test('schema names are those of the files, and nothing else is one', async () => {
  expect(schemaNames).toContain('egolens.meta/1');
  expect([...schemaNames].sort()).toEqual(schemaNames);
  expect(isSchemaName('egolens.meta/1')).toBe(true);
  expect(isSchemaName('toString')).toBe(false);
  for (const name of schemaNames) {
    const { schema } = await loadValidator(name);
    expect(schema['$id']).toBe(name);
    // What `egolens schema` prints stands alone.
    expect(JSON.stringify(schema)).not.toContain('common.json');
  }
});

// ---- the build step -----------------------------------------------------------------------------------------------

interface BuildStep {
  buildSchemas(root: string): void;
  copyGenerated(root: string): void;
}
const roots: string[] = [];
afterAll(() => {
  for (const root of roots) rmSync(root, { recursive: true, force: true });
});

async function buildIn(schemas: Record<string, unknown>): Promise<{ step: BuildStep; root: string }> {
  const step = (await import(new URL('../bin/build-schemas.js', import.meta.url).href)) as BuildStep; // plain JS, no types
  const root = mkdtempSync(join(tmpdir(), 'egolens-schemas-'));
  roots.push(root);
  mkdirSync(join(root, 'src/schemas'), { recursive: true });
  for (const [name, schema] of Object.entries(schemas)) {
    writeFileSync(join(root, 'src/schemas', name), JSON.stringify(schema));
  }
  return { step, root };
}

function generated(root: string): Record<string, string> {
  const folder = join(root, 'src/generated');
  return Object.fromEntries(readdirSync(folder).map((name) => [name, readFileSync(join(folder, name), 'utf8')]));
}

const $defs = {
  rate: { type: 'string' },
  clock: { type: 'object', properties: { rate: { $ref: 'common.json#/$defs/rate' } } },
};
const one = { $id: 'egolens.one/1', type: 'object', properties: { clock: { $ref: 'common.json#/$defs/clock' } } };

test('the build writes the same bytes again, drops what lost its schema, and copies all of it to dist', async () => {
  const { step, root } = await buildIn({
    'common.json': { $defs },
    'one.json': one,
    'two.json': { $id: 'egolens.two/1' },
  });
  step.buildSchemas(root);
  const first = generated(root);
  expect(Object.keys(first).sort()).toEqual(['egolens.one-1.js', 'egolens.two-1.js', 'index.d.ts', 'index.js']);
  step.buildSchemas(root);
  expect(generated(root)).toEqual(first);
  rmSync(join(root, 'src/schemas/two.json'));
  step.buildSchemas(root);
  expect(Object.keys(generated(root))).not.toContain('egolens.two-1.js');
  step.copyGenerated(root);
  expect(readdirSync(join(root, 'dist/src/generated')).sort()).toEqual(Object.keys(generated(root)).sort());
});

test('a shared definition comes with those it refers to', async () => {
  const { step, root } = await buildIn({ 'common.json': { $defs }, 'one.json': one });
  step.buildSchemas(root);
  const module = (await import(join(root, 'src/generated/egolens.one-1.js'))) as {
    validate(value: unknown): boolean;
    schema: { $defs: Record<string, unknown> };
  };
  expect(Object.keys(module.schema.$defs).sort()).toEqual(['clock', 'rate']);
  expect(module.validate({ clock: { rate: '30/1' } })).toBe(true);
  expect(module.validate({ clock: { rate: 30 } })).toBe(false);
});

test.each([
  ['a name that is no schema name', { $id: 'http://example.org/x' }, /expected a name such as/],
  ['an unknown keyword', { $id: 'egolens.x/1', typ: 'object' }, /unknown keyword/],
  ['an unknown shared definition', { $id: 'egolens.x/1', $ref: 'common.json#/$defs/none' }, /no `none` in common.json/],
])('the build refuses %s', async (_, schema, message) => {
  const { step, root } = await buildIn({ 'x.json': schema });
  expect(() => {
    step.buildSchemas(root);
  }).toThrow(message);
});
