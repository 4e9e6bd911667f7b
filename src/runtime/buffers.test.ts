import { expect, test } from 'vitest';
import { BufferPool } from './buffers.js';

test('a taker waits until a buffer comes back, first come first served', async () => {
  using pool = new BufferPool(2, 16);
  const [a] = [await pool.take(), await pool.take()];
  const got: string[] = [];
  const waiters = [pool.take().then(() => got.push('first')), pool.take().then(() => got.push('second'))];
  expect(got).toEqual([]);
  pool.give(structuredClone(a, { transfer: [a] })); // another object over the same memory, as a worker sends it back
  await waiters[0];
  expect(got).toEqual(['first']);
  pool.give(new ArrayBuffer(16));
  await waiters[1];
  expect(got).toEqual(['first', 'second']);
});

test('an abort refuses waiters and later takers with its reason; buffers may still come back', async () => {
  const controller = new AbortController();
  const pool = new BufferPool(1, 16, controller.signal);
  const buffer = await pool.take();
  const waiter = pool.take();
  const reason = new Error('enough');
  controller.abort(reason);
  await expect(waiter).rejects.toBe(reason);
  pool.give(buffer);
  await expect(pool.take()).rejects.toBe(reason);
  await expect(new BufferPool(1, 16, AbortSignal.abort(reason)).take()).rejects.toBe(reason);
});

test('a disposed pool refuses its waiters', async () => {
  const pool = new BufferPool(0, 16);
  const waiter = pool.take();
  pool[Symbol.dispose]();
  await expect(waiter).rejects.toThrow('disposed');
});

test('a buffer of another size is a fault of the program', () => {
  using pool = new BufferPool(1, 16);
  expect(() => {
    pool.give(new ArrayBuffer(8));
  }).toThrow('expected a buffer of 16 bytes, found 8');
});
