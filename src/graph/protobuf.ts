import { EgolensError } from '../errors.js';

/**
 * The protobuf wire format, as far as ONNX needs it: varints, 32-bit floats and length-delimited fields.
 * Source: protobuf.dev, "Encoding".
 */
export class ProtoWriter {
  #bytes = new Uint8Array(1024);
  #length = 0;

  /** int32, int64, enum; negative numbers take ten bytes, as the format says. */
  int(field: number, value: number | bigint): this {
    this.#varint(BigInt(field << 3));
    this.#varint(BigInt.asUintN(64, BigInt(value)));
    return this;
  }

  float(field: number, value: number): this {
    this.#varint(BigInt((field << 3) | 5));
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setFloat32(0, value, true);
    this.#append(bytes);
    return this;
  }

  bytes(field: number, value: Uint8Array): this {
    this.#varint(BigInt((field << 3) | 2));
    this.#varint(BigInt(value.length));
    this.#append(value);
    return this;
  }

  string(field: number, value: string): this {
    return this.bytes(field, new TextEncoder().encode(value));
  }

  message(field: number, build: (inner: ProtoWriter) => void): this {
    const inner = new ProtoWriter();
    build(inner);
    return this.bytes(field, inner.finish());
  }

  finish(): Uint8Array<ArrayBuffer> {
    return this.#bytes.slice(0, this.#length);
  }

  #varint(value: bigint): void {
    const out: number[] = [];
    let rest = value;
    do {
      const low = Number(rest & 0x7fn);
      rest >>= 7n;
      out.push(rest === 0n ? low : low | 0x80);
    } while (rest !== 0n);
    this.#append(out);
  }

  #append(values: ArrayLike<number>): void {
    if (this.#length + values.length > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(this.#bytes.length * 2, this.#length + values.length));
      grown.set(this.#bytes.subarray(0, this.#length));
      this.#bytes = grown;
    }
    this.#bytes.set(values, this.#length);
    this.#length += values.length;
  }
}

/** The first field of that number; undefined where there is none. Fields after it are not looked at. */
export function protoField(bytes: Uint8Array, field: number, what: string): ProtoField | undefined {
  for (const found of protoFields(bytes, what)) if (found.field === field) return found;
  return undefined;
}

/** The varints of a packed field, in order. Throws `input.format` when the bytes end inside one. */
export function* packedInts(bytes: Uint8Array, what: string): Generator<bigint> {
  for (let at = 0; at < bytes.length;) {
    const [value, next] = varintAt(bytes, at, what);
    at = next;
    yield value;
  }
}

/** The varint that begins at `start`, as 64 bits without sign, and where the next byte is. */
function varintAt(bytes: Uint8Array, start: number, what: string): [value: bigint, next: number] {
  let value = 0n;
  for (let i = 0; i < 10; i++) {
    const byte = bytes[start + i];
    if (byte === undefined) throw malformed(what, 'the message ends inside a number', start + i);
    value |= BigInt(byte & 0x7f) << BigInt(7 * i);
    if (byte < 0x80) return [BigInt.asUintN(64, value), start + i + 1];
  }
  throw malformed(what, 'a number of more than ten bytes', start);
}

function malformed(what: string, why: string, at: number): EgolensError {
  return new EgolensError('input.format', `${what}: ${why} at byte ${at}`);
}

/** One field as it stands in the bytes: a varint, the bytes of a fixed number, or a length-delimited value. */
export interface ProtoField {
  readonly field: number;
  readonly int?: bigint;
  readonly bytes?: Uint8Array;
}

/** The fields of a message, in order. Throws `input.format` for bytes that are no message. */
export function* protoFields(bytes: Uint8Array, what: string): Generator<ProtoField> {
  let at = 0;
  const bad = (why: string): EgolensError => malformed(what, why, at);
  const varint = (): bigint => {
    const [value, next] = varintAt(bytes, at, what);
    at = next;
    return value;
  };
  const take = (length: number): Uint8Array => {
    if (length > bytes.length - at) throw bad(`a field of ${length} bytes where ${bytes.length - at} are left`);
    at += length;
    return bytes.subarray(at - length, at);
  };
  while (at < bytes.length) {
    const key = varint();
    const field = Number(key >> 3n);
    const wire = Number(key & 7n);
    if (field === 0) throw bad('field number 0');
    if (wire === 0) yield { field, int: varint() };
    else if (wire === 1) yield { field, bytes: take(8) };
    else if (wire === 2) yield { field, bytes: take(Number(varint())) };
    else if (wire === 5) yield { field, bytes: take(4) };
    else throw bad(`wire type ${wire}`);
  }
}
