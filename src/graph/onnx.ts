import { EgolensError } from '../errors.js';
import { bytesOf } from '../tensor.js';
import type { AnyTensor, DType, Dim } from '../types.js';
import type { Graph, GraphNode } from './builder.js';
import { ops, opset } from './ops.js';
import { packedInts, ProtoWriter, protoField, protoFields, type ProtoField } from './protobuf.js';
import type { WeightPlan } from './weights.js';

/**
 * ONNX ModelProto, out and in. Field numbers: onnx/onnx onnx.proto3 (IR version 8). Weights of 1 KiB and more are external data,
 * referred to by path; the 2 GB limit of protobuf is never met.
 */

const elementType: Readonly<Record<DType, number>> = {
  float32: 1,
  uint8: 2,
  int32: 6,
  int64: 7,
  bool: 9,
  float16: 10,
};
const attributeType = { float: 1, int: 2, string: 3, graph: 5, ints: 7 } as const;
/** IR version that belongs to opset 17. */
const irVersion = 8;

export interface OnnxOptions {
  /** Name of the weights file beside the graph, as the graph refers to it. */
  readonly weightsFile: string;
  readonly plan: WeightPlan;
  /** Values of a parameter that stays inside the graph (below 1 KiB). */
  inline(name: string): AnyTensor;
}

/** The graph as ONNX bytes. Deterministic: equal graphs give equal bytes. */
export function onnxBytes(graph: Graph, options: OnnxOptions): Uint8Array<ArrayBuffer> {
  const slots = new Map(options.plan.slots.map((slot) => [slot.name, slot]));
  const model = new ProtoWriter();
  model.int(1, irVersion).string(2, 'egolens');
  model.message(7, (g) => {
    const nameOf = namesIn(graph);
    for (const node of graph.nodes)
      g.message(1, (n) => {
        writeNode(n, node, node.name, nameOf);
      });
    g.string(2, graph.name);
    for (const { name, shape } of graph.params) {
      const slot = slots.get(name);
      g.message(5, (t) =>
        slot ? writeExternal(t, slot, options.weightsFile) : writeTensor(t, name, shape, options.inline(name)),
      );
    }
    for (const { name, constant } of graph.constants) {
      const slot = slots.get(name);
      g.message(5, (t) =>
        slot ? writeExternal(t, slot, options.weightsFile) : writeTensor(t, name, constant.shape, constant),
      );
    }
    for (const { name, dtype, shape } of graph.inputs)
      g.message(11, (v) => {
        writeValueInfo(v, name, dtype, shape);
      });
    for (const [name, { dtype, shape }] of graph.outputs)
      g.message(12, (v) => {
        writeValueInfo(v, name, dtype, shape);
      });
  });
  model.message(8, (o) => o.string(1, '').int(2, opset));
  model.message(8, (o) => o.string(1, 'com.microsoft').int(2, 1));
  return model.finish();
}

/** What a value is called in the file: an output by the name it was declared under. */
function namesIn(graph: Graph): (name: string) => string {
  const outputNames = new Map([...graph.outputs].map(([name, value]) => [value.name, name]));
  return (name) => outputNames.get(name) ?? name;
}

function writeNode(out: ProtoWriter, node: GraphNode, name: string, nameOf: (name: string) => string): void {
  const isLoop = (one: GraphNode): one is GraphNode<'Loop'> => one.op === 'Loop';
  // Values that a body reads from outside are no inputs in ONNX: it sees the names around it.
  const inputs = isLoop(node) ? node.inputs.slice(0, 2 + node.attrs.carried) : node.inputs;
  for (const input of inputs) out.string(1, nameOf(input.name));
  for (const output of node.outputs) out.string(2, nameOf(output.name));
  out.string(3, name).string(4, node.op);
  if (isLoop(node)) {
    out.message(5, (a) =>
      a
        .string(1, 'body')
        .message(6, (g) => {
          writeBody(g, node, nameOf);
        })
        .int(20, attributeType.graph),
    );
    return;
  }
  for (const [name, value] of Object.entries(node.attrs) as [string, number | string | readonly number[]][]) {
    out.message(5, (a) => {
      writeAttribute(a, name, value, node.op);
    });
  }
  const domain = ops[node.op].domain;
  if (domain !== undefined) out.string(7, domain);
}

