import { defineConfig } from 'vitest/config';

/** End to end, faults, endurance: minutes rather than a minute. */
export default defineConfig({
  test: {
    include: ['test/slow/**/*.test.ts'],
    passWithNoTests: true,
    disableConsoleIntercept: true,
    testTimeout: 900_000,
    hookTimeout: 900_000,
  },
});
