import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { packageRoot } from '../files.js';

/** Version of this program. */
export function programVersion(): string {
  return versionIn(join(packageRoot, 'package.json'));
}

/** Version of ONNX Runtime, read without loading it. */
export function runtimeVersion(): string {
  return versionIn(createRequire(import.meta.url).resolve('onnxruntime-node/package.json'));
}

function versionIn(path: string): string {
  return (JSON.parse(readFileSync(path, 'utf8')) as { version: string }).version;
}
