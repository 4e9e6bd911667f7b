#!/usr/bin/env node
/**
 * The program. Loads oclif, runs one command, turns what is left into an error line and an exit status.
 *
 * oclif's own `execute()` ends every error with `process.exit()`. While an ONNX Runtime run is in flight that aborts the process with
 * status 134, so here the status is set and the event loop drains; only a handle that somebody forgot is cut off, later.
 * Errors of commands are printed by `src/cli/base-command.ts`; the ones here come from before or outside a command.
 */
import { existsSync } from 'node:fs';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';

const exitInternal = 1;
const exitUsage = 2;
const exitUnavailable = 7;
const exitLimit = 8;
/** The not-found plugin's; ours is a usage error. */
const exitOfUnknownCommand = 127;

const leastNode = [20, 19];
const argv = process.argv.slice(2);
const ownArguments = argv.includes('--') ? argv.slice(0, argv.indexOf('--')) : argv;
const jsonErrors = ownArguments.includes('--log-format=json') || flagValue('--log-format') === 'json';

let outputClosed = false;
/** Status of a run whose output could not go on; its own would say that all was written. */
let exitOfOutput = 0;
let openWorkers = 0;
process.on('worker', (worker) => {
  openWorkers++;
  worker.once('exit', () => openWorkers--);
});
process.on('exit', () => {
  if (outputClosed) process.exitCode = exitOfOutput;
});
process.stdout.on('error', onOutputError);
process.stderr.on('error', (error) => {
  // Messages that cannot be kept are no reason to lose results.
  if (error.code === 'EPIPE') onOutputError(error);
});
process.on('uncaughtException', (error) => {
  report(error);
  endSoon();
});

const [major, minor] = process.versions.node.split('.').map(Number);
if (major < leastNode[0] || (major === leastNode[0] && minor < leastNode[1])) {
  print(
    'tool.failed',
    `found Node ${process.versions.node}, expected ${leastNode.join('.')} or newer`,
    'install a current Node',
  );
  process.exitCode = exitUnavailable;
} else if (!existsSync(new URL('../dist/commands', import.meta.url))) {
  print('tool.failed', 'the program is not built: no folder `dist/commands`', 'npm run build');
  process.exitCode = exitUnavailable;
} else {
  try {
    const { Config, run } = await import('@oclif/core');
    const config = await Config.load(fileURLToPath(import.meta.url));
    // It may ask "did you mean …?", which only a person can answer; without it oclif's plain error arrives here.
    if (jsonErrors || !process.stdin.isTTY) config.plugins.delete('@oclif/plugin-not-found');
    await run(argv, config);
  } catch (error) {
    report(error);
  }
  endSoon();
}

function report(error) {
  if (outputClosed) return;
  // oclif's base class sets 1 before the error comes here, so what the error itself says goes first.
  const status = error?.oclif?.exit ?? (process.exitCode || (error?.exitCode ?? exitInternal));
  process.exitCode = status === exitOfUnknownCommand ? exitUsage : status;
  if (error?.code === 'EEXIT' || error?.skipOclifErrorHandling) return;
  if (process.env.DEBUG && error?.stack) console.error(error.stack);
  if (status === exitOfUnknownCommand) {
    print('usage.flag', 'no such command', 'egolens help', error);
  } else if (typeof error?.code === 'string' && error.code.includes('.')) {
    print(error.code, error.message, error.details?.try, error);
  } else if (status === exitUsage) {
    print('usage.flag', oneLineOf(error.message), error.suggestions?.[0] ?? 'egolens help', error);
  } else if (error?.code === 'ERR_MODULE_NOT_FOUND' && error.message.includes('@oclif/core')) {
    process.exitCode = exitUnavailable;
    print('tool.failed', 'the dependencies are not installed: no `@oclif/core`', 'npm ci');
  } else {
    print('internal.bug', error?.message ?? String(error), 'start again with DEBUG=* and report what it prints', error);
  }
}

/** One line a record on stderr: `error CODE: message`, or an egolens.error/1 record. */
function print(code, message, hint, error) {
  const record = {
    schema: 'egolens.error/1',
    input: error?.details?.input ?? null,
    code,
    message,
    hint: hint ?? null,
    frame: error?.details?.frame ?? null,
    retryable: error?.details?.retryable ?? false,
  };
  if (jsonErrors) console.error(JSON.stringify(record));
  else
    console.error(
      `error ${code}: ${withGivenNames(message, record.input)}${hint === undefined ? '' : `\ntry: ${hint}`}`,
    );
}

/**
 * Modules that see only a file name begin their message with it; the user knows the input under the name he gave. Lists in a message
 * stand on lines of their own: a name with a line break would look like one.
 */
function withGivenNames(text, input) {
  const own = input === null ? undefined : `\`${basename(input)}\`: `;
  const message = own !== undefined && text.startsWith(own) ? `\`${input}\`: ${text.slice(own.length)}` : text;
  const names = [input, ...argv].filter((name) => name?.includes('\n'));
  const line = names.reduce((before, name) => before.replaceAll(name, name.replaceAll('\n', '\\n')), message);
  // Nor shall a name give orders to the terminal.
  return line.replaceAll(/[^\P{Cc}\n\t]/gu, '?');
}

/** oclif's texts in one line: a head, what it announces on lines of their own, and a reference to --help. */
function oneLineOf(message) {
  const lines = message.split('\n').map((line) => line.trim());
  const wanted = lines.filter((line) => line !== '' && !/^(See more help|The following errors? occurred)/.test(line));
  const [head = 'wrong usage', ...rest] = wanted;
  return head.endsWith(':') ? `${head} ${rest.join('; ')}` : wanted.join('; ') || head;
}

function flagValue(name) {
  const at = ownArguments.indexOf(name);
  return at === -1 ? undefined : ownArguments[at + 1];
}

/**
 * The reader has gone (`| head`): that is no fault. A full disk is one. A running command stops when it listens to SIGPIPE, else here.
 */
function onOutputError(error) {
  if (outputClosed) return;
  outputClosed = true;
  if (error.code === 'ENOSPC' || error.code === 'EDQUOT') {
    exitOfOutput = exitLimit;
    print('limit.disk', `results cannot be written (${error.code})`, 'make room, and start again', error);
  } else if (error.code !== 'EPIPE') {
    exitOfOutput = exitUsage;
    print('output.unwritable', `results cannot be written (${error.code ?? error.message})`, undefined, error);
  }
  if (process.emit('SIGPIPE', 'SIGPIPE')) return;
  if (openWorkers === 0) process.exit(exitOfOutput);
  endSoon();
}

/**
 * The loop ends by itself when nothing is open. A forgotten handle would keep it: after two seconds we leave, but unread output and a
 * worker, in which a run may be in flight, get a minute.
 */
function endSoon(elapsedMs = 0) {
  const stepMs = 2000;
  const patienceMs = 60_000;
  if (elapsedMs === 0) process.stdin.unref?.();
  setTimeout(() => {
    const isBusy = openWorkers > 0 || process.stdout.writableLength > 0;
    if (isBusy && elapsedMs < patienceMs) endSoon(elapsedMs + stepMs);
    else process.exit();
  }, stepMs).unref();
}
