import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { schemaFindings, schemaNames, type SchemaName } from '../../src/check.js';
import { countFindings } from '../../src/findings.js';
import { parseJson } from '../../src/json-reader.js';
import type { DocumentKind, JsonDocument, ScoredTask } from '../../src/types.js';
import { fileForms, formFindings, formFor, formOf } from './forms.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
const folders = [process.env['EGOLENS_GOLDEN_DIR'], '../shared/golden', 'fixtures/golden'];
const golden = folders
  .flatMap((folder) => (folder === undefined ? [] : [join(root, folder, 'ego4d')]))
  .find((folder) => existsSync(folder));

const tasks = ['mq', 'nlq', 'vq2d', 'fhp', 'sta', 'lta', 'scod', 'pnr', 'oscc'] as const;

interface GoldenFile {
  readonly task: ScoredTask;
  readonly kind: DocumentKind;
  readonly path: string;
}

function goldenFiles(folder: string): GoldenFile[] {
  return tasks.flatMap((task) =>
    readdirSync(folder, { recursive: true, encoding: 'utf8' })
      .map((path) => path.replaceAll('\\', '/'))
      .filter((path) => path.startsWith(`${task}/`) && path.endsWith('.json') && !path.endsWith('expected.json'))
      .filter((path) => !/soft_nms|behaviours\/(?!base\/)/.test(path))
      .map((path) => ({ task, kind: kindOf(path), path })),
  );
}

function kindOf(path: string): DocumentKind {
  return /submission|predictions|results|logits/.test(path) ? 'submission' : 'annotations';
}

const clip = { clip_uid: 'c', video_start_sec: 0, video_end_sec: 9.5 };
const videos = (...annotations: unknown[]): unknown => ({
  version: '1',
  videos: [{ video_uid: 'v', split: 'test', clips: [{ ...clip, annotations }] }],
});
const clips = (...items: unknown[]): unknown => ({
  version: '1',
  date: '',
  description: '',
  split: 'test',
  clips: items,
});
const change = {
  unique_id: 'u',
  parent_start_sec: 0,
  parent_end_sec: 8,
  parent_start_frame: 0,
  parent_end_frame: 240,
};
const box = { frame_number: 3, x: 0, y: 1, width: 2, height: 3 };

/** One good value of every form that the golden data lacks. */
const examples: readonly (readonly [SchemaName, ScoredTask, unknown])[] = [
  ['ego4d.mq.test/1', 'mq', { version: '1', videos: [{ video_uid: 'v', split: 'test', clips: [clip] }] }],
  ['ego4d.mq.classes/1', 'mq', { Background: 0, wash_dough: 1 }],
  ['ego4d.nlq.test/1', 'nlq', videos({ annotation_uid: 'a', language_queries: [{ query: 'where?' }, {}] })],
  [
    'ego4d.vq2d.test/1',
    'vq2d',
    videos({ query_sets: { 1: { is_valid: true, query_frame: 4, object_title: 'mug', visual_crop: box } } }),
  ],
  ['ego4d.fhp.test/1', 'fhp', clips({ clip_id: 1, clip_uid: 'c', frames: [{ pre_45: { frame: 7, clip_frame: 7 } }] })],
  ['ego4d.sta.test/1', 'sta', { info: {}, annotations: [{ uid: 'u', video_id: 'v', frame: 3 }] }],
  ['ego4d.lta.test/1', 'lta', clips({ video_uid: 'v', clip_uid: 'c', action_idx: 0 })],
  [
    'ego4d.scod.test/1',
    'scod',
    clips({ video_uid: 'v', clip_uid: 'c', pnr_frame: { frame_number: 3, width: 4, height: 5 } }),
  ],
  ['ego4d.oscc-pnr.test/1', 'pnr', clips(change)],
  ['ego4d.oscc-pnr.annotations/1', 'oscc', [{ ...change, state_change: false, pnr_frame: null }]],
  [
    'ego4d.goalstep.annotations/1',
    'nlq',
    {
      videos: [
        {
          video_uid: 'grp-v',
          segments: [
            {
              start_time: 0,
              end_time: 1.5,
              step_category: 'x',
              step_description: 'y',
              segments: [
                { start_time: 0, end_time: 1, step_category: 'x', step_description: 'z', is_relevant: 'unsure' },
              ],
            },
          ],
        },
      ],
    },
  ],
  [
    'ego4d.goalstep.test/1',
    'nlq',
    { videos: [{ video_uid: 'v', step_segments: [{ step_description: 'y', segment_count: 2 }] }] },
  ],
];

