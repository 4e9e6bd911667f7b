import { assert, EgolensError } from '../errors.js';
import { shapeText } from '../tensor.js';
import type { GraphBuilder, GraphNode, Segment } from './builder.js';
import { add, integers, mul, one, reshape } from './layers.js';
import { ops, type OpAttrs, type OpName, type OpRule, type Value } from './ops.js';
import { scalarLike, shaped } from './vjp.js';

/**
 * Reverse-mode differentiation: the nodes of a builder are the tape. On the way back the rule of each node (ops.ts) turns the gradients
 * of its outputs into nodes that compute those of its inputs. docs/adr/0007 says why there is no other tape.
 */

/**
 * Adds the nodes that compute the gradients of `loss` by `wanted`.
 *
 * A value that the loss does not depend on is missing in the result: such a parameter must be neither updated nor decayed. One value
 * may be the gradient of several, or an input: to declare it as an output take `identity` of it.
 *
 * @param loss float32 or float16 with one element
 * @throws EgolensError data.shape for a loss of more elements, and where a rule needs sizes that are symbols here; data.invalid where
 *   the loss depends on a wanted value through an operation without a derivative
 */
export function gradients(g: GraphBuilder, loss: Value, wanted: readonly Value[]): ReadonlyMap<Value, Value> {
  if (loss.shape.some((dim) => dim !== 1)) {
    throw new EgolensError(
      'data.shape',
      `\`${loss.name}\`: expected a loss of one element, found ${shapeText(loss.shape)}`,
    );
  }
  const start = shaped(g, scalarLike(g, 1, loss), loss.shape);
  const found = backward(g, [...g.nodes], g.segments, new Map([[loss.name, start]]), wanted);
  return new Map(wanted.flatMap((value) => (found.has(value.name) ? [[value, found.get(value.name)!] as const] : [])));
}

/**
 * Runs `body`, whose values between `inputs` and its results are not kept for the way back but computed again there, from `inputs`:
 * less memory for a second forward pass. Values are the same. Of nested stretches the outermost counts.
 *
 * @param inputs what `body` takes from the nodes before it
 */
export function checkpoint<T>(g: GraphBuilder, inputs: readonly Value[], body: () => T): T {
  const from = g.nodes.length;
  const result = body();
  if (g.nodes.length > from) g.mark({ from, to: g.nodes.length, inputs });
  return result;
}

/** Name of a value -> its gradient. */
type Gradients = Map<string, Value>;

function backward(
  g: GraphBuilder,
  nodes: readonly GraphNode[],
  segments: readonly Segment[],
  known: ReadonlyMap<string, Value>,
  wanted: readonly Value[],
): Gradients {
  const reached = new Set(wanted.map(({ name }) => name));
  for (const { inputs, outputs } of nodes) {
    if (inputs.some(({ name }) => reached.has(name))) for (const { name } of outputs) reached.add(name);
  }
  const found: Gradients = new Map(known);
  const receive = (value: Value, gradient: Value): void => {
    assert(
      shapeText(value.shape) === shapeText(gradient.shape) && value.dtype === gradient.dtype,
      `\`${value.name}\` is ${value.dtype} ${shapeText(value.shape)}, its gradient ${gradient.dtype} ${shapeText(gradient.shape)}`,
    );
    const other = found.get(value.name);
    found.set(value.name, other === undefined ? gradient : add(g, other, gradient));
  };
  let end = nodes.length;
  while (end > 0) {
    const segment = outermost(segments, end);
    const stretch = segment === undefined ? nodes.slice(end - 1, end) : nodes.slice(segment.from, segment.to);
    end -= stretch.length;
    const isOnTheWay = stretch.some(
      ({ inputs, outputs }) =>
        outputs.some(({ name }) => found.has(name)) && inputs.some(({ name }) => reached.has(name)),
    );
    if (!isOnTheWay) continue;
    g.scope(`gradient${scopeOf(stretch[0]!)}`, () => {
      if (segment !== undefined) againBackward(g, stretch, segment, { reached, found, wanted, receive });
      else {
        for (const [value, gradient] of pulledBack(g, stretch[0]!, found)) {
          if (reached.has(value.name)) receive(value, gradient);
        }
      }
    });
  }
  return found;
}

