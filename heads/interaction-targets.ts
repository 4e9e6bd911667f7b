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

/** Seconds to either side of a time that its steps spread over: the tolerance of the metric. */
const spread = 0.25;

/** IoU from which on a box stands for a truth. */
const leastOverlap = 0.5;

/** What the loss compares with. Boxes without a truth have zeros but in `counted`. */
export interface InteractionTargets {
  /** [pictures, slots, nouns], one-hot. */
  readonly noun: Tensor<'float32'>;
  /** [pictures, slots, verbs] */
  readonly verb: Tensor<'float32'>;
  /** [pictures, slots, times]: shares of the steps around the time; the last step takes later ones. */
  readonly contact: Tensor<'float32'>;
  /** [pictures, slots]: 1 where the box stands for a truth. */
  readonly positive: Tensor<'float32'>;
  /** [pictures, slots]: 1 where there is a box. */
  readonly counted: Tensor<'float32'>;
}

/** Each box stands for the truth that it overlaps most, from an IoU of 0.5 on; the first of equal ones. */
export function interactionTargets(
  pictures: readonly { readonly boxes: readonly CandidateBox[]; readonly truths: readonly InteractionTruth[] }[],
  {
    slots,
    nouns,
    verbs,
    times,
    step,
  }: {
    readonly slots: number;
    readonly nouns: number;
    readonly verbs: number;
    /** Steps of the time to contact, and seconds of one. */
    readonly times: number;
    readonly step: number;
  },
): InteractionTargets {
  const count = pictures.length * slots;
  const [noun, verb] = [new Float32Array(count * nouns), new Float32Array(count * verbs)];
  const contact = new Float32Array(count * times);
  const [positive, counted] = [new Float32Array(count), new Float32Array(count)];
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
      fillSteps(contact.subarray(at * times, (at + 1) * times), best.contact, step);
    });
  });
  const shape = [pictures.length, slots];
  return {
    noun: tensor('float32', [...shape, nouns], noun),
    verb: tensor('float32', [...shape, verbs], verb),
    contact: tensor('float32', [...shape, times], contact),
    positive: tensor('float32', shape, positive),
    counted: tensor('float32', shape, counted),
  };
}

/** Shares that fall with the distance of the middle of a step from the time; they add up to 1. */
function fillSteps(out: Float32Array, time: number, step: number): void {
  const wanted = Math.min(Math.max(time, 0.5 * step), (out.length - 0.5) * step);
  let total = 0;
  for (let k = 0; k < out.length; k++) {
    out[k] = Math.max(0, 1 - Math.abs(wanted - (k + 0.5) * step) / spread);
    total += out[k]!;
  }
  for (let k = 0; k < out.length; k++) out[k]! /= total;
}
