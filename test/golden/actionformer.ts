import type { GraphBuilder } from '../../src/graph/builder.js';
import {
  add,
  concat,
  convolve,
  div,
  gelu,
  matMul,
  mul,
  relu,
  reshape,
  scalar,
  softmax,
  sum,
  transpose,
} from '../../src/graph/layers.js';
import { channelNorm } from '../../src/graph/norms.js';
import type { Value } from '../../src/graph/ops.js';
import { maxPool, neighbourhoods } from '../../src/graph/spatial.js';
import { tensor } from '../../src/tensor.js';
import { distanceIou, focalLoss, whereCounted } from '../../src/train/losses.js';
import type { AnyTensor, Tensor } from '../../src/types.js';
import type { MakeModel } from './training-models.js';

/**
 * ActionFormer as the localisation case trains it: local attention, a pyramid without a neck of its own, two heads.
 *
 * Paper: Zhang et al., "ActionFormer", ECCV 2022. Code: happyharrycn/actionformer_release libs/modeling.
 */
interface Sizes {
  readonly backbone_arch: readonly [embeddings: number, stem: number, branches: number];
  readonly input_dim: number;
  readonly n_head: number;
  readonly n_mha_win_size: number;
  readonly embd_dim: number;
  readonly num_classes: number;
  readonly head_num_layers: number;
  readonly positive_points: number;
  readonly train_cfg: { readonly init_loss_norm: number };
}

/** A level of the pyramid: 1 where a time is part of the video, and what is added to the logits of the keys around each time. */
interface Level {
  /** [b, 1, t] */
  readonly mask: Value;
  /** [b, 1, t, 1, window] */
  readonly around: Value;
}

const conv = (
  g: GraphBuilder,
  x: Value,
  name: string,
  out: number,
  options: { kernel: number; stride?: number; bias?: boolean; groups?: number },
) => {
  const { kernel, stride = 1, bias = false, groups = 1 } = options;
  const weight = g.param(`${name}.weight`, [out, (x.shape[1] as number) / groups, kernel]);
  const shift = bias ? g.param(`${name}.bias`, [out]) : undefined;
  return convolve(g, x, weight, shift, { strides: [stride], padding: [Math.floor(kernel / 2)], groups });
};

const norm = (g: GraphBuilder, x: Value, name: string): Value => {
  const shape = [1, x.shape[1] as number, 1];
  return channelNorm(g, x, { weight: g.param(`${name}.weight`, shape), bias: g.param(`${name}.bias`, shape) }, 1e-5);
};

/** x [b, c, t] of one level -> [b, c, t / stride] of `level`. */
function attention(
  g: GraphBuilder,
  x: Value,
  { mask, around }: Level,
  stride: number,
  { n_head: heads, n_mha_win_size: window }: Sizes,
): Value {
  const width = x.shape[1] as number;
  const [b, , t] = mask.shape as [number, number, number];
  const d = width / heads;
  const [q, k, v] = ['query', 'key', 'value'].map((name) => {
    const own = mul(g, conv(g, x, `${name}_conv.conv`, width, { kernel: 3, stride, groups: width }), mask);
    const projected = conv(g, norm(g, own, `${name}_norm`), name, width, { kernel: 1, bias: true });
    return transpose(g, reshape(g, projected, [b, heads, d, t]), [0, 1, 3, 2]); // [b, heads, t, d]
  });
  const query = reshape(g, mul(g, q!, scalar(g, d ** -0.5)), [b, heads, t, 1, d]);
  const near = transpose(g, neighbourhoods(g, k!, window), [0, 1, 2, 4, 3]); // [b, heads, t, d, window]
  const shares = mul(g, softmax(g, add(g, matMul(g, query, near), around)), reshape(g, mask, [b, 1, t, 1, 1]));
  const mixed = reshape(g, matMul(g, shares, neighbourhoods(g, v!, window)), [b, heads, t, d]);
  const joined = reshape(g, transpose(g, mixed, [0, 1, 3, 2]), [b, width, t]);
  return mul(g, conv(g, joined, 'proj', width, { kernel: 1, bias: true }), mask);
}

function block(g: GraphBuilder, x: Value, level: Level, stride: number, sizes: Sizes): Value {
  const width = sizes.embd_dim;
  const scaled = (y: Value, name: string): Value => mul(g, y, g.param(`${name}.scale`, [1, width, 1]));
  const normed = norm(g, x, 'ln1');
  const attended = g.scope('attn', () => attention(g, normed, level, stride, sizes));
  const skip = stride === 1 ? x : maxPool(g, x, 2, { kernel: 3, stride: 2, padding: 1 });
  const mid = add(g, mul(g, skip, level.mask), scaled(attended, 'drop_path_attn'));
  const hidden = gelu(g, conv(g, norm(g, mid, 'ln2'), 'mlp.0', 4 * width, { kernel: 1, bias: true }));
  const out = conv(g, hidden, 'mlp.3', width, { kernel: 1, bias: true });
  return add(g, mid, scaled(mul(g, out, level.mask), 'drop_path_mlp'));
}

