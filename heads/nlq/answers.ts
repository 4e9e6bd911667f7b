/** Lists of answers to one question, of one head or of several. */
import { hullTiou } from '../../src/metrics/intervals.js';
import type { SpanAnswer } from '../../src/models/head.js';

/** What a merged list keeps. */
export interface MergeOptions {
  /** An answer that overlaps a better one by more than this tIoU is left out. Default 0.5, as in the official ensemble. */
  readonly overlapAbove?: number;
  /** Most answers. Default 5. */
  readonly most?: number;
}

/**
 * Answers of several heads or runs as one list: by falling score, equal ones in the order given, without those that repeat a better one.
 *
 * @source houzhijian/GroundNLQ ensemble.py, temporal_nms: IoU over the hull, which two spans of no length at one place have none of (0)
 */
export function mergedAnswers(
  answers: readonly SpanAnswer[],
  { overlapAbove = 0.5, most = 5 }: MergeOptions = {},
): SpanAnswer[] {
  const kept: SpanAnswer[] = [];
  for (const one of [...answers].sort((a, b) => b.score - a.score)) {
    if (kept.length >= most) break;
    const repeats = (better: SpanAnswer): boolean =>
      hullTiou(better.start, better.end, one.start, one.end) > overlapAbove;
    if (!kept.some(repeats)) kept.push(one);
  }
  return kept;
}
