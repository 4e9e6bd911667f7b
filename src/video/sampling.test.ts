import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { SamplingRecipe } from '../types.js';
import { sampleViews } from './sampling.js';

const file = join(process.env['EGOLENS_GOLDEN_DIR'] ?? '../shared/golden', 'encoder', 'sampling.json');
const here = existsSync(file);
const why = here ? '' : ' (skipped: no golden folder, set EGOLENS_GOLDEN_DIR)';

interface Case {
  readonly frames: number;
  readonly rate?: number;
  readonly stride?: number;
  readonly num_frames?: number;
  readonly clips?: number;
  readonly views?: readonly (readonly number[])[];
  readonly indices?: readonly number[];
  readonly starts?: readonly number[];
}
type Golden = Readonly<Record<string, { readonly cases: readonly Case[] }>>;

function recipe(plan: string, each: Case): SamplingRecipe {
  return {
    plan,
    frames: each.num_frames ?? (plan.includes('viclip') || plan.includes('linspace') ? 8 : 16),
    step: each.rate ?? 1,
    hop: each.stride ?? 16,
    rate: 'source',
    tail: 'align',
    views: [each.clips ?? each.views?.length ?? 1, 1],
  };
}

describe.skipIf(!here)(`official frame numbers${why}`, () => {
  const golden = (here ? JSON.parse(readFileSync(file, 'utf8')) : {}) as Golden;
  const lists = Object.entries(golden).filter(([name]) => name !== 'note');

  test.each(lists)('%s takes the official frames at every length', (plan, { cases }) => {
    expect(cases.length).toBeGreaterThan(0);
    for (const each of cases) {
      if (each.starts?.length === 0) {
        expect(() => sampleViews(recipe(plan, each), each.frames)).toThrow('needs at least 16 frames');
        continue;
      }
      const views = sampleViews(recipe(plan, each), each.frames);
      if (each.views) expect(views).toEqual(each.views);
      else if (each.indices) expect(views).toEqual([each.indices]);
      else expect(views.map((view) => view[0])).toEqual(each.starts);
    }
  });
});

const base: SamplingRecipe = {
  plan: 'segments',
  frames: 4,
  step: 1,
  hop: 4,
  rate: 'source',
  tail: 'align',
  views: [1, 1],
};

describe('segments', () => {
  test('one view takes the middle of each equal segment', () => {
    expect(sampleViews(base, 40)).toEqual([[5, 15, 25, 35]]);
  });

  test('two views share each segment', () => {
    expect(sampleViews({ ...base, views: [2, 1] }, 40)).toEqual([
      [2, 12, 22, 32],
      [7, 17, 27, 37],
    ]);
  });

  test('a video shorter than the window repeats frames', () => {
    expect(sampleViews(base, 1)).toEqual([[0, 0, 0, 0]]);
  });
});

test('a plan that is no sampler is a usage error that names the samplers', () => {
  expect(() => sampleViews({ ...base, plan: 'toString' }, 10)).toThrow(/uniformerv2_sparse.*found `toString`/);
});
