/** What is started of ffmpeg, for whoever listens: a channel, so that no layer in between has to carry a listener. */
import { subscribe, unsubscribe, channel } from 'node:diagnostics_channel';

const runs = channel('egolens:tool-run');

/** Says that a program is started; costs nothing where nobody listens. */
export function announceRun(program: string, args: readonly string[]): void {
  if (runs.hasSubscribers) runs.publish([program, ...args].map(quoted).join(' '));
}

/** Hears the command line of every ffmpeg and ffprobe that this thread starts, as a shell would take it. Dispose it to stop. */
export function onToolRun(listener: (commandLine: string) => void): Disposable {
  const hear = (message: unknown): void => {
    listener(message as string); // `announceRun` alone publishes here
  };
  subscribe(runs.name, hear);
  return {
    [Symbol.dispose]() {
      unsubscribe(runs.name, hear);
    },
  };
}

function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`;
}
