/** Files larger than memory should hold, as sources that make their bytes up: nothing of that size is written or allocated. */
import { expect, test } from 'vitest';
import type { ByteSource } from '../types.js';
import { openCheckpoint } from './state-dict.js';
import { openSafetensors } from './safetensors.js';

const GiB = 2 ** 30;

/** Known bytes at known offsets, zeros everywhere else; remembers the longest read. */
function sparse(size: number, parts: readonly [offset: number, bytes: Uint8Array][]): ByteSource & { longest: number } {
  const source = {
    name: 'sparse',
    size,
    longest: 0,
    read(offset: number, length: number) {
      if (offset < 0 || length > size - offset) return Promise.reject(new Error('outside'));
      source.longest = Math.max(source.longest, length);
      const bytes = new Uint8Array(length);
      for (const [start, part] of parts) {
        const from = Math.max(0, offset - start);
        const to = Math.min(part.length, offset + length - start);
        if (from < to) bytes.set(part.subarray(from, to), start + from - offset);
      }
      return Promise.resolve(bytes);
    },
  };
  return source;
}

function fields(length: number, values: readonly [offset: number, bytes: 2 | 4 | 8, value: number][]): Buffer {
  const buffer = Buffer.alloc(length);
  for (const [offset, bytes, value] of values) {
    if (bytes === 8) buffer.writeBigUInt64LE(BigInt(value), offset);
    else buffer.writeUIntLE(value, offset, bytes);
  }
  return buffer;
}

/** A zip archive of stored entries in which every size and offset is a 64-bit one, as torch.save writes above 4 GB. */
function zip64(
  entries: readonly { name: string; size: number; bytes: Uint8Array }[],
): ByteSource & { longest: number } {
  const parts: [number, Uint8Array][] = [];
  const directory: Buffer[] = [];
  let at = 0;
  for (const { name, size, bytes } of entries) {
    const label = Buffer.from(name);
    const extra = fields(28, [
      [0, 2, 1],
      [2, 2, 24],
      [4, 8, size],
      [12, 8, size],
      [20, 8, at],
    ]);
    const central = fields(46, [
      [0, 4, 0x02014b50],
      [20, 4, 0xffffffff],
      [24, 4, 0xffffffff],
      [28, 2, label.length],
      [30, 2, 28],
      [42, 4, 0xffffffff],
    ]);
    directory.push(Buffer.concat([central, label, extra]));
    parts.push([
      at,
      Buffer.concat([
        fields(30, [
          [0, 4, 0x04034b50],
          [26, 2, label.length],
        ]),
        label,
        bytes,
      ]),
    ]);
    at += 30 + label.length + size;
  }
  const listing = Buffer.concat(directory);
  const record = at + listing.length;
  const end = Buffer.concat([
    listing,
    fields(56, [
      [0, 4, 0x06064b50],
      [4, 8, 44],
      [24, 8, entries.length],
      [32, 8, entries.length],
      [40, 8, listing.length],
      [48, 8, at],
    ]),
    fields(20, [
      [0, 4, 0x07064b50],
      [8, 8, record],
      [16, 4, 1],
    ]),
    fields(22, [
      [0, 4, 0x06054b50],
      [8, 2, 0xffff],
      [10, 2, 0xffff],
      [12, 4, 0xffffffff],
      [16, 4, 0xffffffff],
    ]),
  ]);
  parts.push([at, end]);
  return sparse(at + end.length, parts);
}

/** `{name: half tensor}` of one dimension each, in storages 0, 1, … */
function pickle(tensors: readonly [name: string, elements: number][]): Buffer {
  const int = (value: number) => `\x8a\x08${fields(8, [[0, 8, value]]).toString('latin1')}`;
  const members = tensors.map(
    ([name, n], i) =>
      `U${String.fromCharCode(name.length)}${name}ctorch._utils\n_rebuild_tensor_v2\n((U\x07storagectorch\nHalfStorage\n` +
      `U\x01${i}U\x03cpu${int(n)}tQK\x00${int(n)}\x85K\x01\x85\x89ccollections\nOrderedDict\n)RtR`,
  );
  return Buffer.from(`\x80\x02}(${members.join('')}u.`, 'latin1');
}

test('a checkpoint of 6 GiB is opened by reading its pickle and directory, and a tensor beyond 4 GiB in pieces', async () => {
  const elements = 3 * GiB;
  const body = pickle([
    ['giant', elements],
    ['small', 4],
  ]);
  const source = zip64([
    { name: 'archive/data.pkl', size: body.length, bytes: body },
    { name: 'archive/data/0', size: 2 * elements, bytes: new Uint8Array(0) },
    { name: 'archive/data/1', size: 8, bytes: Uint8Array.of(0, 0x3c, 0, 0x40, 0, 0x42, 0, 0x44) },
  ]);
  expect(source.size).toBeGreaterThan(6 * GiB);
  const { tensors } = await openCheckpoint(source);
  expect(source.longest).toBeLessThan(2 ** 17);
  const values: number[] = [];
  for await (const piece of tensors.get('small')!.chunks(3)) values.push(...piece);
  expect(values).toEqual([1, 2, 3, 4]);
  let pieces = 0;
  for await (const piece of tensors.get('giant')!.chunks()) {
    expect(piece.length).toBe(2 ** 20);
    if (++pieces === 3) break;
  }
  expect(source.longest).toBe(2 * 2 ** 20);
});

test('a safetensors file of 8 GiB is opened by reading its header', async () => {
  const header = Buffer.from(`{"w":{"dtype":"BF16","shape":[${4 * GiB}],"data_offsets":[0,${8 * GiB}]}}`);
  const source = sparse(8 + header.length + 8 * GiB, [
    [0, Buffer.concat([fields(8, [[0, 8, header.length]]), header])],
  ]);
  const { tensors } = await openSafetensors(source);
  expect(source.longest).toBe(header.length);
  for await (const piece of tensors.get('w')!.chunks(1000)) {
    expect(piece.length).toBe(1000);
    break;
  }
});
