const signals = ['SIGINT', 'SIGTERM'] as const;
export type EndSignal = (typeof signals)[number];

/**
 * Ctrl-C and a polite kill: the first signal calls `onFirst`, which starts an orderly end (abort, write what is done, dispose the
 * sessions, set the exit code). A second one takes our handlers off and sends the same signal again, which ends the process at once
 * with the status that a shell expects; unlike `process.exit` this is safe during a run (dependencies.md 5). Dispose to listen no more.
 */
export function installInterrupt(onFirst: (signal: EndSignal) => void): Disposable {
  let interrupted = false;
  const handle = (signal: EndSignal): void => {
    if (interrupted) {
      remove();
      process.kill(process.pid, signal);
      return;
    }
    interrupted = true;
    onFirst(signal);
  };
  const remove = (): void => {
    for (const signal of signals) process.off(signal, handle);
  };
  for (const signal of signals) process.on(signal, handle);
  return { [Symbol.dispose]: remove };
}
