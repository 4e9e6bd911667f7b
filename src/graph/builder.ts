import { assert, EgolensError } from '../errors.js';
import { bytesOf, shapeText } from '../tensor.js';
import type { AnyTensor, DType, Dim } from '../types.js';
import { ops, type Inferred, type OpAttrs, type OpName, type Value } from './ops.js';

export interface GraphNode<O extends OpName = OpName> {
  readonly name: string;
  readonly op: O;
  readonly inputs: readonly Value[];
  readonly outputs: readonly Value[];
  readonly attrs: OpAttrs[O];
}

/** A parameter: float32 values that a checkpoint gives under this name. */
export interface Param extends Value {
  readonly dtype: 'float32';
  readonly shape: readonly number[];
}

/** A value known while building. */
export interface Constant extends Value {
  readonly constant: AnyTensor;
  /** Named by the model, so the same in all its graphs: a large one may lie in the weights file. */
  readonly shared: boolean;
}

export interface GraphOptions {
  /**
   * `weights` (default): values that a weights file brings. `inputs`: inputs of each run under their state-dict names, as training
   * needs them; small constants of equal value are then one, for there are thousands of them.
   */
  readonly params?: 'weights' | 'inputs';
  /** Symbolic sizes of inputs that are numbers in this graph: symbol -> size. */
  readonly sizes?: Readonly<Record<string, number>>;
}

/** Nodes [from, to) of a builder, to be computed again on the way back instead of kept. */
export interface Segment {
  readonly from: number;
  readonly to: number;
  /** What comes into it from the nodes before. */
  readonly inputs: readonly Value[];
}

/** Most elements of a constant that is shared in training graphs. */
const smallConstant = 64;

/** A finished graph: nodes in an order in which they can run. */
export interface Graph {
  readonly name: string;
  readonly inputs: readonly Value[];
  /** Output name -> value, in declaration order. */
  readonly outputs: ReadonlyMap<string, Value>;
  readonly params: readonly Param[];
  /** Values known while building: shapes, position tables. */
  readonly constants: readonly Constant[];
  readonly nodes: readonly GraphNode[];
}

/**
 * Builds a typed ONNX graph. Shapes are inferred operation by operation, so a mistake is reported at the line that makes it.
 * Scopes prefix the names of parameters: inside `scope('blocks.3', …)`, `param('norm1.weight', …)` is `blocks.3.norm1.weight`,
 * exactly a state-dict key.
 */
export class GraphBuilder {
  readonly #name: string;
  readonly #forTraining: boolean;
  readonly #sizes: Readonly<Record<string, number>>;
  readonly #inputs: Value[] = [];
  readonly #outputs = new Map<string, Value>();
  readonly #params = new Map<string, Param>();
  readonly #constants = new Map<string, Constant>();
  readonly #nodes: GraphNode[] = [];
  readonly #names = new Set<string>();
  readonly #segments: Segment[] = [];
  /** Small constants of a training graph by their type and bytes. */
  readonly #small = new Map<string, Value>();
  #path: readonly string[] = [];
  #count = 0;

  constructor(name: string, options: GraphOptions = {}) {
    this.#name = name;
    this.#forTraining = options.params === 'inputs';
    this.#sizes = options.sizes ?? {};
  }

  /** Nodes so far, in an order in which they can run. */
  get nodes(): readonly GraphNode[] {
    return this.#nodes;
  }

