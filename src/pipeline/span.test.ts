import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { packageRoot } from '../files.js';
import { decodeTimes } from '../video/decode.js';
import { openVideo } from '../video/probe.js';
import { resolveSpan, spanKey, spanOf, type SpanRequest } from './span.js';

const item = { input: 'a.mp4', path: '/a.mp4', relpath: '' };

test('an item has its own bounds before those of the run', () => {
  expect(spanOf(item, undefined)).toBeUndefined();
  expect(spanOf(item, [{ frame: 3 }, 9])).toEqual([{ frame: 3 }, 9]);
  expect(spanOf({ ...item, start: 1 }, [{ frame: 3 }, 9])).toEqual([1, 9]);
  expect(spanOf({ ...item, end: 1 }, undefined)).toEqual([0, 1]);
});

test.each([[[2, 2]], [[{ frame: 5 }, { frame: 5 }]], [[3, 1]]] as [SpanRequest][])('%j has no length', (span) => {
  expect(() => spanOf(item, span)).toThrow(expect.objectContaining({ code: 'usage.flag' }));
});

test('keys: seconds as ever, frames as people write them, an open end as null', () => {
  expect(spanKey(undefined)).toBeNull();
  expect(spanKey([0, Infinity])).toEqual([0, null]);
  expect(spanKey([{ frame: 7 }, 1.5])).toEqual(['#7', 1.5]);
});

describe('in a video of variable rate', async () => {
  const source = await openVideo(join(packageRoot, 'fixtures', 'videos', 'vfr.mp4'));
  const { times } = await decodeTimes(source);
  const last = times.length - 1;

  test('frames become their time stamps', async () => {
    expect(await resolveSpan([{ frame: 5 }, { frame: 9 }], source, {})).toEqual([times[5], times[9]]);
    expect(await resolveSpan([0, { frame: 9 }], source, {})).toEqual([0, times[9]]);
    expect(times[9]! - times[5]!).not.toBeCloseTo(4 / source.claimedRate, 2);
  });

  test('an end behind the last frame is the end; a start there is refused, as are bounds that turn out in the wrong order', async () => {
    expect(await resolveSpan([{ frame: last }, { frame: last + 1 }], source, {})).toEqual([times[last], Infinity]);
    await expect(resolveSpan([{ frame: last + 1 }, Infinity], source, {})).rejects.toMatchObject({
      code: 'input.too_short',
    });
    await expect(resolveSpan([{ frame: 9 }, times[5]!], source, {})).rejects.toMatchObject({ code: 'usage.flag' });
  });
});
