/**
 * Boxes out of regressed offsets, in float32 as torchvision works it out.
 *
 * Paper: Girshick et al., "Rich feature hierarchies", 2014. Source: pytorch/vision torchvision/models/detection/_utils.py, BoxCoder.
 */
const { fround } = Math;

/** Largest logarithm of a growth of width or height. */
const mostGrowth = fround(Math.log(1000 / 16));

/** What the offsets of x, y, width and height are divided by. */
export type BoxWeights = readonly [x: number, y: number, width: number, height: number];

/**
 * One box: the proposal moved and grown by four offsets.
 *
 * @param at of the proposal and of the offsets, in elements
 */
export function decodedBox(
  { proposals, offsets }: { readonly proposals: Float32Array; readonly offsets: Float32Array },
  at: { readonly proposal: number; readonly offset: number },
  weights: BoxWeights,
): [x1: number, y1: number, x2: number, y2: number] {
  const [x1, y1, x2, y2] = [0, 1, 2, 3].map((i) => proposals[at.proposal + i]!) as [number, number, number, number];
  const part = (i: 0 | 1 | 2 | 3): number => fround(offsets[at.offset + i]! / fround(weights[i]));
  const along = (low: number, high: number, move: number, growth: number): [number, number] => {
    const side = fround(high - low);
    const centre = fround(low + fround(0.5 * side));
    const middle = fround(fround(move * side) + centre);
    const half = fround(0.5 * fround(fround(Math.exp(Math.min(growth, mostGrowth))) * side));
    return [fround(middle - half), fround(middle + half)];
  };
  const [left, right] = along(x1, x2, part(0), part(2));
  const [top, bottom] = along(y1, y2, part(1), part(3));
  return [left, top, right, bottom];
}

/** An edge within a picture side of `most` pixels. */
export function clippedEdge(edge: number, most: number): number {
  return Math.min(Math.max(edge, 0), most);
}

/** Softmax of a row of logits, in float32. */
export function softmax32(logits: Float32Array): Float32Array {
  const most = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  const powers = logits.map((logit) => Math.exp(fround(logit - most)));
  const total = powers.reduce((sum, power) => fround(sum + power), 0);
  return powers.map((power) => power / total);
}
