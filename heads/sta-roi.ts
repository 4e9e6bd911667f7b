/**
 * `sta-roi`: nouns, verbs and times to contact of given or detected boxes, from the frozen tokens of the last time step under each box
 * (RoIAlign), its place, and the pooled vector of the clip.
 *
 * Recipe: the RoI heads of Chen et al., "InternVideo-Ego4D", 2022, and of Ragusa et al., "StillFast", 2023, made small: a box also gets
 * a score of its own (does it stand for a coming interaction?), and the score of a detection is that of the box, times noun, times
 * verb. Default 192 channels: 0.15 million parameters, 0.6 MB at a width of 192.
 */
import type { GraphBuilder } from '../src/graph/builder.js';
import {
  abs,
  add,
  div,
  gelu,
  identity,
  largest,
  layerNorm,
  less,
  linear,
  logSoftmax,
  max,
  mean,
  mul,
  neg,
  reshape,
  scalar,
  softplus,
  sub,
  sum,
  where,
} from '../src/graph/layers.js';
import type { Value } from '../src/graph/ops.js';
import { ConfigReader, limits } from '../src/models/config.js';
import type { BoxCorners, InteractionPrediction } from '../src/models/forecasts.js';
import { noise, type DecodeContext, type HeadFamily, type HeadLoss } from '../src/models/head.js';
import { tensor } from '../src/tensor.js';
import { binaryCrossEntropy } from '../src/train/losses.js';
import type { Tensor } from '../src/types.js';
import { boxRows, type CandidateBox } from './box-feeds.js';
import { softmax32 } from './numerics/box-coder.js';
import { suppressedByClass } from './numerics/box-nms.js';
import { numberOption } from './options.js';
import { roiAlign, roiFactors } from './roi-align.js';
import { gridOf } from './sta-roi-head.js';

const name = 'sta-roi';
const epsilon = 1e-5;

/** Difference in seconds from which on the loss of the time grows linearly: the tolerance of the metric. */
const contactBeta = 0.25;

