/**
 * RoIAlign over a frozen map of tokens, as two products: bilinear weights of a bin factor into those of its rows and those of its columns,
 * so that the samples of a box are `rows` x map x `columns`. Boxes are data: the host makes both factors.
 *
 * Paper: He et al., "Mask R-CNN", 2017. Source: pytorch/vision roi_align, aligned; border rules of roi_align_common.h.
 */
import type { GraphBuilder } from '../src/graph/builder.js';
import { matMul, reshape } from '../src/graph/layers.js';
import type { Value } from '../src/graph/ops.js';
import { ends } from '../src/graph/spatial.js';
import type { BoxCorners } from '../src/models/forecasts.js';
import { tensor } from '../src/tensor.js';
import type { Tensor } from '../src/types.js';

/** A map, and the bins that a box is cut into. */
export interface RoiGrid {
  /** Of the map: [h, w]. */
  readonly grid: readonly [h: number, w: number];
  /** Map places a pixel of the boxes: [across, down]. */
  readonly scale: readonly [x: number, y: number];
  /** Bins along each side. */
  readonly output: number;
  /** Samples along each side of a bin; 0: as many as map places that a bin spans, rounded up. */
  readonly sampling: number;
}

/** The factors of RoIAlign for a batch of pictures, each with its boxes; boxes that a picture lacks give zeros. */
export interface RoiFactors {
  /** [pictures, boxes, output, h] */
  readonly rows: Tensor<'float32'>;
  /** [pictures, boxes, output, w] */
  readonly columns: Tensor<'float32'>;
}

/**
 * The factors of RoIAlign along rows and columns.
 *
 * @param slots boxes a picture in the result; further ones are left out
 */
export function roiFactors(
  pictures: readonly (readonly BoxCorners[])[],
  slots: number,
  { grid: [h, w], scale: [across, down], output, sampling }: RoiGrid,
): RoiFactors {
  const rows = new Float32Array(pictures.length * slots * output * h);
  const columns = new Float32Array(pictures.length * slots * output * w);
  pictures.forEach((boxes, picture) => {
    boxes.slice(0, slots).forEach(([x1, y1, x2, y2], box) => {
      const at = (picture * slots + box) * output;
      fillShares(rows.subarray(at * h, (at + output) * h), [y1 * down, y2 * down], { n: h, output, sampling });
      fillShares(columns.subarray(at * w, (at + output) * w), [x1 * across, x2 * across], { n: w, output, sampling });
    });
  });
  const lead = [pictures.length, slots, output];
  return { rows: tensor('float32', [...lead, h], rows), columns: tensor('float32', [...lead, w], columns) };
}

/** Shares of the places of one axis in each bin between two edges: [output, n]. Edges are in places; place i spans [i, i + 1]. */
function fillShares(
  out: Float32Array,
  [low, high]: readonly [number, number],
  { n, output, sampling }: { readonly n: number; readonly output: number; readonly sampling: number },
): void {
  const bin = (high - low) / output;
  // A box with no side, or an inverted one, has no samples and gives zeros. No box spans more bins than the axis has places by far.
  const samples = sampling > 0 ? sampling : Math.min(Math.max(0, Math.ceil(bin)), 4 * n);
  for (let row = 0; row < output; row++) {
    for (let sample = 0; sample < samples; sample++) {
      const place = low - 0.5 + bin * (row + (sample + 0.5) / samples);
      for (const [pixel, share] of ends(place, n)) out[row * n + pixel]! += share / samples;
    }
  }
}

/** Features of boxes: map [b, h, w, c], rows [b, boxes, o, h], columns [b, boxes, o, w] -> [b, boxes, o, o, c]. */
export function roiAlign(g: GraphBuilder, map: Value, { rows, columns }: { rows: Value; columns: Value }): Value {
  const [, h, w, c] = map.shape as readonly [unknown, number, number, number]; // grids have known sizes
  const output = rows.shape[2] as number;
  const lines = matMul(g, reshape(g, rows, [0, -1, h]), reshape(g, map, [0, h, w * c])); // [b, boxes o, w c]
  const places = reshape(g, lines, [0, -1, output, w, c]);
  return matMul(g, reshape(g, columns, [0, 0, 1, output, w]), places);
}
