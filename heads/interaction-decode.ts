/** From the logits of `sta-roi` to interactions by falling score. */
import type { InteractionPrediction } from '../src/models/forecasts.js';
import type { DecodeContext } from '../src/models/head.js';
import type { JsonValue } from '../src/json.js';
import type { Tensor } from '../src/types.js';
import { softmax32 } from './numerics/box-coder.js';
import { suppressedByClass } from './numerics/box-nms.js';
import { numberOption, refused } from './options.js';

/** Seconds that a time may be off, in the metric. */
const tolerance = 0.25;

/** Classes and time steps of the head. */
export interface InteractionSizes {
  readonly nouns: number;
  readonly verbs: number;
  /** Steps of the time to contact, and seconds of one. */
  readonly times: number;
  readonly step: number;
}

/** A class and how likely it is. */
interface Guess {
  readonly id: number;
  readonly share: number;
}

/**
 * Interactions of each picture by falling score: several nouns, verbs and times for every box, for the metric forgives some false ones.
 * The score is that of the detector, times choice, noun, verb and time.
 *
 * Options: `noun_top` (default 2), `verb_top` (2), `time_top` (2), `min_score` (1e-4), `max_detections` (5), `max_time` (seconds; later ones are
 * left out), `nms` (0.5: IoU above which the worse of two boxes of one noun, verb and time falls), `noun_ids` and `verb_ids` (ids of
 * the data set in the order of the classes; default: the class numbers).
 */
export function interactions(
  outputs: Readonly<Record<string, Tensor<'float32'>>>,
  { nouns, verbs, times, step }: InteractionSizes,
  { labels, options }: DecodeContext,
): InteractionPrediction[][] {
  const { noun, verb, contact, chosen, box } = outputs as Readonly<
    Record<'noun' | 'verb' | 'contact' | 'chosen' | 'box', Tensor<'float32'>>
  >; // the declared outputs
  const tops = {
    noun: numberOption(options, 'noun_top', 2),
    verb: numberOption(options, 'verb_top', 2),
    time: numberOption(options, 'time_top', 2),
  };
  const least = numberOption(options, 'min_score', 1e-4);
  const latest = numberOption(options, 'max_time', Infinity);
  const ids = { noun: idsOf(options, 'noun_ids', nouns), verb: idsOf(options, 'verb_ids', verbs) };
  const [batch = 0, slots = 0] = chosen.shape;
  const sharesAt = ({ data }: Tensor<'float32'>, i: number, count: number): Float32Array =>
    softmax32(data.subarray(i * count, (i + 1) * count));
  return Array.from({ length: batch }, (_, item) => {
    // Few of many combinations stay: what they say is put together for those alone.
    const found: { readonly at: number; readonly n: number; readonly v: number; readonly time: number }[] = [];
    const [boxes, scores, classes]: [number[], number[], number[]] = [[], [], []];
    for (let i = item * slots; i < (item + 1) * slots; i++) {
      const at = 6 * i;
      const detected = box.data[at + 5]!;
      const own = detected / (1 + Math.exp(-chosen.data[i]!));
      if (!(detected > 0) || !(own > least)) continue; // no share is above 1
      const moments = likelyTimes(sharesAt(contact, i, times), step, tops.time);
      const verbGuesses = likeliest(sharesAt(verb, i, verbs), tops.verb);
      for (const n of likeliest(sharesAt(noun, i, nouns), tops.noun)) {
        for (const v of verbGuesses) {
          moments.forEach(({ time, share }, moment) => {
            const score = own * n.share * v.share * share;
            if (!(score > least) || time > latest) return;
            found.push({ at, n: n.id, v: v.id, time });
            scores.push(score);
            boxes.push(box.data[at]!, box.data[at + 1]!, box.data[at + 2]!, box.data[at + 3]!);
            classes.push((n.id + v.id * nouns) * tops.time + moment);
          });
        }
      }
    }
    const kept = suppressedByClass(
      { boxes: Float32Array.from(boxes), scores, classes },
      numberOption(options, 'nms', 0.5),
      numberOption(options, 'max_detections', 5),
    );
    return kept.map((index): InteractionPrediction => {
      const { at, n, v, time } = found[index]!; // of those that were given
      const [x1 = 0, y1 = 0, x2 = 0, y2 = 0] = box.data.subarray(at, at + 4);
      return {
        task: 'sta',
        box: [x1, y1, x2, y2],
        noun: labels['noun']?.[n] ?? String(n),
        nounId: ids.noun?.[n] ?? n,
        verb: labels['verb']?.[v] ?? String(v),
        verbId: ids.verb?.[v] ?? v,
        timeToContact: time,
        score: scores[index]!,
      };
    });
  });
}

/** The likeliest classes; the first of equal ones. */
function likeliest(shares: Float32Array, count: number): Guess[] {
  const best: Guess[] = [];
  shares.forEach((share, id) => {
    if (best.length >= count && !(share > (best.at(-1)?.share ?? Infinity))) return;
    const place = best.findIndex((one) => share > one.share);
    best.splice(place < 0 ? best.length : place, 0, { id, share });
    if (best.length > count) best.pop();
  });
  return best;
}

/** Times around which most lies within the tolerance, apart from each other; the time is the mean of what lies there. */
function likelyTimes(
  shares: Float32Array,
  step: number,
  count: number,
): { readonly time: number; readonly share: number }[] {
  const reach = Math.max(0, Math.round(tolerance / step - 0.5));
  const left = Array.from(shares);
  return Array.from({ length: count }, () => {
    let best = { time: 0, share: -1, at: 0 };
    for (let at = 0; at < left.length; at++) {
      let [share, moment] = [0, 0];
      for (let k = Math.max(0, at - reach); k <= Math.min(left.length - 1, at + reach); k++) {
        share += left[k]!;
        moment += left[k]! * (k + 0.5) * step;
      }
      if (share > best.share) best = { share, time: share > 0 ? moment / share : (at + 0.5) * step, at };
    }
    left.fill(0, Math.max(0, best.at - reach), Math.min(left.length, best.at + reach + 1));
    return best;
  }).filter(({ share }) => share > 0);
}

/** Ids of the data set by class. @throws EgolensError data.invalid for a list of another length */
function idsOf(options: DecodeContext['options'], name: string, count: number): readonly number[] | undefined {
  const value: JsonValue | undefined = options[name];
  if (value === undefined || value === null) return undefined;
  if (Array.isArray(value) && value.length === count && value.every((id) => Number.isSafeInteger(id))) {
    return value as readonly number[];
  }
  throw refused(name, `${count} whole numbers`, value);
}