  /** Parameters asked for so far, in that order. */
  get params(): readonly Param[] {
    return [...this.#params.values()];
  }

  /** Stretches of nodes that `checkpoint` (grad.ts) marked. */
  get segments(): readonly Segment[] {
    return this.#segments;
  }

  /** A run-time input; strings in `shape` are symbolic sizes. */
  input(name: string, dtype: DType, shape: readonly Dim[]): Value {
    const sized = shape.map((dim) => (typeof dim === 'string' ? (this.#sizes[dim] ?? dim) : dim));
    const value: Value = { name, dtype, shape: sized };
    this.#claim(name);
    this.#inputs.push(value);
    return value;
  }

  /** A float32 parameter under the current scope; asking again gives the same one, another shape throws `data.shape`. */
  param(name: string, shape: readonly number[]): Param {
    const full = this.#scoped(name);
    const known = this.#params.get(full);
    if (known) {
      if (shapeText(known.shape) !== shapeText(shape)) {
        throw new EgolensError('data.shape', `${full}: used as ${shapeText(known.shape)} and as ${shapeText(shape)}`);
      }
      return known;
    }
    const param: Param = { name: full, dtype: 'float32', shape };
    this.#claim(full);
    this.#params.set(full, param);
    return param;
  }

  /** A value known now. A named one is global (no scope), so that graphs over one weights file share it; a name means one value. */
  constant(value: AnyTensor, name?: string): Value {
    if (!this.#forTraining || name !== undefined || value.data.length > smallConstant)
      return this.#constant(value, name);
    const key = `${value.dtype} ${shapeText(value.shape)} ${Buffer.from(bytesOf(value)).toString('base64')}`;
    const known = this.#small.get(key) ?? this.#constant(value);
    this.#small.set(key, known);
    return known;
  }

  #constant(value: AnyTensor, name?: string): Value {
    const full = name ?? this.#scoped(`const_${this.#count++}`);
    const known = this.#constants.get(full);
    if (known) {
      const isSame =
        known.dtype === value.dtype &&
        shapeText(known.shape) === shapeText(value.shape) &&
        Buffer.compare(bytesOf(known.constant), bytesOf(value)) === 0;
      assert(isSame, `${this.#name}: two constants are called \`${full}\``);
      return known;
    }
    this.#claim(full);
    const constant = {
      name: full,
      dtype: value.dtype,
      shape: value.shape,
      constant: value,
      shared: name !== undefined,
    };
    this.#constants.set(full, constant);
    return constant;
  }

  /** Runs `body` with `name` added to the prefix of parameter names. */
  scope<T>(name: string, body: () => T): T {
    const outer = this.#path;
    this.#path = [...outer, name];
    try {
      return body();
    } finally {
      this.#path = outer;
    }
  }

  /** Adds one operation and gives its outputs. Throws `data.shape` or `data.dtype` with scope and operation named. */
  op<O extends OpName>(op: O, inputs: readonly Value[], attrs: OpAttrs[O]): readonly Value[] {
    const name = this.#scoped(`${op}_${this.#count++}`);
    let inferred: readonly Inferred[];
    try {
      inferred = ops[op].infer(inputs, attrs);
    } catch (error) {
      if (error instanceof EgolensError)
        throw new EgolensError(error.code, `${name}: ${error.message}`, { cause: error });
      throw error;
    }
    const outputs = inferred.map((value, i) => ({ ...value, name: i === 0 ? name : `${name}:${i}` }));
    for (const output of outputs) this.#claim(output.name);
    this.#nodes.push({ name, op, inputs, outputs, attrs });
    return outputs;
  }

  /** The outputs of a node of this graph with those that inference has no use for, which are added to it (`OpRule.further`). */
  allOutputs(node: Pick<GraphNode, 'inputs' | 'outputs'>): readonly Value[] {
    const at = this.#nodes.findLastIndex(({ outputs }) => outputs[0] === node.outputs[0]);
    const found = this.#nodes[at];
    assert(
      found !== undefined,
      `${this.#name}: \`${node.outputs[0]?.name ?? 'nothing'}\` comes from no node of this graph`,
    );
    const further = ops[found.op].further?.(found.inputs) ?? [];
    if (found.outputs.length > further.length) return found.outputs;
    const added = further.map((value, i) => ({ ...value, name: `${found.name}:${found.outputs.length + i}` }));
    for (const { name } of added) this.#claim(name);
    const outputs = [...found.outputs, ...added];
    this.#nodes[at] = { ...found, outputs };
    return outputs;
  }

  /** Notes a stretch of nodes for `gradients` (grad.ts). */
  mark(segment: Segment): void {
    this.#segments.push(segment);
  }

  /** Declares an output of the graph: what an operation gave, under one name. */
  output(name: string, value: Value): void {
    assert(
      this.#nodes.some(({ outputs }) => outputs.includes(value)) && ![...this.#outputs.values()].includes(value),
      `${this.#name}: output \`${name}\`: expected the result of an operation that is no output yet, found \`${value.name}\``,
    );
    this.#claim(name);
    this.#outputs.set(name, value);
  }

  /** The graph as built so far. Throws `internal.bug` when it has no output. */
  finish(): Graph {
    assert(this.#outputs.size > 0, `${this.#name}: a graph without outputs`);
    return {
      name: this.#name,
      inputs: this.#forTraining ? [...this.#inputs, ...this.params] : [...this.#inputs],
      outputs: new Map(this.#outputs),
      params: this.#forTraining ? [] : this.params,
      constants: [...this.#constants.values()],
      nodes: [...this.#nodes],
    };
  }

  /** ONNX has one space of names for all values of a graph. */
  #claim(name: string): void {
    assert(!this.#names.has(name), `${this.#name}: two values are called \`${name}\``);
    this.#names.add(name);
  }

  #scoped(name: string): string {
    return [...this.#path, name].join('.');
  }
}
