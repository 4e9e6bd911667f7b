/**
 * Overlap of boxes and greedy matching. The challenges differ in what a pixel is, in what equal overlaps decide and in which
 * truths may be matched; each difference is an argument here, so that there is one matcher.
 *
 * Boxes lie in flat arrays, four numbers each: corners [x1, y1, x2, y2] unless a name says `Sized` ([x, y, width, height]).
 */

/** Area that two boxes share, in square pixels of continuous coordinates; 0 where they are apart. Box `i` of `a`, box `j` of `b`. */
export function intersection(a: Float64Array, i: number, b: Float64Array, j: number): number {
  const width = smaller(a[4 * i + 2]!, b[4 * j + 2]!) - larger(a[4 * i]!, b[4 * j]!);
  const height = smaller(a[4 * i + 3]!, b[4 * j + 3]!) - larger(a[4 * i + 1]!, b[4 * j + 1]!);
  return (width < 0 ? 0 : width) * (height < 0 ? 0 : height);
}

/** (x2 - x1) (y2 - y1), with its sign: an inverted box has a negative area, one inverted both ways a positive one. */
export function signedArea(boxes: Float64Array, i: number): number {
  return (boxes[4 * i + 2]! - boxes[4 * i]!) * (boxes[4 * i + 3]! - boxes[4 * i + 1]!);
}

/**
 * IoU of every pair, both corner pixels counted: side = max - min + 1, at least 0.
 *
 * @param out row-major [detections, truths]
 * @source EGO4D/forecasting ego4d/evaluation/sta_metrics.py, compute_iou
 * @quirk  1e-11 in the divisor; an inverted box has area 0, or up to 1 where it is inverted by less than a pixel
 */
export function pixelIous(detections: Float64Array, truths: Float64Array, out: Float64Array): void {
  const count = truths.length / 4;
  let at = 0;
  for (let d = 0; d < detections.length; d += 4) {
    const x1 = detections[d]!;
    const y1 = detections[d + 1]!;
    const x2 = detections[d + 2]!;
    const y2 = detections[d + 3]!;
    const area = pixelSide(x1, x2) * pixelSide(y1, y2);
    for (let t = 0; t < 4 * count; t += 4) {
      const shared =
        pixelSide(Math.max(truths[t]!, x1), Math.min(truths[t + 2]!, x2)) *
        pixelSide(Math.max(truths[t + 1]!, y1), Math.min(truths[t + 3]!, y2));
      const truthArea = pixelSide(truths[t]!, truths[t + 2]!) * pixelSide(truths[t + 1]!, truths[t + 3]!);
      out[at++] = shared / (area + truthArea - shared + 1e-11);
    }
  }
}

function pixelSide(from: number, to: number): number {
  const side = to - from + 1;
  return side < 0 ? 0 : side;
}

/**
 * IoU of every pair of boxes [x, y, width, height], continuous; over a crowd, the share of the detection that lies in it.
 *
 * @param out row-major [detections, truths]
 * @source cocodataset/cocoapi common/maskApi.c, bbIou
 */
export function sizedIous(detections: Float64Array, truths: Float64Array, crowd: Uint8Array, out: Float64Array): void {
  const count = truths.length / 4;
  let at = 0;
  for (let d = 0; d < detections.length; d += 4) {
    const x = detections[d]!;
    const y = detections[d + 1]!;
    const right = detections[d + 2]! + x;
    const bottom = detections[d + 3]! + y;
    const area = detections[d + 2]! * detections[d + 3]!;
    for (let t = 0; t < count; t++, at++) {
      const tx = truths[4 * t]!;
      const ty = truths[4 * t + 1]!;
      const width = truths[4 * t + 2]!;
      const height = truths[4 * t + 3]!;
      out[at] = 0;
      const w = smaller(right, width + tx) - larger(x, tx);
      if (w <= 0) continue;
      const h = smaller(bottom, height + ty) - larger(y, ty);
      if (h <= 0) continue;
      out[at] = (w * h) / (crowd[t] === 0 ? area + width * height - w * h : area);
    }
  }
}

/** Python's `max`: NaN only where it comes first. */
function larger(a: number, b: number): number {
  return b > a ? b : a;
}

function smaller(a: number, b: number): number {
  return b < a ? b : a;
}

/** Which truth of an image a detection takes. */
export interface MatchRule {
  readonly threshold: number;
  /** `above`: IoU > threshold; `atLeast`: IoU >= threshold. */
  readonly overlap: 'above' | 'atLeast';
  /** Which of several truths with the same largest IoU. */
  readonly equals: 'first' | 'last';
  /** Bits of `agreement` that a pair needs; none where absent. */
  readonly wanted?: number;
}

/** One image: the IoUs of its detections and truths, and what limits their pairs. */
export interface MatchImage {
  /** Row-major [detections, truths]. */
  readonly ious: Float64Array;
  readonly truths: number;
  /** The first `candidates` of these are matched, best first; others, whose IoUs are all too small, may be left out. */
  readonly order: Int32Array;
  readonly candidates: number;
  /** Bits per pair, row-major. */
  readonly agreement?: Uint8Array;
  /** 1 = taken only where no other truth will do. */
  readonly ignored?: Uint8Array;
  /** 1 = may be taken again and again; only among the ignored. */
  readonly crowd?: Uint8Array;
}

/**
 * Greedy matching: each detection, best first, takes the free truth of largest IoU that the rule allows.
 *
 * @param taken scratch, at least one byte a truth; overwritten
 * @param out   by detection, for the candidates: the truth it takes, or -1
 */
export function matchGreedy(image: MatchImage, rule: MatchRule, taken: Uint8Array, out: Int32Array): void {
  const { ious, truths, order, candidates, agreement, ignored, crowd } = image;
  const { threshold, wanted = 0 } = rule;
  const isStrict = rule.overlap === 'above';
  const isLast = rule.equals === 'last';
  const passes = ignored === undefined ? 1 : 2;
  for (let t = 0; t < truths; t++) taken[t] = 0;
  for (let k = 0; k < candidates; k++) {
    const d = order[k]!;
    const row = d * truths;
    let best = -1;
    for (let pass = 0; pass < passes && best === -1; pass++) {
      let bestIou = threshold;
      for (let t = 0; t < truths; t++) {
        const iou = ious[row + t]!;
        // From the first find on, equal overlaps are decided by the rule; before it, by the threshold.
        const isBetter = iou > bestIou || (iou === bestIou && (best === -1 ? !isStrict : isLast));
        if (!isBetter) continue;
        if (ignored !== undefined && ignored[t] !== pass) continue;
        if (taken[t] === 1 && crowd?.[t] !== 1) continue;
        if (agreement !== undefined && (agreement[row + t]! & wanted) !== wanted) continue;
        best = t;
        bestIou = iou;
      }
    }
    out[d] = best;
    if (best !== -1) taken[best] = 1;
  }
}