/** The body of a loop. Names inside may not be names outside, so they get the loop's own before them. */
function writeBody(
  out: ProtoWriter,
  { name: loop, inputs, attrs: { body, carried } }: GraphNode<'Loop'>,
  outside: (name: string) => string,
): void {
  const captured = new Map(body.inputs.slice(2 + carried).map(({ name }, i) => [name, inputs[2 + carried + i]!.name]));
  const own = namesIn(body);
  const nameOf = (name: string): string => {
    const around = captured.get(name);
    return around === undefined ? `${outside(loop)}/${own(name)}` : outside(around);
  };
  for (const node of body.nodes)
    out.message(1, (n) => {
      writeNode(n, node, `${outside(loop)}/${node.name}`, nameOf);
    });
  out.string(2, body.name);
  for (const { name, constant } of body.constants)
    out.message(5, (t) => {
      writeTensor(t, nameOf(name), constant.shape, constant);
    });
  for (const { name, dtype, shape } of body.inputs.slice(0, 2 + carried))
    out.message(11, (v) => {
      writeValueInfo(v, nameOf(name), dtype, shape);
    });
  for (const { name, dtype, shape } of body.outputs.values())
    out.message(12, (v) => {
      writeValueInfo(v, nameOf(name), dtype, shape);
    });
}

/** Attributes that ONNX declares as float; all other numbers are integers. */
const floatAttributes = new Set(['epsilon', 'scale', 'alpha']);

function writeAttribute(out: ProtoWriter, name: string, value: number | string | readonly number[], op: string): void {
  out.string(1, name);
  if (op === 'Cast' && name === 'to') {
    out.int(3, elementType[value as DType]).int(20, attributeType.int);
  } else if (typeof value === 'string') {
    out.string(4, value).int(20, attributeType.string);
  } else if (typeof value === 'number') {
    if (floatAttributes.has(name)) out.float(2, value).int(20, attributeType.float);
    else out.int(3, value).int(20, attributeType.int);
  } else {
    for (const item of value) out.int(8, item);
    out.int(20, attributeType.ints);
  }
}

function writeExternal(
  out: ProtoWriter,
  slot: { name: string; dtype: DType; shape: readonly number[]; offset: number; length: number },
  location: string,
): void {
  for (const dim of slot.shape) out.int(1, dim);
  out.int(2, elementType[slot.dtype]).string(8, slot.name);
  const entries = { location, offset: String(slot.offset), length: String(slot.length) };
  for (const [key, value] of Object.entries(entries)) out.message(13, (e) => e.string(1, key).string(2, value));
  out.int(14, 1);
}

function writeTensor(out: ProtoWriter, name: string, shape: readonly number[], value: AnyTensor): void {
  for (const dim of shape) out.int(1, dim);
  out.int(2, elementType[value.dtype]).string(8, name).bytes(9, bytesOf(value));
}

function writeValueInfo(out: ProtoWriter, name: string, dtype: DType, shape: readonly Dim[]): void {
  out.string(1, name).message(2, (type) =>
    type.message(1, (t) =>
      t.int(1, elementType[dtype]).message(2, (s) => {
        for (const dim of shape) s.message(1, (d) => (typeof dim === 'number' ? d.int(1, dim) : d.string(2, dim)));
      }),
    ),
  );
}

/** What a stranger's ONNX file says about itself; weights are not read. */
export interface OnnxSummary {
  readonly irVersion: number;
  readonly producer: string;
  readonly opsets: Readonly<Record<string, number>>;
  readonly name: string;
  readonly inputs: readonly OnnxValue[];
  readonly outputs: readonly OnnxValue[];
  readonly initializers: readonly (OnnxValue & { readonly external: string | null })[];
  /** Operation -> number of nodes. */
  readonly operations: ReadonlyMap<string, number>;
}
export interface OnnxValue {
  readonly name: string;
  /** An ONNX element type that we do not use prints as `type 11`. */
  readonly dtype: string;
  readonly shape: readonly Dim[];
}

/** What a summary may hold, far above what models have: a file of empty entries must not become gigabytes of objects. */
const limits = { entries: 100_000, axes: 64, nameBytes: 4096 } as const;

const typeNames = new Map(Object.entries(elementType).map(([name, code]) => [code, name]));
const typeName = (code: bigint | undefined): string => typeNames.get(Number(code)) ?? `type ${String(code)}`;
const integer = (value: bigint | undefined): number => Number(BigInt.asIntN(64, value ?? 0n));

