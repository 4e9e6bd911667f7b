/**
 * The AdamW update over a memory that WebAssembly shares with the runtime: two elements at a time in double precision, the same operations in the
 * same order as the loop in host-update.ts, so the same bits. That loop waits for one root and one division after the other: 4.3 ns an
 * element on one core with nothing in the caches, this one 2.0 (docs/adr/0008).
 */

/** What this file needs of the WebAssembly that every supported Node has; the types that come with Node do not declare it. */
declare const WebAssembly: {
  readonly Memory: new (limits: { initial: number }) => SharedPages;
  readonly Module: new (bytes: Uint8Array<ArrayBuffer>) => object;
  readonly Instance: new (module: object, imports: object) => { readonly exports: { readonly adamw: Kernel } };
};

/** Memory of WebAssembly: 65,536 bytes a page. Growing it replaces `buffer` and empties the views of the old one. */
interface SharedPages {
  readonly buffer: ArrayBuffer;
  grow(pages: number): number;
}

const pageBytes = 65_536;
/** Addresses have 32 bits. */
const mostBytes = 2 ** 32 - pageBytes;
/** Places begin at whole cache lines. */
const alignment = 64;

/** Numbers of an update that are the same for all elements of a tensor; the formula is at `adamw` in host-update.ts. */
export interface AdamwConstants {
  readonly beta1: number;
  readonly beta2: number;
  readonly share1: number;
  readonly share2: number;
  readonly factor: number;
  readonly kept: number;
  readonly speed: number;
  readonly floor: number;
}

/** Byte addresses, the first one behind the weights, then the constants in their order. */
type Kernel = (weights: number, gradient: number, m: number, v: number, end: number, ...constants: number[]) => void;

/** Where state tensors lie, so that the kernel reaches them; the runtime reads and writes them there as well. */
export class StateMemory {
  readonly #memory: SharedPages;
  readonly #kernel: Kernel;
  #used = 0;

  constructor() {
    this.#memory = new WebAssembly.Memory({ initial: 1 });
    const module = new WebAssembly.Module(kernelBytes());
    this.#kernel = new WebAssembly.Instance(module, { state: { memory: this.#memory } }).exports.adamw;
  }