/** Next interaction of given boxes; trained here. */
export const staRoi: HeadFamily = {
  name,
  task: 'sta',
  summary: 'noun, verb, time to contact and score of boxes, from the tokens under them (trained here)',
  official: (tensors) => tensors,
  infer: () => ({}),
  spec(given) {
    const config = new ConfigReader(name, given);
    const width = config.integer('dim', 1, limits.width);
    const nouns = config.integer('nouns', 1, limits.classes);
    const verbs = config.integer('verbs', 1, limits.classes);
    const [h, w] = gridOf(config, given, 8);
    const output = config.integer('roi_resolution', 1, 64, 4);
    const hidden = config.integer('hidden', 1, limits.width, 192);
    const contactWeight = config.nonNegative('contact_weight', 2);
    const factor = (last: number): readonly (string | number)[] => ['batch', 'boxes', output, last];
    const perBox = (count: number, meaning: string) =>
      ({ dtype: 'float32', shape: ['batch', 'boxes', count], meaning }) as const;
    return {
      family: name,
      task: 'sta',
      config: {
        dim: width,
        nouns,
        verbs,
        grid: [h, w],
        roi_resolution: output,
        hidden,
        contact_weight: contactWeight,
        kinds: ['noun', 'verb'],
      },
      widths: [width, width],
      inputs: {
        map: { dtype: 'float32', shape: ['batch', h, w, width], meaning: 'tokens of the last time step of the clip' },
        pooled: { dtype: 'float32', shape: ['batch', width], meaning: 'feature of the clip' },
        rows: { dtype: 'float32', shape: factor(h), meaning: 'shares of map rows in the bins of a box (boxFeeds)' },
        columns: { dtype: 'float32', shape: factor(w), meaning: 'shares of map columns' },
        places: perBox(4, 'left, top, right, bottom of the box, as shares of the frame'),
        boxes: perBox(6, 'x1, y1, x2, y2 in pixels, noun, score; score 0: no box'),
      },
      outputs: {
        noun: perBox(nouns, 'logits'),
        verb: perBox(verbs, 'logits'),
        contact: { dtype: 'float32', shape: ['batch', 'boxes'], meaning: 'seconds to contact' },
        chosen: {
          dtype: 'float32',
          shape: ['batch', 'boxes'],
          meaning: 'logit: the box stands for a coming interaction',
        },
        box: perBox(6, 'the boxes as they came'),
      },
      kinds: [
        { kind: 'noun', count: nouns },
        { kind: 'verb', count: verbs },
      ],
      postprocess: 'sta-roi/1',
      forward(g, { map, pooled, rows, columns, places, boxes }) {
        // Declared inputs, all of them.
        const bins = roiAlign(g, map!, { rows: rows!, columns: columns! });
        const peak = linear(g, layerNorm(g, largest(g, bins, [2, 3]), 'norm_peak', epsilon), 'peak', hidden);
        const average = linear(g, layerNorm(g, mean(g, bins, [2, 3]), 'norm_average', epsilon), 'average', hidden);
        const clip = linear(g, layerNorm(g, pooled!, 'norm_clip', epsilon), 'clip', hidden);
        const place = linear(g, places!, 'place', hidden);
        const joined = add(g, add(g, peak, average), add(g, place, reshape(g, clip, [0, 1, hidden])));
        const x = linear(g, gelu(g, joined), 'mix', hidden);
        const found = gelu(g, layerNorm(g, x, 'norm', epsilon));
        const time = reshape(g, linear(g, found, 'contact', 1), [0, -1]);
        return {
          noun: linear(g, found, 'noun', nouns),
          verb: linear(g, found, 'verb', verbs),
          contact: softplus(g, time),
          chosen: reshape(g, linear(g, found, 'chosen', 1), [0, -1]),
          box: identity(g, boxes!),
        };
      },
      loss: (g, outputs) => interactionLoss(g, outputs, { nouns, verbs, contactWeight }),
      leftover: () => undefined,
      probe: (random) => ({
        map: noise(random, [1, h, w, width]),
        pooled: noise(random, [1, width]),
        ...boxFeeds([{ size: [w, h], boxes: [{ box: [0.2 * w, 0.1 * h, 0.9 * w, 0.7 * h], score: 0.5 }] }], {
          slots: 2,
          grid: [h, w],
          output,
        }),
      }),
      decode: (outputs, context) => interactions(outputs, { nouns, verbs }, context),
    };
  },
};

/** A picture and its candidate boxes. */
export interface BoxedPicture {
  /** Width and height in pixels of the boxes. */
  readonly size: readonly [width: number, height: number];
  readonly boxes: readonly CandidateBox[];
}

/** The inputs of the head that say where the boxes are: rows, columns, places, boxes. `slots` boxes a picture; further ones are left out. */
export function boxFeeds(
  pictures: readonly BoxedPicture[],
  {
    slots,
    grid: [h, w],
    output,
  }: { readonly slots: number; readonly grid: readonly [number, number]; readonly output: number },
): Record<'rows' | 'columns' | 'places' | 'boxes', Tensor<'float32'>> {
  const shares = pictures.map(({ size: [width, height], boxes }) =>
    boxes.map(({ box: [x1, y1, x2, y2] }): BoxCorners => [x1 / width, y1 / height, x2 / width, y2 / height]),
  );
  const places = new Float32Array(pictures.length * slots * 4);
  shares.forEach((boxes, picture) => {
    boxes.slice(0, slots).forEach((box, i) => {
      places.set(box, 4 * (picture * slots + i));
    });
  });
  return {
    ...roiFactors(shares, slots, { grid: [h, w], scale: [w, h], output, sampling: 2 }),
    places: tensor('float32', [pictures.length, slots, 4], places),
    boxes: boxRows(
      pictures.map(({ boxes }) => boxes),
      slots,
    ),
  };
}

/**
 * Targets: `interactionTargets` as targets.noun, .verb, .contact, .positive, .counted. Nouns, verbs and times over the boxes that stand for a
 * truth, the choice over all boxes.
 */
