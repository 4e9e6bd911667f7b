/**
 * Cross-model attention: the coordination of InternVideo's masked stream (VideoMAE) and multimodal stream (UniFormerV2).
 *
 * Paper: Wang et al., "InternVideo: General Video Foundation Models via Generative and Discriminative Learning", 2022, section
 * Cross-Model Interaction.
 * Code: none is public, and no weights are. **This is our reference design**: what the paper states is kept (frozen streams, gated
 * cross attention and feed-forward in the masked stream, a last one on the class token of the multimodal stream, fused scores, a start
 * that gives the streams' own scores), what it leaves open is our choice (encoder.md 7.2 of the design: where the modules stand, which
 * tokens they read, widths, norms, gates).
 * Loads: coordination modules that were trained here, beside the checkpoints of both streams.
 */
import { GraphBuilder, type Graph } from '../graph/builder.js';
import {
  add,
  attention,
  concat,
  layerNorm,
  linear,
  mlp,
  mul,
  reshape,
  scalar,
  sigmoid,
  softmax,
  sub,
  tanh,
  type AttentionForm,
} from '../graph/layers.js';
import type { Value } from '../graph/ops.js';
import { cubesOf } from './patches.js';
import type { GraphVariant } from './spec.js';
import { uniformerHead, uniformerTower, type Uniformer } from './uniformerv2.js';
import { block, classifierPool, classifierStem, type Classifier } from './videomae.js';

/** One cross-model attention. */
export interface CrossModule {
  readonly heads: number;
  /** Hidden width of its feed-forward part. */
  readonly hidden: number;
  readonly epsilon: number;
}

/** Two classifiers of the same classes, and what lies between them. */
export interface Coordination {
  readonly masked: Classifier;
  readonly multimodal: Uniformer;
  /** Masked blocks that a module follows, ascending: as many as the multimodal stream has global blocks. */
  readonly after: readonly number[];
  /** In the masked stream. */
  readonly module: CrossModule;
  /** On the pooled feature of the multimodal stream. */
  readonly lastModule: CrossModule;
}

/**
 * Where the modules stand unless a configuration says else: evenly, the last after the last block.
 *
 * @source ours; the paper says "in all stages"
 */
export function evenlyAfter(depth: number, modules: number): readonly number[] {
  return Array.from({ length: modules }, (_, j) => Math.ceil(((j + 1) * depth) / modules) - 1);
}

/**
 * Both streams over one window each. Inputs `frames` (`input`) for the masked stream, `multimodal` for the other.
 * Outputs `masked_after_cma_{j}` [b, n, width], `class_token` [b, width of the multimodal stream] after the last module, `pooled`
 * [b, both widths]: what enters the two heads, `logits_masked`, `logits_multimodal`, their mixture `logits`, and `probs` [b, classes].
 */
export function coordinationGraph(name: string, model: Coordination, variant: GraphVariant): Graph {
  const g = new GraphBuilder(name);
  const { masked, multimodal, after } = model;
  const maskedCubes = cubesOf(g, masked.geometry, variant);
  const multimodalCubes = cubesOf(g, multimodal.tower.geometry, variant, 'multimodal');

  // No module changes the multimodal stream before its pooled feature, so it runs first and whole.
  const video = g.scope('multimodal', () => uniformerTower(g, multimodalCubes, multimodal.tower, variant.form));
  let x = g.scope('masked', () => classifierStem(g, maskedCubes, masked));
  for (let i = 0; i < masked.tower.depth; i++) {
    x = g.scope('masked', () => g.scope(`blocks.${i}`, () => block(g, x, masked.tower, variant)));
    const j = after.indexOf(i);
    if (j < 0) continue;
    x = g.scope(`cma.${j}`, () => crossModel(g, x, video.stages[j]!, model.module, variant.form)); // as many stages as modules
    g.output(`masked_after_cma_${j}`, x);
  }

  const width = multimodal.tower.width;
  const asked = reshape(g, video.pooled, [0, 1, width]);
  const answered = g.scope('cma_last', () => crossModel(g, asked, x, model.lastModule, variant.form));
  const classToken = reshape(g, answered, [0, width]);
  g.output('class_token', classToken);

  const pooled = g.scope('masked', () => classifierPool(g, x, masked));
  g.output('pooled', concat(g, [pooled, classToken], 1));
  const maskedLogits = g.scope('masked', () => linear(g, pooled, 'head', masked.classes));
  const multimodalLogits = g.scope('multimodal', () =>
    uniformerHead(g, classToken, multimodal.tower, multimodal.classes),
  );
  const share = sigmoid(g, g.param('alpha', [1]));
  const logits = add(g, mul(g, maskedLogits, sub(g, scalar(g, 1), share)), mul(g, multimodalLogits, share));
  g.output('logits_masked', maskedLogits);
  g.output('logits_multimodal', multimodalLogits);
  g.output('logits', logits);
  g.output('probs', softmax(g, logits));
  return g.finish();
}

/**
 * x [b, n, width] asks y [b, m, other width]; attention and feed-forward each through a gate that starts closed:
 * x += tanh(gate_attn) proj(attention(q norm_q x; k, v norm_kv y)); x += tanh(gate_ffn) fc2(gelu(fc1(norm_ffn x))).
 */
function crossModel(g: GraphBuilder, x: Value, y: Value, module: CrossModule, form: AttentionForm): Value {
  const { heads, hidden, epsilon } = module;
  const width = x.shape[2] as number;
  const gate = (name: string): Value => tanh(g, g.param(name, [1]));
  const read = layerNorm(g, y, 'norm_kv', epsilon);
  const q = linear(g, layerNorm(g, x, 'norm_q', epsilon), 'q', width);
  const [k, v] = [linear(g, read, 'k', width), linear(g, read, 'v', width)];
  const mixed = attention(g, [q, k, v], { heads, scale: (width / heads) ** -0.5, form });
  x = add(g, x, mul(g, linear(g, mixed, 'proj', width), gate('gate_attn')));
  return add(g, x, mul(g, mlp(g, layerNorm(g, x, 'norm_ffn', epsilon), hidden), gate('gate_ffn')));
}
