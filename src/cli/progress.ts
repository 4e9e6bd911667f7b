import type { Progress, ProgressItem } from '../types.js';

/** How loud: errors only, normal, more, everything. */
export type Verbosity = 'quiet' | 'normal' | 'verbose' | 'debug';

/** Where a line that is no terminal hears from us again. */
const lineEveryMs = 30_000;

export interface ProgressSink {
  /** A line for people on standard error; the caller adds the newline. */
  line(text: string): void;
  readonly isTerminal: boolean;
  readonly verbosity: Verbosity;
}

interface MultiBar {
  create(total: number, start: number, payload: object): Bar;
  log(text: string): void;
  stop(): void;
  remove(bar: Bar): boolean;
}
interface Bar {
  increment(by: number): void;
  stop(): void;
}

/**
 * Progress on standard error: bars (cli-progress) on a terminal, else one line every 30 seconds. cli-progress is loaded only when
 * a bar is really drawn.
 */
export async function openProgress(sink: ProgressSink): Promise<Progress & Disposable> {
  const isQuiet = sink.verbosity === 'quiet';
  const bars = sink.isTerminal && !isQuiet ? await openBars() : undefined;
  const say = (text: string): void => {
    if (bars) bars.log(`${text}\n`);
    else sink.line(text);
  };
  return {
    start(label, total) {
      if (bars) return barItem(bars, label, total);
      return isQuiet ? silentItem : lineItem(sink, label, total);
    },
    note(message) {
      if (!isQuiet) say(message);
    },
    warn(code, message) {
      if (!isQuiet) say(`warning ${code}: ${message}`);
    },
    [Symbol.dispose]() {
      bars?.stop();
    },
  };
}

async function openBars(): Promise<MultiBar> {
  const { default: cliProgress } = await import('cli-progress');
  return new cliProgress.MultiBar(
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
}

const silentItem: ProgressItem = { advance: () => undefined, stop: () => undefined };

function barItem(bars: MultiBar, label: string, total = 0): ProgressItem {
  const bar = bars.create(total, 0, { label: shortened(label) });
  return {
    advance: (by) => bar.increment(by),
    stop() {
      bar.stop();
      bars.remove(bar);
    },
  };
}

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
  return label.length <= 40 ? label : `…${label.slice(-39)}`;
}
