import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';
import { packageRoot } from '../../src/files.js';
import { videos } from './program.js';

/** One start of the program and its end, for tests of commands that work on files. Unlike `run` of program.ts, several tests may look at one. */

const runner = join(packageRoot, 'bin', 'run.js');

/** A clip of fixtures/videos. */
export const clip = (name: string): string => join(videos, name);

/** A folder that goes when the tests of the file are over. Its name has a blank in it, as those of users have. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'egolens test-'));
  afterAll(() => {
    rmSync(folder, { recursive: true, force: true });
  });
  return folder;
}

/** Every command as it is typed: `models inspect`. */
export const commands: readonly string[] = readdirSync(join(packageRoot, 'commands'), {
  recursive: true,
  encoding: 'utf8',
})
  .filter((name) => name.endsWith('.ts'))
  // A command that is itself called index lies in a folder of that name: oclif drops the last `index` of a path.
  .map((name) =>
    name
      .replace(/[\\/]index\.ts$/, '.ts')
      .slice(0, -'.ts'.length)
      .replaceAll(/[\\/]/g, ' '),
  )
  .sort();

export interface CommandEnd {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CommandOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Bytes of standard input; nothing where absent. */
  readonly input?: string;
}

/** One start of the program, to its end. Models and cache of the machine are out of sight. */
export function egolens(args: readonly string[], options: CommandOptions = {}): Promise<CommandEnd> {
  return toEnd(process.execPath, [runner, ...args], options);
}

/** A line for `sh` in which `egolens` is the program; `$1`, `$2`, … are the arguments. */
export function inShell(script: string, args: readonly string[], options: CommandOptions = {}): Promise<CommandEnd> {
  const program = `egolens() { '${process.execPath}' '${runner}' "$@"; }`;
  return toEnd('sh', ['-c', `${program}\n${script}`, 'sh', ...args], options);
}

function toEnd(file: string, args: readonly string[], { cwd, env, input = '' }: CommandOptions): Promise<CommandEnd> {
  const child = spawn(file, args, { cwd: cwd ?? tmpdir(), env: environment(env), stdio: 'pipe' });
  let [stdout, stderr] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  child.stdin.on('error', () => undefined); // a program that reads nothing may be gone first
  child.stdin.end(input);
  return new Promise((done, failed) => {
    child.once('error', failed).once('close', (code) => done({ code, stdout, stderr }));
  });
}

function environment(more: CommandOptions['env']): NodeJS.ProcessEnv {
  const ours = Object.entries(process.env).filter(([name]) => !/^(EGOLENS_(?!FF)|NODE_OPTIONS$|DEBUG$)/.test(name));
  const nowhere = join(tmpdir(), 'egolens-test-nothing');
  return {
    ...Object.fromEntries(ours),
    EGOLENS_CACHE_DIR: nowhere,
    EGOLENS_MODELS_DIR: join(nowhere, 'models'),
    NO_COLOR: '1',
    ...more,
  };
}
