/** Hands as rows of 20 numbers: five key frames, each left x, left y, right x, right y (ego4d.md, FHP). */
import { tensor } from '../src/tensor.js';
import type { Tensor } from '../src/types.js';

/** pre_45, pre_30, pre_15, pre_frame, contact_frame. */
export const keyFrames = 5;

/** Numbers of a prediction. */
export const handNumbers = 4 * keyFrames;

/** Hands of one clip: 20 numbers, and which of them are annotated. */
export interface AnnotatedHands {
  /** Pixels of the annotated frame. */
  readonly points: ArrayLike<number>;
  /** Its width and height. */
  readonly size: readonly [width: number, height: number];
}

/** What training compares with: places as shares of the frame, the frame's sizes, and 1 for what is annotated. */
export interface HandTargets {
  /** [clips, 5, 4] */
  readonly points: Tensor<'float32'>;
  /** [clips, 5, 4], 1 or 0: a hand at exactly (0, 0) is not annotated, as in the official metric. */
  readonly mask: Tensor<'float32'>;
  /** [clips, 4]: width, height, width, height. */
  readonly scale: Tensor<'float32'>;
}

/** Targets of a batch of clips. */
export function handTargets(clips: readonly AnnotatedHands[]): HandTargets {
  const shape = [clips.length, keyFrames, 4];
  const points = new Float32Array(clips.length * handNumbers);
  const mask = new Float32Array(points.length);
  const scale = new Float32Array(clips.length * 4);
  clips.forEach(({ points: given, size }, clip) => {
    for (let hand = 0; hand < handNumbers; hand += 2) {
      const [x, y] = [given[hand]!, given[hand + 1]!];
      if (x === 0 && y === 0) continue;
      const at = clip * handNumbers + hand;
      points[at] = x / size[0];
      points[at + 1] = y / size[1];
      mask.fill(1, at, at + 2);
    }
    scale.set([...size, ...size], 4 * clip);
  });
  return {
    points: tensor('float32', shape, points),
    mask: tensor('float32', shape, mask),
    scale: tensor('float32', [clips.length, 4], scale),
  };
}

/** Mean annotated place of every number, as shares of the frame: what a blind guess says. Half the frame where nothing is annotated: [5, 4]. */
export function handPrior({ points, mask }: Pick<HandTargets, 'points' | 'mask'>): Tensor<'float32'> {
  const sums = new Float64Array(handNumbers);
  const counts = new Float64Array(handNumbers);
  points.data.forEach((value, i) => {
    sums[i % handNumbers]! += value * mask.data[i]!;
    counts[i % handNumbers]! += mask.data[i]!;
  });
  const means = Float32Array.from(sums, (sum, i) => (counts[i] === 0 ? 0.5 : sum / counts[i]!));
  return tensor('float32', [keyFrames, 4], means);
}

/** 20 numbers as [key frame][left, right][x, y]. */
export function handPairs(numbers: ArrayLike<number>): number[][][] {
  return Array.from({ length: keyFrames }, (_, frame) =>
    [0, 2].map((hand) => [numbers[4 * frame + hand]!, numbers[4 * frame + hand + 1]!]),
  );
}
