/** `scod` as training takes it: how its head is made for token maps, and its targets. */
import type { JsonValue } from '../src/json.js';
import type { Head } from '../src/models/head.js';
import { detectorTargets, type DetectorTargets, type ObjectFrame } from './detector-targets.js';
import { scod } from './scod.js';

/** Places within so many grid steps of the middle of a box find it: heads.md 4. */
const radius = 1.5;

/** Given to `train scod` by its command: `ObjectMethod` of src/pipeline/train-objects.ts. */
export const detectorMethod = {
  head: (given: Readonly<Record<string, JsonValue>>): Head => scod.spec(given),
  targets(frames: readonly ObjectFrame[], { config }: Pick<Head, 'config'>): DetectorTargets {
    const { grid, upsample, classes } = config as {
      grid: readonly [number, number];
      upsample: number;
      classes: number;
    }; // of `scod`
    return detectorTargets(frames, { grid: [grid[0] * upsample, grid[1] * upsample], classes, radius });
  },
};
