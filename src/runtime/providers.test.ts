import { existsSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { reasonOf } from './probe.js';
import { chooseProvider, describeProviders, judge, parseDevice } from './providers.js';

test.each([
  ['auto', 'auto'],
  ['cpu', { provider: 'cpu', index: 0 }],
  ['cuda', { provider: 'cuda', index: 0 }],
  ['cuda:3', { provider: 'cuda', index: 3 }],
  ['webgpu:0', { provider: 'webgpu', index: 0 }],
])('--device %s is read', (device, place) => {
  expect(parseDevice(device)).toEqual(place);
});

test.each(['gpu', 'cpu:1', 'cuda:', 'cuda:-1', 'CUDA', ''])(
  '--device %j is refused with the words allowed',
  (device) => {
    expect(() => parseDevice(device)).toThrow('expected auto, cpu, cuda[:N] or webgpu[:N]');
  },
);

const gpuHere =
  ['/dev/nvidiactl', '/dev/dxg', '/dev/dri'].some((path) => existsSync(path)) || process.platform !== 'linux';

describe.skipIf(gpuHere)('on a machine without a GPU', () => {
  test('auto takes the cpu and says why not another', async () => {
    expect(await chooseProvider('auto')).toEqual({
      provider: 'cpu',
      index: 0,
      device: 'cpu',
      attention: 'fused',
      why: 'cuda: no NVIDIA device; webgpu: no GPU device',
    });
  });

  test('cuda by name is device.unavailable, with the reason and the way to repair it', async () => {
    const cause = { code: 'device.unavailable', message: expect.stringMatching(/^provider cuda: .*librar/) as string };
    await expect(chooseProvider('cuda:0')).rejects.toMatchObject({
      ...cause,
      suggestions: [expect.stringContaining('ONNXRUNTIME_NODE_INSTALL=cuda12') as string],
    });
  });

  test('every provider is described', async () => {
    const reports = await describeProviders({ timed: false });
    expect(reports.map(({ name }) => name)).toEqual(['cpu', 'cuda', 'webgpu']);
    expect(reports[0]).toMatchObject({ ok: true });
    for (const { ok, why, remedy } of reports.slice(1)) {
      expect(why).not.toBe('');
      if (!ok) expect(remedy).toContain('--device cpu');
    }
  });
});

test('a second webgpu adapter is refused, because the runtime would take the first', async () => {
  await expect(chooseProvider('webgpu:1')).rejects.toMatchObject({ code: 'device.unavailable' });
});

describe('what a trial found decides', () => {
  const good = { ok: true, error: 1e-6, fusedError: 1e-6, milliseconds: null } as const;

  test('fused attention is taken where it agrees with the separate form', () => {
    expect(judge('cuda', good, 'r')).toMatchObject({ ok: true, attention: 'fused' });
  });
  test.each([[0.12], [null]])('separate attention is taken where the fused error is %s', (fusedError) => {
    expect(judge('webgpu', { ...good, fusedError }, 'r')).toMatchObject({ ok: true, attention: 'separate' });
  });
  test.each([[0.5], [null]])('a device whose separate form has error %s is not used', (error) => {
    expect(judge('webgpu', { ...good, error }, 'r')).toMatchObject({ ok: false, remedy: 'r' });
  });
  test('the gain over the cpu is reported where it was measured', () => {
    expect(judge('webgpu', { ...good, milliseconds: { device: 5, cpu: 40 } }, 'r')).toMatchObject({ gain: 8 });
  });
});

test('the reason of the runtime is kept, its source positions are not, the missing library is added', () => {
  const message =
    '/onnxruntime_src/onnxruntime/core/providers/webgpu/webgpu_context.cc:136 Initialize(x) status was false. Failed to get a WebGPU adapter: No supported adapters\n\n';
  expect(reasonOf(message, '')).toBe('Failed to get a WebGPU adapter: No supported adapters');
  expect(
    reasonOf(
      'Failed to load shared library',
      'error: /a/b/libcudnn.so.9: cannot open shared object file: No such file',
    ),
  ).toBe('Failed to load shared library (libcudnn.so.9: cannot open shared object file: No such file)');
});
