import { join, relative, sep } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { planNames, type NamedInput, type NameOptions } from './names.js';

const options: NameOptions = { out: 'feats', type: 'npy', foldsCase: false };
const at = (path: string, relpath = ''): NamedInput => ({ path, relpath });
const arrays = (inputs: readonly NamedInput[], change: Partial<NameOptions> = {}): string[] =>
  planNames(inputs, { ...options, ...change }).flatMap((item) => item.targets.map(({ array }) => array));

test('an array has its time table, meta file and lock beside it, below the folder of its video', () => {
  expect(planNames([at('/videos/P01/a.b.mp4', 'P01')], options)).toEqual([
    {
      input: { path: '/videos/P01/a.b.mp4', relpath: 'P01' },
      id: 'P01/a.b',
      lock: join('feats/P01/a.b.npy.lock'),
      targets: [
        {
          type: 'npy',
          array: join('feats/P01/a.b.npy'),
          times: join('feats/P01/a.b.times.csv'),
          meta: join('feats/P01/a.b.npy.meta.json'),
        },
      ],
    },
  ]);
});

test('inputs that would share a name keep their extension, others do not', () => {
  expect(arrays([at('h264.flv'), at('h264.ts'), at('other.mp4'), at('sub/h264.mp4', 'sub')])).toEqual([
    'feats/h264.flv.npy',
    'feats/h264.ts.npy',
    'feats/other.npy',
    'feats/sub/h264.npy',
  ]);
});

test('an input whose own name is what a neighbour moved to moves as well', () => {
  expect(arrays([at('a.flv'), at('a.ts'), at('a.flv.mp4')])).toEqual([
    'feats/a.flv.npy',
    'feats/a.ts.npy',
    'feats/a.flv.mp4.npy',
  ]);
});

test('inputs that collide even with their extension are refused before anything runs', () => {
  expect(() => arrays([at('x/a.mp4'), at('y/a.mp4')])).toThrow(
    '`x/a.mp4` and `y/a.mp4`: all would be written to `feats/a.mp4.npy`',
  );
  expect(() => arrays([at('a.mp4'), at('b.mp4')], { template: 'same.{ext}' })).toThrow(/all would be written/);
});

test('names that differ in case alone are one name where the file system says so', () => {
  const inputs = [at('A.mp4'), at('a.mkv')];
  expect(arrays(inputs)).toEqual(['feats/A.npy', 'feats/a.npy']);
  expect(arrays(inputs, { foldsCase: true })).toEqual(['feats/A.mp4.npy', 'feats/a.mkv.npy']);
  expect(() => arrays([at('x/A.mp4'), at('y/a.mp4')], { foldsCase: true })).toThrow(/all would be written/);
});

test('a name that the list gives is the stem; two equal ones are refused', () => {
  const named = (name: string): NamedInput => ({ path: '/v/a.mp4', relpath: '', name });
  expect(arrays([named('clip 1'), named('clip.2'), named('../x')])).toEqual([
    'feats/clip 1.npy',
    'feats/clip.2.npy',
    'feats/.._x.npy',
  ]);
  expect(() => arrays([named('x'), named('x')])).toThrow('all would be written to');
});

test('a name of blanks alone becomes one that can be seen', () => {
  expect(arrays([at(' .mp4'), at('   .mp4', ' ')])).toEqual(['feats/_.npy', 'feats/_/___.npy']);
});

test('two streams are two arrays of one item', () => {
  const [item] = planNames([at('a.mp4')], { ...options, streamSet: 'both' });
  expect(item?.id).toBe('a');
  expect(item?.lock).toBe(join('feats/a.masked.npy.lock'));
  expect(item?.targets.map(({ stream, array, times }) => [stream, array, times])).toEqual([
    ['masked', join('feats/a.masked.npy'), join('feats/a.masked.times.csv')],
    ['multimodal', join('feats/a.multimodal.npy'), join('feats/a.multimodal.times.csv')],
  ]);
});

test('a template names the files', () => {
  expect(arrays([at('v/a.mp4', 'v')], { template: 'all/{stem}-features.{ext}', type: 'safetensors' })).toEqual([
    join('feats/all/a-features.safetensors'),
  ]);
});