/** The largest stretch that ends before node `to`. */
function outermost(segments: readonly Segment[], to: number): Segment | undefined {
  return segments.filter((segment) => segment.to === to).sort((a, b) => a.from - b.from)[0];
}

/** `.blocks.3.attn` of `blocks.3.attn.MatMul_12`. */
function scopeOf({ name }: GraphNode): string {
  return name.includes('.') ? `.${name.slice(0, name.lastIndexOf('.'))}` : '';
}

/** Inputs of a node with what its rule gives for them. */
function pulledBack<O extends OpName>(
  g: GraphBuilder,
  node: GraphNode<O>,
  found: ReadonlyMap<string, Value>,
): (readonly [Value, Value])[] {
  const rule: OpRule<OpAttrs[O]> = ops[node.op];
  if (rule.vjp === 'not differentiable') {
    throw new EgolensError(
      'data.invalid',
      `\`${node.name}\`: the loss depends on it, and ${node.op} has no derivative`,
      {
        try: rule.instead ?? 'make its result an input of the graph, or want no gradient of what lies before it',
      },
    );
  }
  const pulled = rule.vjp(
    g,
    node,
    node.outputs.map(({ name }) => found.get(name)),
  );
  return node.inputs.flatMap((input, i) => (pulled[i] === undefined ? [] : [[input, pulled[i]] as const]));
}

/** The way back through a stretch whose values were not kept: its nodes once more, and back through those. */
function againBackward(
  g: GraphBuilder,
  stretch: readonly GraphNode[],
  { inputs }: Segment,
  way: {
    readonly reached: ReadonlySet<string>;
    readonly found: Gradients;
    readonly wanted: readonly Value[];
    readonly receive: (value: Value, gradient: Value) => void;
  },
): void {
  const made = stretch.flatMap(({ outputs }) => outputs);
  const ends = made.filter(({ name }) => way.found.has(name));
  const zero = noughtOf(g, way.found.get(ends[0]!.name)!);
  // Without this the runtime would see the same nodes on the same inputs and keep the first results after all.
  const again = new Map(
    inputs.filter(({ dtype }) => dtype === zero.dtype).map((value) => [value.name, add(g, value, zero)] as const),
  );
  const current = (value: Value): Value => again.get(value.name) ?? value;
  const before = g.nodes.length;
  for (const { op, inputs: taken, outputs, attrs } of stretch) {
    const results = g.op(op, taken.map(current), attrs);
    results.forEach((result, i) => again.set(outputs[i]!.name, result));
  }
  const copies = g.nodes.slice(before);
  const madeNames = new Set(made.map(({ name }) => name));
  const outside = stretch
    .flatMap(({ inputs: taken }) => taken)
    .filter(({ name }) => way.reached.has(name) && !madeNames.has(name));
  const targets = new Map(
    [...outside, ...way.wanted.filter(({ name }) => madeNames.has(name))].map((v) => [v.name, v]),
  );
  const known = new Map(ends.map((value) => [current(value).name, way.found.get(value.name)!]));
  const found = backward(g, copies, [], known, [...targets.values()].map(current));
  for (const value of targets.values()) {
    const gradient = found.get(current(value).name);
    if (gradient === undefined) continue;
    if (madeNames.has(value.name)) way.found.set(value.name, gradient);
    else way.receive(value, gradient);
  }
}

/** 0, computed from x. */
function noughtOf(g: GraphBuilder, x: Value): Value {
  const first = x.shape.length === 0 ? x : one(g, 'Gather', [reshape(g, x, [-1]), integers(g, [0])], { axis: 0 });
  return mul(g, reshape(g, first, []), scalarLike(g, 0, x));
}
