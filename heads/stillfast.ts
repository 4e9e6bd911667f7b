/**
 * The fusion block of StillFast: what a video says is added to the feature map of a still picture of higher resolution. The mean of the
 * fast map over time is brought to the size of the still one (nearest), convolved, added, and convolved again.
 *
 * Paper: Ragusa et al., "StillFast", 2023. Source: fpv-iplab/stillfast stillfast/models/ (facts only, its code carries no licence). Loads
 * one block, or block `level` (1 to 4) of a whole checkpoint. The two backbones, the pyramid and the RoI heads around it are not built
 * here; the detections that their logits give are `stillFastDetections`.
 */
import type { GraphBuilder } from '../src/graph/builder.js';
import { add, convolve, mean, one } from '../src/graph/layers.js';
import type { Value } from '../src/graph/ops.js';
import { ConfigReader, defined, limits } from '../src/models/config.js';
import { noise, type HeadFamily } from '../src/models/head.js';
import { renamed } from '../src/models/stored.js';
import { tensor } from '../src/tensor.js';

const name = 'stillfast';
const block = /^(?:model\.)?backbone\.pre_pyramid_fusion_block_([1-4])\./;
const [up, after] = ['post_up_conv_block', 'post_sum_conv_block'];

/** Official fusion block of StillFast. */
export const stillFast: HeadFamily = {
  name,
  task: 'sta',
  summary: 'fusion of video features into those of a still picture (one block of StillFast)',
  official: (tensors) => renamed(tensors, (key) => key.replace(block, 'fusion_$1.')),
  infer: (keys) => {
    // A file of one block has bare keys; of a whole model, block 1 unless the configuration names another.
    const whole = [...keys.keys()].some((key) => key.startsWith('fusion_'));
    const shape = keys.get(whole ? `fusion_1.${up}.weight` : `${up}.weight`);
    return defined({
      channels_2d: shape?.[0],
      channels_3d: shape?.[1],
      level: whole ? 1 : 0,
    });
  },
  spec(given) {
    const config = new ConfigReader(name, given);
    const still = config.integer('channels_2d', 1, limits.width);
    const fast = config.integer('channels_3d', 1, limits.width);
    const level = config.integer('level', 0, 4, 0);
    const [height, width] = config.integers('still_size', 2, 1, limits.size, [25, 34]) as readonly [number, number]; // two, as asked for
    const [h, w] = config.integers('fast_size', 2, 1, limits.size, [8, 11]) as readonly [number, number];
    const prefix = level === 0 ? '' : `fusion_${level}.`;
    return {
      family: name,
      task: 'sta',
      config: {
        channels_2d: still,
        channels_3d: fast,
        level,
        still_size: [height, width],
        fast_size: [h, w],
      },
      widths: [still, fast],
      inputs: {
        still: { dtype: 'float32', shape: ['batch', still, height, width], meaning: 'map of the still picture' },
        fast: { dtype: 'float32', shape: ['batch', fast, 'frames', h, w], meaning: 'map of the video' },
      },
      outputs: {
        fused: { dtype: 'float32', shape: ['batch', still, height, width], meaning: 'map of the still picture' },
      },
      kinds: [],
      postprocess: 'stillfast/1',
      forward(g, inputs) {
        const slow = mean(g, inputs['fast']!, [2]); // declared inputs
        const large = nearest(g, nearest(g, slow, { axis: 2, from: h, to: height }), { axis: 3, from: w, to: width });
        const sum = add(g, inputs['still']!, convolution(g, large, `${prefix}${up}`, still));
        return { fused: convolution(g, sum, `${prefix}${after}`, still) };
      },
      leftover: (key) =>
        /^fusion_[1-4]\./.test(key)
          ? 'of another level'
          : /^(model\.)?(backbone|rpn|roi_heads)\./.test(key)
            ? 'of the model around the block'
            : undefined,
      probe: (random) => ({ still: noise(random, [1, still, height, width]), fast: noise(random, [1, fast, 2, h, w]) }),
      decode: ({ fused }) => Array.from({ length: fused!.shape[0] ?? 0 }, () => []), // a map predicts nothing by itself
    };
  },
};

/** 3 x 3, zeros around. */
function convolution(g: GraphBuilder, x: Value, key: string, out: number): Value {
  const weight = g.param(`${key}.weight`, [out, x.shape[1] as number, 3, 3]);
  return convolve(g, x, weight, g.param(`${key}.bias`, [out]), { strides: [1, 1], padding: [1, 1] });
}

/** x with `to` places along an axis of `from`, each the one that it lies in; places are worked out in float32, as in PyTorch. */
function nearest(
  g: GraphBuilder,
  x: Value,
  { axis, from, to }: { readonly axis: number; readonly from: number; readonly to: number },
): Value {
  const scale = Math.fround(from / to);
  const places = BigInt64Array.from({ length: to }, (_, i) =>
    BigInt(Math.min(Math.floor(Math.fround(i * scale)), from - 1)),
  );
  return one(g, 'Gather', [x, g.constant(tensor('int64', [to], places))], { axis });
}
