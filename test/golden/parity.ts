import { describe, expect, test } from 'vitest';
import { families } from '../../src/models/index.js';
import { discoverCases, isPending, ownGolden } from './cases.js';
import { ego4dRunners } from './ego4d.js';
import { encoderRunners } from './encoder.js';
import { headRunners } from './heads.js';
import { nlqRunners } from './nlq-heads.js';
import { report, type Runner } from './results.js';
import { trainingRunners } from './training.js';
import { trainingStepRunners } from './training-steps.js';

const runners: Readonly<Record<string, Runner>> = {
  ...encoderRunners,
  ...ego4dRunners,
  ...headRunners,
  ...nlqRunners,
  ...trainingRunners,
  ...trainingStepRunners,
};

/** Families for which no output of the official code is at hand, and what is said of them. */
const excused = new Map<string, string>(
  families.flatMap(({ name, parity }) => (parity ? [[`encoder/${name}`, parity] as const] : [])),
);

/**
 * Parity with the official code over one folder of golden data: every case that is there, by listing.
 *
 * The part of the data in the repository has a case of every encoder and task, and the smaller training runs; a full folder has all.
 */
export function parityTests(folder: string): void {
  const areas = folder === ownGolden ? ['encoder/', 'ego4d/'] : ['encoder/', 'ego4d/', 'heads/', 'training/'];
  const cases = discoverCases(folder);
  describe('parity with the official code', () => {
    test.each(cases.filter((one) => !isPending(one)))('$name', async ({ name, family, path }) => {
      const runner = runners[family];
      expect(
        runner,
        `${name}: family ${family} has neither a runner nor an entry in test/golden/pending.json`,
      ).toBeDefined();
      report(name, await runner!(path));
    });

    test('every built family has a case, or is one of those that say `no parity data`', () => {
      const found = new Set(cases.map(({ family }) => family));
      const expected = Object.keys(runners).filter((family) => areas.some((area) => family.startsWith(area)));
      const without = expected.filter((family) => !found.has(family));
      for (const family of without.filter((one) => excused.has(one))) console.log(`${excused.get(family)} ${family}`);
      expect(without.filter((family) => !excused.has(family))).toEqual([]);
    });

    test('what is not built yet is listed', () => {
      for (const one of cases.filter(isPending)) console.log(`pending ${one.name} (${one.family})`);
      const stale = cases.filter((one) => isPending(one) && runners[one.family]);
      expect(stale).toEqual([]);
    });
  });
}
