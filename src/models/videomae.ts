/**
 * VideoMAE: the masked stream of InternVideo.
 *
 * Papers: Tong et al., "VideoMAE", NeurIPS 2022; Wang et al., "VideoMAE V2", CVPR 2023; Wang et al., "InternVideo", 2022.
 * Code: MCG-NJU/VideoMAE 14ef8d8 modeling_finetune.py, modeling_pretrain.py; OpenGVLab/VideoMAEv2 29eab1e; OpenGVLab/InternVideo 3965eef.
 * Loads: classifiers and pre-training models of v1, v2 and InternVideo1, S to G, and their third-party spellings (videomae-keys.ts).
 * Differs from the official graph in one point: scale and normalisation are folded into the patch matrix (error 4e-6).
 */
import { GraphBuilder, type Graph } from '../graph/builder.js';
import {
  add,
  attention,
  concat,
  convolve,
  div,
  exp,
  floats,
  layerNorm,
  linear,
  lookUp,
  mean,
  min,
  mlp,
  mul,
  multiply,
  relu,
  reshape,
  scalar,
  softmax,
  split,
  splitLike,
  sqrt,
  sub,
  sum,
  takeTokens,
  tokenAt,
  transpose,
  unitLength,
} from '../graph/layers.js';
import type { Value } from '../graph/ops.js';
import { zeros } from '../tensor.js';
import { cubesOf, embedCubes, gridOf, picturesOf, tokenCount, type Cubes, type Geometry } from './patches.js';
import { resampleTable, sinusoidTable, type Grid } from './positions.js';
import type { GraphVariant } from './spec.js';

/** One stack of transformer blocks. */
export interface Tower {
  readonly width: number;
  readonly depth: number;
  readonly heads: number;
  /** Hidden width of the MLP. */
  readonly hidden: number;
  readonly epsilon: number;
  /** q and v have a bias, k has none. */
  readonly qvBias: boolean;
  readonly layerScale: boolean;
  readonly cosine: boolean;
}

export type PositionRule = 'built' | 'interpolated' | 'learned';

export interface Classifier {
  readonly geometry: Geometry;
  /** Channels of the convolutions before the patches, each of which halves rows and columns; none in the official models. */
  readonly stem: readonly number[];
  readonly tower: Tower;
  readonly positions: PositionRule;
  readonly meanPooling: boolean;
  /** 0: no `head`. */
  readonly classes: number;
}

export interface Pretraining {
  readonly geometry: Geometry;
  readonly encoder: Tower;
  readonly decoder: Tower;
  readonly positions: Exclude<PositionRule, 'interpolated'>;
}

/** Classifier: outputs `pooled` [b, width], `logits` and `probs` [b, classes], `out_last` [b, n, width]. */
export function classifierGraph(name: string, model: Classifier, variant: GraphVariant): Graph {
  const g = new GraphBuilder(name);
  const { last, pooled, logits } = classifierValues(g, model, variant);
  g.output('out_last', last);
  g.output('pooled', pooled);
  if (logits) {
    g.output('logits', logits);
    g.output('probs', softmax(g, logits));
  }
  return g.finish();
}

/** The classifier as part of a graph, which gets its pixel input: tokens [b, n, width], their pool [b, width], `logits` [b, classes]. */
export function classifierValues(
  g: GraphBuilder,
  model: Classifier,
  variant: GraphVariant,
): { readonly last: Value; readonly pooled: Value; readonly logits: Value | undefined } {
  const { geometry, tower, classes } = model;
  const entering =
    model.stem.length > 0
      ? withPositions(g, convolvedTubelets(g, model, variant), model)
      : classifierStem(g, cubesOf(g, geometry, variant), model);
  const last = blocks(g, entering, tower, variant);
  const pooled = classifierPool(g, last, model);
  return { last, pooled, logits: classes > 0 ? linear(g, pooled, 'head', classes) : undefined };
}

/** What enters the first block of a classifier: tubelets and their positions, [b, n, width]. */
export function classifierStem(g: GraphBuilder, cubes: Cubes, model: Classifier): Value {
  return withPositions(g, tubelets(g, cubes, model.geometry, model.tower.width), model);
}

function withPositions(g: GraphBuilder, x: Value, { geometry, tower, positions }: Classifier): Value {
  return add(g, x, positionTable(g, positions, geometry, tower.width, 'pos_embed'));
}

/**
 * Tubelet embedding behind a convolutional stem: [b, n, width]. The frames of a tubelet are the channels of one picture, so that the first
 * kernel sees motion already. Ours, for small models trained from little data: there a stem learns what patches alone do not
 * (Xiao et al., "Early Convolutions Help Transformers See Better", 2021; docs/default-encoder.md).
 */
