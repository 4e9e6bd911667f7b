import { expect, test } from 'vitest';
import { attr, tfjsModel, type NodeText, type WeightText } from '../../test/tfjs.js';
import { EgolensError } from '../errors.js';
import { memorySource } from './bytes.js';
import { parseTfjs, readTfjsWeights, tfjsBool, tfjsInts, tfjsText, tfjsTexts, tfjsType } from './tfjs.js';

type Json = Record<string, unknown>;
const parsed = (json: unknown) => parseTfjs(Buffer.from(JSON.stringify(json)), 'model.json');

function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    return error instanceof EgolensError ? `${error.code}: ${error.message}` : String(error);
  }
  return 'no error';
}

const weights: readonly WeightText[] = [
  { name: 'a', shape: [2, 2], values: [1, -2, 0.5, 4] },
  { name: 'half', shape: [3], values: [0.5, -1, 2], as: 'float16' },
  { name: 'axis', shape: [], values: [-3], as: 'int32' },
  { name: 'byte', shape: [3], values: [-1, 0, 1], as: 'uint8', scale: 0.5, min: -1 },
];

test('weights of every form come back, also across shards that end within one', async () => {
  const { json, bin } = tfjsModel([], weights, ['one.bin', 'two.bin']);
  const model = parsed(json);
  expect(model.shards).toEqual(['one.bin', 'two.bin']);
  const shards = new Map([
    ['one.bin', memorySource('one.bin', bin.slice(0, 19))],
    ['two.bin', memorySource('two.bin', bin.slice(19))],
  ]);
  const read = await readTfjsWeights(model, shards);
  expect([...read].map(([name, { shape, data }]) => [name, shape, [...data]])).toEqual(
    weights.map(({ name, shape, values }) => [name, shape, values]),
  );
});

test('inputs and attributes of nodes are read; control inputs carry nothing', () => {
  const node: NodeText = {
    ...{ name: 'x', op: 'Conv2D', input: ['a', 'b:2', '^c', 'd:0'] },
    attr: {
      ...{ strides: attr.ints(1, 2, 2, 1), padding: attr.text('SAME'), fused: attr.texts('BiasAdd', 'Relu') },
      ...{ corners: attr.bool(true), to: attr.type('DT_FLOAT') },
    },
  };
  const found = parsed(tfjsModel([node], []).json).nodes.get('x')!;
  expect(found.inputs).toEqual([
    { node: 'a', output: 0 },
    { node: 'b', output: 2 },
    { node: 'd', output: 0 },
  ]);
  expect([tfjsInts(found, 'strides'), tfjsText(found, 'padding')]).toEqual([[1, 2, 2, 1], 'SAME']);
  expect([tfjsTexts(found, 'fused'), tfjsBool(found, 'corners')]).toEqual([['BiasAdd', 'Relu'], true]);
  expect([tfjsType(found, 'to'), tfjsInts(found, 'none'), tfjsBool(found, 'none')]).toEqual([
    'DT_FLOAT',
    undefined,
    false,
  ]);
  const odd = { ...found, attrs: { strides: { list: { i: ['1', 'two'] } } } };
  expect(codeOf(() => tfjsInts(odd, 'strides'))).toContain('checkpoint.format: node `x` (Conv2D): attribute `strides`');
});

const good = (): Json => tfjsModel([{ name: 'x', op: 'Relu', input: ['a'] }], weights).json;
const manifest = (json: Json): { paths: unknown; weights: Json[] } =>
  (json['weightsManifest'] as { paths: unknown; weights: Json[] }[])[0]!;

test.each<[string, (json: Json) => void, string]>([
  ['another format', (json) => (json['format'] = 'layers-model'), 'checkpoint.format: `model.json`: format'],
  ['no nodes', (json) => (json['modelTopology'] = {}), 'checkpoint.format: `model.json`: /modelTopology/node'],
  ['a shard elsewhere', (json) => (manifest(json).paths = ['../../etc/passwd']), 'plain name of a file beside it'],
  ['a shard on Windows', (json) => (manifest(json).paths = ['..\\x.bin']), 'plain name of a file beside it'],
  ['a shard of the network', (json) => (manifest(json).paths = ['http://x/y.bin']), 'plain name of a file beside it'],
  ['a folder', (json) => (manifest(json).paths = ['..']), 'plain name of a file beside it'],
  ['a shard twice', (json) => (manifest(json).paths = ['a.bin', 'a.bin']), 'every name once'],
  ['a size below 1', (json) => (manifest(json).weights[0]!['shape'] = [2, -2]), 'whole numbers from 1 on'],
  ['a broken size', (json) => (manifest(json).weights[0]!['shape'] = [2.5]), 'whole numbers from 1 on'],
  ['10^9 values', (json) => (manifest(json).weights[0]!['shape'] = [1e9]), 'at most 268435456 values'],
  ['10^27 values', (json) => (manifest(json).weights[0]!['shape'] = [1e9, 1e9, 1e9]), 'at most 268435456 values'],
  ['text weights', (json) => (manifest(json).weights[0]!['dtype'] = 'string'), 'one of float32'],
  ['a scale that is none', (json) => (manifest(json).weights[3]!['quantization'] = { dtype: 'uint8' }), 'scale'],
  ['a name twice', (json) => (manifest(json).weights[1]!['name'] = 'a'), 'every name once'],
  ['too many nodes', (json) => (json['modelTopology'] = { node: Array(50_001).fill(0) }), 'limit.size'],
  ['a node that is none', (json) => (json['modelTopology'] = { node: [7] }), '/modelTopology/node/0'],
])('%s: refused', (_, change, message) => {
  const json = good();
  change(json);
  expect(codeOf(() => parsed(json))).toContain(message);
});

test('bytes that are no text or no JSON, and all beginnings of a model, end in an error of ours', () => {
  expect(codeOf(() => parseTfjs(Uint8Array.of(0xff, 0xfe), 'x'))).toContain('checkpoint.format');
  const whole = JSON.stringify(good());
  for (let end = 0; end < whole.length; end += 7) {
    expect(codeOf(() => parseTfjs(Buffer.from(whole.slice(0, end)), 'x'))).toContain('checkpoint.format');
  }
});

test('what is nested without end is refused by its kind', () => {
  const depth = 200_000;
  const deep = `${'['.repeat(depth)}${']'.repeat(depth)}`;
  const text = `{"format":"graph-model","modelTopology":${deep},"weightsManifest":[]}`;
  expect(codeOf(() => parseTfjs(Buffer.from(text), 'x'))).toContain('checkpoint.format');
});

test('a shard that is cut, or longer than its weights, is seen before it is read', async () => {
  const { json, bin } = tfjsModel([], weights);
  const read = async (size: number): Promise<string> => {
    const unread = { name: 'model.bin', size, read: () => Promise.reject(new Error('read')) };
    return await readTfjsWeights(parsed(json), new Map([['model.bin', unread]])).then(
      () => 'read',
      (error: unknown) => (error instanceof EgolensError ? error.code : String(error)),
    );
  };
  expect(await read(bin.length - 1)).toBe('input.truncated');
  expect(await read(bin.length + 1)).toBe('checkpoint.format');
});
