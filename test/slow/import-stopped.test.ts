import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { importModel } from '../../src/pipeline/import-model.js';
import { goldenCase, slowWeights } from '../cli/models.js';
import { leftovers, nobodyLeft, start, until, workFolder } from '../cli/program.js';

describe.runIf(process.platform === 'linux')('an import that is stopped', () => {
  test('SIGINT leaves nothing, and what SIGKILL leaves goes with the next import; no probe outlives its program', async () => {
    const folder = await workFolder();
    const file = await slowWeights(join(folder, 'slow.safetensors'));
    const args = ['models', 'import', file, '--arch', 'videomae-s', '-o', join(folder, 'models', 'slow')];
    const probing = (program: ReturnType<typeof start>): Promise<void> =>
      until(() => program.descendants().some(({ command }) => command.includes('probe-process')), 'the probe');
    const interrupted = start(args);
    await probing(interrupted);
    interrupted.child.kill('SIGINT');
    expect((await interrupted.ended).status).toBe(130);
    await nobodyLeft(interrupted);
    expect(await readdir(join(folder, 'models'))).toEqual([]);
    const killed = start(args);
    await probing(killed);
    killed.child.kill('SIGKILL');
    await killed.ended;
    await nobodyLeft(killed);
    expect(leftovers(join(folder, 'models'))).not.toEqual([]);
    await importModel(join(goldenCase('videomae_ft_mean'), 'checkpoint.pth'), {
      arch: 'videomae-classifier',
      config: join(goldenCase('videomae_ft_mean'), 'case.json'),
      output: join(folder, 'models', 'other'),
    });
    expect(await readdir(join(folder, 'models'))).toEqual(['other']);
  });
});
