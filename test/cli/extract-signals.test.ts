import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  decodes,
  filesBelow,
  folderOfVideos,
  leftovers,
  ledgerLines,
  nobodyLeft,
  records,
  shell,
  start,
  workFolder,
} from './program.js';

/** Children are found through /proc. */
describe.runIf(process.platform === 'linux')('extract and signals', () => {
  test.each([
    { signal: 'SIGINT', code: 130 },
    { signal: 'SIGTERM', code: 143 },
  ] as const)(
    '$signal ends with $code, nothing half written, no child, a ledger that says so',
    async ({ signal, code }) => {
      const { input, output } = await folderOfVideos(4, 'demo.mp4');
      const program = start(['extract', input, '-o', output, '--jobs', '2']);
      await decodes(program);
      program.child.kill(signal);
      const { status, stdout, stderr } = await program.ended;
      expect(status).toBe(code);
      await nobodyLeft(program);
      expect(leftovers(output)).toEqual([]);
      expect(stderr).not.toMatch(/^error/m);
      const done = await records(stdout);
      const lines = await ledgerLines(output);
      expect(lines.at(-1)).toMatchObject({ event: 'end', exit: 130 });
      expect(lines.filter(({ event }) => event === 'failed')).toEqual([]);
      expect(Object.keys(filesBelow(output)).filter((name) => name.endsWith('.npy'))).toHaveLength(done.length);
    },
  );

  test('a reader that has gone ends the run quietly with 0 and stops the children', async () => {
    const { input, output } = await folderOfVideos(12, 'demo.mp4');
    const { stdout, stderr } = await shell(
      `{ egolens extract "$IN" -o "$OUT" -q; echo "status $?" >&2; } | head -n 1`,
      { env: { IN: input, OUT: output } },
    );
    expect(stdout.split('\n')).toHaveLength(2);
    expect(stderr).toBe('status 0\n');
    expect(leftovers(output)).toEqual([]);
    expect(Object.keys(filesBelow(output)).filter((name) => name.endsWith('.npy')).length).toBeLessThan(12);
  });

  test('SIGTERM while a list on standard input does not end stops the waiting', async () => {
    const output = join(await workFolder(), 'out');
    const program = start(['extract', '-', '-o', output], { keepsInput: true });
    // More than a pipe holds: it goes through when the program reads.
    await new Promise((done) => program.child.stdin.write('x\n'.repeat(2 ** 19), done));
    program.child.kill('SIGTERM');
    const { status, stdout, stderr } = await program.ended;
    expect([status, stdout, stderr]).toEqual([143, '', '']);
    expect(existsSync(output)).toBe(false);
  });
});
