import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { childTicks, costOf, hasChildTime, peakBytes, peakLine } from './cost.js';

const run = promisify(execFile);

test('fields of /proc/self/stat are counted behind a name with blanks and brackets', () => {
  const fields = Array.from({ length: 50 }, (_, i) => String(i + 3)); // field numbers as values: field 3 follows the name
  expect(childTicks(`17 (a) b (c) ${fields.join(' ')}`)).toBe(16 + 17);
});

test('the peak is read in bytes', () => {
  expect(peakLine('Name:\tnode\nVmPeak:\t  999 kB\nVmHWM:\t   42 kB\n')).toBe(42 * 1024);
  expect(peakLine('Name:\tnode\n')).toBeUndefined();
  expect(peakBytes()).toBeGreaterThan(10e6);
});

test.runIf(hasChildTime)('CPU time of a child counts when it has ended, and is not our own', async () => {
  const busy = 'const end = process.cpuUsage().user + 300_000; while (process.cpuUsage().user < end);';
  const cost = await costOf(async () => {
    await run(process.execPath, ['-e', busy]);
  });
  expect(cost.childCpuMs).toBeGreaterThanOrEqual(290);
  expect(cost.ownCpuMs).toBeLessThan(cost.childCpuMs);
});

test('CPU time of this process is its own', async () => {
  const cost = await costOf(() => {
    const start = process.cpuUsage();
    while (process.cpuUsage(start).user < 50_000);
    return Promise.resolve();
  });
  expect(cost.ownCpuMs).toBeGreaterThanOrEqual(50);
  expect(cost.wallMs).toBeGreaterThanOrEqual(45);
});
