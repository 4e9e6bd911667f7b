import type { MultiBar } from 'cli-progress';
import type { Progress, ProgressItem } from '../types.js';

/** How loud: errors only, normal, detail lines, command lines of ffmpeg too. */
export type Verbosity = 'quiet' | 'normal' | 'verbose' | 'trace';

/** Where a line that is no terminal hears from us again. */
const lineEveryMs = 30_000;

export interface ProgressSink {
  /** A line for people on standard error; the callee adds the newline. */
  line(text: string): void;
  readonly isTerminal: boolean;
  readonly verbosity: Verbosity;
}

/** Names of files of strangers can hold what a terminal obeys: escapes and the like are shown as `?`, as in tables. */
export function harmless(text: string): string {
  return text.replaceAll(/[^\P{Cc}\n\t]/gu, '?');
}

/**
 * Progress on standard error: bars (cli-progress) on a terminal, else one line every 30 seconds. cli-progress is loaded for a
 * terminal only.
 */
export async function openProgress(sink: ProgressSink): Promise<Progress & Disposable> {
  const isQuiet = sink.verbosity === 'quiet';
  const bars = sink.isTerminal && !isQuiet ? await openBars(sink) : undefined;
  const say = (text: string): void => (bars ?? sink).line(text);
  return {
    start(label, total) {
      if (bars) return bars.item(label, total);
      return isQuiet ? silentItem : lineItem(sink, label, total);
    },
    note(message) {
      if (!isQuiet) say(message);
    },
    warn(code, message) {
      if (!isQuiet) say(`warning ${code}: ${message}`);
    },
    ...((sink.verbosity === 'verbose' || sink.verbosity === 'trace') && { detail: say }),
    [Symbol.dispose]() {
      bars?.stop();
    },
  };
}

interface Bars {
  item(label: string, total?: number): ProgressItem;
  /** A line above the bars. */
  line(text: string): void;
  stop(): void;
}

/**
 * cli-progress draws lines at its next update only and forgets them when it is stopped, so it is stopped with the last bar, after an
 * update, and while there is no bar a line goes out by itself.
 */
async function openBars(sink: ProgressSink): Promise<Bars> {
  const { default: cliProgress } = await import('cli-progress');
  const open = (): MultiBar =>
    new cliProgress.MultiBar(
      {
        format: ' {bar} {percentage}% {label} {value}/{total} {eta_formatted}',
        barsize: 24,
        hideCursor: true,
        clearOnComplete: true,
        stream: process.stderr,
        // A process that ends by a signal shows the cursor again.
        gracefulExit: false,
      },
      cliProgress.Presets.shades_classic,
    );
  let active: MultiBar | undefined;
  let count = 0;
  const stop = (): void => {
    active?.update();
    active?.stop();
    active = undefined;
    count = 0;
  };
  return {
    item(label, total) {
      const owner = (active ??= open());
      count++;
      // Without a total there is no share to draw: cli-progress would show a full bar.
      const format = total === undefined ? { format: ' {label} {value}' } : {};
      const bar = owner.create(total ?? 0, 0, { label: shortened(label) }, format);
      return {
        advance: (by) => bar.increment(by),
        stop() {
          bar.stop();
          if (!owner.remove(bar) || owner !== active) return;
          count--;
          if (count === 0) stop();
        },
      };
    },
    line(text) {
      if (active) active.log(`${harmless(text)}\n`);
      else sink.line(text);
    },
    stop,
  };
}

const silentItem: ProgressItem = { advance: () => undefined, stop: () => undefined };

function lineItem(sink: ProgressSink, label: string, total?: number): ProgressItem {
  let done = 0;
  let last = performance.now();
  return {
    advance(by) {
      done += by;
      const now = performance.now();
      if (now - last < lineEveryMs) return;
      last = now;
      sink.line(`${label}: ${done}${total === undefined ? '' : ` of ${total}`}`);
    },
    stop: () => undefined,
  };
}

function shortened(label: string): string {
  const shown = label.replaceAll(/\p{Cc}/gu, '?');
  return shown.length <= 40 ? shown : `…${shown.slice(-39)}`;
}
