import { existsSync, readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { packageRoot } from '../../src/files.js';
import { inShell, temporaryFolder } from './command.js';
import { fixtures } from './program.js';

/** Commands of README.md, run as they stand there in a folder that holds `fixtures/` and nothing else. */

const readme = readFileSync(join(packageRoot, 'README.md'), 'utf8');

/** The lines of the first block of commands under a heading, what stands in one line continued. */
function commandsUnder(heading: string): string[] {
  const section = readme.split(/^## /m).find((text) => text.startsWith(`${heading}\n`)) ?? '';
  const block = /^```sh\n([\s\S]*?)^```/m.exec(section)?.[1] ?? '';
  return block.split('\n').filter((line) => line.trim() !== '');
}

test('`Check a submission in one minute` works as written', async () => {
  const folder = temporaryFolder();
  symlinkSync(fixtures, join(folder, 'fixtures'));
  const lines = commandsUnder('Check a submission in one minute');
  expect(lines.map((line) => line.split(' ').slice(0, 2).join(' '))).toEqual([
    'egolens eval',
    'egolens submit',
    'egolens validate',
    'egolens eval',
  ]);
  const begin = performance.now();
  for (const line of lines) {
    const { code, stdout, stderr } = await inShell(line, [], { cwd: folder });
    expect({ line, code, stderr: stderr.match(/^(error|warning) .*$/m)?.[0] }).toEqual({ line, code: 0 });
    expect(stdout).not.toBe('');
  }
  expect(performance.now() - begin).toBeLessThan(60_000);
  expect(existsSync(join(folder, 'submission.json.meta.json'))).toBe(true);
});
