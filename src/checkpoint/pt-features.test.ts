import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { sizeOf, tensor } from '../tensor.js';
import { memorySource } from './bytes.js';
import { openPt, readPt, writePt } from './pt-features.js';
import { openPth } from './pth.js';

function fixture(name: string) {
  return memorySource(name, readFileSync(new URL(`../../fixtures/checkpoints/${name}`, import.meta.url)));
}

test('any float32 tensor comes back', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 4 }), async (shape) => {
      const value = tensor(
        'float32',
        shape,
        Float32Array.from({ length: sizeOf(shape) }, (_, i) => i / 7),
      );
      expect(await readPt(memorySource('x.pt', Buffer.concat([...writePt(value)])))).toEqual(value);
    }),
    { numRuns: 60, seed: 6 },
  );
});

test('the storage lies at a multiple of 64 bytes, and the same tensor gives the same bytes', async () => {
  const value = tensor('float32', [2, 2], Float32Array.of(1.25, 2, 3, 4));
  const bytes = Buffer.concat([...writePt(value)]);
  const at = bytes.indexOf(Buffer.from(value.data.buffer));
  expect(at % 64).toBe(0);
  expect(bytes.equals(Buffer.concat([...writePt(value)]))).toBe(true);
  expect((await openPth(memorySource('x', bytes))).container).toBe('zip');
});

test('the pickle of a written tensor is that of torch.save, but for remembered values', () => {
  const bytes = Buffer.concat([...writePt(tensor('float32', [3], new Float32Array(3)))]).toString('latin1');
  expect(bytes).toContain(
    '\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuJ\x03\0\0\0tQ' +
      'J\0\0\0\0(J\x03\0\0\0t(J\x01\0\0\0t\x89ccollections\nOrderedDict\n)RtR.',
  );
});

test('a dictionary of several tensors needs a name', async () => {
  const { root } = await openPth(fixture('views-protocol2.pth'));
  expect(root).toBeInstanceOf(Map);
  // Its tensors lie one level down: a trainer checkpoint is no feature file.
  await expect(openPt(fixture('views-protocol2.pth'))).rejects.toMatchObject({ code: 'checkpoint.unsupported' });
});

test('a call is no tensor', async () => {
  await expect(readPt(fixture('hostile-os-system.pth'))).rejects.toThrow(
    'expected a tensor or a dictionary of tensors, found an object of `posix.system`',
  );
});
