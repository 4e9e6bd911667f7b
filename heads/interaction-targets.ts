/** Which interaction each candidate box is to say, for training (heads.md 5). */
import { tensor } from '../src/tensor.js';
import type { BoxCorners } from '../src/models/forecasts.js';
import type { Tensor } from '../src/types.js';
import { boxIou, type CandidateBox } from './box-feeds.js';

/** An annotated interaction of a picture. */
export interface InteractionTruth {
  readonly box: BoxCorners;
  readonly noun: number;
  readonly verb: number;
  /** Seconds. */
  readonly contact: number;
}

/** IoU from which on a box stands for a truth. */
const leastOverlap = 0.5;

/** What the loss compares with. Boxes without a truth have zeros but in `counted`. */
export interface InteractionTargets {
  /** [pictures, slots, nouns], one-hot. */
  readonly noun: Tensor<'float32'>;
  /** [pictures, slots, verbs] */
  readonly verb: Tensor<'float32'>;
  /** [pictures, slots] seconds. */
  readonly contact: Tensor<'float32'>;
  /** [pictures, slots]: 1 where the box stands for a truth. */
  readonly positive: Tensor<'float32'>;
  /** [pictures, slots]: 1 where there is a box. */
  readonly counted: Tensor<'float32'>;
}

/** Each box stands for the truth that it overlaps most, from an IoU of 0.5 on; the first of equal ones. */
export function interactionTargets(
  pictures: readonly { readonly boxes: readonly CandidateBox[]; readonly truths: readonly InteractionTruth[] }[],
  { slots, nouns, verbs }: { readonly slots: number; readonly nouns: number; readonly verbs: number },
): InteractionTargets {
  const count = pictures.length * slots;
  const [noun, verb] = [new Float32Array(count * nouns), new Float32Array(count * verbs)];
  const [contact, positive, counted] = [new Float32Array(count), new Float32Array(count), new Float32Array(count)];
  pictures.forEach(({ boxes, truths }, picture) => {
    boxes.slice(0, slots).forEach(({ box }, i) => {
      const at = picture * slots + i;
      counted[at] = 1;
      let best: InteractionTruth | undefined;
      let overlap = 0;
      for (const truth of truths) {
        const iou = boxIou(box, truth.box);
        if (iou < leastOverlap || iou <= overlap) continue;
        [best, overlap] = [truth, iou];
      }
      if (best === undefined) return;
      positive[at] = 1;
      noun[at * nouns + best.noun] = 1;
      verb[at * verbs + best.verb] = 1;
      contact[at] = best.contact;
    });
  });
  const shape = [pictures.length, slots];
  return {
    noun: tensor('float32', [...shape, nouns], noun),
    verb: tensor('float32', [...shape, verbs], verb),
    contact: tensor('float32', shape, contact),
    positive: tensor('float32', shape, positive),
    counted: tensor('float32', shape, counted),
  };
}
