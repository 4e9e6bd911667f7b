/**
 * Graphs of TensorFlow.js as ours. Theirs have channels last, ours channels first: pictures are turned once, where they come in, and
 * everything behind that stays turned, axes and constants of the nodes included.
 */
import { nameList, shortText } from '../checkpoint/bytes.js';
import type { TfjsModel, TfjsNode } from '../checkpoint/tfjs.js';
import { asEgolensError, EgolensError } from '../errors.js';
import type { GraphBuilder } from '../graph/builder.js';
import { transpose } from '../graph/layers.js';
import type { Value } from '../graph/ops.js';
import { shapeText, sizeOf, tensor } from '../tensor.js';
import type { Tensor } from '../types.js';
import { tfjsRules, type TfjsContext } from './tfjs-ops.js';

/** Values of one activation, 256 MiB as float32, and of all together: what a stranger's graph may ask of the memory. */
const [mostValues, mostOfAll] = [2 ** 26, 2 ** 31];
/** Of constants and of the tables that operations bring with them, which are in memory at once. */
const mostInTables = 2 ** 26;

/** What became of a graph. */
export interface TfjsConversion {
  /** Asked for, by the name of the node: float32 [1, c, h, w]. */
  readonly outputs: ReadonlyMap<string, Value>;
  /** Parameter -> values as our graph takes them. */
  readonly parameters: ReadonlyMap<string, Tensor<'float32'>>;
  /** Weights that something asked for looks at. */
  readonly used: ReadonlySet<string>;
}

/**
 * Builds the part of a graph that leads from given nodes to those that are asked for.
 *
 * @param weights by name, as stored
 * @param given node -> what takes its place: [1, c, h, w]
 * @param wanted nodes whose first output is asked for
 * @throws EgolensError checkpoint.unsupported listing all operations that are not known; checkpoint.format for a graph that is none
 *   (a cycle, an input from nowhere); model.config where a wanted node is not there; model.shape naming the node; limit.size
 */
export function convertTfjs(
  g: GraphBuilder,
  model: TfjsModel,
  weights: ReadonlyMap<string, Tensor<'float32'>>,
  { given, wanted }: { readonly given: ReadonlyMap<string, Value>; readonly wanted: readonly string[] },
): TfjsConversion {
  const order = runningOrder(model, new Set(given.keys()), wanted);
  refuseUnknown(order);
  const values = new Map<string, Value>(given);
  const parameters = new Map<string, Tensor<'float32'>>();
  const used = new Set<string>();
  let [total, tables] = [0, 0];
  const table = (count: number): void => {
    tables += count;
    if (tables <= mostInTables) return;
    throw new EgolensError(
      'limit.size',
      `constants of ${tables} values with those before it; expected at most ${mostInTables}`,
    );
  };
  for (const node of order) {
    const rule = tfjsRules.get(node.op);
    if (rule === undefined) continue; // a Const: it is looked at where it is used
    const constant = (i: number): Tensor<'float32'> => {
      const from = inputOf(node, i);
      const found = weights.get(from);
      if (found === undefined) {
        throw new EgolensError('checkpoint.unsupported', `input ${i}, \`${shortText(from)}\`: expected a weight`);
      }
      used.add(from);
      return found;
    };
    const context: TfjsContext = {
      ...{ g, node, constant, table },
      value: (i) => {
        const known = values.get(inputOf(node, i));
        if (known !== undefined) return known;
        const stored = constant(i);
        // Each use stands in the graph once more.
        table(stored.data.length);
        return turnedConstant(g, stored);
      },
      parameter: (i, layout, turned) => {
        // Prefixes of our own: a weight may be called as the builder calls its nodes.
        const name = `${layout}.${inputOf(node, i)}`;
        parameters.set(name, turned);
        return g.param(name, turned.shape);
      },
    };
    const value = named(node, () => rule(context));
    const size = sizeOf(value.shape as readonly number[]); // our inputs have known sizes, and so has all behind them
    total += size;
    if (!(size <= mostValues && total <= mostOfAll)) {
      throw new EgolensError(
        'limit.size',
        `node \`${shortText(node.name)}\` (${node.op}): ${shapeText(value.shape)}, ${total} values with those before it; expected at most ${mostValues} and ${mostOfAll}`,
      );
    }
    values.set(node.name, value);
  }
  const outputs = new Map(wanted.map((name) => [name, values.get(name)!])); // in the order, and none is a Const
  return { outputs, parameters, used };
}

