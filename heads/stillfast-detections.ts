/**
 * From the logits of StillFast to its detections: boxes by noun, the best verbs of each, thresholds, suppression.
 *
 * Paper: Ragusa et al., "StillFast", 2023. Source: fpv-iplab/stillfast stillfast/models/, postprocess_detections of its RoI heads;
 * facts only, its code carries no licence. Column 0 of nouns and verbs is the background; indices that come out begin at 0 without it.
 */
import { clippedEdge, decodedBox, softmax32, type BoxWeights } from './numerics/box-coder.js';
import { suppressedByClass } from './numerics/box-nms.js';

const { fround } = Math;

/** What the RoI heads give for the proposals of one image. */
export interface StillFastOutputs {
  /** [n, 4] corners in pixels. */
  readonly proposals: Float32Array;
  /** [n, nouns + 1] */
  readonly nounLogits: Float32Array;
  /** [n, verbs + 1] */
  readonly verbLogits: Float32Array;
  /** [n] seconds. */
  readonly contact: Float32Array;
  /** [n, 4 (nouns + 1)] */
  readonly offsets: Float32Array;
}

/** Constants of the official post-processing. */
export interface StillFastRules {
  /** Of the picture: [height, width]. */
  readonly image: readonly [number, number];
  readonly nouns: number;
  readonly verbs: number;
  /** Verbs that each box is given with. */
  readonly verbTop: number;
  /** A detection's score is above it. */
  readonly score: number;
  /** IoU above which the worse of two boxes with noun and verb in common falls. */
  readonly overlap: number;
  readonly most: number;
  readonly weights: BoxWeights;
}

/** The rules of the released configuration, whatever the picture and the classes. */
export const stillFastDefaults = {
  verbTop: 1,
  score: 0.05,
  overlap: 0.5,
  most: 100,
  weights: [10, 10, 5, 5],
} as const;

/** Sides below this are no boxes. */
const leastSide = 1e-2;

/** An interaction that is about to come: box in pixels, noun, verb and seconds to contact. */
export interface StillFastDetection {
  readonly box: readonly [x1: number, y1: number, x2: number, y2: number];
  /** From 0, without the background. */
  readonly noun: number;
  readonly verb: number;
  /** Seconds. */
  readonly contact: number;
  readonly score: number;
}

/** Detections of one image by falling score. */
export function stillFastDetections(outputs: StillFastOutputs, rules: StillFastRules): StillFastDetection[] {
  const { nouns, verbs, weights, overlap, most } = rules;
  const [height, width] = rules.image;
  const candidates: StillFastDetection[] = [];
  for (let n = 0; n < outputs.contact.length; n++) {
    const nounScores = softmax32(outputs.nounLogits.subarray(n * (nouns + 1), (n + 1) * (nouns + 1)));
    const verbScores = softmax32(outputs.verbLogits.subarray(n * (verbs + 1), (n + 1) * (verbs + 1))).subarray(1);
    const bestVerbs = Array.from(verbScores.keys())
      .sort((a, b) => verbScores[b]! - verbScores[a]! || a - b)
      .slice(0, rules.verbTop);
    for (let noun = 0; noun < nouns; noun++) {
      const at = { proposal: 4 * n, offset: 4 * (n * (nouns + 1) + noun + 1) };
      const box = decodedBox(outputs, at, weights).map((edge, i) => clippedEdge(edge, i % 2 === 0 ? width : height));
      const [x1, y1, x2, y2] = box as [number, number, number, number]; // four in, four out
      if (fround(x2 - x1) < leastSide || fround(y2 - y1) < leastSide) continue;
      for (const verb of bestVerbs) {
        const score = fround(nounScores[noun + 1]! * verbScores[verb]!);
        if (score > fround(rules.score))
          candidates.push({ box: [x1, y1, x2, y2], noun, verb, contact: outputs.contact[n]!, score });
      }
    }
  }
  const kept = suppressedByClass(
    {
      boxes: Float32Array.from(candidates.flatMap(({ box }) => box)),
      scores: candidates.map(({ score }) => score),
      classes: candidates.map(({ noun, verb }) => noun + 1 + (verb + 1) * (nouns + 1)),
    },
    overlap,
    most,
  );
  return kept.map((index) => candidates[index]!);
}
