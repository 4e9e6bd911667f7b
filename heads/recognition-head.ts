/**
 * The fine-tuned classifier of VideoMAE as a head: mean of the rows, layer norm, linear; for verbs and nouns one pair each over the same
 * mean, logits one after the other.
 *
 * Source: OpenGVLab/ego4d-eccv2022-solutions (fc_norm, head, fc_norm2, head2); MCG-NJU/VideoMAE modeling_finetune.py. Loads the classifier
 * keys of their checkpoints; those of the encoder have no place here.
 */
import { concat, layerNorm, linear } from '../src/graph/layers.js';
import { ConfigReader, defined } from '../src/models/config.js';
import type { HeadFamily } from '../src/models/head.js';
import {
  inferClasses,
  maskedMean,
  readRecognition,
  recognitionConfig,
  recognitionParts,
  suffix,
} from './recognition.js';

const name = 'recognition-head';

/** The family `recognition-head`. */
export const recognitionHead: HeadFamily = {
  name,
  task: 'recognition',
  summary:
    'layer norm and linear over the mean feature, one pair each for verbs and nouns (heads of VideoMAE and InternVideo-Ego4D)',
  official: (tensors) => tensors,
  infer: (keys) => ({ ...defined({ dim: keys.get('head.weight')?.[1] }), ...inferClasses(keys) }),
  spec(given) {
    const config = readRecognition(new ConfigReader(name, given), given);
    const { kinds, epsilon } = config;
    return {
      ...recognitionParts(config),
      family: name,
      config: recognitionConfig(config),
      pooling: 'mean',
      leftover: encoderKey,
      forward(g, { features, mask }) {
        const pooled = maskedMean(g, features!, mask!); // declared inputs
        const logits = kinds.map(({ count }, i) =>
          linear(g, layerNorm(g, pooled, `fc_norm${suffix(i)}`, epsilon), `head${suffix(i)}`, count),
        );
        return { logits: logits.length === 1 ? logits[0]! : concat(g, logits, 1) };
      },
    };
  },
};

/** A whole fine-tuned checkpoint holds its encoder too. */
export function encoderKey(key: string): string | undefined {
  return /^(blocks\.|patch_embed\.|pos_embed|norm\.|cls_token)/.test(key) ? 'of the encoder' : undefined;
}
