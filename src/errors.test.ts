import { expect, test } from 'vitest';
import {
  asEgolensError,
  assert,
  assertNever,
  EgolensError,
  errorCodes,
  exitCodeOf,
  exitCodes,
  type ErrorCode,
} from './errors.js';

const codes = Object.keys(errorCodes) as ErrorCode[]; // keys of the table

test('exit codes are those of the command line contract', () => {
  expect(exitCodes).toEqual({
    done: 0,
    internal: 1,
    usage: 2,
    someFailed: 3,
    noneDone: 4,
    invalidData: 5,
    model: 6,
    unavailable: 7,
    limit: 8,
    interrupted: 130,
    terminated: 143,
  });
});

test('every code ends a command with the exit code of its area, and only a bug with 1', () => {
  const byArea: Readonly<Record<string, number>> = {
    usage: 2,
    output: 2,
    input: 4,
    decode: 4,
    store: 4,
    data: 5,
    checkpoint: 5,
    model: 6,
    device: 7,
    tool: 7,
    limit: 8,
    run: 130,
    internal: 1,
  };
  for (const code of codes) expect([code, exitCodeOf(code)]).toEqual([code, byArea[code.split('.')[0]!]]);
});

test('codes are dotted and lower case, and their meanings no sentences', () => {
  for (const code of codes) {
    expect(code).toMatch(/^[a-z]+\.[a-z_]+$/);
    expect(errorCodes[code]).toMatch(/[^.]$/);
  }
});

test('the error carries what oclif prints and exits by', () => {
  const cause = new Error('inner');
  const error = new EgolensError('device.failed', 'cpu: it failed', { try: '`--device cpu`', cause });
  expect(error).toMatchObject({
    name: 'EgolensError',
    code: 'device.failed',
    message: 'cpu: it failed',
    suggestions: ['`--device cpu`'],
    oclif: { exit: 7 },
    cause,
  });
  expect(new EgolensError('internal.bug', 'x').suggestions).toEqual([]);
  expect('cause' in new EgolensError('internal.bug', 'x')).toBe(false);
});

test.each([
  ['ENOENT', 'input.not_found', false],
  ['ENOTDIR', 'input.not_found', false],
  ['EISDIR', 'input.not_a_file', false],
  ['EACCES', 'input.unreadable', false],
  ['EPERM', 'input.unreadable', false],
  ['ENOSPC', 'limit.disk', true],
  ['EDQUOT', 'limit.disk', true],
  ['EPIPE', 'internal.bug', false],
])('a system error %s becomes %s with the original as cause', (system, code, isRetryable) => {
  const original = Object.assign(new Error('from the system'), { code: system });
  const error = asEgolensError(original, 'a.mp4');
  expect(error).toMatchObject({ code, message: 'from the system', cause: original });
  expect(error.details.input).toBe('a.mp4');
  expect(error.details.retryable ?? false).toBe(isRetryable);
});

test('an error of ours stays itself, and takes the input only where it has none', () => {
  const own = new EgolensError('decode.failed', 'x', { input: 'a.mp4', frame: 7 });
  expect(asEgolensError(own)).toBe(own);
  expect(asEgolensError(own, 'b.mp4')).toBe(own);
  const without = new EgolensError('decode.failed', 'x', { frame: 7 });
  expect(asEgolensError(without, 'b.mp4').details).toEqual({ frame: 7, input: 'b.mp4' });
});

test.each([[null], [undefined], ['text'], [7]])('thrown %j becomes a bug', (thrown) => {
  expect(asEgolensError(thrown)).toMatchObject({ code: 'internal.bug', message: String(thrown) });
});

test('assert lets what is there pass and throws a bug for what is not', () => {
  for (const value of [true, 1, 'x', {}, []]) expect(() => assert(value, 'm')).not.toThrow();
  for (const value of [false, 0, '', null, undefined]) {
    expect(() => assert(value, 'said so')).toThrow(
      expect.objectContaining({ code: 'internal.bug', message: 'said so' }),
    );
  }
  expect(() => assertNever('left' as never)).toThrow('unexpected case "left"');
});
