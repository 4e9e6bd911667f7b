/**
 * `sta-roi`: nouns, verbs and times to contact of given or detected boxes, from the frozen tokens of the last time step under each box
 * (RoIAlign), its place, what it looks at elsewhere in the picture (hands on their way), and the mean of all tokens of the clip.
 *
 * Recipe: the RoI heads of Chen et al., "InternVideo-Ego4D", 2022, and of Ragusa et al., "StillFast", 2023, made small. A box also gets
 * a score of its own (does it stand for a coming interaction?), and time is a distribution over steps of a tenth of a second: the metric
 * wants it within a quarter of a second, so that the likeliest half second counts, not the mean. The score of a detection is that of
 * the box, times noun, verb and time. Default: half the tokens' width in channels (192 of 192 found no more than 96 did).
 */
import type { GraphBuilder } from '../src/graph/builder.js';
import {
  add,
  attention,
  div,
  gelu,
  identity,
  largest,
  layerNorm,
  linear,
  logSoftmax,
  max,
  mean,
  mul,
  neg,
  reshape,
  scalar,
  sum,
} from '../src/graph/layers.js';
import type { Value } from '../src/graph/ops.js';
import { ConfigReader, limits } from '../src/models/config.js';
import type { BoxCorners, CandidateBox } from '../src/models/forecasts.js';
import { initialValues, noise, type HeadFamily, type HeadLoss } from '../src/models/head.js';
import { tensor } from '../src/tensor.js';
import { binaryCrossEntropy } from '../src/train/losses.js';
import type { Tensor } from '../src/types.js';
import { boxRows } from './box-feeds.js';
import { interactions } from './interaction-decode.js';
import { roiAlign, roiFactors } from './roi-align.js';
import { gridOf } from './sta-roi-head.js';

const name = 'sta-roi';
const epsilon = 1e-5;

/** Seconds of a step of the time to contact. */
const contactStep = 0.1;

const heads = 4;

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
    const hidden = config.integer('hidden', heads, limits.width, Math.max(1, Math.round(width / 2 / heads)) * heads);
    if (hidden % heads !== 0) throw config.fail('hidden', `a multiple of ${heads}`);
    const times = config.integer('contact_steps', 2, 1000, 26);
    const contactWeight = config.nonNegative('contact_weight', 1);
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
        contact_steps: times,
        contact_weight: contactWeight,
        kinds: ['noun', 'verb'],
      },
      widths: [width],
      inputs: {
        map: { dtype: 'float32', shape: ['batch', h, w, width], meaning: 'tokens of the last time step of the clip' },
        pooled: { dtype: 'float32', shape: ['batch', width], meaning: 'mean of all tokens of the clip' },
        rows: { dtype: 'float32', shape: factor(h), meaning: 'shares of map rows in the bins of a box (boxFeeds)' },
        columns: { dtype: 'float32', shape: factor(w), meaning: 'shares of map columns' },
        places: perBox(4, 'left, top, right, bottom of the box, as shares of the frame'),
        hints: perBox(nouns, "score of the box at the detector's noun; zeros where it names none"),
        boxes: perBox(6, 'x1, y1, x2, y2 in pixels, noun, score; score 0: no box'),
      },
      outputs: {
        noun: perBox(nouns, 'logits'),
        verb: perBox(verbs, 'logits'),
        contact: perBox(times, `logits of times to contact, in steps of ${contactStep} s; the last one: later too`),
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
      postprocess: 'sta-roi/2',
      forward(g, inputs) {
        const { map, pooled, rows, columns, places, hints, boxes } = inputs as Readonly<
          Record<'map' | 'pooled' | 'rows' | 'columns' | 'places' | 'hints' | 'boxes', Value>
        >; // the declared inputs
        const bins = roiAlign(g, map, { rows, columns });
        const peak = linear(g, layerNorm(g, largest(g, bins, [2, 3]), 'norm_peak', epsilon), 'peak', hidden);
        const average = linear(g, layerNorm(g, mean(g, bins, [2, 3]), 'norm_average', epsilon), 'average', hidden);
        const clip = linear(g, layerNorm(g, pooled, 'norm_clip', epsilon), 'clip', hidden);
        const place = add(g, linear(g, places, 'place', hidden), linear(g, hints, 'hint', hidden));
        const joined = add(g, add(g, peak, average), add(g, place, reshape(g, clip, [0, 1, hidden])));
        const own = linear(g, gelu(g, joined), 'mix', hidden);
        const x = add(g, own, elsewhere(g, layerNorm(g, own, 'norm_query', epsilon), map, hidden));
        const found = gelu(g, layerNorm(g, x, 'norm', epsilon));
        return {
          noun: linear(g, found, 'noun', nouns),
          verb: linear(g, found, 'verb', verbs),
          contact: linear(g, found, 'contact', times),
          chosen: reshape(g, linear(g, found, 'chosen', 1), [0, -1]),
          box: identity(g, boxes),
        };
      },
      loss: (g, outputs) => interactionLoss(g, outputs, { nouns, verbs, times, contactWeight }),
      initial(parameter, random) {
        const { name: key, shape } = parameter;
        // Without a box's own place in it, no query can tell what is near the box.
        if (key !== 'place.weight') return initialValues(parameter, random);
        return Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => random.normal());
      },
      leftover: () => undefined,
      probe: (random) => ({
        map: noise(random, [1, h, w, width]),
        pooled: noise(random, [1, width]),
        ...boxFeeds([{ size: [w, h], boxes: [{ box: [0.2 * w, 0.1 * h, 0.9 * w, 0.7 * h], score: 0.5 }] }], {
          slots: 2,
          grid: [h, w],
          output,
          nouns,
        }),
      }),
      decode: (outputs, context) => interactions(outputs, { nouns, verbs, times, step: contactStep }, context),
    };
  },
};

