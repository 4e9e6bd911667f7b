/**
 * Suppression of boxes as torchvision has it (heads.md 0, algorithm D), in float32: every operation is rounded as the official code
 * rounds it, so that equal inputs give equal picks.
 *
 * Source: pytorch/vision torchvision/ops/boxes.py, batched_nms; csrc/ops/cpu/nms_kernel.cpp.
 */
const { fround } = Math;

/** Boxes with classes and scores; boxes are corners [x1, y1, x2, y2], four numbers each. */
export interface ScoredBoxes {
  readonly boxes: Float32Array;
  readonly scores: ArrayLike<number>;
  /** Boxes of unlike classes do not suppress each other. */
  readonly classes: ArrayLike<number>;
}

/** Up to here one pass over boxes moved apart by their classes, beyond it a pass for each class: the official limit on the cpu. */
const mostMoved = 1000;

/**
 * Boxes that stay, by falling score (the first of equal ones first): a box falls to a better one of its class where IoU > threshold.
 *
 * @param most the best so many of those that stay; default all
 * @returns indices of boxes
 */
export function suppressedByClass(
  { boxes, scores, classes }: ScoredBoxes,
  threshold: number,
  most = Infinity,
): number[] {
  const count = scores.length;
  const order = Array.from({ length: count }, (_, i) => i).sort((a, b) => scores[b]! - scores[a]! || a - b);
  const wanted = { order, threshold, most };
  if (count > mostMoved) return picked(boxes, wanted, (a, b) => classes[a] === classes[b]);
  // The trick of the official code, which loses low bits of coordinates where classes have large numbers.
  const apart = fround(boxes.reduce((most, edge) => Math.max(most, edge), -Infinity) + 1);
  const moved = boxes.map((edge, i) => edge + fround(classes[i >> 2]! * apart));
  return picked(moved, wanted, () => true);
}

function picked(
  boxes: Float32Array,
  { order, threshold, most }: { readonly order: readonly number[]; readonly threshold: number; readonly most: number },
  compete: (a: number, b: number) => boolean,
): number[] {
  const limit = fround(threshold);
  const kept: number[] = [];
  // A quick look first: boxes apart share nothing, which is above no threshold of 0 or more.
  const mayFall = (better: number, candidate: number): boolean =>
    limit < 0 || touches(boxes, 4 * better, 4 * candidate);
  for (const candidate of order) {
    if (kept.length >= most) break;
    const falls = kept.some(
      (better) => mayFall(better, candidate) && compete(better, candidate) && iou32(boxes, better, candidate) > limit,
    );
    if (!falls) kept.push(candidate);
  }
  return kept;
}

/** Do the boxes that begin at these places share any area? */
function touches(boxes: Float32Array, a: number, b: number): boolean {
  return (
    boxes[a]! < boxes[b + 2]! &&
    boxes[b]! < boxes[a + 2]! &&
    boxes[a + 1]! < boxes[b + 3]! &&
    boxes[b + 1]! < boxes[a + 3]!
  );
}

/** IoU of boxes i and j in float32; NaN where both are empty, which suppresses nothing. */
export function iou32(boxes: Float32Array, i: number, j: number): number {
  const [a, b] = [4 * i, 4 * j];
  const width = Math.max(0, fround(Math.min(boxes[a + 2]!, boxes[b + 2]!) - Math.max(boxes[a]!, boxes[b]!)));
  const height = Math.max(0, fround(Math.min(boxes[a + 3]!, boxes[b + 3]!) - Math.max(boxes[a + 1]!, boxes[b + 1]!)));
  const inter = fround(width * height);
  return fround(inter / fround(fround(area32(boxes, a) + area32(boxes, b)) - inter));
}

function area32(boxes: Float32Array, at: number): number {
  return fround(fround(boxes[at + 2]! - boxes[at]!) * fround(boxes[at + 3]! - boxes[at + 1]!));
}
