/**
 * Attentive probe: the mean row looks at all rows of the segment, then layer norm and linear, one pair a kind.
 *
 * Paper: Wang et al., "InternVideo2", 2024. Source: OpenGVLab/InternVideo InternVideo2/single_modality/models/internvideo2.py,
 * AttentionPoolingBlock: layer norms of their own for query, keys and values, biases beside the products. Differences: padding is masked,
 * there is no dropout before the classifier, and the pooled width is that of the features unless `clip_embed_dim` says otherwise.
 */
import type { GraphBuilder } from '../src/graph/builder.js';
import {
  add,
  concat,
  layerNorm,
  linear,
  matMul,
  mul,
  reshape,
  scalar,
  softmax,
  sub,
  transpose,
} from '../src/graph/layers.js';
import type { Value } from '../src/graph/ops.js';
import { ConfigReader, defined, limits } from '../src/models/config.js';
import type { HeadFamily } from '../src/models/head.js';
import { encoderKey } from './recognition-head.js';
import {
  inferClasses,
  maskedMean,
  readRecognition,
  recognitionConfig,
  recognitionParts,
  suffix,
} from './recognition.js';

const name = 'attentive-probe';
const pool = 'clip_projector';

/** The family `attentive-probe`. */
export const attentiveProbe: HeadFamily = {
  name,
  task: 'recognition',
  summary: 'attention pooling over the rows of a segment, layer norm, linear (probe of InternVideo2)',
  official: (tensors) => tensors,
  infer: (keys) => ({
    ...defined({
      dim: keys.get(`${pool}.cross_attn.q.weight`)?.[1],
      clip_embed_dim: keys.get(`${pool}.cross_attn.proj.weight`)?.[0],
    }),
    ...inferClasses(keys),
  }),
  spec(given) {
    const reader = new ConfigReader(name, given);
    const config = readRecognition(reader, given, 1e-5);
    const { width, kinds, epsilon } = config;
    const heads = reader.integer('attn_pool_num_heads', 1, width, usualHeads(width));
    if (width % heads !== 0) throw reader.fail('attn_pool_num_heads', `a divisor of the width ${width}`);
    const out = reader.integer('clip_embed_dim', 1, limits.width, width);
    return {
      ...recognitionParts(config),
      family: name,
      config: { ...recognitionConfig(config), attn_pool_num_heads: heads, clip_embed_dim: out },
      leftover: encoderKey,
      forward(g, { features, mask }) {
        const pooled = g.scope(
          pool,
          () => attentionPooling(g, [features!, mask!], { width, heads, out, epsilon }), // declared inputs
        );
        const logits = kinds.map(({ count }, i) =>
          linear(g, layerNorm(g, pooled, `fc_norm${suffix(i)}`, epsilon), `head${suffix(i)}`, count),
        );
        return { logits: logits.length === 1 ? logits[0]! : concat(g, logits, 1) };
      },
    };
  },
};

/** As many heads of at least 32 channels as divide the width. */
function usualHeads(width: number): number {
  let heads = Math.max(1, Math.floor(width / 32));
  while (width % heads !== 0) heads--;
  return heads;
}

/** features [b, n, width], mask [b, n] -> [b, out]. */
function attentionPooling(
  g: GraphBuilder,
  [x, mask]: readonly [Value, Value],
  { width, heads, out, epsilon }: { width: number; heads: number; out: number; epsilon: number },
): Value {
  const asked = layerNorm(g, maskedMean(g, x, mask), 'norm1_q', epsilon); // [b, width]
  const keys = layerNorm(g, x, 'norm1_k', epsilon);
  const values = layerNorm(g, x, 'norm1_v', epsilon);
  return g.scope('cross_attn', () => {
    const part = (of: Value, key: string): Value =>
      linear(g, of, key, width, { bias: g.param(`${key}_bias`, [width]) });
    const each = width / heads;
    const q = reshape(g, part(asked, 'q'), [0, heads, 1, each]);
    const k = transpose(g, reshape(g, part(keys, 'k'), [0, 0, heads, each]), [0, 2, 3, 1]); // [b, heads, each, n]
    const v = transpose(g, reshape(g, part(values, 'v'), [0, 0, heads, each]), [0, 2, 1, 3]); // [b, heads, n, each]
    const logits = matMul(g, mul(g, q, scalar(g, each ** -0.5)), k); // [b, heads, 1, n]
    // Padding gets a logit whose exponential is 0.
    const hidden = mul(g, sub(g, mask, scalar(g, 1)), scalar(g, 1e9));
    const seen = add(g, logits, transpose(g, reshape(g, hidden, [0, 0, 1, 1]), [0, 2, 3, 1]));
    return linear(g, reshape(g, matMul(g, softmax(g, seen), v), [0, width]), 'proj', out);
  });
}
