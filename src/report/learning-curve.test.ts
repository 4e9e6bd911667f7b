import { expect, test } from 'vitest';
import { learningCurveSvg, type CurveRecord } from './learning-curve.js';

const record = (step: number, more: Partial<CurveRecord> = {}): CurveRecord => ({
  step,
  epoch: Math.ceil(step / 10),
  loss: 2 / step,
  lr: 1e-3,
  ...more,
});
const run = (count: number, more: (step: number) => Partial<CurveRecord> = () => ({})): CurveRecord[] =>
  Array.from({ length: count }, (_, i) => record(i + 1, more(i + 1)));

/** Coordinates of the lines of a picture: one list of pairs each. */
const linesOf = (svg: string): number[][][] =>
  [...svg.matchAll(/<polyline[^>]* points="([^"]*)"/g)].map(([, points]) =>
    points!.split(' ').map((point) => point.split(',').map(Number)),
  );
const textsOf = (svg: string): string[] => [...svg.matchAll(/<text[^>]*>([^<]*)</g)].map(([, content]) => content!);

test('loss, rate, and metrics of one kind in a panel each', () => {
  const records = run(40, (step) =>
    step % 10 === 0 ? { metrics: { top1: step / 50, mAP: step / 80, val_loss: 0.9, median_rank: 40 / step } } : {},
  );
  const svg = learningCurveSvg(records, { title: 'probe', best: { step: 30, value: 0.6 } });
  // Loss raw and smooth, two shares, two other numbers (a loss is no share), the rate.
  expect(linesOf(svg).map((line) => line.length)).toEqual([40, 40, 4, 4, 4, 4, 40]);
  expect(textsOf(svg)).toEqual(expect.arrayContaining(['top1', 'mAP', 'val_loss', 'median_rank', 'best: step 30']));
  expect(textsOf(svg)[1]).toBe('40 steps, 4 epochs; loss 0.05 at the end; best score 0.6 at step 30');
  expect(learningCurveSvg(records, { title: 'probe', best: { step: 30, value: 0.6 } })).toBe(svg);
});

test('up to four terms of the loss are drawn, a term that is the loss is not', () => {
  const withParts = (parts: (loss: number) => Readonly<Record<string, number>>): string =>
    learningCurveSvg(
      run(10, (step) => ({ parts: parts(2 / step) })),
      { title: 'x' },
    );
  expect(linesOf(withParts((loss) => ({ all: loss })))).toHaveLength(3);
  expect(linesOf(withParts((loss) => ({ a: loss / 2, b: loss / 2 })))).toHaveLength(5);
  expect(
    linesOf(withParts((loss) => ({ a: loss / 5, b: loss / 5, c: loss / 5, d: loss / 5, e: loss / 5 }))),
  ).toHaveLength(3);
});

test('a loss over more than a power of ten has a logarithmic axis, one around a number does not begin at 0', () => {
  const falling = learningCurveSvg(
    run(50, (step) => ({ loss: 100 * 0.8 ** step })),
    { title: 'x' },
  );
  expect(textsOf(falling)).toContain('loss (logarithmic)');
  const flat = learningCurveSvg(
    run(50, (step) => ({ loss: 6.9 - step / 100 })),
    { title: 'x' },
  );
  expect(textsOf(flat)).toEqual(expect.arrayContaining(['loss', '6.5']));
  expect(textsOf(flat)).not.toContain('5');
});

test('a spike is cut at the edge and leaves the axis to the run', () => {
  const svg = learningCurveSvg(
    run(500, (step) => ({ loss: step === 250 ? 1e6 : 1 + (step % 2) })),
    { title: 'x' },
  );
  for (const [, y] of linesOf(svg).flat()) {
    expect(y).toBeGreaterThanOrEqual(66);
    expect(Number.isFinite(y)).toBe(true);
  }
});

test('numbers that are not finite are gaps, and no steps at all are a picture too', () => {
  const odd = run(5, (step) => ({
    loss: step === 3 ? NaN : 1,
    metrics: { top1: step === 2 ? 'NaN' : 0.5, only: 'Infinity' },
  }));
  const svg = learningCurveSvg(odd, { title: 'x' });
  expect(svg).not.toMatch(/NaN|Infinity/);
  expect(linesOf(svg).map((line) => line.length)).toEqual([4, 4, 4, 5]);
  for (const records of [[], run(1), run(1, () => ({ lr: 0, loss: -3 }))]) {
    expect(learningCurveSvg(records, { title: 'x', best: null })).not.toMatch(/NaN|Infinity|undefined/);
  }
});

test('names from outside are text, never markup', () => {
  const svg = learningCurveSvg(
    run(3, () => ({ metrics: { '</text><script>': 0.5, 'b&c\u0001': 0.4 } })),
    { title: '"><script>alert(1)</script>' },
  );
  expect(svg).not.toContain('<script');
  expect(svg).toContain('b&amp;c?');
});

test('a long run is a small file with its extremes', () => {
  const records = run(100_000, (step) => ({ loss: step === 70_001 ? 0.2 : 1 + Math.sin(step) / 10 }));
  const svg = learningCurveSvg(records, { title: 'x' });
  expect(svg.length).toBeLessThan(60_000);
  const raw = linesOf(svg)[0]!;
  const lowest = Math.max(...raw.map(([, y]) => y!));
  expect(raw.filter(([, y]) => y === lowest)).toHaveLength(1);
});
