import { EgolensError } from '../errors.js';
import { bytesOf } from '../tensor.js';
import type { AnyTensor, DType, Dim } from '../types.js';
import type { Graph, GraphNode } from './builder.js';
import { ops, opset } from './ops.js';
import { ProtoWriter, protoFields } from './protobuf.js';
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
const attributeType = { float: 1, int: 2, string: 3, ints: 7 } as const;
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
    for (const node of graph.nodes)
      g.message(1, (n) => {
        writeNode(n, node, graph);
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

function writeNode(out: ProtoWriter, node: GraphNode, graph: Graph): void {
  const outputNames = new Map([...graph.outputs].map(([name, value]) => [value.name, name]));
  const rename = (name: string): string => outputNames.get(name) ?? name;
  for (const input of node.inputs) out.string(1, rename(input.name));
  for (const output of node.outputs) out.string(2, rename(output.name));
  out.string(3, node.name).string(4, node.op);
  for (const [name, value] of Object.entries(node.attrs) as [string, number | string | readonly number[]][]) {
    out.message(5, (a) => {
      writeAttribute(a, name, value, node.op);
    });
  }
  const domain = ops[node.op].domain;
  if (domain !== undefined) out.string(7, domain);
}

/** Attributes that ONNX declares as float; all other numbers are integers. */
const floatAttributes = new Set(['epsilon', 'scale']);

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

const typeNames = new Map(Object.entries(elementType).map(([name, code]) => [code, name]));
const typeName = (code: bigint | undefined): string => typeNames.get(Number(code)) ?? `type ${String(code)}`;
const text = (bytes: Uint8Array | undefined): string => new TextDecoder().decode(bytes);

/** Reads the structure of an ONNX model. Throws `input.format` when the bytes are none. */
export function readOnnx(bytes: Uint8Array, name: string): OnnxSummary {
  let irVersionFound = 0;
  let producer = '';
  const opsets: Record<string, number> = {};
  let graph: Uint8Array | undefined;
  for (const { field, int, bytes: value } of protoFields(bytes, name)) {
    if (field === 1) irVersionFound = Number(int);
    else if (field === 2) producer = text(value);
    else if (field === 7) graph = value;
    else if (field === 8 && value) {
      const fields = [...protoFields(value, name)];
      opsets[text(fields.find((f) => f.field === 1)?.bytes)] = Number(fields.find((f) => f.field === 2)?.int ?? 0n);
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
    if (value === undefined) continue;
    if (field === 1) {
      const op = text([...protoFields(value, name)].find((f) => f.field === 4)?.bytes);
      operations.set(op, (operations.get(op) ?? 0) + 1);
    } else if (field === 2) graphName = text(value);
    else if (field === 5) initializers.push(readInitializer(value, name));
    else if (field === 11) inputs.push(readValueInfo(value, name));
    else if (field === 12) outputs.push(readValueInfo(value, name));
  }
  return { irVersion: irVersionFound, producer, opsets, name: graphName, inputs, outputs, initializers, operations };
}

function readInitializer(bytes: Uint8Array, file: string): OnnxValue & { external: string | null } {
  const shape: number[] = [];
  let dtype = typeName(undefined);
  let name = '';
  let external: string | null = null;
  for (const { field, int, bytes: value } of protoFields(bytes, file)) {
    if (field === 1 && int !== undefined) shape.push(Number(int));
    else if (field === 1 && value) shape.push(...packedInts(value, file));
    else if (field === 2) dtype = typeName(int);
    else if (field === 8) name = text(value);
    else if (field === 13 && value) {
      const entry = [...protoFields(value, file)];
      if (text(entry.find((f) => f.field === 1)?.bytes) === 'location')
        external = text(entry.find((f) => f.field === 2)?.bytes);
    }
  }
  return { name, dtype, shape, external };
}

/** Other writers pack repeated integers into one field. */
function packedInts(bytes: Uint8Array, file: string): number[] {
  // Each varint prefixed by a key makes the same reader do.
  const values: number[] = [];
  let start = 0;
  bytes.forEach((byte, i) => {
    if (byte >= 0x80) return;
    const [entry] = protoFields(Uint8Array.of(8, ...bytes.subarray(start, i + 1)), file);
    values.push(Number(entry!.int));
    start = i + 1;
  });
  return values;
}

function readValueInfo(bytes: Uint8Array, file: string): OnnxValue {
  const inside = (value: Uint8Array | undefined, field: number): Uint8Array | undefined =>
    value && [...protoFields(value, file)].find((f) => f.field === field)?.bytes;
  const fields = [...protoFields(bytes, file)];
  const tensorType = inside(fields.find((f) => f.field === 2)?.bytes, 1);
  const typeFields = tensorType ? [...protoFields(tensorType, file)] : [];
  const shapeBytes = typeFields.find((f) => f.field === 2)?.bytes;
  const shape = (shapeBytes ? [...protoFields(shapeBytes, file)] : []).map((dim): Dim => {
    const [first] = dim.bytes ? [...protoFields(dim.bytes, file)] : [];
    return first?.field === 1 ? Number(first.int) : first?.field === 2 ? text(first.bytes) : '?';
  });
  return {
    name: text(fields.find((f) => f.field === 1)?.bytes),
    dtype: typeName(typeFields.find((f) => f.field === 1)?.int),
    shape,
  };
}
