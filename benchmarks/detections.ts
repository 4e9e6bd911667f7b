/**
 * Labelled spans with scores, over many videos or clips: what Moment Queries (detection) and ActivityNet share. Truth and
 * predictions are read into typed arrays once and scored as often as asked.
 */
import type { SpanOverlap } from '../src/metrics/intervals.js';
import { continuousTiou } from '../src/metrics/intervals.js';
import {
  meanAveragePrecision,
  rankSpans,
  recallPoints,
  type LabelledSpans,
  type MeanAveragePrecision,
  type RankedLabel,
  type ScoredSpans,
} from '../src/metrics/ranking.js';
import { pairwiseMean } from '../src/metrics/sums.js';
import type { Curve, JsonDocument, Nested, Score, TieRule } from '../src/types.js';
import { pointer } from './ego4d/checks.js';
import { entriesOf, fault, listAt, NameTable, numberAt, objectAt, textAt } from './reading.js';

/** Truth: units (clips, videos) and labels are numbered as they appear. */
export interface DetectionTruth {
  readonly units: NameTable;
  readonly labels: NameTable;
  readonly spans: LabelledSpans;
}

/** Predictions of labels that the truth holds, and what was left out. */
export interface DetectionGuesses {
  /** Those whose label is in the truth, in file order; a unit that is not in the truth has a number past its units. */
  readonly spans: ScoredSpans;
  readonly listed: number;
  /** Labels outside the truth, with how many guesses were dropped. */
  readonly droppedLabels: ReadonlyMap<string, number>;
  /** Units outside the truth that have guesses. */
  readonly unknownUnits: readonly string[];
}

/** Collects labelled spans; `done` gives them as arrays. */
export class SpanList {
  readonly #unit: number[] = [];
  readonly #label: number[] = [];
  readonly #start: number[] = [];
  readonly #end: number[] = [];
  readonly #score: number[] = [];

  add(unit: number, label: number, start: number, end: number, score = 0): void {
    this.#unit.push(unit);
    this.#label.push(label);
    this.#start.push(start);
    this.#end.push(end);
    this.#score.push(score);
  }