function documentOf(value: unknown): JsonDocument {
  return parseJson('a.json', JSON.stringify(value, null, 1));
}

test('every schema of Ego4D is compiled, and every form has one', () => {
  const names = schemaNames.filter((name) => name.startsWith('ego4d.'));
  const withoutForm: SchemaName[] = ['ego4d.manifest-row/1', 'ego4d.narrations/1'];
  expect(fileForms.map(({ schema }) => schema).sort()).toEqual(names.filter((name) => !withoutForm.includes(name)));
});

test.each(examples)('%s takes its example, unknown members too, and is recognised', async (name, task, value) => {
  expect(formOf(value)?.schema).toBe(name);
  expect(formFor(task, 'annotations', value)?.schema).toBe(name);
  const more = Array.isArray(value) ? value : { ...(value as object), addedLater: name.includes('classes') ? 1 : [] };
  expect(await formFindings(task, 'annotations', documentOf(more))).toEqual([]);
});

test('a file of another task or kind is one finding that says what it is', async () => {
  const document = documentOf(examples[2]?.[2]);
  expect(await formFindings('mq', 'annotations', document)).toMatchObject([
    {
      code: 'file.other_form',
      at: '',
      found: 'Natural Language Queries test file',
      hint: expect.stringContaining('nlq') as string,
    },
  ]);
  expect(await formFindings('nlq', 'submission', document)).toMatchObject([{ code: 'file.other_form' }]);
  expect((await formFindings('scod', 'submission', documentOf({}))).map(({ at, expected }) => [at, expected])).toEqual([
    ['', 'a list with one detection at least'],
  ]);
  expect(await formFindings('fhp', 'submission', documentOf({}))).toHaveLength(1);
  expect(await formFindings('recognition', 'predictions', documentOf({}))).toEqual([]);
});

test('a bare map of numbers with a fault is not taken for the bare map of another task', async () => {
  const short = documentOf({ '7_99': [1, 2, 3, 4, 5, 6, 7, 8, 9, 10] });
  expect((await formFindings('fhp', 'submission', short)).map(({ code, at }) => [code, at])).not.toContainEqual([
    'file.other_form',
    '',
  ]);
  expect(formOf(short.value)).toBeUndefined();
  const frames = await formFindings('pnr', 'submission', documentOf({ clip: 15 }));
  expect(frames).toMatchObject([{ code: 'data.invalid', expected: 'a list' }]);
  const logits = documentOf({ clip: Array.from({ length: 16 }, (_, i) => i) });
  expect(await formFindings('fhp', 'submission', logits)).toMatchObject([{ found: 'PNR logits' }]);
});

test('a million faults give a bounded list in bounded time', async () => {
  const document = parseJson('a.json', `{"c":[${'[],'.repeat(1_000_000)}[]]}`);
  const value = {
    version: '1.0',
    challenge: 'ego4d_moment_queries',
    detect_results: document.value,
    retrieve_results: {},
  };
  const begin = performance.now();
  const found = await formFindings('mq', 'submission', { ...document, value });
  expect(found).toHaveLength(101);
  expect(countFindings(found)).toEqual({ errors: 1000, warnings: 0, atLeast: true });
  expect(performance.now() - begin).toBeLessThan(20_000);
});

