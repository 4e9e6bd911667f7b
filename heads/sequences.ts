/** Sequences of actions out of logits: the likeliest one, and seeded samples (heads.md 7). */
import type { JsonValue } from '../src/json.js';
import type { SequencePrediction } from '../src/models/forecasts.js';
import type { DecodeContext } from '../src/models/head.js';
import { seededRandom, type Random } from '../src/random.js';
import type { Tensor } from '../src/types.js';
import { numberOption, refused } from './options.js';

/** A verb and a noun, by their numbers. */
type Pair = readonly [verb: number, noun: number];

/**
 * Sequences of each item: first the likeliest action of every step, then samples at `temperature` from a generator seeded with `seed` and
 * the item's name, else its number. Where the option `pairs` lists verb-noun pairs, every action is one of them; else verbs and nouns are drawn apart.
 *
 * Steps are not independent: where the option `verb_repeats` says how much likelier a verb is than by chance so many actions after itself
 * (above 1) or rarer (below), the verbs of a sequence weigh those that follow. Where no verb comes soon again, as in Tabletop, drawing
 * each step by itself is worse than going round the verbs without a look.
 *
 * Options: `sequences` (default 5), `seed` (0), `temperature` (1), `pairs` [[verb, noun], ...], `verb_repeats` [factor 1 action
 * later, 2 later, ...], `first_item` (0: the number of the first
 * item of the batch, so that batches of any size give the same samples), or `items` (a name for each item).
 *
 * @param logits verb [batch, steps, verbs] and noun [batch, steps, nouns]
 * @throws EgolensError data.invalid for options of another form
 */
export function sampledSequences(
  { verb, noun }: { readonly verb: Tensor<'float32'>; readonly noun: Tensor<'float32'> },
  { options, labels = {} }: Pick<DecodeContext, 'options'> & Partial<Pick<DecodeContext, 'labels'>>,
): SequencePrediction[][] {
  const [batch = 0, steps = 0, verbs = 0] = verb.shape;
  const nouns = noun.shape[2] ?? 0;
  const count = numberOption(options, 'sequences', 5);
  if (!Number.isInteger(count) || count < 1 || count > 100)
    throw refused('sequences', 'a whole number from 1 to 100', count);
  const temperature = numberOption(options, 'temperature', 1);
  if (temperature <= 0) throw refused('temperature', 'a number above 0', temperature);
  const pairs = pairsIn(options['pairs'], verbs, nouns);
  const repeats = repeatsIn(options['verb_repeats']);
  const [seed, firstItem] = [numberOption(options, 'seed', 0), numberOption(options, 'first_item', 0)];
  const items = namesIn(options['items'], batch);
  return Array.from({ length: batch }, (_, item) => {
    const random = seededRandom(seed, `sequences ${items?.[item] ?? firstItem + item}`);
    const rowsOf = ({ data }: Tensor<'float32'>, classes: number): Float32Array[] =>
      Array.from({ length: steps }, (_, step) => {
        const at = (item * steps + step) * classes;
        return data.subarray(at, at + classes);
      });
    const [verbRows, nounRows] = [rowsOf(verb, verbs), rowsOf(noun, nouns)];
    const sequences = Array.from({ length: count }, (_, sequence) => {
      const actions: Pair[] = [];
      const drawn = sequence === 0 ? undefined : { random, temperature };
      for (const [step, row] of verbRows.entries()) {
        actions.push(action(afterOthers(row, actions, repeats), nounRows[step]!, pairs, drawn)); // as many rows of nouns
      }
      return actions;
    });
    const numbers = {
      verb: sequences.map((actions) => actions.map(([one]) => one)),
      noun: sequences.map((actions) => actions.map(([, one]) => one)),
    };
    const named = (kind: 'verb' | 'noun', names: readonly string[]): string[][] =>
      numbers[kind].map((sequence) => sequence.map((label) => names[label] ?? String(label)));
    return [
      {
        task: 'lta',
        ...numbers,
        ...(labels['verb'] && { verbNames: named('verb', labels['verb']) }),
        ...(labels['noun'] && { nounNames: named('noun', labels['noun']) }),
      },
    ];
  });
}

function namesIn(value: JsonValue | undefined, items: number): readonly string[] | undefined {
  if (value === undefined || value === null) return undefined;
  const isNames = Array.isArray(value) && value.every((name): name is string => typeof name === 'string');
  if (!isNames || value.length !== items) throw refused('items', `${items} names`, value);
  return value;
}

/** The logits of a step after the actions before it. */
function afterOthers(row: Float32Array, before: readonly Pair[], repeats: readonly number[]): Float32Array {
  const own = Float32Array.from(row);
  const looked = Math.min(before.length, repeats.length);
  for (let gap = 1; gap <= looked; gap++) own[before[before.length - gap]![0]]! += Math.log(repeats[gap - 1]!);
  return own;
}

/** The likeliest action, or a drawn one. */
function action(
  verbs: Float32Array,
  nouns: Float32Array,
  pairs: readonly Pair[] | undefined,
  drawn?: { readonly random: Random; readonly temperature: number },
): Pair {
  const choose = (scores: Float32Array): number =>
    drawn === undefined ? indexOfLargest(scores) : sample(scores, drawn.temperature, drawn.random);
  if (pairs === undefined) return [choose(verbs), choose(nouns)];
  // Softmax divides verbs and nouns each by a constant, so that the sum of logits ranks and weighs pairs.
  return pairs[choose(Float32Array.from(pairs, ([verb, noun]) => verbs[verb]! + nouns[noun]!))]!;
}

function indexOfLargest(scores: Float32Array): number {
  return scores.reduce((best, score, i) => (score > scores[best]! ? i : best), 0);
}

/** An index, drawn with probabilities softmax(scores / temperature). */
function sample(scores: Float32Array, temperature: number, random: Random): number {
  const most = scores.reduce((a, b) => Math.max(a, b), -Infinity);
  const powers = Array.from(scores, (score) => Math.exp((score - most) / temperature));
  let left = random.uniform() * powers.reduce((a, b) => a + b, 0);
  for (const [i, power] of powers.entries()) {
    left -= power;
    if (left < 0) return i;
  }
  return indexOfLargest(scores); // rounding left nothing to draw
}

function pairsIn(value: JsonValue | undefined, verbs: number, nouns: number): readonly Pair[] | undefined {
  if (value === undefined || value === null) return undefined;
  if (!isPairs(value, verbs, nouns)) {
    throw refused('pairs', `pairs of a verb below ${verbs} and a noun below ${nouns}`, value);
  }
  return value;
}

function repeatsIn(value: JsonValue | undefined): readonly number[] {
  if (value === undefined || value === null) return [];
  const isFactors = Array.isArray(value) && value.every((one): one is number => typeof one === 'number' && one > 0);
  if (!isFactors || value.length > 1000) throw refused('verb_repeats', 'up to 1000 numbers above 0', value);
  return value;
}

function isPairs(value: unknown, verbs: number, nouns: number): value is readonly Pair[] {
  const isIndex = (item: unknown, count: number): boolean =>
    Number.isInteger(item) && (item as number) >= 0 && (item as number) < count;
  const items: readonly unknown[] = Array.isArray(value) ? value : [];
  return (
    items.length > 0 &&
    items.every(
      (pair) => Array.isArray(pair) && pair.length === 2 && isIndex(pair[0], verbs) && isIndex(pair[1], nouns),
    )
  );
}
