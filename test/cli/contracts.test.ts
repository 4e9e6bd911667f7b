import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { errorCodes } from '../../src/errors.js';
import { clip, commands, egolens, inShell, temporaryFolder } from './command.js';
import { records } from './program.js';

const folder = temporaryFolder();

/** Says so when a process ends with ONNX Runtime's library loaded, in whichever thread. */
const hook = join(folder, 'hook.cjs');
writeFileSync(
  hook,
  `process.on('exit', () => {
  const { sharedObjects } = process.report.getReport();
  if (sharedObjects.some((name) => name.includes('onnxruntime'))) process.stderr.write('ONNX RUNTIME IS LOADED\\n');
});
`,
);
const watched = { env: { NODE_OPTIONS: `--require "${hook}"` } };

describe('every command', () => {
  test.concurrent.each(commands)('%s --help shows two examples', async (command) => {
    const { code, stdout, stderr } = await egolens([...command.split(' '), '--help']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const examples = /^EXAMPLES\n([\s\S]*?)(?=^\S|$(?![\s\S]))/m.exec(stdout)?.[1] ?? '';
    const blocks = examples.split('\n\n').filter((block) => block.includes(`egolens ${command}`));
    expect(blocks.length).toBeGreaterThanOrEqual(2);
  });
});

test('the first screen names every topic and command', async () => {
  const { code, stdout, stderr } = await egolens(['--help'], watched);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  for (const command of commands) expect(stdout).toMatch(new RegExp(`^  ${command.split(' ')[0]!} `, 'm'));
});

test('the hook sees ONNX Runtime where it is loaded', async () => {
  const { code, stderr } = await egolens(['models', 'verify', '--all', '--device', 'cpu', '-q'], watched);
  expect(code).toBe(0);
  expect(stderr).toContain('ONNX RUNTIME IS LOADED');
});

test.each([
  ['probe --help', ['probe', '--help']],
  ['probe', ['probe', clip('one-frame.mp4')]],
  ['models list', ['models', 'list']],
])('%s loads no ONNX Runtime', async (_, args) => {
  expect(await egolens(args, watched)).toMatchObject({ code: 0, stderr: '' });
});

test.each([
  ['no such command', ['frobnicate'], /^error usage\.flag: /],
  ['no such command of a topic', ['models', 'frobnicate'], /^error usage\.flag: /],
  ['no such flag', ['probe', '--frobnicate', 'x'], /^error usage\.flag: .*--frobnicate/],
  ['an argument is missing', ['probe'], /^error usage\.flag: /],
  ['a value that cannot work', ['probe', '--stream', 'two', clip('one-frame.mp4')], /^error usage\.flag: .*`two`/],
])('%s: exit 2, nothing on standard output', async (_, args, message) => {
  const { code, stdout, stderr } = await egolens(args);
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  expect(stderr).toMatch(message);
});

test('an error is one egolens.error/1 record with --log-format json', async () => {
  const { code, stdout, stderr } = await egolens(['presets', 'show', 'nope', '--log-format', 'json']);
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  expect(await records(stderr)).toMatchObject([{ schema: 'egolens.error/1', code: 'usage.flag', input: null }]);
});

test.each([
  ['probe', ['probe', 'two\nlines.mp4']],
  ['a command that ends with it', ['extract', 'info', 'two\nlines.npy']],
])('a name with a line break is one line of a message: %s', async (_, args) => {
  const { code, stderr } = await egolens(args);
  expect(code).toBe(4);
  expect(stderr).toMatch(/^error input\.not_found: .*two\\nlines.*\n$/);
});

test.each([
  ['probe', ['probe', 'red\u001b[31m.mp4']],
  ['a command that ends with it', ['extract', 'info', 'red\u001b[31m.npy']],
])('a name with orders to the terminal is shown without them: %s', async (_, args) => {
  const { code, stderr } = await egolens(args);
  expect(code).toBe(4);
  expect(stderr).toMatch(/red\?\[31m/);
  expect(stderr).not.toMatch(/\p{Cc}(?<!\n)/u);
});

test('help errors lists every code', async () => {
  const { code, stdout, stderr } = await egolens(['help', 'errors']);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const rows = await records(stdout);
  expect(rows.map((record) => record['code'])).toEqual(Object.keys(errorCodes));
  expect(rows.find((record) => record['code'] === 'model.digest')).toMatchObject({ exit: 6 });
});

test('help of a command still works beside help errors', async () => {
  const { code, stdout } = await egolens(['help', 'probe']);
  expect(code).toBe(0);
  expect(stdout).toContain('\nUSAGE\n  $ egolens probe PATH...');
});

describe.skipIf(process.platform === 'win32')('pipes', () => {
  test.each([
    ['probe --frames', ['probe', '--frames', ...Array.from({ length: 12 }, () => clip('demo.mp4'))]],
    ['labels show', ['labels', 'show', 'k710']],
  ])('%s ends quietly with 0 when its reader has gone', async (_, args) => {
    const { stdout, stderr } = await inShell('{ egolens "$@"; echo "status $?" >&2; } | head -n 1', args);
    expect(stdout.split('\n')).toHaveLength(2);
    expect(stderr).toBe('status 0\n');
  });

  test.each([
    ['probe', clip('one-frame.mp4')],
    ['schema', '--list'],
  ])('%s %s works with standard input closed', async (...args) => {
    const { code, stdout, stderr } = await inShell('egolens "$@" <&-', args);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(await records(stdout)).not.toEqual([]);
  });
});

describe.skipIf(process.platform !== 'linux')('a full disk', () => {
  test.each([
    ['labels list', ['labels', 'list']],
    ['probe of several', ['probe', clip('one-frame.mp4'), clip('demo.mp4')]],
  ])('%s: results that cannot be written are an error', async (_, args) => {
    const { code, stderr } = await inShell('egolens "$@" >/dev/full', args);
    expect({ code, stderr }).toEqual({
      code: 8,
      stderr: expect.stringMatching(/^error limit\.disk: results cannot be written \(ENOSPC\)\ntry: /) as unknown,
    });
  });

  test('messages that cannot be written cost no result', async () => {
    const { code, stdout } = await inShell('egolens "$@" 2>/dev/full', [
      'probe',
      clip('one-frame.mp4'),
      clip('demo.mp4'),
    ]);
    expect(code).toBe(0);
    expect(await records(stdout)).toHaveLength(2);
  });
});

test('a table has no control characters on a dumb terminal', async () => {
  const env = { TERM: 'dumb', FORCE_COLOR: '0' };
  const { code, stdout, stderr } = await egolens(['labels', 'list', '--format', 'table'], { env });
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  expect(Array.from(stdout).filter((character) => character < ' ' && character !== '\n')).toEqual([]);
  expect(stdout).toMatch(/^name +version +classes +order\n/);
});
