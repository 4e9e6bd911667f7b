/**
 * The official decoder of long-term anticipation: one linear layer for each future action over the feature of the clips seen, verbs and
 * nouns side by side.
 *
 * Paper: Grauman et al., "Ego4D", 2022. Source: EGO4D/forecasting ego4d/models/head_helper.py, MultiTaskHead in its multi-head decoder.
 * Loads `decoder.head.projections.{step}` of the Lightning checkpoints. Several clips are joined by their concatenation or mean; the
 * transformer aggregator is not built here. With `activation` the outputs are those of the official head in evaluation: ONE softmax
 * over verbs and nouns together, which its generator then samples from as if they were logits.
 */
import { concat, linear, mean, reshape, slice, softmax } from '../src/graph/layers.js';
import { ConfigReader, defined, depthOf, limits } from '../src/models/config.js';
import { noise, type HeadFamily } from '../src/models/head.js';
import { renamed } from '../src/models/stored.js';
import { sampledSequences } from './sequences.js';

const name = 'lta-head';

/** Official decoder of long-term anticipation. */
export const ltaHead: HeadFamily = {
  name,
  task: 'lta',
  summary: 'the next actions, one linear layer each over the feature of the clips seen (decoder of EGO4D/forecasting)',
  official: (tensors) =>
    renamed(tensors, (key) => key.replace(/^(model\.)?(decoder\.)?(head\.)?(?=projections\.)/, '')),
  infer: (keys) => ({
    ...defined({ dim: keys.get('projections.0.weight')?.[1] }),
    z: depthOf(keys, 'projections.'),
  }),
  spec(given) {
    const config = new ConfigReader(name, given);
    const verbs = config.integer('verbs', 1, limits.classes);
    const nouns = config.integer('nouns', 1, limits.classes);
    const steps = config.integer('z', 1, 1000, 20);
    const aggregator = config.oneOf('aggregator', ['concat', 'mean'], 'concat');
    const clips = config.integer('clips', 1, 1000, 1);
    const dim = config.integer('dim', 1, limits.width);
    if (aggregator === 'concat' && dim % clips !== 0) throw config.fail('dim', `a multiple of the ${clips} clips`);
    const width = aggregator === 'concat' ? dim / clips : dim;
    const activation = config.flag('activation', false);
    return {
      family: name,
      task: 'lta',
      config: { dim, verbs, nouns, z: steps, aggregator, clips, activation, kinds: ['verb', 'noun'] },
      widths: [width],
      inputs: {
        features: {
          dtype: 'float32',
          shape: ['batch', clips, width],
          meaning: 'a feature for each clip seen, in order',
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
      forward(g, { features }) {
        const clipsSeen = features!; // a declared input
        const seen = aggregator === 'mean' ? mean(g, clipsSeen, [1]) : reshape(g, clipsSeen, [0, dim]);
        const logits = Array.from({ length: steps }, (_, step) =>
          reshape(g, linear(g, seen, `projections.${step}`, verbs + nouns), [0, 1, verbs + nouns]),
        );
        const all = steps === 1 ? logits[0]! : concat(g, logits, 1);
        const given = activation ? softmax(g, all) : all;
        return { verb: slice(g, given, 2, 0, verbs), noun: slice(g, given, 2, verbs, verbs + nouns) };
      },
      leftover: (key) =>
        /^(model\.)?(backbone|clip_aggregator|encoder)\./.test(key) ? 'of the encoder of the clips' : undefined,
      probe: (random) => ({ features: noise(random, [1, clips, width]) }),
      decode: ({ verb, noun }, context) => sampledSequences({ verb: verb!, noun: noun! }, context), // the declared outputs
    };
  },
};