function interactionLoss(
  g: GraphBuilder,
  outputs: Readonly<Record<string, Value>>,
  { nouns, verbs, contactWeight }: { readonly nouns: number; readonly verbs: number; readonly contactWeight: number },
): HeadLoss {
  const of = (what: string, ...last: number[]): Value =>
    g.input(`targets.${what}`, 'float32', ['batch', 'boxes', ...last]);
  const [noun, verb] = [of('noun', nouns), of('verb', verbs)];
  const [contact, positive, counted] = [of('contact'), of('positive'), of('counted')];
  const meanOver = (values: Value, mask: Value): Value =>
    div(g, sum(g, mul(g, values, mask), [0, 1]), max(g, sum(g, mask, [0, 1]), scalar(g, 1)));
  const entropy = (logits: Value, targets: Value): Value =>
    meanOver(neg(g, sum(g, mul(g, targets, logSoftmax(g, logits)), [2])), positive);
  const error = sub(g, outputs['contact']!, contact); // forward gives all outputs
  const size = abs(g, error);
  const near = mul(g, mul(g, error, error), scalar(g, 0.5 / contactBeta));
  const late = where(g, less(g, size, scalar(g, contactBeta)), near, sub(g, size, scalar(g, contactBeta / 2)));
  const parts = {
    noun: entropy(outputs['noun']!, noun),
    verb: entropy(outputs['verb']!, verb),
    contact: meanOver(late, positive),
    chosen: meanOver(binaryCrossEntropy(g, outputs['chosen']!, positive), counted),
  };
  const classes = add(g, parts.noun, parts.verb);
  return {
    loss: add(g, add(g, classes, parts.chosen), mul(g, parts.contact, scalar(g, contactWeight))),
    parts,
  };
}

/**
 * Interactions of each picture by falling score: the best nouns of every box with its best verb. Options: `noun_top` (default 2),
 * `min_score` (0.001), `max_detections` (20), `nms` (0.5: IoU above which the worse of two boxes of one noun and verb falls).
 */
function interactions(
  outputs: Readonly<Record<string, Tensor<'float32'>>>,
  { nouns, verbs }: { readonly nouns: number; readonly verbs: number },
  { labels, options }: DecodeContext,
): InteractionPrediction[][] {
  const { noun, verb, contact, chosen, box } = outputs as Readonly<
    Record<'noun' | 'verb' | 'contact' | 'chosen' | 'box', Tensor<'float32'>>
  >; // the declared outputs
  const top = numberOption(options, 'noun_top', 2);
  const least = numberOption(options, 'min_score', 0.001);
  const [batch = 0, slots = 0] = chosen.shape;
  return Array.from({ length: batch }, (_, item) => {
    const found: InteractionPrediction[] = [];
    for (let i = item * slots; i < (item + 1) * slots; i++) {
      const [x1 = 0, y1 = 0, x2 = 0, y2 = 0, , detected = 0] = box.data.subarray(6 * i, 6 * i + 6);
      if (!(detected > 0)) continue;
      const nounShares = softmax32(noun.data.subarray(i * nouns, (i + 1) * nouns));
      const verbShares = softmax32(verb.data.subarray(i * verbs, (i + 1) * verbs));
      const bestVerb = verbShares.indexOf(verbShares.reduce((a, b) => Math.max(a, b)));
      const bestNouns = Array.from(nounShares.keys()).sort((a, b) => nounShares[b]! - nounShares[a]! || a - b);
      const own = detected / (1 + Math.exp(-chosen.data[i]!));
      for (const nounId of bestNouns.slice(0, top)) {
        const score = own * nounShares[nounId]! * verbShares[bestVerb]!;
        if (!(score > least)) continue;
        found.push({
          task: 'sta',
          box: [x1, y1, x2, y2],
          noun: labels['noun']?.[nounId] ?? String(nounId),
          nounId,
          verb: labels['verb']?.[bestVerb] ?? String(bestVerb),
          verbId: bestVerb,
          timeToContact: contact.data[i]!,
          score,
        });
      }
    }
    const kept = suppressedByClass(
      {
        boxes: Float32Array.from(found.flatMap((one) => one.box)),
        scores: found.map(({ score }) => score),
        classes: found.map(({ nounId, verbId }) => nounId + verbId * nouns),
      },
      numberOption(options, 'nms', 0.5),
    );
    return kept.slice(0, numberOption(options, 'max_detections', 20)).map((index) => found[index]!);
  });
}
