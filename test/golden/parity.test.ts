import { existsSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { discoverCases, goldenFolder, isPending } from './cases.js';
import { encoderRunners } from './encoder.js';
import { report } from './results.js';

/**
 * Parity with the official code. `npm run test:golden` runs it over the full data, `npm test` over the part in fixtures/golden.
 */
const runners = { ...encoderRunners };
if (goldenFolder === undefined || !existsSync(goldenFolder)) {
  throw new Error(`no golden data at ${goldenFolder ?? 'any known place'}; set EGOLENS_GOLDEN_DIR`);
}
const cases = discoverCases(goldenFolder);

describe('parity with the official code', () => {
  test.each(cases.filter((one) => !isPending(one)))('$name', async ({ name, family, path }) => {
    const runner = runners[family];
    expect(
      runner,
      `${name}: family ${family} has neither a runner nor an entry in test/golden/pending.json`,
    ).toBeDefined();
    report(name, await runner!(path));
  });

  test('every built family has a case', () => {
    const found = new Set(cases.map(({ family }) => family));
    expect(Object.keys(runners).filter((family) => !found.has(family))).toEqual([]);
  });

  test('what is not built yet is listed', () => {
    for (const one of cases.filter(isPending)) console.log(`pending ${one.name} (${one.family})`);
    const stale = cases.filter((one) => isPending(one) && runners[one.family]);
    expect(stale).toEqual([]);
  });
});
