/**
 * Is `dist/` the build of the sources as they lie here? Node built-ins only: `bootstrap.js` asks before anything is installed.
 */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Folders that `tsconfig.build.json` includes; `dist/` mirrors them. */
export const sourceFolders = ['src', 'commands', 'heads', 'benchmarks'];

/** Kept in `dist/` and written last, so a build that was cut off has none. */
export const stampFile = '.build-digest';

/** Names with `/`, below `root`, of all files in `folder`, sorted. */
export function filesIn(root, folder) {
  if (!existsSync(join(root, folder))) return [];
  return readdirSync(join(root, folder), { withFileTypes: true })
    .flatMap((entry) => (entry.isDirectory() ? filesIn(root, `${folder}/${entry.name}`) : [`${folder}/${entry.name}`]))
    .sort();
}

const isTest = (name) => name.endsWith('.test.ts');
const isDeclaration = (name) => name.endsWith('.d.ts');
const isCompiled = (name) => name.endsWith('.ts') && !isDeclaration(name) && !isTest(name);

/** JSON tables and the like, which the compiled code reads beside its own module; tests and prose stay behind. */
export const isData = (name) => !name.endsWith('.ts') && !name.endsWith('.md');

/** Every source file that has a counterpart in `dist/`. */
export function sourceFiles(root) {
  return sourceFolders.flatMap((folder) => filesIn(root, folder)).filter((name) => isCompiled(name) || isData(name));
}

/** The file in `dist/` that a source file becomes. */
export function outputOf(name) {
  return isCompiled(name) ? name.replace(/\.ts$/, '.js') : name;
}

/** SHA-256 over all that decides the build: sources, generated code, compiler settings, locked versions, the build steps. */
export function buildDigest(root) {
  const settings = ['package-lock.json', 'tsconfig.json', 'tsconfig.build.json'];
  const steps = filesIn(root, 'bin').filter((name) => name.startsWith('bin/build'));
  const hash = createHash('sha256');
  for (const name of [...settings, ...steps, ...sourceFolders.flatMap((folder) => filesIn(root, folder))]) {
    if (isTest(name) || !existsSync(join(root, name))) continue;
    const bytes = readFileSync(join(root, name));
    hash.update(`${name}\0${bytes.length}\0`).update(bytes);
  }
  return hash.digest('hex');
}

/** Files that a build of these sources must have left in `dist/` and that are not there. */
export function missingOutputs(root) {
  return sourceFiles(root)
    .map((name) => `dist/${outputOf(name)}`)
    .filter((name) => !existsSync(join(root, name)));
}

export function isBuilt(root) {
  const stamp = join(root, 'dist', stampFile);
  return (
    existsSync(stamp) && readFileSync(stamp, 'utf8').trim() === buildDigest(root) && missingOutputs(root).length === 0
  );
}
