import { spawn } from 'node:child_process';
import type { Progress } from '../types.js';

/** What opens a file for its user, and the arguments before the path. No shell is between: a name is never read as a command. */
const openers: Readonly<Partial<Record<NodeJS.Platform, readonly string[]>>> = {
  darwin: ['open'],
  win32: ['explorer.exe'],
};

/** Opens a file with the program that the desktop has for it; elsewhere than on a terminal it says that it does not. */
export async function openWithSystem(path: string, progress: Progress): Promise<void> {
  if (!process.stdout.isTTY) {
    progress.note('--open: standard output is no terminal, so nothing is opened');
    return;
  }
  const [program, ...before] = openers[process.platform] ?? ['xdg-open'];
  await new Promise<void>((done) => {
    const child = spawn(program!, [...before, path], { detached: true, stdio: 'ignore', windowsHide: true });
    child.once('spawn', () => {
      child.unref();
      done();
    });
    child.once('error', (error) => {
      progress.note(`--open: \`${program!}\` cannot be started: ${error.message}`);
      done();
    });
  });
}
