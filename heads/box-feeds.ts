/** Boxes of pictures as inputs of the RoI heads. */
import { sizeOf, tensor } from '../src/tensor.js';
import type { BoxCorners, CandidateBox } from '../src/models/forecasts.js';
import type { Tensor } from '../src/types.js';

export type { CandidateBox } from '../src/models/forecasts.js';

/**
 * Boxes as rows of numbers: x1, y1, x2, y2 in pixels, noun (-1: none), score. Rows beyond the boxes of a picture have score 0.
 *
 * @returns [pictures, slots, 6]
 */
export function boxRows(pictures: readonly (readonly CandidateBox[])[], slots: number): Tensor<'float32'> {
  const shape = [pictures.length, slots, 6];
  const data = new Float32Array(sizeOf(shape));
  pictures.forEach((boxes, picture) => {
    boxes.slice(0, slots).forEach(({ box, noun = -1, score }, i) => {
      data.set([...box, noun, score], 6 * (picture * slots + i));
    });
  });
  return tensor('float32', shape, data);
}

/** IoU of two boxes of continuous coordinates; 0 where they do not overlap. */
export function boxIou(a: BoxCorners, b: BoxCorners): number {
  const width = Math.min(a[2], b[2]) - Math.max(a[0], b[0]);
  const height = Math.min(a[3], b[3]) - Math.max(a[1], b[1]);
  if (!(width > 0 && height > 0)) return 0;
  const area = (box: BoxCorners): number => (box[2] - box[0]) * (box[3] - box[1]);
  return (width * height) / (area(a) + area(b) - width * height);
}
