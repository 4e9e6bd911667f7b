import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['{src,commands,heads,benchmarks,test}/**/*.test.ts'],
    exclude: ['test/slow/**', 'test/golden/**', '**/node_modules/**', 'dist/**'],
    // Process tests read what a command printed; vitest's interception would swallow it.
    disableConsoleIntercept: true,
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
