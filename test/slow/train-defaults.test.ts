/** The command behind the embedded default encoder, in small: it draws, trains, goes on where it was stopped, and writes a model that runs. */
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { packageRoot } from '../../src/files.js';

const execute = promisify(execFile);
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'egolens defaults '));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

test('a short training writes a model folder, and the same one when it is run again', async () => {
  const program = (...args: string[]): Promise<{ stdout: string; stderr: string }> =>
    execute(process.execPath, [
      join(packageRoot, 'bin', 'train-defaults.js'),
      '--only',
      'encoder',
      '--threads',
      '1',
      ...args,
    ]);
  const small = ['--windows', '32', '--samples', '64'];
  const digests: string[] = [];
  for (const name of ['one', 'two']) {
    const output = join(folder, name);
    const { stdout } = await program(...small, '--work', join(folder, `work ${name}`), '--output', output);
    const scores = JSON.parse(
      await readFile(join(folder, `work ${name}`, 'encoder', 'scores.json'), 'utf8'),
    ) as Readonly<Record<string, Readonly<Record<string, number>>>>;
    expect(Object.keys(scores)).toEqual(['val', 'test seen', 'test compositional']);
    for (const { verb_top1: verb } of Object.values(scores)) expect(verb).toBeLessThanOrEqual(1);
    digests.push(/digest ([0-9a-f]{64})/.exec(stdout)![1]!); // the last line
  }
  expect(digests[1]).toBe(digests[0]);
  const verify = await execute(process.execPath, [
    ...[join(packageRoot, 'bin', 'run.js'), 'models', 'verify', join(folder, 'one', 'videomae-nano')],
  ]);
  expect(verify.stdout).toContain('videomae-nano');
});
