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
  readonly #inputs: Value[] = [];
  readonly #outputs = new Map<string, Value>();
  readonly #params = new Map<string, Param>();
  readonly #constants = new Map<string, Constant>();
  readonly #nodes: GraphNode[] = [];
  readonly #names = new Set<string>();
  #path: readonly string[] = [];
  #count = 0;

  constructor(name: string) {
    this.#name = name;
  }

  /** A run-time input; strings in `shape` are symbolic sizes. */
  input(name: string, dtype: DType, shape: readonly Dim[]): Value {
    const value: Value = { name, dtype, shape };
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
      inputs: [...this.#inputs],
      outputs: new Map(this.#outputs),
      params: [...this.#params.values()],
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