function pyramid(g: GraphBuilder, feats: Value, levels: readonly Level[], sizes: Sizes): Value[] {
  const [embeddings, stem, branches] = sizes.backbone_arch;
  const outputs = g.scope('backbone', () => {
    let x = feats;
    for (let i = 0; i < embeddings; i++) {
      const own = mul(g, conv(g, x, `embd.${i}.conv`, sizes.embd_dim, { kernel: 3 }), levels[0]!.mask);
      x = relu(g, norm(g, own, `embd_norm.${i}`));
    }
    for (let i = 0; i < stem; i++) x = g.scope(`stem.${i}`, () => block(g, x, levels[0]!, 1, sizes));
    const all = [x];
    for (let i = 0; i < branches; i++) {
      all.push(g.scope(`branch.${i}`, () => block(g, all[i]!, levels[i + 1]!, 2, sizes)));
    }
    return all;
  });
  return outputs.map((x, i) => norm(g, x, `neck.fpn_norms.${i}`));
}

/** A head over one level: [b, t, outputs]. */
function head(
  g: GraphBuilder,
  x: Value,
  { mask }: Level,
  last: string,
  outputs: number,
  { head_num_layers: layers, embd_dim: width }: Sizes,
): Value {
  let y = x;
  for (let i = 0; i < layers - 1; i++) {
    y = relu(g, norm(g, mul(g, conv(g, y, `head.${i}.conv`, width, { kernel: 3 }), mask), `norm.${i}`));
  }
  return transpose(g, mul(g, conv(g, y, `${last}.conv`, outputs, { kernel: 3, bias: true }), mask), [0, 2, 1]);
}

/** Masks of a level on the host: nearest sampling of the one before, and which keys a time may look at. */
function levelFeeds(
  valid: Tensor<'float32'>,
  window: number,
): { readonly mask: Tensor<'float32'>; readonly around: Tensor<'float32'> } {
  const [b, t] = valid.shape as [number, number];
  const around = new Float32Array(b * t * window);
  for (let row = 0; row < b; row++) {
    for (let at = 0; at < t; at++) {
      for (let w = 0; w < window; w++) {
        const key = at + w - (window - 1) / 2;
        // Outside of the sequence, and padded within it: the official -inf (which would poison gradients) and -1e4.
        const isKey = key >= 0 && key < t;
        around[(row * t + at) * window + w] = isKey ? (valid.data[row * t + key] === 1 ? 0 : -1e4) : -1e9;
      }
    }
  }
  return { mask: tensor('float32', [b, 1, t], valid.data), around: tensor('float32', [b, 1, t, 1, window], around) };
}

function halved(valid: Tensor<'float32'>): Tensor<'float32'> {
  const [b, t] = valid.shape as [number, number];
  return tensor(
    'float32',
    [b, t / 2],
    valid.data.filter((_, i) => (i % t) % 2 === 0),
  );
}

export const localisation: MakeModel = (config, arrays) => {
  const sizes = config.model as unknown as Sizes;
  const floats = (name: string): Tensor<'float32'> => {
    const { shape, data } = arrays.get(`batch/${name}`)!;
    return tensor('float32', shape, Float32Array.from(data as ArrayLike<number>));
  };
  const [feats, classes, offsets] = [floats('feats'), floats('target_classes'), floats('target_offsets')];
  const [b, points, count] = classes.shape as [number, number, number];
  const masks = [floats('valid')];
  for (let i = 0; i < sizes.backbone_arch[2]; i++) masks.push(halved(masks[i]!));
  const levels = masks.map((valid) => levelFeeds(valid, sizes.n_mha_win_size));
  const valid = floats('valid_all_levels');
  const positive = valid.data.map((value, i) =>
    value === 1 && classes.data.subarray(i * count, (i + 1) * count).some((one) => one > 0) ? 1 : 0,
  );
  const fixed: Record<string, AnyTensor> = {
    feats,
    classes,
    offsets,
    valid: tensor('float32', [b, points, 1], valid.data),
    positive: tensor('float32', [b, points, 1], positive),
  };
  levels.forEach(({ mask, around }, i) => Object.assign(fixed, { [`mask.${i}`]: mask, [`around.${i}`]: around }));
  return {
    forward(g) {
      const input = (name: string): Value => g.input(name, 'float32', fixed[name]!.shape);
      const own = levels.map((_, i): Level => ({ mask: input(`mask.${i}`), around: input(`around.${i}`) }));
      const xs = pyramid(g, input('feats'), own, sizes);
      const logits = g.scope('cls_head', () =>
        xs.map((x, i) => head(g, x, own[i]!, 'cls_head', sizes.num_classes, sizes)),
      );
      const spans = g.scope('reg_head', () =>
        xs.map((x, i) =>
          relu(g, mul(g, head(g, x, own[i]!, 'offset_head', 2, sizes), g.param(`scale.${i}.scale`, []))),
        ),
      );
      const normaliser = g.input('normaliser', 'float32', []);
      const total = (x: Value): Value => div(g, sum(g, x, [0, 1, 2]), normaliser);
      const counted = input('positive');
      const classification = total(mul(g, focalLoss(g, concat(g, logits, 1), input('classes')), input('valid')));
      const [found, wanted] = [concat(g, spans, 1), input('offsets')].map((x) => whereCounted(g, x, counted));
      const regression = total(mul(g, distanceIou(g, found!, wanted!), counted));
      return { loss: add(g, classification, regression), parts: { classification, regression } };
    },
    batch(i) {
      // A running value: 0.9 of the one before and 0.1 of the positive points, renewed before it is used.
      let normaliser = sizes.train_cfg.init_loss_norm;
      for (let step = 0; step <= i; step++) normaliser = 0.9 * normaliser + 0.1 * Math.max(sizes.positive_points, 1);
      return { ...fixed, normaliser: tensor('float32', [], Float32Array.of(normaliser)) };
    },
  };
};
