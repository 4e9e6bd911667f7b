/**
 * The RoI head of InternVideo-Ego4D for short-term anticipation: RoIAlign over the mean of the token maps, the largest value of each
 * channel, then verb (one more than the verbs) and time to contact, which sees a code of the box's place.
 *
 * Paper: Chen et al., "InternVideo-Ego4D", 2022. Source: OpenGVLab/ego4d-eccv2022-solutions, short-term anticipation, RoI head. Loads
 * `verb_projection` and `ttc_projection` under ROIHEAD or model.headsta; the encoder's keys have no place here. Differences: none in
 * the outputs; `decode` may weigh the detector's score by the verb's (`score: product`), which the official code does not.
 */
import { add, identity, largest, linear, mean, reshape, softplus } from '../src/graph/layers.js';
import { ConfigReader, defined, limits } from '../src/models/config.js';
import type { BoxCorners, InteractionPrediction } from '../src/models/forecasts.js';
import { noise, type DecodeContext, type HeadFamily } from '../src/models/head.js';
import { sinusoidTable } from '../src/models/positions.js';
import { renamed } from '../src/models/stored.js';
import { tensor } from '../src/tensor.js';
import type { Tensor } from '../src/types.js';
import { boxRows } from './box-feeds.js';
import { softmax32 } from './numerics/box-coder.js';
import { refused } from './options.js';
import { roiAlign, roiFactors } from './roi-align.js';

const name = 'sta-roi-head';

/** Official RoI head of InternVideo-Ego4D. */
export const staRoiHead: HeadFamily = {
  name,
  task: 'sta',
  summary: 'verb and time to contact of given boxes, by RoIAlign over the token maps (head of InternVideo-Ego4D)',
  official: (tensors) =>
    renamed(tensors, (key) =>
      key.replace(/^(module\.)?(ROIHEAD|model\.headsta|headsta)\.(?=verb_projection|ttc_projection)/, ''),
    ),
  infer: (keys) => {
    const verbs = keys.get('verb_projection.weight');
    return defined({ dim: verbs?.[1], num_verbs: verbs?.[0] === undefined ? undefined : verbs[0] - 1 });
  },
  spec(given) {
    const config = new ConfigReader(name, given);
    const width = config.integer('dim', 1, limits.width);
    const verbs = config.integer('num_verbs', 1, limits.classes);
    const [h, w] = gridOf(config, given, 14);
    const output = config.integer('roi_resolution', 1, 64, 7);
    const sampling = config.integer('sampling_ratio', 0, 64, 0);
    if (given['aligned'] !== undefined && given['aligned'] !== true) throw config.fail('aligned', 'true');
    const boxes = (last: number): readonly (string | number)[] => ['batch', 'boxes', output, last];
    return {
      family: name,
      task: 'sta',
      config: {
        dim: width,
        num_verbs: verbs,
        grid: [h, w],
        roi_resolution: output,
        sampling_ratio: sampling,
        aligned: true,
        kinds: ['verb'],
      },
      widths: [width],
      inputs: {
        features: {
          dtype: 'float32',
          shape: ['batch', 'slots', h, w, width],
          meaning: 'token maps of a clip that ends at the annotated frame',
        },
        rows: { dtype: 'float32', shape: boxes(h), meaning: 'shares of map rows in the bins of a box (roiFactors)' },
        columns: { dtype: 'float32', shape: boxes(w), meaning: 'shares of map columns' },
        codes: {
          dtype: 'float32',
          shape: ['batch', 'boxes', width],
          meaning: 'codes of the places of boxes (boxCodes)',
        },
        boxes: { dtype: 'float32', shape: ['batch', 'boxes', 6], meaning: 'x1, y1, x2, y2 in pixels, noun, score' },
      },
      outputs: {
        verb: { dtype: 'float32', shape: ['batch', 'boxes', verbs + 1], meaning: 'logits; the first is no verb' },
        contact: { dtype: 'float32', shape: ['batch', 'boxes'], meaning: 'seconds to contact' },
        box: { dtype: 'float32', shape: ['batch', 'boxes', 6], meaning: 'the boxes as they came' },
      },
      kinds: [{ kind: 'verb', count: verbs + 1 }],
      postprocess: 'sta-roi-head/1',
      forward(g, { features, rows, columns, codes, boxes: given }) {
        // Declared inputs, all of them.
        const bins = roiAlign(g, mean(g, features!, [1]), { rows: rows!, columns: columns! });
        const pooled = largest(g, bins, [2, 3]);
        const timed = linear(g, add(g, pooled, codes!), 'ttc_projection', 1);
        return {
          verb: linear(g, pooled, 'verb_projection', verbs + 1),
          contact: softplus(g, reshape(g, timed, [0, -1])),
          box: identity(g, given!),
        };
      },
      leftover: (key) =>
        /^(model\.)?(blocks\.|patch_embed\.|pos_embed|norm\.|fc_norm\.|head\.|cls_token)/.test(key)
          ? 'of the encoder'
          : undefined,
      probe(random) {
        const box: BoxCorners = [0.2 * w, 0.1 * h, 0.9 * w, 0.7 * h];
        const factors = roiFactors([[box]], 2, { grid: [h, w], scale: [1, 1], output, sampling });
        return {
          features: noise(random, [1, 2, h, w, width]),
          ...factors,
          codes: noise(random, [1, 2, width]),
          boxes: boxRows([[{ box, noun: 0, score: 0.5 }]], 2),
        };
      },
      decode: ({ verb, contact, box }, context) =>
        interactions({ verb: verb!, contact: contact!, box: box! }, verbs + 1, context), // the declared outputs
    };
  },
};

