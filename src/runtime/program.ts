import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { EgolensError } from '../errors.js';

/**
 * The compiled program `name` of this folder, for a worker thread or a child process. Neither can start from a .ts file
 * (dependencies.md 10): when this module itself is one, as in tests, the build's output is taken.
 */
export function programUrl(name: 'worker' | 'training-worker' | 'probe-program'): URL {
  const url = import.meta.url.endsWith('.ts')
    ? new URL(`../../dist/src/runtime/${name}.js`, import.meta.url)
    : new URL(`./${name}.js`, import.meta.url);
  if (!existsSync(url)) {
    throw new EgolensError('internal.bug', `\`${fileURLToPath(url)}\`: no such program`, { try: '`npm run build`' });
  }
  return url;
}
