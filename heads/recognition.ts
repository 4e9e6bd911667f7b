/** What the recognition heads share: inputs, class lists, loss, decoding (heads.md 6). */
import type { GraphBuilder } from '../src/graph/builder.js';
import { add, div, mul, reshape, slice, sum } from '../src/graph/layers.js';
import type { Value } from '../src/graph/ops.js';
import type { JsonValue } from '../src/json.js';
import { limits, type ConfigReader } from '../src/models/config.js';
import { noise, type ClassKind, type ClassPrediction, type Head, type HeadLoss } from '../src/models/head.js';
import type { KeyShapes } from '../src/models/spec.js';
import type { Random } from '../src/random.js';
import { tensor } from '../src/tensor.js';
import { softCrossEntropy } from '../src/train/losses.js';
import type { AnyTensor } from '../src/types.js';

const kindNames = ['verb', 'noun', 'label'];

/** Of a target input of the loss: one row of class shares an item. */
export const targetInput = (kind: string): string => `targets.${kind}`;

/** Parameters of the n-th classifier have this ending: `head`, `head2`. Source: OpenGVLab/ego4d-eccv2022-solutions modeling_finetune.py. */
export const suffix = (index: number): string => (index === 0 ? '' : String(index + 1));

/** The members of a configuration that all recognition heads have. */
export interface Recognition {
  readonly width: number;
  readonly kinds: readonly ClassKind[];
  readonly epsilon: number;
}

/**
 * Reads `dim`, `classes` (a count for each classifier), `kinds` (their names) and `norm_eps`. Where `kinds` is open, two classifiers are
 * verb and noun, and a single one is what `verbs` or `nouns` of the official configuration has as many classes as.
 */
export function readRecognition(
  config: ConfigReader,
  given: Readonly<Record<string, unknown>>,
  epsilon = 1e-6,
): Recognition {
  const width = config.integer('dim', 1, limits.width);
  const counts = Array.isArray(given['classes'])
    ? config.integers('classes', given['classes'].length === 2 ? 2 : 1, 1, limits.classes)
    : (['verbs', 'nouns'] as const).map((name) => config.integer(name, 1, limits.classes));
  const names = given['kinds'] ?? kindsOf(counts, given);
  const isList = Array.isArray(names) && names.length === counts.length && new Set(names).size === names.length;
  if (!isList || !names.every((name) => kindNames.includes(name as string))) {
    throw config.fail('kinds', `${counts.length} different ones of ${kindNames.join(', ')}`);
  }
  const kinds = counts.map((count, i) => ({ kind: names[i] as string, count })); // one of the names, checked above
  return { width, kinds, epsilon: config.positive('norm_eps', epsilon) };
}

function kindsOf(counts: readonly number[], given: Readonly<Record<string, unknown>>): string[] {
  if (counts.length === 2) return ['verb', 'noun'];
  const [verbs, nouns] = [given['verbs'] === counts[0], given['nouns'] === counts[0]];
  return [verbs === nouns ? 'label' : verbs ? 'verb' : 'noun'];
}

/** The configuration as it goes into model.json. */
export function recognitionConfig({ width, kinds, epsilon }: Recognition): Record<string, JsonValue> {
  return {
    dim: width,
    kinds: kinds.map(({ kind }) => kind),
    classes: kinds.map(({ count }) => count),
    norm_eps: epsilon,
  };
}

/** `classes` as the classifiers of a checkpoint have them. */
export function inferClasses(keys: KeyShapes): Record<string, JsonValue> {
  const counts = ['head.weight', 'head2.weight'].flatMap((key) => keys.get(key)?.[0] ?? []);
  return counts.length === 0 ? {} : { classes: counts };
}

/** What every recognition head is beside its forward pass. */
export function recognitionParts({
  width,
  kinds,
}: Recognition): Pick<Head, 'task' | 'widths' | 'inputs' | 'outputs' | 'kinds' | 'postprocess' | 'probe' | 'decode'> &
  Required<Pick<Head, 'loss'>> {
  const classes = kinds.reduce((total, { count }) => total + count, 0);
  return {
    task: 'recognition',
    widths: [width],
    inputs: {
      features: { dtype: 'float32', shape: ['batch', 'rows', width], meaning: 'feature rows (or tokens) of a segment' },
      mask: { dtype: 'float32', shape: ['batch', 'rows'], meaning: '1 for a row that counts, 0 for padding' },
    },
    outputs: {
      logits: {
        dtype: 'float32',
        shape: ['batch', classes],
        meaning: kinds.map(({ kind, count }) => `${count} of ${kind}`).join(', then '),
      },
    },
    kinds,
    postprocess: 'recognition/1',
    loss: (g, outputs) => recognitionLoss(g, outputs['logits']!, kinds), // forward gives it
    probe: (random) => probeSegment(random, width),
    decode: ({ logits }, { labels, options }) => {
      const top = typeof options['top'] === 'number' ? options['top'] : 5;
      const items: ClassPrediction[][] = [];
      const { data } = logits!; // the one output
      for (let first = 0; first < data.length; first += classes) {
        items.push(rankedClasses(data.subarray(first, first + classes), kinds, { labels, top }));
      }
      return items;
    },
  };
}

/** Two rows that count and one that does not. */
function probeSegment(random: Random, width: number): Record<string, AnyTensor> {
  return { features: noise(random, [1, 3, width]), mask: tensor('float32', [1, 3], Float32Array.of(1, 1, 0)) };
}

/** Cross-entropy of each kind, added up. Targets: float32 [batch, classes] in `targets.<kind>`. */
function recognitionLoss(g: GraphBuilder, logits: Value, kinds: readonly ClassKind[]): HeadLoss {
  const parts: Record<string, Value> = {};
  let total: Value | undefined;
  let first = 0;
  for (const { kind, count } of kinds) {
    const targets = g.input(targetInput(kind), 'float32', ['batch', count]);
    const own = kinds.length === 1 ? logits : slice(g, logits, 1, first, first + count);
    const loss = softCrossEntropy(g, own, targets);
    parts[kind] = loss;
    total = total === undefined ? loss : add(g, total, loss);
    first += count;
  }
  return { loss: total!, parts }; // a head has at least one kind
}

/** The best classes of each kind: softmax within the kind, by falling score, equal ones in the order of the list. */
function rankedClasses(
  logits: Float32Array,
  kinds: readonly ClassKind[],
  { labels, top }: { readonly labels: Readonly<Record<string, readonly string[]>>; readonly top: number },
): ClassPrediction[] {
  const found: ClassPrediction[] = [];
  let first = 0;
  for (const { kind, count } of kinds) {
    const own = logits.subarray(first, first + count);
    const most = own.reduce((a, b) => Math.max(a, b), -Infinity);
    const powers = Array.from(own, (value) => Math.exp(value - most));
    const total = powers.reduce((a, b) => a + b, 0);
    const order = Array.from(own.keys()).sort((a, b) => own[b]! - own[a]! || a - b);
    for (const id of order.slice(0, top)) {
      const label = labels[kind]?.[id] ?? String(id);
      found.push({
        task: 'recognition',
        kind,
        label,
        labelId: id,
        score: powers[id]! / total,
        logit: own[id]!,
      });
    }
    first += count;
  }
  return found;
}

/** Mean of the rows that count: features [b, n, width], mask [b, n] -> [b, width]. */
export function maskedMean(g: GraphBuilder, features: Value, mask: Value): Value {
  const counted = sum(g, mul(g, features, reshape(g, mask, [0, 0, 1])), [1]);
  return div(g, counted, sum(g, mask, [1], 1));
}
