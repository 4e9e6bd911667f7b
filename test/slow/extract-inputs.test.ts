import { cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { filesBelow, hangingFfmpeg, records, run, shell, start, videos, workFolder } from '../cli/program.js';

async function copies(folder: string, names: readonly string[]): Promise<void> {
  for (const name of names) {
    await mkdir(join(folder, name, '..'), { recursive: true });
    await cp(join(videos, 'one-frame.mp4'), join(folder, name));
  }
}

test('folders, patterns, lists, NUL lists and records name the same videos', async () => {
  const cwd = await workFolder();
  await copies(cwd, ['in/b.mp4', 'in/a/z.mp4', 'in/a-b.mp4', 'in/.hidden.mp4']);
  const ids = async (args: string[], input?: string): Promise<unknown[]> => {
    const program = ['extract', ...args, '-o', 'out'];
    const { status, stdout, stderr } = await run(program, { cwd, ...(input !== undefined && { input }) });
    expect(status, stderr).toBe(0);
    return (await records(stdout)).map(({ id }) => id);
  };
  expect(await ids(['in'])).toEqual(['a-b', 'a/z', 'b']);
  expect(await ids(['-0', '-'], 'in/b.mp4\0in/a-b.mp4\0')).toEqual(['b', 'a-b']);
  await writeFile(join(cwd, 'list.txt'), 'in/b.mp4\n{"input":"in/a-b.mp4","start":0,"end":1,"id":"first second"}\n');
  expect(await ids(['@list.txt', 'in/a/*.mp4'])).toEqual(['b', 'first second', 'z']);
  expect(await ids(['in', '--include', 'a/**', '--include', 'a-b*', '--exclude', 'a-*', '--hidden'])).toEqual(['a/z']);
});

test('records with spans give features of those spans, under their ids', async () => {
  const cwd = await workFolder();
  const list = [0, 3].map((at) => JSON.stringify({ input: 'demo.mp4', start: at, end: at + 3, id: `part ${at}` }));
  await cp(join(videos, 'demo.mp4'), join(cwd, 'demo.mp4'));
  const { status, stdout } = await run(['extract', '-', '-o', 'out'], { cwd, input: list.join('\n') });
  expect(status).toBe(0);
  expect((await records(stdout)).map(({ id, rows }) => [id, rows])).toEqual([
    ['part 0', 4],
    ['part 3', 4],
  ]);
  const starts = async (name: string): Promise<number[]> =>
    (await readFile(join(cwd, 'out', `${name}.times.csv`), 'utf8'))
      .split('\n')
      .slice(1, -1)
      .map((line) => Number(line.split(',')[3]));
  const first = await starts('part 0');
  expect(first[0]).toBe(0);
  expect(await starts('part 3')).toEqual(first.map((at) => expect.closeTo(at + 3, 9) as number));
  const same = await run(['extract', '-', '-o', 'out'], {
    cwd,
    input: '{"input":"demo.mp4"}\n{"input":"demo.mp4","start":3}',
  });
  expect([same.status, same.stderr.includes('usage.conflict')]).toEqual([2, true]);
});

test('one video comes on standard input; an empty or closed one is an error or nothing to do', async () => {
  const cwd = await workFolder();
  const bytes = await readFile(join(videos, 'rotated.mp4'));
  const spooled = await run(['extract', 'video:-', '-o', 'out'], { cwd, input: bytes });
  expect([spooled.status, (await records(spooled.stdout))[0]]).toMatchObject([0, { input: 'video:-', id: 'stdin' }]);
  const meta = JSON.parse(await readFile(join(cwd, 'out/stdin.npy.meta.json'), 'utf8')) as { input: unknown };
  expect(meta.input).toMatchObject({ name: 'stdin', bytes: bytes.length });
  expect((await run(['extract', 'video:-', '-o', 'out2'], { cwd })).status).toBe(4);
  const closed = await shell('egolens extract - -o out3 <&-; echo "status $?"', { cwd });
  expect([closed.stdout, closed.stderr.includes('nothing to do')]).toEqual(['status 0\n', true]);
});

test('the first record is there while the second video is still being read', async () => {
  const cwd = await workFolder();
  await copies(cwd, ['1.mp4', '2.mp4']);
  const program = start(['extract', '1.mp4', '2.mp4', '-o', 'out'], { cwd, env: await hangingFfmpeg(cwd, '2.mp4') });
  await program.says('stdout', '\n');
  program.child.kill('SIGTERM');
  const { status, stdout } = await program.ended;
  expect([status, (await records(stdout)).map(({ id }) => id)]).toEqual([143, ['1']]);
});

test('--dry-run says what would be done and touches nothing', async () => {
  const cwd = await workFolder();
  await copies(cwd, ['in/a.mp4', 'in/b.mp4']);
  await writeFile(join(cwd, 'in/c.mp4'), 'no video');
  await run(['extract', 'in/a.mp4', '-o', 'out'], { cwd });
  const before = filesBelow(cwd);
  const ledger = await readFile(join(cwd, 'out/egolens-run.ndjson'), 'utf8');
  const { status, stdout } = await run(['extract', 'in', '-o', 'out', '--dry-run', '--errors', 'errors.ndjson'], {
    cwd,
  });
  expect(status).toBe(0);
  expect((await records(stdout)).map(({ id, state }) => [id, state])).toEqual([
    ['a', 'complete'],
    ['b', 'missing'],
    ['c', 'failed'],
  ]);
  expect(filesBelow(cwd)).toEqual(before);
  expect(await readFile(join(cwd, 'out/egolens-run.ndjson'), 'utf8')).toBe(ledger);
});

test.each([
  [['extract', '-o', 'out'], 'expected videos, or a list of texts'],
  [['extract', 'a.mp4', '-o', 'out', '--shard', '4/4'], '0 <= I < N'],
  [['extract', 'a.mp4', '-o', 'out', '--preset', 'k400-16x4'], '224'],
] as const)('%j is refused with a line that names the fault', async (args, said) => {
  const cwd = await workFolder();
  await copies(cwd, ['a.mp4']);
  const { status, stdout, stderr } = await run(args, { cwd });
  expect([stdout, stderr.includes(said)], stderr).toEqual(['', true]);
  expect(status === 2 || status === 6 || status === 7, `${status}: ${stderr}`).toBe(true);
  expect(Object.keys(filesBelow(cwd))).toEqual(['a.mp4']);
});
