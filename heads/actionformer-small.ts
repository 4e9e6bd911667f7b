/**
 * `actionformer-small`: an ActionFormer of four levels and width 96 that trains on a CPU in minutes. A configuration needs the widths of the
 * features and the number of classes; every member of the official configuration may be given beside them.
 */
import type { JsonValue } from '../src/json.js';
import type { HeadFamily } from '../src/models/head.js';
import { inferActionFormer, readActionFormer } from './actionformer-config.js';
import { lengthUnit } from './actionformer-sizes.js';
import { actionFormerHead } from './actionformer.js';

const width = 96;
const window = 5;
const branches = 3;
const heads = 4;

/** A head of this family is an `actionformer` with everything said: folders call it so. */
export const actionformerSmall: HeadFamily = {
  name: 'actionformer-small',
  task: 'mq',
  summary: 'a small ActionFormer over features of any width, for training on a CPU',
  weightsKeys: ['state_dict_ema'],
  official: (tensors) => tensors,
  infer: inferActionFormer,
  spec: (given) => actionFormerHead(readActionFormer({ ...smallMembers(given['input_dim']), ...given })),
};

/** Rows of a sequence that training needs for sequences of `longest` rows: longer ones are cropped. */
export function smallLength(longest: number, most = 4096): number {
  const unit = lengthUnit({ windows: Array.from({ length: branches + 1 }, () => window) });
  return Math.ceil(Math.max(1, Math.min(longest, most)) / unit) * unit;
}

function smallMembers(inputs: unknown): Record<string, JsonValue> {
  // The sum of the projections must be a multiple of the heads.
  const share = (count: number): number => Math.ceil(width / count / heads) * heads;
  return {
    embd_dim: Array.isArray(inputs) ? inputs.map(() => share(inputs.length)) : width,
    backbone_arch: [2, 1, branches],
    n_head: heads,
    n_mha_win_size: window,
    max_seq_len: smallLength(512),
    use_abs_pe: true,
    max_seg_num: 200,
    init_loss_norm: 20,
  };
}
