import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { memorySource } from './bytes.js';
import { readNpy, writeNpy } from './npy.js';
import { readTensor } from './pt-features.js';
import { listTensors, openCheckpoint, type CheckpointOptions } from './state-dict.js';

/** Files of the official code; they are not part of the repository. */
const folder = join(process.env['EGOLENS_GOLDEN_DIR'] ?? '../shared/golden', 'encoder');
const isAbsent = !existsSync(folder);
const suite = `golden checkpoints${isAbsent ? ' (skipped: no golden folder, set EGOLENS_GOLDEN_DIR)' : ''}`;

/**
 * Tensors, elements and the sum of all values, computed by a reader of its own in Python (zipfile, pickle, numpy.as_strided) in float64.
 * Both sides add the same stored values, so the sums differ by less than the last digit that is written here.
 */
const cases: readonly [
  file: string,
  tensors: number,
  elements: number,
  sum: number,
  found: object,
  options?: CheckpointOptions,
][] = [
  ['clip_text/checkpoint.pt', 50, 187377, 560.3722, { container: 'zip', weightsKey: '', prefix: '' }],
  ['clip_torchscript/checkpoint.pt', 53, 135748, 656.7718, { container: 'torchscript', weightsKey: '', prefix: '' }],
  ['cma_reference/coordination.pth', 61, 44631, 299.9377, { container: 'zip', weightsKey: '', prefix: '' }],
  ['cma_reference/masked.pth', 58, 98649, 338.1765, { weightsKey: 'module', prefix: '' }],
  ['cma_reference/multimodal.pyth', 79, 90697, 433.4229, { weightsKey: '', prefix: 'backbone.' }],
  ['internvideo_mm/checkpoint.ckpt', 99, 218648, 822.9955, { weightsKey: 'state_dict', prefix: '' }],
  [
    'uniformer_v1/checkpoint.pth',
    95,
    36057,
    972.8333,
    { weightsKey: 'model', leftInFile: ['optimizer', 'epoch', 'scaler', 'args'] },
  ],
  ['uniformerv2_frozen/checkpoint.pyth', 88, 75289, 753.0108, { weightsKey: 'model_state', prefix: 'backbone.' }],
  ['uniformerv2_global/checkpoint.pyth', 79, 182170, 792.5699, { weightsKey: '', prefix: 'backbone.' }],
  [
    'uniformerv2_local/checkpoint.pyth',
    111,
    241469,
    1605.2654,
    { container: 'legacy', weightsKey: 'model_state', prefix: 'backbone.' },
  ],
  ['viclip/checkpoint.pth', 63, 157665, 327.9133, { weightsKey: 'model', leftInFile: ['epoch'] }],
  ['videomae_ft_first_token/checkpoint.pth', 36, 46303, 293.1807, { weightsKey: 'module', prefix: 'backbone.' }],
  ['videomae_ft_learned_pos/checkpoint.pth', 33, 75046, 163.9194, { weightsKey: 'model', prefix: '' }],
  [
    'videomae_ft_mean/checkpoint.pth',
    32,
    130859,
    330.4426,
    { weightsKey: 'model', leftInFile: ['optimizer', 'epoch', 'scaler', 'args'] },
  ],
  ['videomae_iv1_interpolated/checkpoint.pth', 19, 41934, 54.2035, { weightsKey: 'model', prefix: '' }],
  ['videomae_pretrain/checkpoint.pth', 62, 100248, 372.9606, { weightsKey: 'model', prefix: '' }],
  ['videomae_v2_cosine/checkpoint.pth', 34, 74765, 187.3384, { container: 'legacy', weightsKey: 'module', prefix: '' }],
  ['videomae_v2_giant_like/checkpoint.pth', 45, 127878, 346.4609, { weightsKey: 'module', prefix: '_orig_mod.' }],
  ['videomae_v2_pretrain/checkpoint.pth', 62, 100248, 375.5053, { weightsKey: 'model', prefix: '' }],
];

