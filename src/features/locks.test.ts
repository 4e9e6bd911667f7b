import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, expect, test, vi } from 'vitest';
import { temporaryName } from '../files.js';
import { findProcess, holderText, hostId, removeDeadTemporaries, tryLock } from './locks.js';

const base = mkdtempSync(join(tmpdir(), 'egolens-locks-'));
let folder: string;
let lockPath: string;
beforeEach(() => {
  folder = mkdtempSync(join(base, 'case-'));
  lockPath = join(folder, 'a.npy.lock');
});
afterAll(() => rm(base, { recursive: true, force: true }));

const deadPid = spawnSync(process.execPath, ['-e', '']).pid;
const heartbeat = '2026-01-02T03:04:05.678Z';
const holder = (change: object = {}): string =>
  `${JSON.stringify({ host: hostId(), pid: deadPid, started: '1', heartbeat, ...change })}\n`;
const age = (path: string, seconds: number): Promise<void> => {
  const time = Date.now() / 1000 - seconds;
  return utimes(path, time, time);
};

/** A node process that runs TypeScript of ours; `done` resolves with its output. */
function child(code: string, args: readonly string[]) {
  const source = `import { tryLock } from ${JSON.stringify(new URL('./locks.ts', import.meta.url).href)};
    import { beginFile } from ${JSON.stringify(new URL('../files.ts', import.meta.url).href)};
    import * as fs from 'node:fs'; import { setTimeout as sleep } from 'node:timers/promises';
    const args = process.argv.slice(1); ${code}`;
  const spawned = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', source, ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  spawned.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
  const done = new Promise<string>((resolve) =>
    spawned.on('close', () => {
      resolve(output);
    }),
  );
  return { spawned, done, output: () => output };
}

test('a lock names its process, keeps others out, and is gone when given back', async () => {
  {
    await using lock = await tryLock(lockPath);
    expect(lock?.path).toBe(lockPath);
    expect(JSON.parse(await readFile(lockPath, 'utf8'))).toMatchObject({
      host: hostId(),
      pid: process.pid,
      started: (await findProcess(process.pid))?.started ?? null,
    });
    expect(await tryLock(lockPath)).toBeUndefined();
    expect(await holderText(lockPath)).toBe(`process ${process.pid} on ${hostId()}`);
  }
  expect(await readdir(folder)).toEqual([]);
});

test('a lock makes its folder', async () => {
  await using lock = await tryLock(join(folder, 'x/y/a.npy.lock'));
  expect(lock).toBeDefined();
});

test('a folder that cannot be made is an error of the output', async () => {
  await writeFile(join(folder, 'file'), '');
  await expect(tryLock(join(folder, 'file/a.npy.lock'))).rejects.toMatchObject({ code: 'output.unwritable' });
});

test.each([
  ['of a process of this host that is gone, fresh', holder(), 0, true],
  ['of a process of this host whose pid is another one now', holder({ pid: process.pid }), 0, true],
  ['of another host, a minute without heartbeat', holder({ host: 'elsewhere' }), 61, true],
  ['of another host, with a heartbeat', holder({ host: 'elsewhere' }), 5, false],
  ['of another host, nearly a minute without heartbeat', holder({ host: 'elsewhere' }), 55, false],
  ['from the future', holder({ host: 'elsewhere' }), -600, true],
  ['that is empty, because its writer is about to write', '', 0, false],
  ['that is empty for a minute', '', 61, true],
  ['that is damaged for a minute', '{"host":3}', 61, true],
])('a lock %s: taken over or not', async (_, content, seconds, expected) => {
  await writeFile(lockPath, content);
  await age(lockPath, seconds);
  await using lock = await tryLock(lockPath);
  expect(lock !== undefined).toBe(expected);
  expect(await readdir(folder)).toEqual(['a.npy.lock']);
});

test('a holder that lives keeps its lock however old the heartbeat is', async () => {
  await using lock = await tryLock(lockPath);
  await age(lockPath, 3600);
  expect(await tryLock(lockPath)).toBeUndefined();
  expect(lock?.lost.aborted).toBe(false);
});

test('a guard left by a process that died in the middle of a takeover does not stop the next', async () => {
  await writeFile(lockPath, holder());
  await writeFile(`${lockPath}.take`, holder());
  await using lock = await tryLock(lockPath);
  expect(lock).toBeDefined();
  expect(await readdir(folder)).toEqual(['a.npy.lock']);
});

test('of many takers of one dead lock exactly one wins', async () => {
  for (let round = 0; round < 20; round++) {
    await writeFile(lockPath, holder());
    const won = (await Promise.all(Array.from({ length: 20 }, () => tryLock(lockPath)))).filter(
      (lock) => lock !== undefined,
    );
    expect(won).toHaveLength(1);
    await won[0]![Symbol.asyncDispose]();
  }
  expect(await readdir(folder)).toEqual([]);
});

