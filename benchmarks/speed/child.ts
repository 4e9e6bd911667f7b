import { spawn } from 'node:child_process';
import { basename, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { EgolensError } from '../../src/errors.js';
import { builtProgram, packageRoot } from '../../src/files.js';
import type { ExitReport } from './exit-report.js';

/** A child that ended well. */
export interface ChildResult {
  /** From its start to its end. */
  readonly wallMs: number;
  readonly stdout: string;
  /** What it wrote to descriptor 3. */
  readonly report: string;
}

/** A child that has not ended by itself this long after SIGTERM is killed. */
const patienceMs = 5000;

/**
 * Runs a program to its end.
 *
 * @throws EgolensError tool.failed when it cannot be started or ends with another status than 0; the signal's reason
 */
export async function runChild(
  program: string,
  parameters: readonly string[],
  signal?: AbortSignal,
): Promise<ChildResult> {
  signal?.throwIfAborted();
  const start = performance.now();
  const child = spawn(program, parameters, { stdio: ['ignore', 'pipe', 'pipe', 'pipe'], windowsHide: true });
  const texts = ['', '', ''];
  // Descriptors 1 to 3 were asked for as pipes.
  child.stdio.slice(1).forEach((stream, i) => {
    stream?.on('data', (bytes: Buffer) => (texts[i] = (texts[i]! + bytes.toString('utf8')).slice(-100_000)));
  });
  let timer: NodeJS.Timeout | undefined;
  const onAbort = (): void => {
    child.kill('SIGTERM');
    timer = setTimeout(() => child.kill('SIGKILL'), patienceMs);
  };
  signal?.addEventListener('abort', onAbort, { once: true });
  let wallMs = 0;
  child.once('exit', () => (wallMs = performance.now() - start));
  try {
    const status = await new Promise<number | null>((done, failed) => {
      child.once('error', failed).once('close', (code) => done(code));
    });
    signal?.throwIfAborted();
    if (status !== 0) {
      const said = texts[1]!.trim().split('\n').slice(-3).join(' | ');
      throw new EgolensError('tool.failed', `\`${basename(program)}\` ended with status ${String(status)}: ${said}`);
    }
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', onAbort);
  }
  return { wallMs, stdout: texts[0]!, report: texts[2]! };
}

/** The command line program, as a user starts it. */
export const commandLine = join(packageRoot, 'bin', 'run.js');

/** Runs a script in a Node process of its own that says at its end what it was: peak memory, whether ONNX Runtime is in it. */
export async function runReporting(
  script: string,
  parameters: readonly string[],
  signal?: AbortSignal,
): Promise<ChildResult & { readonly atExit: ExitReport }> {
  const hook = pathToFileURL(builtProgram('benchmarks/speed/exit-report.js')).href;
  const result = await runChild(process.execPath, ['--import', hook, script, ...parameters], signal);
  return { ...result, atExit: JSON.parse(result.report) as ExitReport }; // written by exit-report.ts
}
