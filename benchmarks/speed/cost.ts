import { readFileSync } from 'node:fs';

/**
 * What work costs: wall time, and the CPU time of this process and its children.
 *
 * Node shows its own CPU time and nothing of its children. Linux keeps the sum over all children that were waited for in
 * `/proc/self/stat` (what `getrusage(RUSAGE_CHILDREN)` reports), in ticks of 10 ms; Node waits for a child before it emits `exit`. On other
 * systems the children's time is not known, and who asks for CPU time gets wall time instead (`hasChildTime`).
 */

/** Linux counts process times in units of 1/100 s for programs, whatever the kernel's own clock is. */
const tickMs = 10;

/** Is the CPU time of children known on this system? */
export const hasChildTime = process.platform === 'linux';

/** What a piece of work took. */
export type Cost = {
  readonly wallMs: number;
  /** User and system time of all threads of this process. */
  readonly ownCpuMs: number;
  /** The same of its children that ended meanwhile; 0 where the system does not say. */
  readonly childCpuMs: number;
};

/** Runs `body` and says what it took. Nothing else should run in this process meanwhile. */
export async function costOf(body: () => Promise<void>): Promise<Cost> {
  const children = childCpuMs();
  const own = process.cpuUsage();
  const start = performance.now();
  await body();
  const wallMs = performance.now() - start;
  const { user, system } = process.cpuUsage(own);
  return { wallMs, ownCpuMs: (user + system) / 1000, childCpuMs: childCpuMs() - children };
}

function childCpuMs(): number {
  return hasChildTime ? childTicks(readFileSync('/proc/self/stat', 'latin1')) * tickMs : 0;
}

/** cutime + cstime of a line of /proc/PID/stat: fields 16 and 17, counted behind the program's name, which may hold anything. */
export function childTicks(stat: string): number {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return Number(fields[13]) + Number(fields[14]);
}

/** The most memory this process ever had resident, in bytes. */
export function peakBytes(): number {
  // Linux carries maxRSS over from the program before an exec, so a small child of a large parent would show the parent's.
  const line = process.platform === 'linux' ? peakLine(readFileSync('/proc/self/status', 'latin1')) : undefined;
  return line ?? process.resourceUsage().maxRSS * 1024;
}

/** VmHWM of /proc/PID/status in bytes. */
export function peakLine(status: string): number | undefined {
  const kilobytes = /^VmHWM:\s*(\d+) kB$/m.exec(status)?.[1];
  return kilobytes === undefined ? undefined : Number(kilobytes) * 1024;
}