function golden(file: string) {
  return memorySource(file, readFileSync(join(folder, file)));
}

describe(suite, () => {
  test.skipIf(isAbsent).each(cases)(
    '%s has %i tensors, %i elements and the sum %d',
    async (file, count, elements, sum, found, options) => {
      const checkpoint = await openCheckpoint(golden(file), options);
      expect(checkpoint).toMatchObject({ foreignNames: [], ...found });
      expect(checkpoint.tensors.size).toBe(count);
      let [seen, total] = [0, 0];
      for (const tensor of checkpoint.tensors.values()) {
        const { data } = await readTensor(tensor);
        seen += data.length;
        for (const value of data) total += value;
      }
      expect(seen).toBe(elements);
      expect(total).toBeCloseTo(sum, 3);
    },
  );

  test.skipIf(isAbsent)('transposed float16 views of one storage are read in row-major order', async () => {
    const { tensors } = await openCheckpoint(golden('videomae_ft_first_token/checkpoint.pth'));
    const first = async (name: string) => [...(await readTensor(tensors.get(name)!)).data.subarray(0, 4)];
    expect(await first('blocks.0.attn.qkv.weight')).toEqual([
      -0.0006766319274902344, 0.0203399658203125, -0.137939453125, -0.0711669921875,
    ]);
    expect(await first('blocks.1.mlp.fc2.weight')).toEqual([
      -0.1387939453125, -0.0167999267578125, 0.092529296875, 0.0164947509765625,
    ]);
    const rows = [...listTensors(await openCheckpoint(golden('videomae_ft_first_token/checkpoint.pth')))];
    expect(new Set(rows.map((row) => row.storageKey))).toEqual(new Set(['0']));
    expect(rows.filter((row) => !row.contiguous).map((row) => row.name)).toEqual([
      'blocks.0.attn.qkv.weight',
      'blocks.1.attn.proj.weight',
      'blocks.1.mlp.fc1.weight',
      'blocks.1.mlp.fc2.weight',
      'head.weight',
    ]);
  });

  test.skipIf(isAbsent)('a TorchScript archive gives the names of state_dict() and its three integers', async () => {
    const { tensors } = await openCheckpoint(golden('clip_torchscript/checkpoint.pt'));
    expect(tensors.get('visual.transformer.resblocks.0.attn.in_proj_weight')?.shape).toEqual([192, 64]);
    const integers = ['input_resolution', 'context_length', 'vocab_size'].map(async (name) => {
      const tensor = tensors.get(name)!;
      return [tensor.storedType, ...(await readTensor(tensor)).data];
    });
    expect(await Promise.all(integers)).toEqual([
      ['int64', 32],
      ['int64', 24],
      ['int64', 256],
    ]);
  });

  test.skipIf(isAbsent)('keepOnly takes one tower of a trainer checkpoint and lists the rest', async () => {
    const { prefix, tensors, outside } = await openCheckpoint(golden('internvideo_mm/checkpoint.ckpt'), {
      keepOnly: 'clip.',
    });
    expect(prefix).toBe('clip.');
    expect(tensors.size + outside.length).toBe(99);
    expect(outside.every((name) => !name.startsWith('clip.'))).toBe(true);
    expect(outside.length).toBeGreaterThan(0);
  });

  test.skipIf(isAbsent)('every golden array is read, and its values are written as they were', async () => {
    const names = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.npy'));
    expect(names.length).toBeGreaterThan(50);
    for (const name of names) {
      const bytes = readFileSync(join(folder, name));
      const { tensor } = await readNpy(memorySource(name, bytes));
      // numpy pads to 64 where this program pads to 128 at least: the elements are the same bytes.
      expect(
        Buffer.from(writeNpy(tensor))
          .subarray(128)
          .equals(bytes.subarray(bytes.length - tensor.data.byteLength)),
      ).toBe(true);
    }
  });
});
