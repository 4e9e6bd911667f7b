import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { slowModel } from '../cli/models.js';
import {
  decoded,
  decodes,
  filesBelow,
  folderOfVideos,
  leftovers,
  ledgerLines,
  nobodyLeft,
  records,
  run,
  start,
  until,
} from '../cli/program.js';

/** Children are found through /proc. */
describe.runIf(process.platform === 'linux')('extract, killed and interrupted', () => {
  let model: string;
  beforeAll(async () => {
    model = await slowModel();
  });

  test('SIGINT during a run of the model waits for that run alone and ends with 130', async () => {
    const { input, output } = await folderOfVideos(2, 'demo.mp4');
    const program = start(['extract', input, '-o', output, '--model', model, '--batch', '8']);
    await decoded(program);
    program.child.kill('SIGINT');
    const { status, stdout, stderr } = await program.ended;
    expect([status, stdout]).toEqual([130, '']);
    expect(stderr).not.toContain('Napi');
    await nobodyLeft(program);
    expect(filesBelow(output)).toEqual({});
    expect((await ledgerLines(output)).at(-1)).toMatchObject({ event: 'end', exit: 130 });
  });

  test('a second SIGINT during a run of the model ends the program by that signal, not by an abort', async () => {
    const { input, output } = await folderOfVideos(1, 'demo.mp4');
    const program = start(['extract', input, '-o', output, '--model', model, '--batch', '8']);
    await decoded(program);
    program.child.kill('SIGINT');
    // The first one has been delivered, so the second is another.
    await until(() => /^ShdPnd:\t0+$/m.test(readFileSync(`/proc/${program.pid}/status`, 'utf8')), 'delivery');
    program.child.kill('SIGINT');
    const { status, signal, stderr } = await program.ended;
    expect([status, signal]).toEqual([null, 'SIGINT']);
    expect(stderr).not.toContain('Napi');
    await nobodyLeft(program);
    // It did not wait for the run: nothing was said to the ledger any more.
    expect((await ledgerLines(output)).at(-1)).toMatchObject({ event: 'start' });
  });

  test.each(['1', '2'])(
    'after SIGKILL with --jobs %s a second start leaves the same bytes and no trace of the first',
    async (jobs) => {
      const { input, output } = await folderOfVideos(4, 'demo.mp4');
      const whole = join(output, '..', 'whole');
      await run(['extract', input, '-o', whole]);
      const killed = start(['extract', input, '-o', output, '--jobs', jobs]);
      await killed.says('stdout', '\n');
      await decodes(killed);
      killed.child.kill('SIGKILL');
      const { stdout } = await killed.ended;
      await nobodyLeft(killed);
      const before = (await records(stdout)).map(({ id }) => id);
      const again = await run(['extract', input, '-o', output, '--jobs', jobs]);
      expect(again.status).toBe(0);
      expect(filesBelow(output)).toEqual(filesBelow(whole));
      expect(leftovers(output)).toEqual([]);
      const lines = await ledgerLines(output);
      const secondRun = lines.filter(({ event }) => event === 'run')[1]!['run'];
      const started = lines.filter(({ event, run: of }) => event === 'start' && of === secondRun).map(({ id }) => id);
      for (const id of before) expect(started).not.toContain(id);
      expect(await records(again.stdout)).toHaveLength(4);
    },
  );
});