function text(bytes: Uint8Array | undefined, file: string): string {
  refuseAbove('nameBytes', bytes?.length ?? 0, file, 'bytes in a name');
  return new TextDecoder().decode(bytes);
}

function refuseAbove(limit: keyof typeof limits, found: number, file: string, what: string): void {
  if (found > limits[limit])
    throw new EgolensError(
      'limit.size',
      `\`${file}\`: expected at most ${limits[limit]} ${what}, found ${found} or more`,
    );
}

/**
 * Reads the structure of an ONNX model.
 *
 * @throws EgolensError input.format when the bytes are none; limit.size for more names, axes or entries than any model has
 */
export function readOnnx(bytes: Uint8Array, name: string): OnnxSummary {
  let irVersionFound = 0;
  let producer = '';
  const opsets = new Map<string, number>();
  let graph: Uint8Array | undefined;
  for (const { field, int, bytes: value } of protoFields(bytes, name)) {
    if (field === 1) irVersionFound = integer(int);
    else if (field === 2) producer = text(value, name);
    else if (field === 7) graph = value;
    else if (field === 8 && value) {
      opsets.set(text(protoField(value, 1, name)?.bytes, name), integer(protoField(value, 2, name)?.int));
      refuseAbove('entries', opsets.size, name, 'operator sets');
    }
  }
  if (graph === undefined)
    throw new EgolensError('input.format', `\`${name}\`: expected an ONNX model, found no graph in it`);
  const inputs: OnnxValue[] = [];
  const outputs: OnnxValue[] = [];
  const initializers: (OnnxValue & { external: string | null })[] = [];
  const operations = new Map<string, number>();
  let graphName = '';
  for (const { field, bytes: value } of protoFields(graph, name)) {
    refuseAbove(
      'entries',
      initializers.length + inputs.length + outputs.length + operations.size,
      name,
      'inputs, outputs, weights and operations',
    );
    if (value === undefined) continue;
    if (field === 1) {
      const op = text(protoField(value, 4, name)?.bytes, name);
      operations.set(op, (operations.get(op) ?? 0) + 1);
    } else if (field === 2) graphName = text(value, name);
    else if (field === 5) initializers.push(readInitializer(value, name));
    else if (field === 11) inputs.push(readValueInfo(value, name));
    else if (field === 12) outputs.push(readValueInfo(value, name));
  }
  return {
    irVersion: irVersionFound,
    producer,
    opsets: Object.fromEntries(opsets),
    name: graphName,
    inputs,
    outputs,
    initializers,
    operations,
  };
}

function readInitializer(bytes: Uint8Array, file: string): OnnxValue & { external: string | null } {
  const shape: number[] = [];
  let dtype = typeName(undefined);
  let name = '';
  let external: string | null = null;
  for (const { field, int, bytes: value } of protoFields(bytes, file)) {
    if (field === 1) {
      // Other writers pack repeated integers into one field.
      for (const dim of value === undefined ? [int ?? 0n] : packedInts(value, file)) {
        shape.push(integer(dim));
        refuseAbove('axes', shape.length, file, 'axes of a tensor');
      }
    } else if (field === 2) dtype = typeName(int);
    else if (field === 8) name = text(value, file);
    else if (field === 13 && value && text(protoField(value, 1, file)?.bytes, file) === 'location')
      external = text(protoField(value, 2, file)?.bytes, file);
  }
  return { name, dtype, shape, external };
}

/** ValueInfoProto { name 1, type 2 { tensor_type 1 { elem_type 1, shape 2 { dim 1 { dim_value 1, dim_param 2 } } } } }. */
function readValueInfo(bytes: Uint8Array, file: string): OnnxValue {
  const inside = (message: Uint8Array | undefined, field: number): ProtoField | undefined =>
    message && protoField(message, field, file);
  const tensorType = inside(inside(bytes, 2)?.bytes, 1)?.bytes;
  const shape: Dim[] = [];
  for (const { bytes: dim } of protoFields(inside(tensorType, 2)?.bytes ?? new Uint8Array(), file)) {
    const size = inside(dim, 1)?.int;
    const symbol = inside(dim, 2)?.bytes;
    shape.push(size !== undefined ? integer(size) : symbol !== undefined ? text(symbol, file) : '?');
    refuseAbove('axes', shape.length, file, 'axes of a tensor');
  }
  return { name: text(inside(bytes, 1)?.bytes, file), dtype: typeName(inside(tensorType, 1)?.int), shape };
}
