/**
 * Scored segments of temporal heads, and the decoding that makes them out of what a pyramid of points gives. Everything is float32, rounded
 * after each operation as in the official code, so that segments agree bit for bit.
 *
 * Source: happyharrycn/actionformer_release libs/modeling/meta_archs.py, inference_single_video.
 */

const { fround } = Math;

/** Segments of one sequence, one array a field, all of one length. Start and end are in grid units, or in seconds once converted. */
export interface Segments {
  readonly start: Float32Array;
  readonly end: Float32Array;
  readonly score: Float32Array;
  readonly label: Int32Array;
}

/** The rows of `segments` at `indices`, in that order. */
export function pickSegments({ start, end, score, label }: Segments, indices: ArrayLike<number>): Segments {
  const { length } = indices;
  const picked = {
    start: new Float32Array(length),
    end: new Float32Array(length),
    score: new Float32Array(length),
    label: new Int32Array(length),
  };
  for (let i = 0; i < length; i++) {
    const at = indices[i]!;
    picked.start[i] = start[at]!;
    picked.end[i] = end[at]!;
    picked.score[i] = score[at]!;
    picked.label[i] = label[at]!;
  }
  return picked;
}

/** All rows of all parts, one part after the other. */
export function joinSegments(parts: readonly Segments[]): Segments {
  const length = parts.reduce((total, { score }) => total + score.length, 0);
  const joined = {
    start: new Float32Array(length),
    end: new Float32Array(length),
    score: new Float32Array(length),
    label: new Int32Array(length),
  };
  let at = 0;
  for (const part of parts) {
    joined.start.set(part.start, at);
    joined.end.set(part.end, at);
    joined.score.set(part.score, at);
    joined.label.set(part.label, at);
    at += part.score.length;
  }
  return joined;
}

/** Places of `score` by falling score, equal ones in the order of the array. */
export function fallingOrder(score: ArrayLike<number>): Int32Array {
  return Int32Array.from({ length: score.length }, (_, i) => i).sort((a, b) => score[b]! - score[a]! || a - b);
}

/** What the heads give for one level of the pyramid. */
export interface LevelOutputs {
  /** [points, classes], before the sigmoid. */
  readonly logits: Float32Array;
  /** [points, 2]: distances to start and end in strides. */
  readonly offsets: Float32Array;
  /** [points]: 1 where the point belongs to the sequence, 0 in the padding. */
  readonly mask: ArrayLike<number>;
  /** Grid units between points; point i lies at i * stride. */
  readonly stride: number;
}

/** What becomes of the scores of a level (ActionFormer `test_cfg`). */
export interface DecodeOptions {
  readonly classes: number;
  /** Scores at or below it are dropped. */
  readonly scoreAbove: number;
  /** Candidates that a level may keep. */
  readonly most: number;
  /** Segments of this length (grid units) or shorter are dropped. */
  readonly longerThan: number;
}

/** Candidates of one sequence before suppression: level after level, within a level by falling score. */
export function decodeLevels(levels: readonly LevelOutputs[], options: DecodeOptions): Segments {
  return joinSegments(levels.map((level) => decodeLevel(level, options)));
}

function decodeLevel(
  { logits, offsets, mask, stride }: LevelOutputs,
  { classes, scoreAbove, most, longerThan }: DecodeOptions,
): Segments {
  const least = fround(scoreAbove);
  const shortest = fround(longerThan);
  const places: number[] = [];
  const found: number[] = [];
  for (let i = 0; i < logits.length; i++) {
    const score = fround(fround(1 / (1 + Math.exp(-logits[i]!))) * mask[Math.floor(i / classes)]!);
    if (!(score > least)) continue;
    places.push(i);
    found.push(score);
  }
  const order = fallingOrder(found).subarray(0, most);
  const length = order.length;
  const [start, end, score] = [new Float32Array(length), new Float32Array(length), new Float32Array(length)];
  const label = new Int32Array(length);
  let kept = 0;
  for (const at of order) {
    const place = places[at]!;
    const point = Math.floor(place / classes);
    const time = fround(point * stride);
    const left = fround(time - fround(offsets[2 * point]! * stride));
    const right = fround(time + fround(offsets[2 * point + 1]! * stride));
    if (!(fround(right - left) > shortest)) continue;
    start[kept] = left;
    end[kept] = right;
    score[kept] = found[at]!;
    label[kept] = place % classes;
    kept++;
  }
  return {
    start: start.subarray(0, kept),
    end: end.subarray(0, kept),
    score: score.subarray(0, kept),
    label: label.subarray(0, kept),
  };
}