describe.skipIf(golden === undefined)('golden files', () => {
  const files = golden === undefined ? [] : goldenFiles(golden);
  const read = (path: string): string => readFileSync(join(golden ?? '', path), 'utf8');

  test('there are some for every task', () => {
    expect(new Set(files.map(({ task }) => task))).toEqual(new Set(tasks));
  });

  test.each(files)('$path obeys its schema and is recognised', async ({ task, kind, path }) => {
    const document = parseJson(path, read(path), { literals: task === 'sta' });
    expect(document.findings).toEqual([]);
    expect(await formFindings(task, kind, document)).toEqual([]);
    const own = formFor(task, kind, document.value);
    expect(own?.fits(document.value)).toBe(true);
    // Vectors of truth and of predictions have one form.
    if (!path.endsWith('labels.json')) expect(formOf(document.value)).toBe(own);
  });

  const first = tasks.flatMap((task) => [
    ...new Map(
      files.filter((file) => file.task === task).map((file) => [file.path.replace(/^.*\//, ''), file]),
    ).values(),
  ]);
  test.each(first)(
    '$path: every required member and every type of a first item is asked for',
    async ({ task, kind, path }) => {
      const value: unknown = JSON.parse(read(path));
      const form = formFor(task, kind, value);
      if (form === undefined) throw new Error('no form');
      let mutations = 0;
      for (const mutation of mutationsOf(value, (await schemaOf(form.schema)).wants)) {
        const changed: unknown = structuredClone(value);
        const { at } = mutation;
        const pointer = mutation.apply(changed);
        const document = documentOf(changed);
        const found = await schemaFindings(form.schema, document);
        expect({ at, found: found.map((finding) => finding.at) }).toEqual({
          at,
          found: expect.arrayContaining([pointer]) as string[],
        });
        const place = found.find((finding) => finding.at === pointer);
        expect([at, place?.line]).toEqual([
          at,
          document.line(pointer) ?? document.line(pointer.replace(/\/[^/]*$/, '')),
        ]);
        mutations++;
      }
      expect(mutations).toBeGreaterThan(0);
    },
  );
});

interface Mutation {
  readonly at: string;
  /** Changes the value and gives the pointer of the fault. */
  apply(value: unknown): string;
}

type Schema = Readonly<Record<string, unknown>>;

/** The part of a schema that a path of a value meets. */
async function schemaOf(
  name: SchemaName,
): Promise<{ readonly wants: (path: readonly string[]) => Schema | undefined }> {
  const { loadValidator } = await import('../../src/check.js');
  const { schema } = await loadValidator(name);
  const resolve = (part: Schema | undefined): Schema | undefined => {
    const reference = part?.['$ref'];
    if (typeof reference !== 'string') return part;
    const name = reference.replace('#/$defs/', '');
    return resolve((schema['$defs'] as Readonly<Record<string, Schema>>)[name]);
  };
  return {
    wants: (path) => {
      let at = resolve(schema);
      for (const key of path) {
        const properties = at?.['properties'] as Readonly<Record<string, Schema>> | undefined;
        const next =
          properties?.[key] ??
          (at?.['items'] as Schema | undefined) ??
          (at?.['additionalProperties'] as Schema | undefined);
        at = resolve(next);
      }
      return at;
    },
  };
}

/** Over the first item of every list and map: drop each required member, and give each typed scalar another type. */
function mutationsOf(value: unknown, wants: (path: readonly string[]) => Schema | undefined): Mutation[] {
  const found: Mutation[] = [];
  const pointerOf = (path: readonly string[]): string =>
    path.map((part) => `/${part.replaceAll('~', '~0').replaceAll('/', '~1')}`).join('');
  const holder = (root: unknown, path: readonly string[]): Record<string, unknown> =>
    path.slice(0, -1).reduce((at, key) => at[key] as Record<string, unknown>, root as Record<string, unknown>);
  const walk = (part: unknown, path: readonly string[]): void => {
    const schema = wants(path);
    if (schema === undefined) return;
    const required = schema['required'] as readonly string[] | undefined;
    const isBareList = Array.isArray(part) && [schema['type']].flat().includes('array');
    if (!isBareList) {
      for (const key of required ?? []) {
        const at = [...path, key];
        found.push({
          at: `without ${pointerOf(at)}`,
          apply(root) {
            Reflect.deleteProperty(holder(root, at), key);
            return pointerOf(at);
          },
        });
      }
    }
    const type = [schema['type']].flat();
    const wrong = type.includes('string') ? (type.includes('number') ? [] : 7) : 'wrong';
    const isScalar = typeof part !== 'object' || part === null;
    if (
      path.length > 0 &&
      isScalar &&
      ('type' in schema || 'const' in schema) &&
      !(type.includes('string') && type.length > 2)
    ) {
      found.push({
        at: `${pointerOf(path)} = ${String(wrong)}`,
        apply(root) {
          holder(root, path)[path.at(-1) ?? ''] = type.includes('string') && !type.includes('object') ? [] : wrong;
          return pointerOf(path);
        },
      });
    }
    if (isScalar) return;
    const entries = Object.entries(part);
    const isMap = !('properties' in schema) || Array.isArray(part);
    for (const [key, member] of isMap ? entries.slice(0, 1) : entries) walk(member, [...path, key]);
  };
  walk(value, []);
  return found.slice(0, 40);
}
