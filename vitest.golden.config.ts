import { defineConfig } from 'vitest/config';

/** Parity with the official code, case by case; which cases: test/golden and EGOLENS_GOLDEN_DIR. */
export default defineConfig({
  test: {
    include: ['test/golden/**/*.test.ts'],
    // One line a case, at once, as the case prints it.
    disableConsoleIntercept: true,
    testTimeout: 600_000,
    hookTimeout: 600_000,
  },
});
