import { expect, test } from 'vitest';
import { brightDetector, tfjsModel } from '../../test/tfjs.js';
import { memorySource } from '../checkpoint/bytes.js';
import { parseTfjs, readTfjsWeights } from '../checkpoint/tfjs.js';
import { EgolensError } from '../errors.js';
import { shapeText, tensor } from '../tensor.js';
import { centernetBoxes, centernetConfig, centernetGraph, mobileCenternet } from './centernet.js';

const bright = { input: 'picture', size: 32, classes: 'scores', edges: 'edges' };

/** Maps of 2 classes, 3 rows, 4 columns, with these scores [class, row, column, score]; all edges are 2 pixels of 16 away. */
function maps(scores: readonly (readonly [number, number, number, number])[]) {
  const classes = tensor('float32', [1, 2, 3, 4], new Float32Array(24));
  for (const [kind, row, column, score] of scores) classes.data[kind * 12 + row * 4 + column] = score;
  return { classes, edges: tensor('float32', [1, 4, 3, 4], new Float32Array(48).fill(2)) };
}

const config = centernetConfig({ size: 16, min_score: 0.2 }, 'test');

test('peaks become boxes in shares of the frame, by falling score', () => {
  const found = centernetBoxes(
    maps([
      [0, 1, 1, 0.5],
      [0, 1, 2, 0.4],
      [0, 2, 3, 0.3],
      [1, 1, 2, 0.875],
      [1, 0, 0, 0.1],
    ]),
    config,
  );
  // The 0.4 has a better neighbour of its class, 0.3 a neighbour (0.4) too, 0.1 is below the least score.
  expect(found).toEqual([
    {
      box: [0.375, expect.closeTo(1 / 3 - 0.125, 6), 0.625, expect.closeTo(1 / 3 + 0.125, 6)],
      classId: 1,
      score: 0.875,
    },
    { box: [0.125, expect.closeTo(1 / 3 - 0.125, 6), 0.375, expect.closeTo(1 / 3 + 0.125, 6)], classId: 0, score: 0.5 },
  ]);
});

test('equal neighbours are peaks both; boxes are cut to the frame, and no more than asked for', () => {
  const same = maps([
    [0, 0, 0, 0.5],
    [0, 0, 1, 0.5],
  ]);
  const found = centernetBoxes(same, config);
  expect(found.map(({ box }) => box)).toEqual([
    [0, 0, 0.125, 0.125],
    [0.125, 0, 0.375, 0.125],
  ]);
  expect(centernetBoxes(same, { ...config, max_detections: 1 })).toEqual([found[0]]);
  same.edges.data.fill(-1);
  expect(centernetBoxes(same, config)).toEqual([]);
});

test('a configuration is checked member by member; what it leaves out is that of the known graph', () => {
  expect(centernetConfig({}, 'x')).toEqual(mobileCenternet);
  const cases: [Record<string, unknown>, string][] = [
    [{ size: 1e9 }, '`size`: expected a whole number from 16 to 2048, found 1000000000'],
    [{ size: '512' }, '`size`'],
    [{ std: [1, 0, 1] }, '`std`: expected three numbers, those of std not 0'],
    [{ mean: [1, 2] }, '`mean`'],
    [{ classes: '' }, '`classes`: expected the name of a node'],
    [{ min_score: 2 }, '`min_score`'],
    [{ decode: 'yolo' }, '`decode`'],
    [{ anchors: 3 }, '`anchors`: expected one of decode'],
  ];
  for (const [given, message] of cases) {
    expect(() => centernetConfig(given, 'x')).toThrow(EgolensError);
    expect(() => centernetConfig(given, 'x')).toThrow(message);
  }
});

async function graphOf(given: Record<string, unknown>, made = brightDetector()) {
  const model = parseTfjs(Buffer.from(JSON.stringify(made.json)), 'model.json');
  const weights = await readTfjsWeights(model, new Map([['model.bin', memorySource('model.bin', made.bin)]]));
  return centernetGraph(model, weights, centernetConfig({ ...bright, ...given }, 'test'));
}

test('the graph takes pixels of a frame and gives two maps of one grid; what lies behind them is left', async () => {
  const { graph, classes, used } = await graphOf({ mean: [1, 2, 3], std: [255, 255, 255] });
  expect(graph.inputs.map(({ name, shape }) => `${name} ${shapeText(shape)}`)).toEqual(['frames [1, 32, 32, 3]']);
  expect([...graph.outputs].map(([name, { shape }]) => `${name} ${shapeText(shape)}`)).toEqual([
    'classes [1, 2, 8, 8]',
    'edges [1, 4, 8, 8]',
  ]);
  expect(classes).toBe(2);
  expect([...used].sort()).toEqual(['axis', 'bias', 'distances', 'kernel', 'shares', 'zero']);
});

test('outputs that are no maps of one grid, or no nodes, are refused', async () => {
  await expect(graphOf({ edges: 'scores' })).rejects.toThrow('expected float32 [1, classes, rows, columns]');
  await expect(graphOf({ input: 'images' })).rejects.toThrow('input `images`: the graph has no such input');
  await expect(graphOf({ classes: 'kernel' })).rejects.toThrow('output `kernel`: the graph has no such node');
  await expect(graphOf({ edges: 'top' })).rejects.toThrow('TopKV2 (`top`)');
  // The input itself is neither.
  const bare = tfjsModel([{ name: 'picture', op: 'Placeholder' }], []);
  await expect(graphOf({ classes: 'picture', edges: 'picture' }, bare)).rejects.toThrow('[1, 4, rows, columns]');
});