/** A fault of one node, with the node named. */
function named<T>(node: TfjsNode, body: () => T): T {
  try {
    return body();
  } catch (cause) {
    const { code, message, details } = asEgolensError(cause);
    if (code === 'internal.bug') throw cause;
    const ours = code === 'data.shape' || code === 'data.dtype' ? 'model.shape' : code;
    const where = `node \`${shortText(node.name)}\` (${node.op}): `;
    throw new EgolensError(ours, message.startsWith('node ') ? message : `${where}${message}`, { ...details, cause });
  }
}

function inputOf(node: TfjsNode, i: number): string {
  const input = node.inputs[i];
  if (input === undefined) {
    throw new EgolensError('checkpoint.format', `expected ${i + 1} inputs or more, found ${node.inputs.length}`);
  }
  return input.node;
}

/** A constant beside an activation: to four axes from the left, as numbers are broadcast, and turned with them. */
function turnedConstant(g: GraphBuilder, { shape, data }: Tensor<'float32'>): Value {
  if (shape.length > 4) throw new EgolensError('data.shape', `a constant ${shapeText(shape)}, expected at most 4 axes`);
  const [n = 1, h = 1, w = 1, c = 1] = [...Array<number>(4 - shape.length).fill(1), ...shape];
  const isFlat = n * h * w * c === Math.max(n, h, w, c);
  // Along one axis alone the order of the values is the same.
  if (isFlat) return g.constant(tensor('float32', [n, c, h, w], data));
  return transpose(g, g.constant(tensor('float32', [n, h, w, c], data)), [0, 3, 1, 2]);
}

/** Nodes that lead to the wanted ones, each behind its inputs; given ones are not entered. */
function runningOrder({ nodes }: TfjsModel, given: ReadonlySet<string>, wanted: readonly string[]): TfjsNode[] {
  const order: TfjsNode[] = [];
  const state = new Map<string, 'open' | 'done'>();
  for (const start of wanted) {
    const found = nodes.get(start);
    if (found === undefined || found.op === 'Const') {
      throw new EgolensError(
        'model.config',
        `output \`${shortText(start)}\`: the graph has no such node that computes`,
        {
          try: 'name the nodes of the class map and the box map in `--config FILE.json`',
        },
      );
    }
    // Without recursion: a chain may be as long as the file.
    const path: { readonly node: TfjsNode; next: number }[] = [];
    const enter = (name: string, from: TfjsNode | undefined): void => {
      if (given.has(name) || state.get(name) === 'done') return;
      const node = nodes.get(name);
      if (node === undefined) {
        throw new EgolensError(
          'checkpoint.format',
          `node \`${shortText(from?.name ?? '')}\`: its input \`${shortText(name)}\` is no node of the graph`,
        );
      }
      if (state.get(name) === 'open') {
        const round = path.slice(path.findIndex((one) => one.node === node)).map((one) => one.node.name);
        throw new EgolensError('checkpoint.format', `the graph goes round in a circle: ${nameList(round)}`, {
          try: 'a graph without loops; cut it before them with other output nodes in `--config`',
        });
      }
      state.set(name, 'open');
      path.push({ node, next: 0 });
    };
    enter(start, undefined);
    for (let top = path.at(-1); top !== undefined; top = path.at(-1)) {
      const input = top.node.inputs[top.next++];
      if (input === undefined) {
        path.pop();
        state.set(top.node.name, 'done');
        order.push(top.node);
      } else if (input.output > 0) {
        throw new EgolensError(
          'checkpoint.unsupported',
          `node \`${shortText(top.node.name)}\`: takes output ${input.output} of \`${shortText(input.node)}\`, expected first outputs alone`,
        );
      } else enter(input.node, top.node);
    }
  }
  return order;
}

/** @throws EgolensError checkpoint.unsupported with every operation that is not known, and its nodes */
function refuseUnknown(order: readonly TfjsNode[]): void {
  const unknown = new Map<string, string[]>();
  for (const { op, name } of order) {
    if (tfjsRules.has(op) || op === 'Const') continue;
    const names = unknown.get(op) ?? [];
    names.push(name);
    unknown.set(op, names);
  }
  if (unknown.size === 0) return;
  const said = [...unknown].slice(0, 20).map(([op, names]) => `${shortText(op)} (${nameList(names, 3)})`);
  const more = unknown.size > said.length ? ` and ${unknown.size - said.length} more` : '';
  throw new EgolensError(
    'checkpoint.unsupported',
    `the graph has operations that are not known here: ${said.join(', ')}${more}; expected ${[...tfjsRules.keys()].join(', ')}`,
    { try: 'cut the graph before them: other output nodes in `--config FILE.json`' },
  );
}
