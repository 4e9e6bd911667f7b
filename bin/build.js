/**
 * `npm run build`: schemas -> src/generated, TypeScript -> dist, data files -> dist, manifest of the commands, stamp.
 * The stamp (a digest of what was built) is taken before the compiler starts and written last.
 */
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildDigest, filesIn, isData, missingOutputs, sourceFiles, sourceFolders, stampFile } from './build-digest.js';
import { buildSchemas, copyGenerated } from './build-schemas.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const dist = join(root, 'dist');
const buildInfo = join(dist, '.tsbuildinfo');
const manifest = join(root, 'oclif.manifest.json');

rmSync(join(dist, stampFile), { force: true });
rmSync(manifest, { force: true });
buildSchemas(root);
const digest = buildDigest(root);
removeStaleOutputs();
if (!compile()) process.exit(1);
copyData();
copyGenerated(root);
if (missingOutputs(root).length > 0) {
  // The compiler trusts its build info and does not look whether its outputs are still there.
  rmSync(buildInfo, { force: true });
  if (!compile()) process.exit(1);
}
const missing = missingOutputs(root);
if (missing.length > 0) {
  console.error(`build: not written: ${missing.join(', ')}`);
  process.exit(1);
}
writeManifest();
writeFileSync(join(dist, stampFile), `${digest}\n`);

function compile() {
  const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  return spawnSync(process.execPath, [tsc, '-p', 'tsconfig.build.json'], { cwd: root, stdio: 'inherit' }).status === 0;
}

/** What oclif must know of every command: without it each start imports them all, which doubles its time. */
function writeManifest() {
  const oclif = join(root, 'node_modules', 'oclif', 'bin', 'run.js');
  const { status, stderr } = spawnSync(process.execPath, [oclif, 'manifest'], { cwd: root, encoding: 'utf8' });
  if (status === 0 && existsSync(manifest)) return;
  console.error(`build: no manifest of the commands, \`oclif manifest\` ended with ${status}:\n${stderr}`);
  process.exit(1);
}

function copyData() {
  for (const name of sourceFiles(root).filter(isData)) {
    mkdirSync(dirname(join(dist, name)), { recursive: true });
    copyFileSync(join(root, name), join(dist, name));
  }
}

/** oclif takes every file in `dist/commands` for a command, so what lost its source must go. */
function removeStaleOutputs() {
  for (const output of sourceFolders.flatMap((folder) => filesIn(dist, folder))) {
    const source = output.replace(/(\.d\.ts|\.js|\.js\.map)$/, '.ts');
    if (!existsSync(join(root, source)) && !existsSync(join(root, output))) rmSync(join(dist, output));
  }
}