test.each(['{stem}', '{stem}.npy', '{name}.{ext}', '../{stem}.{ext}', 'a/../../{stem}.{ext}', '/tmp/{stem}.{ext}'])(
  'the template `%s` is refused',
  (template) => {
    expect(() => arrays([at('a.mp4')], { template })).toThrow(/name template/);
  },
);

test.each([
  ['../../etc/passwd.mp4', '../..', 'feats/__/__/passwd.npy'],
  ['..mp4', '', 'feats/_.npy'],
  ['a\0b.mp4', 'c\0', 'feats/c_/a_b.npy'],
  ['line\nbreak.mp4', 'x\ny', 'feats/x\ny/line\nbreak.npy'],
  ['-o.mp4', './.', 'feats/-o.npy'],
  ['{relpath}.mp4', '', 'feats/{relpath}.npy'],
  ['$&.mp4', "$'", "feats/$'/$&.npy"],
])('the hostile name %j below %j stays in the output folder', (path, relpath, expected) => {
  expect(arrays([at(path, relpath)])).toEqual([expected]);
});

test('a name too long for its companions is cut at a character and marked with a digest', () => {
  const [long, other] = arrays([at(`${'é'.repeat(120)}.mp4`), at(`${'é'.repeat(121)}.mp4`)]);
  expect(long).toMatch(/^feats\/é+~[0-9a-f]{8}\.npy$/);
  expect(long).not.toBe(other);
  const lock = `.${long!.slice('feats/'.length)}.meta.json.1234567890.tmp`;
  expect(Buffer.byteLength(lock)).toBeLessThanOrEqual(255);
});

const part = fc.oneof(
  fc.constantFrom('..', '.', '', 'a', 'A', 'a.mp4', 'a.b', '\0', '\n', '...', '~', '\\', 'é', 'é'),
  fc.string({ unit: 'binary', maxLength: 40 }),
);
const input = fc.record({
  path: fc.array(part, { minLength: 1, maxLength: 3 }).map((parts) => parts.join('/')),
  relpath: fc.array(part, { maxLength: 4 }).map((parts) => parts.join('/')),
});

test('every planned file lies below the output folder, and no two items share one, whatever the names', () => {
  fc.assert(
    fc.property(fc.array(input, { maxLength: 8 }), fc.boolean(), (inputs, foldsCase) => {
      let items;
      try {
        items = planNames(inputs, { out: '/out', type: 'npy', streamSet: 'both', foldsCase });
      } catch (error) {
        expect(error).toMatchObject({ code: 'usage.conflict' });
        return;
      }
      const files = items.flatMap(({ lock, targets }) => [lock, ...targets.flatMap((t) => [t.array, t.times, t.meta])]);
      expect(new Set(files).size).toBe(files.length);
      expect(new Set(items.map(({ id }) => id)).size).toBe(items.length);
      for (const file of files) {
        const below = relative('/out', file);
        expect(below.split(sep)).not.toContain('..');
        expect(below.startsWith(sep)).toBe(false);
        expect(file).not.toContain('\0');
        for (const name of below.split(sep)) expect(Buffer.byteLength(name)).toBeLessThanOrEqual(228);
      }
    }),
    { seed: 1, numRuns: 500 },
  );
});

test('the order of the list does not change a name', () => {
  const stem = fc.constantFrom('a', 'b', 'a.flv', 'a.ts');
  const video = fc.record({ stem, ext: fc.constantFrom('', '.mp4', '.ts', '.flv'), relpath: fc.constantFrom('', 'x') });
  fc.assert(
    fc.property(fc.array(video, { maxLength: 8 }), (videos) => {
      const inputs = videos.map(({ stem, ext, relpath }) => at(`/v/${relpath}/${stem}${ext}`, relpath));
      const named = (list: readonly NamedInput[]): unknown => {
        try {
          return Object.fromEntries(planNames(list, options).map((item) => [item.input.path, item.id]));
        } catch {
          return 'conflict';
        }
      };
      expect(named(inputs.toReversed())).toEqual(named(inputs));
    }),
    { seed: 2, numRuns: 500 },
  );
});
