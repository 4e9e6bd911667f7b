import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { programUrl } from './program.js';
import type { GpuName, Place, ProbeAnswer } from './provider-types.js';

/** Shaders of a first run took 2.5 s, 19 s in the worst case seen (performance.md 7); a hung driver must not hang us. */
const limitMs = 60_000;

export interface ProbeOptions {
  /** Measure the device against the cpu too. */
  readonly timed: boolean;
  readonly signal?: AbortSignal | undefined;
}

/** Tries a device in a child process: opens sessions there, runs them, compares with the cpu. Rejects only with the signal's reason. */
export async function probeDevice(
  { provider, index }: Place & { readonly provider: GpuName },
  { timed, signal }: ProbeOptions,
): Promise<ProbeAnswer> {
  const args = [fileURLToPath(programUrl('probe-program')), provider, String(index), timed ? 'timed' : 'plain'];
  const { stdout, stderr, end } = await new Promise<{ stdout: string; stderr: string; end: string }>((resolve) => {
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'], windowsHide: true });
    const kill = (): void => {
      child.kill('SIGKILL');
    };
    const timer = setTimeout(kill, limitMs);
    signal?.addEventListener('abort', kill, { once: true });
    const text = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr'] as const) {
      child[name].setEncoding('utf8').on('data', (piece: string) => {
        text[name] = (text[name] + piece).slice(-65536);
      });
    }
    const done = (end: string): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', kill);
      resolve({ ...text, end });
    };
    child.on('error', ({ message }) => {
      done(message);
    });
    child.on('close', (code, by) => {
      done(by === null ? `status ${code ?? 0}` : by);
    });
  });
  signal?.throwIfAborted();
  const last = stdout.trimEnd().split('\n').at(-1) ?? '';
  if (!last.startsWith('{')) {
    const said = stderr.trimEnd().split('\n').at(-1);
    return { ok: false, why: `the trial of the device ended with ${end}${said ? `: ${said}` : ''}` };
  }
  const answer = JSON.parse(last) as ProbeAnswer; // written by our own program
  return answer.ok ? answer : { ok: false, why: reasonOf(answer.why, stderr) };
}

/** The runtime's own reason without its source positions, with the library that the loader missed. */
export function reasonOf(message: string, stderr: string): string {
  const missing = /[\w.+-]+\.(?:so|dylib|dll)[\w.]*: (?:cannot open|undefined symbol|invalid)[^\n]*/.exec(stderr)?.[0];
  const text = message
    .trim()
    .split('\n')[0]!
    .replace(/^\S*\/onnxruntime\/.*(?:was false\.|Status)\s*/, '');
  return missing === undefined ? text : `${text} (${missing})`;
}
