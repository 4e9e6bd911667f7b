import { expect, test } from 'vitest';
import { caseFiles, readJsonFile } from '../test/cli/truth-records.js';
import { documentOf } from '../test/challenges.js';
import { challengeOf } from './index.js';

/** Answers by id have no order: files that are written in another one give the same numbers. */

const options = { ties: 'numpy', detail: false } as const;

function reversed(value: unknown): unknown {
  if (Array.isArray(value)) return [...(value as readonly unknown[])].reverse();
  return Object.fromEntries(Object.entries(value as object).reverse());
}

test.each(['fhp', 'lta', 'pnr', 'oscc'] as const)('%s: the order of answers changes no number', (task) => {
  const { truth, predictions } = caseFiles(task);
  const read = (paths: readonly string[]): unknown[] => paths.map(readJsonFile);
  const rowsOf = (values: readonly unknown[]): readonly { readonly metric: string; readonly value: number }[] => {
    const documents = read(truth).map((value, i) => documentOf(truth[i]!, value));
    const guesses = values.map((value, i) => documentOf(predictions[i]!, value));
    const { rows, correctedRows = [] } = challengeOf(task)!.prepare(documents, guesses, options).evaluate(options);
    return [...rows, ...correctedRows];
  };
  const before = rowsOf(read(predictions));
  expect(before.length).toBeGreaterThan(0);
  rowsOf(read(predictions).map(reversed)).forEach(({ metric, value }, i) => {
    expect(metric).toBe(before[i]!.metric);
    // Sums are taken in the order of the file: the last bits may differ.
    expect(value).toBeCloseTo(before[i]!.value, 9);
  });
});
