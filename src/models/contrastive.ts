/**
 * Contrastive losses (InfoNCE) of models that compare pictures with texts, over graph values: of a batch of pairs each picture has to
 * find its text among all texts of the batch, and each text its picture.
 *
 * Papers: van den Oord et al., "Representation Learning with Contrastive Predictive Coding", 2018; Radford et al., CLIP, 2021.
 * Code: OpenGVLab/InternVideo 3965eef, ViCLIP criterions.py (VTC_VTM_Loss) and CoTrain/modules/objectives.py (compute_vtc).
 */
import type { GraphBuilder } from '../graph/builder.js';
import {
  add,
  cast,
  div,
  exp,
  largest,
  log,
  max,
  mean,
  min,
  mul,
  multiply,
  reshape,
  scalar,
  sub,
  sum,
  unitLength,
} from '../graph/layers.js';
import type { Value } from '../graph/ops.js';
import { tensor } from '../tensor.js';

/** Vectors of b pairs, [b, width] each; of any length, only their directions count. */
export interface Pairs {
  readonly pictures: Value;
  readonly texts: Value;
}

/**
 * ViCLIP's loss.
 *
 * @param temp float32 []: logits are cosines / temp. The training keeps it at 0.01 or more
 * @param ids int64 [b]: pairs of one id are all right answers to each other, with equal shares; absent: each pair is alone. Ids differ by
 *   less than 2^63
 * @returns []
 */
export function viclipLoss(g: GraphBuilder, pairs: Pairs, { temp, ids }: { temp: Value; ids?: Value }): Value {
  return contrastiveLoss(g, pairs, div(g, scalar(g, 1), temp), ids);
}

/**
 * The loss of InternVideo's multimodal model, which is CLIP's.
 *
 * @param logitScale float32 []: logits are cosines times its exponential. The training keeps it in [0, ln 100]
 * @returns []
 */
export function internvideoLoss(g: GraphBuilder, pairs: Pairs, { logitScale }: { logitScale: Value }): Value {
  return contrastiveLoss(g, pairs, exp(g, logitScale));
}

/** Mean cross entropy over the pictures and over the texts, averaged: []. */
function contrastiveLoss(g: GraphBuilder, { pictures, texts }: Pairs, scale: Value, ids?: Value): Value {
  // 1e-12 as torch.nn.functional.normalize has it.
  const [v, t] = [unitLength(g, pictures, 1e-12), unitLength(g, texts, 1e-12)];
  const logits = mul(g, multiply(g, v, t), scale); // [pictures, texts]
  const right = ids === undefined ? undefined : sameId(g, ids);
  const own = ids === undefined ? mul(g, sum(g, mul(g, v, t), [1]), scale) : undefined; // [b], the diagonal
  const entropy = (axis: 0 | 1): Value => {
    const top = largest(g, logits, [axis], 1); // exponentials of logits up to 100 would overflow
    const shifted = sub(g, logits, top);
    const answer =
      right === undefined
        ? sub(g, own!, reshape(g, top, [-1])) // set where `right` is not
        : sum(g, mul(g, shifted, div(g, right, sum(g, right, [axis], 1))), [axis]);
    return mean(g, sub(g, log(g, sum(g, exp(g, shifted), [axis])), answer), [0]);
  };
  return mul(g, add(g, entropy(1), entropy(0)), scalar(g, 0.5));
}

/** 1 where two ids are equal, else 0: float32 [b, b] for int64 [b]. */
function sameId(g: GraphBuilder, ids: Value): Value {
  const [rows, columns] = [reshape(g, ids, [-1, 1]), reshape(g, ids, [1, -1])];
  const distance = max(g, sub(g, rows, columns), sub(g, columns, rows));
  const one = g.constant(tensor('int64', [], BigInt64Array.of(1n)));
  return cast(g, sub(g, one, min(g, distance, one)), 'float32');
}
