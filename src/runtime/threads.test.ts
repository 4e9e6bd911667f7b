import { expect, test } from 'vitest';
import { cpuQuota, defaultThreads } from './threads.js';

const files = (content: Readonly<Record<string, string>>) => (path: string) => {
  const text = content[path];
  if (text === undefined) throw new Error('no such file');
  return text;
};

test.each([
  ['cgroup 2', { '/sys/fs/cgroup/cpu.max': '250000 100000\n' }, 2.5],
  ['cgroup 2 without a limit', { '/sys/fs/cgroup/cpu.max': 'max 100000\n' }, undefined],
  [
    'cgroup 1',
    { '/sys/fs/cgroup/cpu/cpu.cfs_quota_us': '400000\n', '/sys/fs/cgroup/cpu/cpu.cfs_period_us': '100000\n' },
    4,
  ],
  [
    'cgroup 1 without a limit',
    { '/sys/fs/cgroup/cpu/cpu.cfs_quota_us': '-1\n', '/sys/fs/cgroup/cpu/cpu.cfs_period_us': '100000\n' },
    undefined,
  ],
  ['no cgroup', {}, undefined],
])('the quota of %s is read', (_case, content, quota) => {
  expect(cpuQuota(files(content))).toBe(quota);
});

test('threads follow the quota only where it is below the number of cores', () => {
  expect(defaultThreads(2.5, 64)).toBe(2);
  expect(defaultThreads(0.5, 64)).toBe(1);
  expect(defaultThreads(64, 64)).toBeNull();
  expect(defaultThreads(undefined, 64)).toBeNull();
});