  done(): ScoredSpans {
    return {
      unit: Int32Array.from(this.#unit),
      label: Int32Array.from(this.#label),
      start: Float64Array.from(this.#start),
      end: Float64Array.from(this.#end),
      score: Float64Array.from(this.#score),
    };
  }
}

/**
 * Reads `{unit: [{label, score, segment: [start, end]}]}`.
 *
 * @param results the member of `document` at `/${at}`
 * @throws EgolensError data.invalid where the official reader dies: a label that is no text, and, for a label of the truth, a segment
 *         that is not two numbers or a missing score
 * @quirk  a guess whose label is not in the truth is dropped before anything else of it is looked at; a score `null` becomes NaN
 */
export function readGuesses(
  document: JsonDocument,
  results: unknown,
  at: string,
  truth: DetectionTruth,
): DetectionGuesses {
  const list = new SpanList();
  const droppedLabels = new Map<string, number>();
  const unknown = new NameTable();
  let listed = 0;
  const byUnit = objectAt(document, results, () => pointer(at), 'write `{clip: [{label, score, segment}]}`');
  for (const [name, value] of entriesOf(document, byUnit)) {
    const items = listAt(document, value, () => pointer(at, name), 'write `[]` where nothing is predicted');
    if (items.length === 0) continue;
    const known = truth.units.find(name);
    const unit = known ?? truth.units.size + unknown.add(name);
    listed += items.length;
    for (let i = 0; i < items.length; i++) {
      const item = objectAt(document, items[i], () => pointer(at, name, i), 'an item is {label, score, segment}');
      const text = textAt(document, item['label'], () => pointer(at, name, i, 'label'), 'write the class name');
      const label = truth.labels.find(text);
      if (label === undefined) {
        droppedLabels.set(text, (droppedLabels.get(text) ?? 0) + 1);
        continue;
      }
      const [start, end] = segmentOf(document, item['segment'], () => pointer(at, name, i, 'segment'));
      list.add(
        unit,
        label,
        start,
        end,
        scoreOf(document, item['score'], () => pointer(at, name, i, 'score')),
      );
    }
  }
  return { spans: list.done(), listed, droppedLabels, unknownUnits: unknown.names };
}

/** `[start, end]`; further items are not looked at, as in the official reader. */
export function segmentOf(document: JsonDocument, value: unknown, at: () => string): [number, number] {
  if (Array.isArray(value) && typeof value[0] === 'number' && typeof value[1] === 'number') return [value[0], value[1]];
  const pair = listAt(document, value, at, 'a segment is [start, end] in seconds');
  const hint = 'start and end are numbers, in seconds';
  return [numberAt(document, pair[0], () => `${at()}/0`, hint), numberAt(document, pair[1], () => `${at()}/1`, hint)];
}

function scoreOf(document: JsonDocument, value: unknown, at: () => string): number {
  if (typeof value === 'number') return value;
  if (value === null) return NaN;
  throw fault(document, at(), 'a number', value, 'every prediction needs a score');
}

/** Labels dropped and units unknown, for people. */
export function guessNotes(guesses: DetectionGuesses, unitWord: string): string[] {
  const notes: string[] = [];
  const dropped = [...guesses.droppedLabels.values()].reduce((sum, count) => sum + count, 0);
  if (dropped > 0) {
    const names = [...guesses.droppedLabels.keys()];
    const some = names.slice(0, 3).map((name) => `\`${name}\``);
    notes.push(
      `${dropped} of ${guesses.listed} predictions have a label that the truth does not hold and are not counted (${some.join(', ')}${names.length > 3 ? `, ${names.length - 3} more` : ''})`,
    );
  }
  const { unknownUnits } = guesses;
  if (unknownUnits.length > 0) {
    notes.push(
      `${unknownUnits.length} ${unitWord} with predictions are not in the truth: all their predictions are false positives (\`${unknownUnits[0]!}\`${unknownUnits.length > 1 ? ', …' : ''})`,
    );
  }
  return notes;
}

/** Detection of one pair of truth and guesses; rankings are kept by tie rule. */
export class DetectionScorer {
  readonly #rankings = new Map<TieRule, readonly RankedLabel[]>();

  constructor(
    readonly truth: DetectionTruth,
    readonly guesses: DetectionGuesses,
    readonly thresholds: readonly number[],
    readonly overlap: SpanOverlap = continuousTiou,
  ) {}

  ranked(ties: TieRule): readonly RankedLabel[] {
    let ranking = this.#rankings.get(ties);
    if (ranking === undefined) {
      ranking = rankSpans(this.truth.spans, this.guesses.spans, this.truth.labels.size, {
        thresholds: this.thresholds,
        comparison: '>=',
        undefinedOverlap: 'hit',
        overlap: this.overlap,
        ties,
      });
      this.#rankings.set(ties, ranking);
    }
    return ranking;
  }

  /** mAP over all units, or over a sample of them. */
  score(ties: TieRule, repeats?: Int32Array): MeanAveragePrecision {
    return meanAveragePrecision(this.ranked(ties), this.thresholds.length, repeats);
  }

  get tied(): number {
    return this.ranked('numpy').reduce((sum, { tied }) => sum + tied, 0);
  }

  /** The numbers under the two other tie rules, in the form of the official ones. */
  ties(): { readonly tied: number; readonly first: Nested; readonly last: Nested } {
    const { tied } = this;
    const first = meanNumbers(this.score(tied === 0 ? 'numpy' : 'first'));
    return { tied, first, last: tied === 0 ? first : meanNumbers(this.score('last')) };
  }

  /** AP of each label: the mean over thresholds, and one by one. */
  perClass({ ap }: MeanAveragePrecision): Score[] {
    return this.truth.labels.names.flatMap((label, c): Score[] => [
      { metric: 'average AP', value: pairwiseMean(ap.map((values) => values[c]!)), at: { label } },
      ...this.thresholds.map((tIoU, t): Score => ({
        metric: 'AP',
        value: ap[t]![c]!,
        at: { label, tIoU: shortNumber(tIoU) },
      })),
    ]);
  }

  /** Share of the truths of each unit that any guess hits at one of the thresholds. */
  perItem(ties: TieRule, threshold: number): Score[] {
    const { units } = this.truth;
    const truths = new Int32Array(units.size);
    const found = new Int32Array(units.size);
    for (const { truthUnits, hits, units: guessUnits } of this.ranked(ties)) {
      for (const unit of truthUnits) truths[unit]!++;
      hits[threshold]!.forEach((hit, rank) => {
        if (hit === 1) found[guessUnits[rank]!]!++;
      });
    }
    const tIoU = shortNumber(this.thresholds[threshold]!);
    return units.names.map((item, u) => ({
      metric: `recall,tIoU=${tIoU}`,
      value: found[u]! / truths[u]!,
      at: { item, truths: truths[u]! },
    }));
  }

  /** Precision over recall of each label at one of the thresholds, and mAP over thresholds. */
  curves(ties: TieRule, mean: MeanAveragePrecision, threshold: number): Curve[] {
    const tIoU = shortNumber(this.thresholds[threshold]!);
    const ranked = this.ranked(ties);
    return [
      {
        name: 'mAP over tIoU',
        x: 'tIoU',
        y: 'mAP',
        points: this.thresholds.map((t, i) => [shortNumber(t), mean.mAP[i]!] as const),
      },
      ...this.truth.labels.names.map((label, c): Curve => {
        const { hits, truthUnits } = ranked[c]!;
        const { recall, precision } = recallPoints(hits[threshold]!, truthUnits.length);
        const points = Array.from(recall, (value, i) => [value, precision[i]!] as const);
        return { name: `${label}, tIoU=${tIoU}`, x: 'recall', y: 'precision', points };
      }),
    ];
  }
}

/** 0.30000000000000004 as people write it. */
export function shortNumber(value: number): number {
  return Number(value.toPrecision(12));
}

/** `{mAP: [...], average_mAP}`. */
export function meanNumbers({ mAP, average }: MeanAveragePrecision): Nested {
  return { mAP: [...mAP], average_mAP: average };
}

/** How often each of `unitCount` units is drawn. */
export function repeatsOf(sample: Int32Array, unitCount: number): Int32Array {
  const repeats = new Int32Array(unitCount);
  for (const unit of sample) repeats[unit]!++;
  return repeats;
}

/** Truth and guesses without what the official code takes for a hit by mistake: spans without length, truths that stand twice, NaN scores. */
export function mended(truth: DetectionTruth, guesses: DetectionGuesses): [DetectionTruth, DetectionGuesses] {
  const seen = new Set<string>();
  const spans = truth.spans;
  const isKept = (i: number): boolean => {
    if (!(spans.end[i]! > spans.start[i]!)) return false;
    const key = `${spans.unit[i]!} ${spans.label[i]!} ${spans.start[i]!} ${spans.end[i]!}`;
    if (seen.has(key)) return false;
    seen.add(key);
    return true;
  };
  const keptTruth = new SpanList();
  const labels = new NameTable();
  const newLabel = new Int32Array(truth.labels.size).fill(-1);
  const names = truth.labels.names;
  for (let i = 0; i < spans.unit.length; i++) {
    if (!isKept(i)) continue;
    const label = labels.add(names[spans.label[i]!]!);
    newLabel[spans.label[i]!] = label;
    keptTruth.add(spans.unit[i]!, label, spans.start[i]!, spans.end[i]!);
  }
  const keptGuesses = new SpanList();
  const { unit, label, start, end, score } = guesses.spans;
  for (let i = 0; i < unit.length; i++) {
    const mapped = newLabel[label[i]!]!;
    if (mapped < 0 || !(end[i]! > start[i]!) || Number.isNaN(score[i])) continue;
    keptGuesses.add(unit[i]!, mapped, start[i]!, end[i]!, score[i]);
  }
  return [
    { units: truth.units, labels, spans: keptTruth.done() },
    { ...guesses, spans: keptGuesses.done() },
  ];
}
