/** What VSLNet is trained on: targets as inputs of the graph, and the loss over its outputs. */
import { assert } from '../../src/errors.js';
import type { GraphBuilder } from '../../src/graph/builder.js';
import {
  add,
  clip,
  div,
  exp,
  greaterOrEqual,
  log,
  max,
  min,
  mul,
  neg,
  reciprocal,
  scalar,
  softplus,
  sub,
  sum,
  where,
} from '../../src/graph/layers.js';
import type { Value } from '../../src/graph/ops.js';
import type { HeadLoss } from '../../src/models/head.js';
import { tensor } from '../../src/tensor.js';
import { softCrossEntropy } from '../../src/train/losses.js';
import type { Tensor } from '../../src/types.js';
import { detached } from './detached.js';
import { highlightLabels, type UnitSpan } from './sampling.js';

/**
 * Cross-entropy of start and end, and `weight` times that of the highlight: positives count twice, mean over the rows that count.
 *
 * @source EGO4D/episodic-memory NLQ/VSLNet/model/layers.py, compute_loss, HighLightLayer.compute_loss
 */
export function vslnetLoss(g: GraphBuilder, outputs: Readonly<Record<string, Value>>, weight: number): HeadLoss {
  const [starts, ends, lit] = ['start_logits', 'end_logits', 'highlight_logits'].map((name) => outputs[name]!); // forward gives them
  const shape = starts!.shape;
  const input = (name: string): Value => g.input(`targets.${name}`, 'float32', shape);
  const span = add(g, softCrossEntropy(g, starts!, input('start')), softCrossEntropy(g, ends!, input('end')));
  const [labels, mask] = [input('highlight'), input('mask')];
  const weighted = mul(g, probabilityEntropy(g, lit!, labels), add(g, labels, scalar(g, 1)));
  const counted = add(g, sum(g, mask, [0, 1]), scalar(g, 1e-12));
  const highlight = div(g, sum(g, mul(g, weighted, mask), [0, 1]), counted);
  return { loss: add(g, span, mul(g, highlight, scalar(g, weight))), parts: { span, highlight } };
}

/** What the official loss cuts logarithms at. */
const most = 100;

/**
 * Binary cross-entropy of the probability sigmoid(x), element by element, as PyTorch's BCELoss has it; targets are 0 or 1.
 *
 * @quirk the probability has 24 bits. Where that of a negative is near 1, the logarithm of what is left to 1 is coarse; where it rounds to 1,
 *   the loss jumps to 100 and nothing flows back
 */
function probabilityEntropy(g: GraphBuilder, x: Value, targets: Value): Value {
  const one = scalar(g, 1);
  const positive = min(g, softplus(g, neg(g, x)), scalar(g, most));
  // Not the runtime's Sigmoid, an approximation that does not round to 1 where this does.
  const p = reciprocal(g, add(g, exp(g, neg(g, clip(g, x, -80, 80))), one));
  const coarse = neg(g, log(g, max(g, sub(g, one, p), scalar(g, 1e-30))));
  // The value of the coarse one, the derivative of the exact one: in the official derivative what is coarse cancels out.
  const exact = softplus(g, x);
  const rest = add(g, exact, detached(g, sub(g, coarse, exact)));
  const negative = where(g, greaterOrEqual(g, p, one), scalar(g, most), rest);
  return add(g, mul(g, targets, positive), mul(g, sub(g, one, targets), negative));
}

/**
 * Inputs of the loss for a batch.
 *
 * @param spans the answer of each item, in units of its own
 * @param units units of each item that are no padding
 * @param rows units of the padded batch
 */
export function vslnetTargets(
  spans: readonly UnitSpan[],
  units: readonly number[],
  rows: number,
): Record<string, Tensor<'float32'>> {
  const shape = [spans.length, rows];
  const [start, end, highlight, mask] = [0, 1, 2, 3].map(() => new Float32Array(spans.length * rows));
  assert(start && end && highlight && mask && units.length === spans.length, 'four arrays, units for each item');
  spans.forEach((span, item) => {
    const count = units[item]!; // as many as spans
    assert(
      span[0] >= 0 && span[0] <= span[1] && span[1] < count && count <= rows,
      `units ${span.join('-')} of ${count}`,
    );
    const first = item * rows;
    start[first + span[0]] = 1;
    end[first + span[1]] = 1;
    highlight.set(highlightLabels(span, count), first);
    mask.fill(1, first, first + count);
  });
  return {
    'targets.start': tensor('float32', shape, start),
    'targets.end': tensor('float32', shape, end),
    'targets.highlight': tensor('float32', shape, highlight),
    'targets.mask': tensor('float32', shape, mask),
  };
}
