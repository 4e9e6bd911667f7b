import { defineConfig } from 'vitest/config';

/** End to end, faults, endurance: minutes rather than a minute. */
export default defineConfig({
  test: {
    include: ['test/slow/**/*.test.ts'],
    passWithNoTests: true,
    disableConsoleIntercept: true,
    // Process tests mostly wait; with vitest's default, two cores run one file at a time.
    maxWorkers: 2,
    testTimeout: 900_000,
    hookTimeout: 900_000,
  },
});
