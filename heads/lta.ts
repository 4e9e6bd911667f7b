/**
 * `lta`: the next actions from the frozen rows of what was seen: two layers of attention among the rows, then one query for each coming
 * action looks at them; one classifier for all of them, verbs and nouns side by side.
 *
 * Recipe: heads.md 7, after the decoder of Grauman et al., "Ego4D", 2022. Shorter futures count as far as they go. Sequences: the likeliest
 * one, then seeded samples, of pairs seen in training where those are given (`sampledSequences`). Default 160 channels: 0.7 million
 * parameters, 2.8 MB at a width of 192, 64 rows and 22 classes.
 */
import type { GraphBuilder } from '../src/graph/builder.js';
import { add, div, layerNorm, linear, logSoftmax, max, mul, neg, scalar, slice, sum } from '../src/graph/layers.js';
import type { Value } from '../src/graph/ops.js';
import { ConfigReader, limits } from '../src/models/config.js';
import { noise, type HeadFamily, type HeadLoss } from '../src/models/head.js';
import { sizeOf, tensor } from '../src/tensor.js';
import type { Tensor } from '../src/types.js';
import { attentionBlock, usualHeads } from './blocks.js';
import { sampledSequences } from './sequences.js';

const name = 'lta';
const epsilon = 1e-5;

/** Actions to come from rows; trained here. */
export const lta: HeadFamily = {
  name,
  task: 'lta',
  summary: 'the next actions, by attention over the rows of what was seen (trained here)',
  official: (tensors) => tensors,
  infer: () => ({}),
  spec(given) {
    const config = new ConfigReader(name, given);
    const width = config.integer('dim', 1, limits.width);
    const verbs = config.integer('verbs', 1, limits.classes);
    const nouns = config.integer('nouns', 1, limits.classes);
    const steps = config.integer('z', 1, 1000, 20);
    const rows = config.integer('rows', 1, limits.frames, 64);
    const hidden = config.integer('hidden', 1, limits.width, 160);
    const heads = config.integer('heads', 1, hidden, usualHeads(hidden));
    if (hidden % heads !== 0) throw config.fail('heads', `a divisor of the ${hidden} channels`);
    const depth = config.integer('depth', 1, 16, 2);
    return {
      family: name,
      task: 'lta',
      config: { dim: width, verbs, nouns, z: steps, rows, hidden, heads, depth, kinds: ['verb', 'noun'] },
      widths: [width],
      inputs: {
        features: { dtype: 'float32', shape: ['batch', rows, width], meaning: 'rows in order, the last one seen last' },
        mask: {
          dtype: 'float32',
          shape: ['batch', rows],
          meaning: '1 for a row that counts, 0 for padding before the first (latestRows)',
        },
      },
      outputs: {
        verb: { dtype: 'float32', shape: ['batch', steps, verbs], meaning: 'logits of the next actions' },
        noun: { dtype: 'float32', shape: ['batch', steps, nouns], meaning: 'logits of the next actions' },
      },
      kinds: [
        { kind: 'verb', count: verbs },
        { kind: 'noun', count: nouns },
      ],
      postprocess: 'sequences/1',
      forward(g, { features, mask }) {
        // Declared inputs.
        let x = linear(g, layerNorm(g, features!, 'norm_rows', epsilon), 'embed', hidden);
        x = add(g, x, g.param('time', [rows, hidden]));
        for (let block = 0; block < depth; block++) {
          x = g.scope(`blocks.${block}`, () => attentionBlock(g, x, { x, mask: mask! }, heads));
        }
        // A query begins with what was seen last.
        const latest = linear(g, slice(g, x, 1, rows - 1, rows), 'latest', hidden); // [b, 1, hidden]
        const asked = add(g, latest, g.param('queries', [steps, hidden]));
        const found = g.scope('future', () => attentionBlock(g, asked, { x, mask: mask! }, heads));
        const logits = linear(g, layerNorm(g, found, 'norm', epsilon), 'actions', verbs + nouns);
        return { verb: slice(g, logits, 2, 0, verbs), noun: slice(g, logits, 2, verbs, verbs + nouns) };
      },
      loss: (g, outputs) => actionLoss(g, outputs, { steps, verbs, nouns }),
      leftover: () => undefined,
      probe: (random) => ({
        features: noise(random, [1, rows, width]),
        mask: tensor(
          'float32',
          [1, rows],
          Float32Array.from({ length: rows }, (_, row) => (row === 0 && rows > 1 ? 0 : 1)),
        ),
      }),
      decode: ({ verb, noun }, context) => sampledSequences({ verb: verb!, noun: noun! }, context), // the declared outputs
    };
  },
};

/** Targets: `actionTargets` as targets.verb, .noun, .counted. */
function actionLoss(
  g: GraphBuilder,
  outputs: Readonly<Record<string, Value>>,
  { steps, verbs, nouns }: { readonly steps: number; readonly verbs: number; readonly nouns: number },
): HeadLoss {
  const counted = g.input('targets.counted', 'float32', ['batch', steps]);
  const total = max(g, sum(g, counted, [0, 1]), scalar(g, 1));
  const entropy = (kind: 'verb' | 'noun', classes: number): Value => {
    const targets = g.input(`targets.${kind}`, 'float32', ['batch', steps, classes]);
    const each = neg(g, sum(g, mul(g, targets, logSoftmax(g, outputs[kind]!)), [2])); // forward gives both
    return div(g, sum(g, mul(g, each, counted), [0, 1]), total);
  };
  const parts = { verb: entropy('verb', verbs), noun: entropy('noun', nouns) };
  return { loss: add(g, parts.verb, parts.noun), parts };
}

/** An action by its numbers. */
export interface Action {
  readonly verb: number;
  readonly noun: number;
}

/** What the loss compares with: one-hot actions, and 1 for the steps that are known. Futures beyond the steps are cut. */
export function actionTargets(
  futures: readonly (readonly Action[])[],
  { steps, verbs, nouns }: { readonly steps: number; readonly verbs: number; readonly nouns: number },
): Record<'verb' | 'noun' | 'counted', Tensor<'float32'>> {
  const count = futures.length * steps;
  const [verb, noun] = [new Float32Array(count * verbs), new Float32Array(count * nouns)];
  const counted = new Float32Array(count);
  futures.forEach((actions, item) => {
    actions.slice(0, steps).forEach((action, step) => {
      const at = item * steps + step;
      counted[at] = 1;
      verb[at * verbs + action.verb] = 1;
      noun[at * nouns + action.noun] = 1;
    });
  });
  return {
    verb: tensor('float32', [futures.length, steps, verbs], verb),
    noun: tensor('float32', [futures.length, steps, nouns], noun),
    counted: tensor('float32', [futures.length, steps], counted),
  };
}

/** The last `rows` rows of each sequence [n, width], padding before shorter ones: the inputs features and mask. */
export function latestRows(
  sequences: readonly Tensor<'float32'>[],
  { rows, width }: { readonly rows: number; readonly width: number },
): Record<'features' | 'mask', Tensor<'float32'>> {
  const shape = [sequences.length, rows, width];
  const features = new Float32Array(sizeOf(shape));
  const mask = new Float32Array(sequences.length * rows);
  sequences.forEach(({ data }, item) => {
    const kept = Math.min(rows, data.length / width);
    features.set(data.subarray(data.length - kept * width), ((item + 1) * rows - kept) * width);
    mask.fill(1, (item + 1) * rows - kept, (item + 1) * rows);
  });
  return { features: tensor('float32', shape, features), mask: tensor('float32', [sequences.length, rows], mask) };
}
