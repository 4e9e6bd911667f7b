import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { productsProbe, writeGraph } from './probe-graphs.js';

/**
 * Ends of a process while a run is in flight. Without our care each of them is status 134 (dependencies.md 5). The script runs
 * the build's output, as a user's process does.
 */
let folder: string;

const script = (graph: string): string => `
import { openSession } from ${JSON.stringify(new URL('../../dist/src/runtime/session.js', import.meta.url).href)};
import { installInterrupt } from ${JSON.stringify(new URL('../../dist/src/runtime/interrupt.js', import.meta.url).href)};
const session = await openSession({ graph: ${JSON.stringify(graph)}, device: 'cpu' });
const x = { dtype: 'float32', shape: [1024, 1024], data: new Float32Array(1024 * 1024) };
const run = () => session.run({ x }, ['y']);
const first = run();
const second = run().then(() => console.log('second finished'), (error) => console.log(error.code));
const third = run().catch((error) => console.log('third ' + error.code));
const began = performance.now();
await first; // the worker goes on to the second run by itself; a quarter of a run later it is in the middle of it
await new Promise((resolve) => setTimeout(resolve, (performance.now() - began) / 4));
const close = () => session[Symbol.asyncDispose]();
const ends = {
  throws: () => { throw new Error('uncaught'); },
  rejects: () => { Promise.reject(new Error('unhandled')); },
  exits: () => process.exit(5),
  disposes: async () => { await close(); process.exitCode = 3; },
  interrupts: () => {
    const interrupt = installInterrupt(async (signal) => {
      console.log('first ' + signal);
      await close();
      interrupt[Symbol.dispose]();
      process.exitCode = signal === 'SIGINT' ? 130 : 143;
    });
    console.log('ready');
  },
};
await ends[process.argv[2]]();
`;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'egolens-ending-'));
  const graph = await writeGraph(folder, productsProbe(12));
  await writeFile(join(folder, 'script.mjs'), script(graph));
});
afterAll(() => rm(folder, { recursive: true }));

interface End {
  readonly status: number | string | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the script; when a line of `signals` is printed, its signal is sent. */
function end(how: string, signals: Readonly<Record<string, NodeJS.Signals>> = {}): Promise<End> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [join(folder, 'script.mjs'), how], { stdio: ['ignore', 'pipe', 'pipe'] });
    let stdout = '';
    let stderr = '';
    child.stderr.setEncoding('utf8').on('data', (piece: string) => (stderr += piece));
    child.stdout.setEncoding('utf8').on('data', (piece: string) => {
      stdout += piece;
      for (const line of piece.split('\n')) {
        const signal = signals[line];
        if (signal) child.kill(signal);
      }
    });
    child.on('error', reject).on('close', (code, signal) => {
      resolve({ status: signal ?? code, stdout, stderr });
    });
  });
}

test.each([
  ['throws', 1, 'Error: uncaught'],
  ['rejects', 1, 'Error: unhandled'],
  ['exits', 5, ''],
])('a process that %s during a run ends with status %i', async (how, status, message) => {
  const { stderr, ...rest } = await end(how);
  expect(rest).toMatchObject({ status });
  expect(stderr).toContain(message);
  expect(stderr).not.toContain('Napi');
});

test('a disposal during a run finishes it, refuses the rest and lets the process end by itself', async () => {
  expect(await end('disposes')).toEqual({ status: 3, stdout: 'third run.interrupted\nsecond finished\n', stderr: '' });
});

test.each([
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const)('the first %s starts an orderly end', async (signal, status) => {
  const { stdout, ...rest } = await end('interrupts', { ready: signal });
  expect(rest).toEqual({ status, stderr: '' });
  expect(stdout).toContain(`first ${signal}\n`);
});

test('a second signal ends the process at once, by that signal', async () => {
  expect(await end('interrupts', { ready: 'SIGINT', 'first SIGINT': 'SIGINT' })).toMatchObject({
    status: 'SIGINT',
    stderr: '',
  });
});
