import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { openProgress, type Verbosity } from './progress.js';

const lines: string[] = [];
const sink = (verbosity: Verbosity, isTerminal = false) => ({
  verbosity,
  isTerminal,
  line: (text: string) => void lines.push(text),
});
beforeEach(() => void (lines.length = 0));

test('notes and warnings are lines; quiet has neither', async () => {
  for (const verbosity of ['normal', 'quiet'] as const) {
    using progress = await openProgress(sink(verbosity));
    progress.note('device cpu');
    progress.warn('decode.hdr', 'no tone mapping');
  }
  expect(lines).toEqual(['device cpu', 'warning decode.hdr: no tone mapping']);
});

test('there is a line of detail only where it was asked for', async () => {
  for (const verbosity of ['quiet', 'normal', 'verbose', 'trace'] as const) {
    using progress = await openProgress(sink(verbosity));
    progress.detail?.(verbosity);
  }
  expect(lines).toEqual(['verbose', 'trace']);
});

test('without a terminal work is said every 30 seconds, with its total where that is known', async () => {
  let now = 0;
  const clock = vi.spyOn(performance, 'now').mockImplementation(() => now);
  using progress = await openProgress(sink('normal'));
  const [known, open, silent] = [progress.start('a.mp4', 300), progress.start('b.mp4'), progress.start('c.mp4')];
  for (now of [10_000, 29_999, 30_000, 31_000, 59_000, 60_000]) {
    known.advance(10);
    if (now === 30_000) open.advance(7);
  }
  silent.stop();
  clock.mockRestore();
  expect(lines).toEqual(['a.mp4: 30 of 300', 'b.mp4: 7', 'a.mp4: 60 of 300']);
});

describe('on a terminal', () => {
  const written: string[] = [];
  const wasTTY = process.stderr.isTTY;
  beforeEach(() => {
    written.length = 0;
    process.stderr.isTTY = true;
    vi.spyOn(process.stderr, 'write').mockImplementation((text) => written.push(String(text)) > 0);
  });
  afterEach(() => {
    vi.restoreAllMocks();
    process.stderr.isTTY = wasTTY;
  });
  const shown = (): string => written.join('');

  test('a line before the first bar and after the last goes out by itself, at once', async () => {
    using progress = await openProgress(sink('normal', true));
    progress.note('before');
    expect(lines).toEqual(['before']);
    const bar = progress.start('work', 2);
    bar.stop();
    progress.note('after');
    expect(lines).toEqual(['before', 'after']);
  });

  test('a line beside a bar is drawn before the bars go, whether they are stopped or left', async () => {
    for (const isStopped of [true, false]) {
      written.length = 0;
      {
        using progress = await openProgress(sink('normal', true));
        const [first, second] = [progress.start('one', 2), progress.start('two', 2)];
        first.advance(1);
        progress.warn('decode.hdr', 'beside');
        if (isStopped) for (const bar of [first, second, second]) bar.stop();
      }
      expect(shown().split('warning decode.hdr: beside\n')).toHaveLength(2);
      expect(shown().endsWith('\u001b[?25l')).toBe(false);
      expect(shown().lastIndexOf('\u001b[?25h')).toBeGreaterThan(shown().lastIndexOf('\u001b[?25l'));
    }
    expect(lines).toEqual([]);
  });

  test('work of unknown length shows no share', async () => {
    using progress = await openProgress(sink('normal', true));
    progress.start('open').advance(3);
    progress.note('now');
    progress[Symbol.dispose]();
    expect(shown()).toContain(' open 3');
    expect(shown()).not.toContain('100%');
  });

  test('a long label keeps its end', async () => {
    using progress = await openProgress(sink('normal', true));
    progress.start(`${'x'.repeat(50)}/video.mp4`, 10);
    progress[Symbol.dispose]();
    expect(shown()).toContain(`…${'x'.repeat(29)}/video.mp4 `);
  });
});