function convolvedTubelets(g: GraphBuilder, model: Classifier, variant: GraphVariant): Value {
  const { geometry, stem, tower } = model;
  const [t, h, w] = gridOf(geometry);
  return g.scope('patch_embed', () => {
    let x = picturesOf(g, geometry, variant); // [b t, 3 tubelet, size, size]
    let channels = 3 * geometry.tubelet;
    for (const [i, wider] of stem.entries()) {
      const kernel = g.param(`stem.${i}.weight`, [wider, channels, 3, 3]);
      x = relu(g, convolve(g, x, kernel, g.param(`stem.${i}.bias`, [wider]), { strides: [2, 2], padding: [1, 1] }));
      channels = wider;
    }
    const cell = geometry.patch / 2 ** stem.length;
    const cut = transpose(g, reshape(g, x, [0, channels, h, cell, w, cell]), [0, 2, 4, 1, 3, 5]);
    const kernel = reshape(g, g.param('proj.weight', [tower.width, channels, cell, cell]), [tower.width, -1]);
    const rows = reshape(g, cut, [-1, t * h * w, channels * cell * cell]);
    return multiply(g, rows, kernel, g.param('proj.bias', [tower.width]));
  });
}

/** What enters the head of a classifier: tokens after the last block [b, n, width] -> [b, width]. */
export function classifierPool(g: GraphBuilder, x: Value, { tower, meanPooling }: Classifier): Value {
  // Normalising only token 0 gives the same value as normalising all and taking it.
  return meanPooling
    ? layerNorm(g, mean(g, x, [1]), 'fc_norm', tower.epsilon)
    : layerNorm(g, tokenAt(g, x, 0), 'norm', tower.epsilon);
}

/**
 * Pre-training model. Inputs beside the frames, made from the masks by `pretrainingFeeds`: `visible` int64 [b, visible],
 * `decoded` int64 [b, decoded], `scored` float32 [b, decoded].
 * Outputs: `encoder_visible` [b, visible, width], `pred` and `targets` [b, decoded, 3 tubelet patch^2], `loss` [].
 */
export function pretrainingGraph(name: string, model: Pretraining, variant: GraphVariant): Graph {
  const g = new GraphBuilder(name);
  const { encoded, predicted, targets, loss } = pretrainingValues(g, model, variant);
  g.output('encoder_visible', encoded);
  g.output('pred', predicted);
  g.output('targets', targets);
  g.output('loss', loss);
  return g.finish();
}

/** The pre-training model as part of a graph, which gets its inputs. */
export function pretrainingValues(
  g: GraphBuilder,
  model: Pretraining,
  variant: GraphVariant,
): { readonly encoded: Value; readonly predicted: Value; readonly targets: Value; readonly loss: Value } {
  const { geometry, encoder, decoder } = model;
  const cubes = cubesOf(g, geometry, variant);
  const visible = g.input('visible', 'int64', ['batch', 'visible']);
  const decoded = g.input('decoded', 'int64', ['batch', 'decoded']);
  const scored = g.input('scored', 'float32', ['batch', 'decoded']);

  const encoded = g.scope('encoder', () => {
    let x = tubelets(g, cubes, geometry, encoder.width);
    x = add(g, x, positionTable(g, model.positions, geometry, encoder.width, 'pos_embed'));
    x = blocks(g, takeTokens(g, x, visible), encoder, variant);
    return layerNorm(g, x, 'norm', encoder.epsilon);
  });

  // The decoder's table is always the sinusoid of its own width, and no key of the checkpoint.
  const table = sinusoid(g, geometry, decoder.width);
  const seen = add(
    g,
    linear(g, encoded, 'encoder_to_decoder', decoder.width, { bias: 'none' }),
    lookUp(g, table, visible),
  );
  const hidden = add(
    g,
    lookUp(g, table, decoded),
    reshape(g, g.param('mask_token', [1, 1, decoder.width]), [decoder.width]),
  );
  const cubeSize = 3 * geometry.tubelet * geometry.patch ** 2;
  const predicted = g.scope('decoder', () => {
    const x = blocks(g, concat(g, [seen, hidden], 1), decoder, variant); // visible first, no unshuffling
    const [, last] = splitLike(g, x, [visible, decoded]);
    return linear(g, layerNorm(g, last!, 'norm', decoder.epsilon), 'head', cubeSize);
  });

  const targets = takeTokens(g, pixelTargets(g, cubes, geometry), decoded);
  const error = sub(g, predicted, targets);
  const perToken = mean(g, mul(g, error, error), [2]); // [b, decoded]
  const loss = div(g, sum(g, mul(g, perToken, scored), [0, 1]), sum(g, scored, [0, 1]));
  return { encoded, predicted, targets, loss };
}

/** Tubelet embedding: [b, n, width]. */
export function tubelets(g: GraphBuilder, cubes: Cubes, geometry: Geometry, width: number): Value {
  const { patch, tubelet } = geometry;
  return g.scope('patch_embed', () =>
    embedCubes(
      g,
      cubes,
      geometry,
      g.param('proj.weight', [width, 3, tubelet, patch, patch]),
      g.param('proj.bias', [width]),
    ),
  );
}

