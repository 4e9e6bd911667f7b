import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['{src,commands,heads,benchmarks,test}/**/*.test.ts'],
    exclude: ['test/slow/**', 'test/golden/**', '**/node_modules/**', 'dist/**'],
    // Process tests read what a command printed; vitest's interception would swallow it.
    disableConsoleIntercept: true,
    // Process tests mostly wait; with vitest's default, two cores run one file at a time.
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