/** `grid`: one number for a square, or [h, w]. */
export function gridOf(
  config: ConfigReader,
  given: Readonly<Record<string, unknown>>,
  absent: number,
): readonly [h: number, w: number] {
  const most = limits.size;
  if (Array.isArray(given['grid'])) return config.integers('grid', 2, 1, most) as readonly [number, number]; // two were asked for
  const side = config.integer('grid', 1, most, absent);
  return [side, side];
}

/**
 * Codes of the places of boxes: the sum of four rows of a sinusoid table, at the edges cut to whole pixels.
 *
 * @param boxes per picture, in pixels of the encoder's input
 * @param most rows of the table: further edges take the last
 * @returns [pictures, slots, width]
 */
export function boxCodes(
  pictures: readonly (readonly BoxCorners[])[],
  { slots, width, most = limits.size }: { readonly slots: number; readonly width: number; readonly most?: number },
): Tensor<'float32'> {
  const edges = pictures.flatMap((boxes) => boxes.flat());
  const largestEdge = edges.reduce((largest, edge) => Math.max(largest, Math.trunc(edge)), 0);
  const count = Math.min(most, largestEdge + 1);
  const { data: table } = sinusoidTable(count, width);
  const codes = new Float32Array(pictures.length * slots * width);
  pictures.forEach((boxes, picture) => {
    boxes.slice(0, slots).forEach((box, i) => {
      for (const edge of box) {
        const row = Math.min(Math.max(0, Math.trunc(edge)), count - 1);
        const at = (picture * slots + i) * width;
        for (let channel = 0; channel < width; channel++) codes[at + channel]! += table[row * width + channel]!;
      }
    });
  });
  return tensor('float32', [pictures.length, slots, width], codes);
}

function interactions(
  { verb, contact, box }: Readonly<Record<'verb' | 'contact' | 'box', Tensor<'float32'>>>,
  classes: number,
  { labels, options }: DecodeContext,
): InteractionPrediction[][] {
  const rule = options['score'] ?? 'detector';
  if (rule !== 'detector' && rule !== 'product') throw refused('score', '`detector` or `product`', rule);
  const [batch = 0, slots = 0] = box.shape;
  return Array.from({ length: batch }, (_, item) => {
    const found: InteractionPrediction[] = [];
    for (let i = item * slots; i < (item + 1) * slots; i++) {
      const [x1, y1, x2, y2, noun, score] = box.data.subarray(6 * i, 6 * i + 6) as unknown as [
        ...BoxCorners,
        noun: number,
        score: number,
      ]; // six numbers a row
      if (!(score > 0)) continue;
      const shares = softmax32(verb.data.subarray(i * classes, (i + 1) * classes));
      // Official: the index counts the class of no verb, and may be it. A product leaves that class out.
      const eligible = rule === 'detector' ? shares : shares.map((share, k) => (k === 0 ? -1 : share));
      const best = eligible.indexOf(eligible.reduce((a, b) => Math.max(a, b)));
      found.push({
        task: 'sta',
        box: [x1, y1, x2, y2],
        noun: labels['noun']?.[noun] ?? String(noun),
        nounId: noun,
        verb: labels['verb']?.[best] ?? String(best),
        verbId: best,
        timeToContact: contact.data[i]!,
        score: rule === 'detector' ? score : score * shares[best]!,
      });
    }
    return found.sort((a, b) => b.score - a.score);
  });
}
