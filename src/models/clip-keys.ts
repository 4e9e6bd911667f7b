/** The spelling of CLIP in the `transformers` library, brought to OpenAI's keys. */
import type { StateDict, StoredTensor } from '../types.js';
import { computed, joined, renamed } from './stored.js';

/** Theirs -> OpenAI's, for what stands outside the blocks. */
const outside: Readonly<Record<string, string>> = {
  'text_model.embeddings.token_embedding.weight': 'token_embedding.weight',
  'text_model.embeddings.position_embedding.weight': 'positional_embedding',
  'text_model.final_layer_norm.weight': 'ln_final.weight',
  'text_model.final_layer_norm.bias': 'ln_final.bias',
  'text_projection.weight': 'text_projection',
  'vision_model.embeddings.class_embedding': 'visual.class_embedding',
  'vision_model.embeddings.patch_embedding.weight': 'visual.conv1.weight',
  'vision_model.embeddings.position_embedding.weight': 'visual.positional_embedding',
  'vision_model.pre_layrnorm.weight': 'visual.ln_pre.weight', // the missing `e` is theirs
  'vision_model.pre_layrnorm.bias': 'visual.ln_pre.bias',
  'vision_model.post_layernorm.weight': 'visual.ln_post.weight',
  'vision_model.post_layernorm.bias': 'visual.ln_post.bias',
  'visual_projection.weight': 'visual.proj',
};

/** The same within a block. */
const inside: Readonly<Record<string, string>> = {
  'self_attn.in_proj_weight': 'attn.in_proj_weight',
  'self_attn.in_proj_bias': 'attn.in_proj_bias',
  'self_attn.out_proj.weight': 'attn.out_proj.weight',
  'self_attn.out_proj.bias': 'attn.out_proj.bias',
  'layer_norm1.weight': 'ln_1.weight',
  'layer_norm1.bias': 'ln_1.bias',
  'layer_norm2.weight': 'ln_2.weight',
  'layer_norm2.bias': 'ln_2.bias',
  'mlp.fc1.weight': 'mlp.c_fc.weight',
  'mlp.fc1.bias': 'mlp.c_fc.bias',
  'mlp.fc2.weight': 'mlp.c_proj.weight',
  'mlp.fc2.bias': 'mlp.c_proj.bias',
};

/** Row numbers of the positional tables, which older versions of the library stored. */
export const rowNumbers: ReadonlySet<string> = new Set([
  'text_model.embeddings.position_ids',
  'vision_model.embeddings.position_ids',
]);

/**
 * Keys of the library (q, k and v in three matrices, projections transposed) -> OpenAI's; other files unchanged.
 * Source: huggingface/transformers, convert_clip_original_pytorch_to_hf.py.
 */
export function officialClipKeys(tensors: StateDict): StateDict {
  if (!tensors.has('vision_model.embeddings.patch_embedding.weight')) return tensors;
  const whole = joined(tensors, (key) => {
    const [, prefix, kind] = /^(.+\.self_attn\.)[qkv]_proj\.(weight|bias)$/.exec(key) ?? [];
    if (prefix === undefined || kind === undefined) return undefined;
    return { name: `${prefix}in_proj_${kind}`, parts: ['q', 'k', 'v'].map((part) => `${prefix}${part}_proj.${kind}`) };
  });
  const turned = new Map(
    [...whole].map(([key, value]) => [key, /^(text|visual)_projection\.weight$/.test(key) ? transposed(value) : value]),
  );
  return renamed(turned, (key) => {
    const [, tower, number, rest] = /^(text|vision)_model\.encoder\.layers\.(\d+)\.(.+)$/.exec(key) ?? [];
    const name = rest === undefined ? undefined : member(inside, rest);
    if (name !== undefined) return `${tower === 'text' ? '' : 'visual.'}transformer.resblocks.${number}.${name}`;
    return member(outside, key) ?? key;
  });
}

function member(names: Readonly<Record<string, string>>, key: string): string | undefined {
  return Object.hasOwn(names, key) ? names[key] : undefined;
}

function transposed(matrix: StoredTensor): StoredTensor {
  const [rows, columns] = matrix.shape;
  if (rows === undefined || columns === undefined || matrix.shape.length !== 2) return matrix;
  return computed(matrix, [columns, rows], (values) =>
    Float32Array.from(values, (_, i) => values[(i % rows) * columns + Math.floor(i / rows)]!),
  );
}
