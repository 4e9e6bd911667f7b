/**
 * The training step of the default encoder: the classifier itself, and heads for the world's dense truth that are dropped afterwards. Labels
 * of whole windows alone teach a model of this size nothing in the time there is (docs/default-encoder.md).
 */
import type { GraphBuilder } from '../../graph/builder.js';
import { add, layerNorm, linear, mean, mul, reshape, scalar } from '../../graph/layers.js';
import type { Value } from '../../graph/ops.js';
import { classifierValues, type Classifier } from '../../models/videomae.js';
import { gridOf, tokenCount } from '../../models/patches.js';
import { decayMatrices } from '../../train/groups.js';
import type { Forward, StepDescription } from '../../train/graphs.js';
import { binaryCrossEntropy, smoothAbsoluteError, softCrossEntropy, weightedCrossEntropy } from '../../train/losses.js';
import { adamw } from '../../train/optimiser.js';
import { tokenChannels } from '../../world/truth.js';
import { colours, nouns, verbs } from '../../world/vocabulary.js';
import { stages } from './windows.js';

const variant = { input: 'frames', form: 'separate' } as const;
const handNumbers = 10;

/** Weights of the terms. */
export interface LossWeights {
  readonly verb: number;
  readonly noun: number;
  readonly colour: number;
  readonly tokens: number;
  readonly hands: number;
  readonly stage: number;
  readonly slotVerb: number;
}

/**
 * Inputs: `frames` uint8 [b, t, s, s, 3]; `verb`, `noun`, `colour` [b, classes] with `about` [b] (0: the window is about no action);
 * `tokens` [b, n, channels] shares; `hands` [b, slots, 10], `handsSeen` [b, slots, 10]; `stage` [b slots, 5], `slotVerb` [b slots, 11].
 */
export function defaultEncoderStep(
  model: Classifier,
  options: { readonly batch: number; readonly weights: LossWeights; readonly decay: number; readonly average: number },
): StepDescription {
  const { weights } = options;
  return {
    name: 'default-encoder',
    sizes: { batch: options.batch },
    groups: decayMatrices(options.decay, ['pos_embed']),
    optimiser: { rule: { ...adamw, beta2: 0.99 }, clip: 1, average: options.average },
    forward: (g) => forward(g, model, weights),
    evaluations: {
      scores(g) {
        const { pooled, logits } = classifierValues(g, model, variant);
        return {
          verb: logits!, // a classifier of verbs
          noun: linear(g, pooled, 'noun', nouns.length),
          colour: linear(g, pooled, 'colour', colours.length),
        };
      },
    },
  };
}

function forward(g: GraphBuilder, model: Classifier, weights: LossWeights): Forward {
  const [slots] = gridOf(model.geometry);
  const tokens = tokenCount(model.geometry);
  const { width } = model.tower;
  const { last, pooled, logits } = classifierValues(g, model, variant);
  const about = g.input('about', 'float32', ['batch']);
  const target = (name: string, classes: number): Value => g.input(name, 'float32', ['batch', classes]);
  const parts: Record<string, Value> = {
    verb: weightedCrossEntropy(g, logits!, target('verb', verbs.length), about), // a classifier of verbs
    noun: weightedCrossEntropy(g, linear(g, pooled, 'noun', nouns.length), target('noun', nouns.length), about),
    colour: weightedCrossEntropy(
      g,
      linear(g, pooled, 'colour', colours.length),
      target('colour', colours.length),
      about,
    ),
  };

  // Tokens leave the blocks at any scale: without a norm of their own the dense heads drown the rest in their gradients.
  const seenTokens = layerNorm(g, last, 'dense_norm', model.tower.epsilon);
  const channels = tokenChannels.length;
  const shares = g.input('tokens', 'float32', ['batch', tokens, channels]);
  parts['tokens'] = mul(
    g,
    mean(g, binaryCrossEntropy(g, linear(g, seenTokens, 'shares', channels), shares), [0, 1, 2]),
    scalar(g, channels),
  );

  // A slot is the mean of its tokens.
  const perSlot = mean(g, reshape(g, seenTokens, [0, slots, tokens / slots, width]), [2]); // [b, slots, width]
  const hands = g.input('hands', 'float32', ['batch', slots, handNumbers]);
  const seen = g.input('handsSeen', 'float32', ['batch', slots, handNumbers]);
  const guess = linear(g, perSlot, 'hands', handNumbers);
  const masked = (x: Value): Value => mul(g, x, seen);
  parts['hands'] = mul(g, smoothAbsoluteError(g, masked(guess), masked(hands), 0.1), scalar(g, handNumbers));

  const rows = ['batch', slots] as const;
  const slotTarget = (name: string, classes: number): Value => g.input(name, 'float32', [...rows, classes]);
  const slotLoss = (name: string, classes: number): Value => {
    const guesses = reshape(g, linear(g, perSlot, name, classes), [-1, classes]);
    const targets = reshape(g, slotTarget(name, classes), [-1, classes]);
    return softCrossEntropy(g, guesses, targets);
  };
  parts['stage'] = slotLoss('stage', stages.length);
  parts['slotVerb'] = slotLoss('slotVerb', 1 + verbs.length);

  let loss = scalar(g, 0);
  for (const [name, part] of Object.entries(parts))
    loss = add(g, loss, mul(g, part, scalar(g, weights[name as keyof LossWeights])));
  return { loss, parts };
}
