import { expect, test } from 'vitest';
import { readJson } from '../../src/json-reader.js';
import type { ByteSource } from '../../src/types.js';

/** About 620 MB that begin, and end, as a detection file does; no file, and never all of it at once. */
function hugeSource(): ByteSource {
  const head = Buffer.from('{"version":"1.0","challenge":"x","detect_results":{"c":[\n');
  const row = Buffer.from('{"label":"cut_dough","score":0.123456,"segment":[12.345678,23.456789],"note":"éé"},\n');
  const block = Buffer.concat(Array.from({ length: 10_000 }, () => row));
  const rows = 7_200_000;
  const tail = Buffer.from('{"label":"last","score":NaN,"segment":[1,2]}\n]}}');
  const size = head.length + rows * row.length + tail.length;
  return {
    name: 'huge.json',
    size,
    read(offset, length) {
      const bytes = Buffer.alloc(length);
      for (let done = 0; done < length;) {
        const at = offset + done;
        const inRows = at - head.length;
        const [part, from] =
          inRows < 0
            ? [head, at]
            : inRows < rows * row.length
              ? [
                  block.subarray(0, Math.min(block.length, rows * row.length - inRows + (inRows % row.length))),
                  inRows % row.length,
                ]
              : [tail, inRows - rows * row.length];
        done += part.copy(bytes, done, from);
      }
      return Promise.resolve(new Uint8Array(bytes.buffer));
    },
  };
}

test('a file beyond the longest string is read, with findings and lines', async () => {
  const source = hugeSource();
  expect(source.size).toBeGreaterThan(600e6);
  const before = process.memoryUsage();
  const document = await readJson(source);
  const after = process.memoryUsage();
  const { detect_results: results } = document.value as { detect_results: { c: readonly { label: string }[] } };
  expect([results.c.length, results.c[7_199_999]?.label, results.c[7_200_000]?.label]).toEqual([
    7_200_001,
    'cut_dough',
    'last',
  ]);
  expect(document.findings.map(({ code, at, line }) => [code, at, line])).toEqual([
    ['json.nan', '/detect_results/c/7200000/score', 7_200_002],
  ]);
  expect(document.line('/detect_results/c/7199998/segment/1')).toBe(7_200_000);
  // The bytes once, and beside them only what V8 keeps of the values.
  expect(after.arrayBuffers - before.arrayBuffers).toBeLessThan(source.size * 1.2);
  expect(after.heapUsed - before.heapUsed).toBeLessThan(source.size * 3);
});