/** The sine and cosine table of every token, [n, width]. */
export function sinusoid(g: GraphBuilder, geometry: Geometry, width: number): Value {
  const count = tokenCount(geometry);
  return g.constant(sinusoidTable(count, width), `sinusoid_${count}x${width}`);
}

/** The table to add to the tokens, [n, width]. */
function positionTable(g: GraphBuilder, rule: PositionRule, geometry: Geometry, width: number, name: string): Value {
  const count = tokenCount(geometry);
  if (rule === 'learned') return reshape(g, g.param(name, [1, count, width]), [count, width]);
  if (rule === 'built') return sinusoid(g, geometry, width);
  return g.constant(interpolatedTable(geometry, width), `sinusoid_interpolated_${count}x${width}`);
}

/** InternVideo1: the table of 16 frames at 224 pixels, resampled to this grid. */
export function interpolatedTable(geometry: Geometry, width: number): ReturnType<typeof sinusoidTable> {
  const from = interpolatedFrom(geometry.patch);
  return resampleTable(sinusoidTable(from[0] * from[1] * from[2], width), from, gridOf(geometry));
}

/** The grid of InternVideo1's table before it is resampled. */
export function interpolatedFrom(patch: number): Grid {
  const side = Math.floor(224 / patch);
  return [8, side, side];
}

function blocks(g: GraphBuilder, x: Value, tower: Tower, variant: GraphVariant): Value {
  for (let i = 0; i < tower.depth; i++) x = g.scope(`blocks.${i}`, () => block(g, x, tower, variant));
  return x;
}

/** Pre-norm transformer block, below the scope `blocks.{i}`: [b, n, width] -> [b, n, width]. */
export function block(g: GraphBuilder, x: Value, tower: Tower, variant: GraphVariant): Value {
  const scaled = (y: Value, name: string): Value => (tower.layerScale ? mul(g, y, g.param(name, [tower.width])) : y);
  const h = layerNorm(g, x, 'norm1', tower.epsilon);
  x = add(
    g,
    x,
    scaled(
      g.scope('attn', () => selfAttention(g, h, tower, variant)),
      'gamma_1',
    ),
  );
  const m = layerNorm(g, x, 'norm2', tower.epsilon);
  return add(
    g,
    x,
    scaled(
      g.scope('mlp', () => mlp(g, m, tower.hidden)),
      'gamma_2',
    ),
  );
}

function selfAttention(
  g: GraphBuilder,
  x: Value,
  { width, heads, qvBias, cosine }: Tower,
  { form }: GraphVariant,
): Value {
  const weight = g.param('qkv.weight', [3 * width, width]);
  const bias = qvBias
    ? concat(
        g,
        [
          g.param('q_bias', [width]),
          g.constant(zeros('float32', [width]), `zeros_${width}`),
          g.param('v_bias', [width]),
        ],
        0,
      )
    : undefined;
  const parts = split(g, multiply(g, x, weight, bias), [width, width, width], 2);
  let [q, k] = [parts[0]!, parts[1]!];
  const v = parts[2]!;
  let scale = (width / heads) ** -0.5;
  if (cosine) {
    // Unit vectors per head, times a learned temperature of at most 100; no 1/sqrt(d).
    const perHead = (y: Value): Value => unitLength(g, reshape(g, y, [0, 0, heads, width / heads]), 1e-12);
    const temperature = exp(
      g,
      min(g, reshape(g, g.param('scale', [heads, 1, 1]), [heads, 1]), scalar(g, Math.log(100))),
    );
    q = reshape(g, mul(g, perHead(q), temperature), [0, 0, width]);
    k = reshape(g, perHead(k), [0, 0, width]);
    scale = 1;
  }
  return linear(g, attention(g, [q, k, v], { heads, scale, form }), 'proj', width);
}

/** Each cube and colour with its own mean and (unbiased) deviation taken out: [b, n, 3 tubelet patch^2]. */
export function pixelTargets(g: GraphBuilder, cubes: Cubes, { mean: average, std, tubelet, patch }: Geometry): Value {
  const pixels = cubes.normalised
    ? add(g, mul(g, cubes.values, floats(g, std)), floats(g, average))
    : div(g, cubes.values, scalar(g, 255)); // [b, n, tubelet patch^2, 3], 0 to 1
  const count = tubelet * patch * patch;
  const centred = sub(g, pixels, mean(g, pixels, [2], 1));
  const variance = div(g, sum(g, mul(g, centred, centred), [2], 1), scalar(g, count - 1));
  const unit = div(g, centred, add(g, sqrt(g, variance), scalar(g, 1e-6)));
  return reshape(g, unit, [0, 0, 3 * count]);
}