  /**
   * Makes room for so many float32 of 0.
   *
   * @returns the address of the first; undefined where the memory ends. All views made before may be empty then: make them anew.
   */
  place(count: number): number | undefined {
    const at = this.#used;
    const end = at + Math.ceil((4 * count) / alignment) * alignment;
    if (end > mostBytes) return undefined;
    const missing = Math.ceil((end - this.#memory.buffer.byteLength) / pageBytes);
    try {
      if (missing > 0) this.#memory.grow(missing);
    } catch {
      return undefined; // the system gives no more
    }
    this.#used = end;
    return at;
  }

  view(at: number, count: number): Float32Array<ArrayBuffer> {
    return new Float32Array(this.#memory.buffer, at, count);
  }

  /**
   * Updates weights and moments of equal length.
   *
   * @returns how many elements are done: none where a tensor lies elsewhere, else all, but for an odd one at the end
   */
  adamw(
    [weights, gradient, m, v]: readonly [Float32Array, Float32Array, Float32Array, Float32Array],
    constants: AdamwConstants,
  ): number {
    const { buffer } = this.#memory;
    if (![weights, gradient, m, v].every((values) => values.buffer === buffer)) return 0;
    const count = weights.length & ~1;
    const { beta1, beta2, share1, share2, factor, kept, speed, floor } = constants;
    this.#kernel(
      ...([weights.byteOffset, gradient.byteOffset, m.byteOffset, v.byteOffset] as const),
      weights.byteOffset + 4 * count,
      ...[beta1, beta2, share1, share2, factor, kept, speed, floor],
    );
    return count;
  }
}

/** Undefined where the system refuses the addresses that WebAssembly sets aside (8 GiB of them, hardly any of it memory). */
export function openStateMemory(): StateMemory | undefined {
  try {
    return new StateMemory();
  } catch {
    return undefined;
  }
}

/** The module: https://webassembly.github.io/spec/core/binary/ and its chapter on vector instructions. */
function kernelBytes(): Uint8Array<ArrayBuffer> {
  const [i32, f64, v128, none] = [0x7f, 0x7c, 0x7b, 0x40] as const;
  const unsigned = (value: number): number[] =>
    value < 128 ? [value] : [(value & 127) | 128, ...unsigned(value >> 7)];
  const vector = (operation: number): number[] => [0xfd, ...unsigned(operation)];
  const get = (local: number): number[] => [0x20, local];
  const set = (local: number): number[] => [0x21, local];
  const [splat, root, add, sub] = [vector(0x14), vector(0xef), vector(0xf0), vector(0xf1)] as const;
  const [mul, div] = [vector(0xf2), vector(0xf3)] as const;
  // Two float32 at an address <-> two float64.
  const load = (pointer: number): number[] => [...get(pointer), ...vector(0x5d), 2, 0, ...vector(0x5f)];
  const store = (pointer: number, value: number[]): number[] => [
    ...[...get(pointer), ...value],
    ...[...vector(0x5e), ...vector(0x5b), 2, 0, 0],
  ];

  // Locals: addresses, constants, the constants twice in a vector, and three values.
  const pointers = [0, 1, 2, 3] as const;
  const [w, g, m, v] = pointers;
  const end = 4;
  const scalars = Array.from({ length: 8 }, (_, i) => 5 + i);
  const [beta1, beta2, share1, share2] = [get(13), get(14), get(15), get(16)] as const;
  const [factor, kept, speed, floor] = [get(17), get(18), get(19), get(20)] as const;
  const [x, a, b] = [21, 22, 23] as const;
  const body = [
    ...scalars.flatMap((scalar, i) => [...get(scalar), ...splat, ...set(13 + i)]),
    ...[0x02, none, 0x03, none], // a block, and in it a loop
    ...[...get(w), ...get(end), 0x4f, 0x0d, 1], // out of the block from the end on
    // x = gradient factor
    ...[...load(g), ...factor, ...mul, ...set(x)],
    // a = beta1 m + share1 x
    ...[...beta1, ...load(m), ...mul, ...share1, ...get(x), ...mul, ...add, ...set(a)],
    // b = beta2 v + share2 x x
    ...[...beta2, ...load(v), ...mul, ...share2, ...get(x), ...mul, ...get(x), ...mul, ...add, ...set(b)],
    ...store(m, get(a)),
    ...store(v, get(b)),
    // w kept - speed a / (sqrt b + floor)
    ...store(w, [
      ...[...load(w), ...kept, ...mul],
      ...[...speed, ...get(a), ...mul, ...get(b), ...root, ...floor, ...add, ...div, ...sub],
    ]),
    ...pointers.flatMap((pointer) => [...get(pointer), 0x41, 8, 0x6a, ...set(pointer)]),
    ...[0x0c, 0, 0x0b, 0x0b, 0x0b], // on with the loop; ends of loop, block, function
  ];
  const code = [1, 11, v128, ...body];
  const section = (id: number, content: readonly number[]): number[] => [id, ...unsigned(content.length), ...content];
  const text = (name: string): number[] => [name.length, ...Buffer.from(name, 'latin1')];
  const parameters = [...[...pointers, end].map(() => i32), ...scalars.map(() => f64)];
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, [1, 0x60, parameters.length, ...parameters, 0]), // one type of function
    ...section(2, [1, ...text('state'), ...text('memory'), 2, 0, 0]), // the memory comes from outside
    ...section(3, [1, 0]),
    ...section(7, [1, ...text('adamw'), 0, 0]),
    ...section(10, [1, ...unsigned(code.length), ...code]),
  ]);
}
