import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';

/**
 * Cores that this process may use at the same time, by the quota of its container (cgroup 2, then 1); undefined without one. Neither
 * Node 20 nor the runtime looks there, and threads beyond the quota only throttle each other.
 */
export function cpuQuota(
  readText: (path: string) => string = (path) => readFileSync(path, 'utf8'),
): number | undefined {
  const text = (path: string): string => {
    try {
      return readText(path);
    } catch {
      return ''; // no such file: another kind of system
    }
  };
  const [quota, period] = text('/sys/fs/cgroup/cpu.max').trim().split(' ');
  const cores = Number(quota) / Number(period); // `max 100000` gives NaN
  if (cores > 0) return cores;
  const older =
    Number(text('/sys/fs/cgroup/cpu/cpu.cfs_quota_us')) / Number(text('/sys/fs/cgroup/cpu/cpu.cfs_period_us'));
  return older > 0 && Number.isFinite(older) ? older : undefined; // -1 stands for no quota
}

/** Threads of one run where the user names none: the quota where it is the limit, else null, the runtime's own choice. */
export function defaultThreads(quota = cpuQuota(), cores = availableParallelism()): number | null {
  return quota !== undefined && quota < cores ? Math.max(1, Math.floor(quota)) : null;
}
