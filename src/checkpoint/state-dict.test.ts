import { describe, expect, test } from 'vitest';
import { memorySource } from './bytes.js';
import { keyReportError, matchKeys } from './match-keys.js';
import { listTensors, openCheckpoint, type CheckpointOptions } from './state-dict.js';
import { openPt, readPt } from './pt-features.js';
import { writeZip } from './zip-write.js';

/** Nested dicts of scalar float32 tensors (`'t'`) and numbers, as a zip checkpoint. */
type Tree = 't' | number | { readonly [key: string]: Tree };

function opcodes(tree: Tree): string {
  if (tree === 't') {
    return 'ctorch._utils\n_rebuild_tensor_v2\n((\x8c\x07storagectorch\nFloatStorage\n\x8c\x010\x8c\x03cpuK\x01tQK\x00))\x89ccollections\nOrderedDict\n)RtR';
  }
  if (typeof tree === 'number') return `K${String.fromCharCode(tree)}`;
  const members = Object.entries(tree).map(
    ([key, value]) => `\x8c${String.fromCharCode(key.length)}${key}${opcodes(value)}`,
  );
  return `}(${members.join('')}u`;
}

function source(tree: Tree) {
  const pickle = Buffer.from(`\x80\x02${opcodes(tree)}.`, 'latin1');
  const inputs = [
    { name: 'x/data.pkl', pieces: [pickle] },
    { name: 'x/data/0', pieces: [new Uint8Array(Float32Array.of(7).buffer)] },
  ];
  return memorySource('made.pth', Buffer.concat([...writeZip(inputs)]));
}

async function open(tree: Tree, options?: CheckpointOptions) {
  const { tensors, ...rest } = await openCheckpoint(source(tree), options);
  return { ...rest, names: [...tensors.keys()] };
}

describe('where the weights are', () => {
  test.each(['model_state', 'state_dict', 'model', 'module'])('under %s, beside an optimizer', async (key) => {
    expect(await open({ epoch: 3, [key]: { w: 't' }, optimizer: { state: 't' } })).toMatchObject({
      container: 'zip',
      weightsKey: key,
      names: ['w'],
      leftInFile: ['epoch', 'optimizer'],
      topLevelKeys: ['epoch', key, 'optimizer'],
    });
  });

  test('at the top when no key fits', async () => {
    expect(await open({ a: 't', b: 't', n: 5 })).toMatchObject({ weightsKey: '', names: ['a', 'b'], leftInFile: [] });
  });

  test('the first key of the search order wins', async () => {
    expect(await open({ model: { a: 't' }, state_dict: { b: 't' } })).toMatchObject({
      weightsKey: 'state_dict',
      leftInFile: ['model'],
    });
  });

  test('a key that the caller prefers wins, where the file has it', async () => {
    const preferred = { preferredKeys: ['state_dict_ema'] };
    expect(await open({ state_dict: { a: 't' }, state_dict_ema: { b: 't' } }, preferred)).toMatchObject({
      weightsKey: 'state_dict_ema',
      names: ['b'],
    });
    expect(await open({ state_dict: { a: 't' } }, preferred)).toMatchObject({ weightsKey: 'state_dict' });
  });

  test('a key without tensors is passed over', async () => {
    expect(await open({ model: { depth: 12 }, module: { w: 't' } })).toMatchObject({ weightsKey: 'module' });
  });

  test('under the key that the caller names', async () => {
    expect(await open({ model: { a: 't' }, model_ema: { b: 't' } }, { weightsKey: 'model_ema' })).toMatchObject({
      names: ['b'],
    });
  });

  test('nowhere: the message lists the top-level keys', async () => {
    await expect(open({ optimizer: { state: 1 }, epoch: 4 })).rejects.toThrow(
      '`made.pth`: no dictionary of tensors under `model_state`, `state_dict`, `model`, `module`, nor at the top level; top-level keys are `optimizer`, `epoch`',
    );
  });

  test('entries that are no tensors are listed, not fatal', async () => {
    expect(await open({ model: { w: 't', num_updates: 12 } })).toMatchObject({
      names: ['w'],
      skipped: [{ name: 'num_updates', reason: 'the number 12' }],
    });
  });
});