/** What each box looks at in the whole map: [b, boxes, hidden] over [b, h, w, c] -> [b, boxes, hidden]. */
function elsewhere(g: GraphBuilder, query: Value, map: Value, hidden: number): Value {
  const [, h, w, c] = map.shape as readonly [unknown, number, number, number]; // as declared
  const tokens = layerNorm(g, reshape(g, map, [0, h * w, c]), 'norm_map', epsilon);
  const seen = add(g, linear(g, tokens, 'tokens', hidden), g.param('positions', [h * w, hidden]));
  const [q, k, v] = [linear(g, query, 'q', hidden), linear(g, seen, 'k', hidden), linear(g, seen, 'v', hidden)];
  const mixed = attention(g, [q, k, v], { heads, scale: Math.sqrt(heads / hidden), form: 'separate' });
  return linear(g, mixed, 'out', hidden);
}

/** A picture and its candidate boxes. */
export interface BoxedPicture {
  /** Width and height in pixels of the boxes. */
  readonly size: readonly [width: number, height: number];
  readonly boxes: readonly CandidateBox[];
}

/** The inputs of the head that say where the boxes are: rows, columns, places, hints, boxes. `slots` boxes a picture; further ones are left out. */
export function boxFeeds(
  pictures: readonly BoxedPicture[],
  {
    slots,
    grid: [h, w],
    output,
    nouns,
  }: {
    readonly slots: number;
    readonly grid: readonly [number, number];
    readonly output: number;
    readonly nouns: number;
  },
): Record<'rows' | 'columns' | 'places' | 'hints' | 'boxes', Tensor<'float32'>> {
  const shares = pictures.map(({ size: [width, height], boxes }) =>
    boxes.map(({ box: [x1, y1, x2, y2] }): BoxCorners => [x1 / width, y1 / height, x2 / width, y2 / height]),
  );
  const places = new Float32Array(pictures.length * slots * 4);
  const hints = new Float32Array(pictures.length * slots * nouns);
  pictures.forEach(({ boxes }, picture) => {
    boxes.slice(0, slots).forEach(({ noun = -1, score }, i) => {
      const at = picture * slots + i;
      places.set(shares[picture]![i]!, 4 * at); // one for each box
      if (noun >= 0 && noun < nouns) hints[at * nouns + noun] = score;
    });
  });
  return {
    ...roiFactors(shares, slots, { grid: [h, w], scale: [w, h], output, sampling: 2 }),
    places: tensor('float32', [pictures.length, slots, 4], places),
    hints: tensor('float32', [pictures.length, slots, nouns], hints),
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
  sizes: {
    readonly nouns: number;
    readonly verbs: number;
    readonly times: number;
    readonly contactWeight: number;
  },
): HeadLoss {
  const of = (what: string, ...last: number[]): Value =>
    g.input(`targets.${what}`, 'float32', ['batch', 'boxes', ...last]);
  const [positive, counted] = [of('positive'), of('counted')];
  const meanOver = (values: Value, mask: Value): Value =>
    div(g, sum(g, mul(g, values, mask), [0, 1]), max(g, sum(g, mask, [0, 1]), scalar(g, 1)));
  const entropy = (what: 'noun' | 'verb' | 'contact', count: number): Value =>
    meanOver(neg(g, sum(g, mul(g, of(what, count), logSoftmax(g, outputs[what]!)), [2])), positive); // forward gives all outputs
  const parts = {
    noun: entropy('noun', sizes.nouns),
    verb: entropy('verb', sizes.verbs),
    contact: entropy('contact', sizes.times),
    chosen: meanOver(binaryCrossEntropy(g, outputs['chosen']!, positive), counted),
  };
  const classes = add(g, parts.noun, parts.verb);
  return {
    loss: add(g, add(g, classes, parts.chosen), mul(g, parts.contact, scalar(g, sizes.contactWeight))),
    parts,
  };
}

/** Seconds of a step, for targets. */
export const staRoiStep = contactStep;
