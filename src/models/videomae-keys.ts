import { tensor } from '../tensor.js';
import type { StateDict } from '../types.js';
import { resampleTable, type Grid } from './positions.js';
import { computed, joined, renamed } from './stored.js';
import type { PositionRule } from './videomae.js';

/**
 * Spellings and layouts in which VideoMAE weights circulate, brought to the official keys. Values stay in the file until they
 * are wanted: an adapted tensor is a recipe over the stored ones.
 */

interface Target {
  readonly target: 'classifier' | 'pretraining';
  readonly meanPooling: boolean;
}

/** Official keys -> parameters: the encoder of a pre-training file alone, learned tables at the model's grid. */
export function adaptVideoMae(
  tensors: StateDict,
  options: Pick<Target, 'target'> & { readonly positions: PositionRule; readonly grid: Grid },
): StateDict {
  const isEncoder = options.target === 'classifier' && tensors.has('encoder.patch_embed.proj.weight');
  const adapted = isEncoder ? encoderAlone(tensors) : tensors;
  return options.positions === 'learned' ? resizedTables(adapted, options.grid) : adapted;
}

/** Why a tensor of the file is not needed: exact keys of known layouts, never a pattern that could hide a fault. */
export function leftoverReason(
  key: string,
  { target, meanPooling, classes }: Target & { readonly classes: number },
): string | undefined {
  if (target === 'pretraining') return undefined;
  if (key === 'mask_token' || key === 'encoder_to_decoder.weight') return 'pre-training only';
  if (/^decoder\.(norm|head)\.(weight|bias)$/.test(key)) return 'pre-training decoder';
  if (/^decoder\.blocks\.\d+\.(norm1|norm2|attn\.proj|mlp\.fc1|mlp\.fc2)\.(weight|bias)$/.test(key))
    return 'pre-training decoder';
  if (/^decoder\.blocks\.\d+\.(attn\.(qkv\.weight|q_bias|v_bias|scale)|gamma_[12])$/.test(key))
    return 'pre-training decoder';
  if (meanPooling && /^norm\.(weight|bias)$/.test(key))
    return 'token norm; the mean-pooling classifier has fc_norm instead';
  if (classes === 0 && /^head\.(weight|bias)$/.test(key)) return 'classifier of another task (num_classes 0)';
  return undefined;
}

/** A pre-training file used as a classifier: `encoder.` stripped. */
function encoderAlone(tensors: StateDict): StateDict {
  return renamed(tensors, (key) => (key.startsWith('encoder.') ? key.slice('encoder.'.length) : key));
}

/** Endings of the transformers spelling -> official, within one block. */
const blockNames: readonly (readonly [string, string])[] = [
  ['layernorm_before.', 'norm1.'],
  ['layernorm_after.', 'norm2.'],
  ['attention.attention.qkv.weight', 'attn.qkv.weight'],
  ['attention.attention.q_bias', 'attn.q_bias'],
  ['attention.attention.v_bias', 'attn.v_bias'],
  ['attention.output.dense.', 'attn.proj.'],
  ['intermediate.dense.', 'mlp.fc1.'],
  ['output.dense.', 'mlp.fc2.'],
];

/**
 * The keys of the `transformers` library (same weights, q, k and v in three matrices) -> the official ones; other files unchanged.
 * Source: huggingface/transformers, convert_videomae_to_pytorch.py.
 */
export function officialKeys(tensors: StateDict, target: Target['target']): StateDict {
  if (!tensors.has('videomae.embeddings.patch_embeddings.projection.weight')) return tensors;
  const encoder = target === 'pretraining' ? 'encoder.' : '';
  return renamed(joinedAttention(tensors), (key) => {
    const layer = /^(videomae\.encoder\.layer|decoder\.decoder_layers)\.(\d+)\.(.+)$/.exec(key);
    if (layer) {
      const [, stack, number, rest] = layer;
      const found = blockNames.find(([theirs]) => rest!.startsWith(theirs));
      const prefix = `${stack === 'decoder.decoder_layers' ? 'decoder.' : encoder}blocks.${number}.`;
      return found ? prefix + found[1] + rest!.slice(found[0].length) : key;
    }
    return key
      .replace(/^videomae\.embeddings\.patch_embeddings\.projection\./, `${encoder}patch_embed.proj.`)
      .replace(/^videomae\.layernorm\./, `${encoder}norm.`)
      .replace(/^classifier\./, 'head.');
  });
}

/** query, key and value of a layer as one matrix `qkv`. */
function joinedAttention(tensors: StateDict): StateDict {
  return joined(tensors, (key) => {
    const prefix = /^(.+\.attention\.attention\.)(?:query|key|value)\.weight$/.exec(key)?.[1];
    if (prefix === undefined) return undefined;
    return { name: `${prefix}qkv.weight`, parts: ['query', 'key', 'value'].map((part) => `${prefix}${part}.weight`) };
  });
}

/** Learned tables of another square grid, bicubic in space (encoder.md 2.5). */
function resizedTables(tensors: StateDict, grid: Grid): StateDict {
  const wanted = grid[0] * grid[1] * grid[2];
  return new Map(
    [...tensors].map(([key, value]) => {
      const [one, count, width] = value.shape;
      const side = Math.sqrt((count ?? 0) / grid[0]);
      const isTable = key === 'pos_embed' || key === 'encoder.pos_embed';
      if (!isTable || one !== 1 || count === wanted || !Number.isInteger(side) || side === 0) return [key, value];
      const resized = computed(value, [1, wanted, width!], (table) => {
        const from = tensor('float32', [count!, width!], table);
        return resampleTable(from, [grid[0], side, side], grid).data;
      });
      return [key, resized];
    }),
  );
}