describe('prefixes', () => {
  test.each<[string, readonly string[], CheckpointOptions, string, readonly string[]]>([
    ['one that all share is stripped', ['backbone.a', 'backbone.b.c'], {}, 'backbone.', ['a', 'b.c']],
    [
      'several in a row are stripped',
      ['module._orig_mod.a', 'module._orig_mod.b'],
      {},
      'module._orig_mod.',
      ['a', 'b'],
    ],
    ['one that a single key lacks stays', ['backbone.a', 'b'], {}, '', ['backbone.a', 'b']],
    ['an unknown one stays', ['encoder.a', 'encoder.b'], {}, '', ['encoder.a', 'encoder.b']],
    [
      'one of the family is stripped when asked for',
      ['encoder.a', 'encoder.b'],
      { prefixes: ['encoder.'] },
      'encoder.',
      ['a', 'b'],
    ],
    ['a name that is nothing but a prefix stays', ['module.'], {}, '', ['module.']],
    ['only the kept keys count', ['clip.a', 'clip.b', 'loss.c'], { keepOnly: 'clip.' }, 'clip.', ['a', 'b']],
  ])('%s', async (_, keys, options, prefix, names) => {
    expect(await open(Object.fromEntries(keys.map((key) => [key, 't' as const])), options)).toMatchObject({
      prefix,
      names,
    });
  });

  test('what keepOnly leaves out is listed by its full name', async () => {
    expect(await open({ 'clip.a': 't', 'loss.c': 't' }, { keepOnly: 'clip.' })).toMatchObject({ outside: ['loss.c'] });
    await expect(open({ 'loss.c': 't' }, { keepOnly: 'clip.' })).rejects.toMatchObject({
      code: 'checkpoint.unsupported',
    });
  });
});

test('the listing has one line for each tensor', async () => {
  const checkpoint = await openCheckpoint(source({ model: { w: 't', v: 't' } }));
  const line = { storedType: 'float32', shape: [], bytes: 4, storageKey: '0', contiguous: true };
  expect([...listTensors(checkpoint)]).toEqual([
    { name: 'w', ...line },
    { name: 'v', ...line },
  ]);
});

test('a feature file with several tensors is read by name', async () => {
  const features = source({ slow: 't', fast: 't', fps: 30 });
  expect([...(await openPt(features)).keys()]).toEqual(['slow', 'fast']);
  await expect(readPt(features)).rejects.toThrow('expected one tensor, found `slow`, `fast`');
  expect([...(await readPt(features, 'fast')).data]).toEqual([7]);
});

describe('keys against parameters', () => {
  const found = (shapes: Readonly<Record<string, readonly number[]>>) =>
    new Map(
      Object.entries(shapes).map(([name, shape]) => [
        name,
        { name, storedType: 'float32', shape, chunks: () => (async function* () {})() },
      ]),
    );
  const wanted = (shapes: Readonly<Record<string, readonly number[]>>) => new Map(Object.entries(shapes));

  test('a file that fits has no error', () => {
    const report = matchKeys(
      wanted({ 'a.w': [2, 3] }),
      found({ 'x.a.w': [2, 3], mask: [1] }),
      (key) => key.replace('x.', ''),
      new Set(['mask']),
    );
    expect([...report.matched.keys()]).toEqual(['a.w']);
    expect(report.left).toEqual(['mask']);
    expect(keyReportError(report, 'x.pth')).toBeNull();
  });

  test('missing and unused names are both listed', () => {
    const error = keyReportError(matchKeys(wanted({ a: [1], b: [1] }), found({ b: [1], c: [1] })), 'x.pth');
    expect(error?.code).toBe('model.key_unmatched');
    expect(error?.message.split('\n')).toEqual([
      '`x.pth`: 1 parameters of the graph have no tensor, 1 tensors of the file have no parameter',
      'missing in the file: `a`',
      'not wanted by the graph: `c`',
    ]);
  });

  test('a tensor that the renaming drops is unused unless it is allowed by name', () => {
    const drop = () => null;
    expect(matchKeys(wanted({}), found({ a: [1] }), drop).unused).toEqual(['a']);
    expect(matchKeys(wanted({}), found({ a: [1] }), drop, new Set(['a']))).toMatchObject({ unused: [], left: ['a'] });
  });

  test('two tensors for one parameter are an error that names both', () => {
    const report = matchKeys(wanted({ w: [1] }), found({ 'a.w': [1], 'b.w': [1] }), () => 'w');
    expect(report.doubled).toEqual([{ parameter: 'w', keys: ['a.w', 'b.w'] }]);
    expect(keyReportError(report, 'x.pth')?.message).toContain('`w`: `a.w`, `b.w`');
  });

  test('a tensor of another shape is named with both shapes', () => {
    const report = matchKeys(
      wanted({ 'qkv.weight': [3072, 1024], b: [1, 4] }),
      found({ 'qkv.weight': [2304, 768], b: [4] }),
    );
    const error = keyReportError(report, 'x.pth');
    expect(error?.code).toBe('model.shape');
    expect(error?.message).toContain('qkv.weight: expected [3072, 1024], found [2304, 768]');
    expect(error?.message).toContain('b: expected [1, 4], found [4]');
  });

  test('twenty names are shown and all are counted', () => {
    const many = Object.fromEntries(Array.from({ length: 50 }, (_, i) => [`p${i}`, [1]]));
    const message = keyReportError(matchKeys(wanted(many), found({})), 'x.pth')?.message ?? '';
    expect(message).toContain('50 parameters of the graph have no tensor');
    expect(message).toContain('`p19` and 30 more');
    expect(message).not.toContain('`p20`');
  });
});