test('four processes that share a folder of dead locks do each item once', async () => {
  const items = Array.from({ length: 40 }, (_, i) => `item-${i}`);
  for (const item of items) await writeFile(join(folder, `${item}.lock`), holder());
  const children = Array.from({ length: 4 }, () =>
    child(
      `const [folder, ...items] = args;
       while (!fs.existsSync(folder + '/go')) await sleep(2);
       for (let left = items; left.length > 0; ) {
         const later = [];
         for (const item of left) {
           const path = folder + '/' + item;
           if (fs.existsSync(path + '.out')) continue;
           const lock = await tryLock(path + '.lock');
           if (lock === undefined) { later.push(item); continue; }
           if (!fs.existsSync(path + '.out')) {
             fs.appendFileSync(path + '.log', process.pid + '\\n');
             await sleep(1);
             fs.writeFileSync(path + '.out', '');
           }
           await lock[Symbol.asyncDispose]();
         }
         left = later;
       }`,
      [folder, ...items],
    ),
  );
  await writeFile(join(folder, 'go'), '');
  await Promise.all(children.map(({ done }) => done));
  for (const item of items) expect(await readFile(join(folder, `${item}.log`), 'utf8')).toMatch(/^\d+\n$/);
  expect((await readdir(folder)).filter((name) => /lock|take/.test(name))).toEqual([]);
});

test('a killed writer leaves no half file, and the next holder of its lock clears what it left', async () => {
  const target = join(folder, 'a.npy');
  const writer = child(
    `const lock = await tryLock(args[0]);
     const file = await beginFile(args[1]);
     await file.handle.write('half'); console.log(lock.path);
     await sleep(60000);`,
    [lockPath, target],
  );
  await vi.waitFor(
    () => {
      expect(writer.output()).toBe(`${lockPath}\n`);
    },
    { timeout: 20_000, interval: 20 },
  );
  expect(await tryLock(lockPath, { outputs: [target] })).toBeUndefined();
  writer.spawned.kill('SIGKILL');
  await writer.done;
  expect((await readdir(folder)).sort()).toEqual([`.a.npy.${writer.spawned.pid}.tmp`, 'a.npy.lock']);
  await using lock = await tryLock(lockPath, { outputs: [target] });
  expect(lock).toBeDefined();
  expect(await readdir(folder)).toEqual(['a.npy.lock']);
});

test('a heartbeat renews the file in place', async () => {
  await using lock = await tryLock(lockPath, { heartbeatMs: 5 });
  await age(lockPath, 3600);
  const before = await readFile(lockPath, 'utf8');
  await vi.waitFor(async () => {
    expect((await stat(lockPath)).mtimeMs).toBeGreaterThan(Date.now() - 60_000);
    expect(await readFile(lockPath, 'utf8')).not.toBe(before);
  });
  expect(await readFile(lockPath, 'utf8')).toHaveLength(before.length);
  expect(lock?.lost.aborted).toBe(false);
});

test('a holder whose lock was taken over learns it and leaves the new lock alone', async () => {
  const lock = await tryLock(lockPath, { heartbeatMs: 5 });
  await rm(lockPath);
  await writeFile(lockPath, holder({ host: 'elsewhere' }));
  await vi.waitFor(() => {
    expect(lock?.lost.aborted).toBe(true);
  });
  expect(lock?.lost.reason).toMatchObject({ code: 'store.locked' });
  await lock?.[Symbol.asyncDispose]();
  expect(await readFile(lockPath, 'utf8')).toBe(holder({ host: 'elsewhere' }));
});

test('temporary files of dead processes are removed, those of living and of foreign ones stay', async () => {
  const foreignPid = deadPid + 1_000_000_000; // above any pid that Linux gives
  const write = (name: string) => writeFile(join(folder, name), '');
  await write(`.a.npy.${deadPid}.tmp`);
  await write(`.b.npy.${foreignPid}.tmp`);
  await writeFile(temporaryName(join(folder, 'c.npy')), '');
  await write('.hidden.tmp');
  await write(`a.npy.${deadPid}.tmp`);
  await writeFile(join(folder, 'b.npy.lock'), holder({ host: 'elsewhere', pid: foreignPid }));
  await removeDeadTemporaries(folder);
  expect((await readdir(folder)).sort()).toEqual(
    [
      `.b.npy.${foreignPid}.tmp`,
      `.c.npy.${process.pid}.tmp`,
      '.hidden.tmp',
      `a.npy.${deadPid}.tmp`,
      'b.npy.lock',
    ].sort(),
  );
  await expect(removeDeadTemporaries(join(folder, 'none'))).resolves.toBeUndefined();
});
