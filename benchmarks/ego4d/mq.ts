/**
 * Moment Queries: detection (mAP over tIoU) and retrieval (Recall@kx) of labelled moments in a clip.
 *
 * @source EGO4D/episodic-memory MQ/Evaluation/ego4d (5275b957), metrics of ego4d.md 3.1
 */
import { EgolensError } from '../../src/errors.js';
import { hullTiou } from '../../src/metrics/intervals.js';
import type { MeanAveragePrecision } from '../../src/metrics/ranking.js';
import { firstHitRank, recallAt } from '../../src/metrics/ranking.js';
import type {
  Challenge,
  EvalOptions,
  Evaluation,
  JsonDocument,
  Nested,
  Prepared,
  Score,
  TieRule,
} from '../../src/types.js';
import {
  DetectionScorer,
  guessNotes,
  meanNumbers,
  mended,
  readGuesses,
  repeatsOf,
  segmentOf,
  SpanList,
  type DetectionTruth,
} from '../detections.js';
import { fault, isObject, listAt, NameTable, objectAt, textAt, type JsonObject } from '../reading.js';
import { pointer } from './checks.js';
import { momentClips, type MomentClip } from './moments.js';
import { checkMoments } from './mq-checks.js';
import { isMomentRecords, momentLists, momentSubmission } from './mq-submission.js';
import { describeFile } from './videos-file.js';

const detectionThresholds = [0.1, 0.2, 0.3, 0.4, 0.5];
const retrievalThresholds = [0.3, 0.5, 0.7];
const multiples = [1, 2, 3, 4, 5];
/** tIoU 0.5, among the detection thresholds. */
const detailThreshold = 4;

/** One of the two result lists of a prediction file. */
interface Part {
  readonly document: JsonDocument;
  readonly results: unknown;
  /** Its member name. */
  readonly at: string;
  /** The file does not say which list it is: where this part cannot be scored, it is left out. */
  readonly isGuess: boolean;
}

interface Parts {
  readonly detection?: Part;
  readonly retrieval?: Part;
}

/** Moment Queries: annotations or the working file as truth; a submission, files of the local evaluator, or our own moments as predictions. */
export const mq: Challenge = {
  task: 'mq',
  summary: 'Ego4D Moment Queries: mAP over tIoU, Recall@kx',
  primary: { metric: 'Average mAP', higherIsBetter: true },
  check: checkMoments,
  prepare,
  submission: momentSubmission,
};

function prepare(truth: readonly JsonDocument[], predictions: readonly JsonDocument[], options: EvalOptions): Prepared {
  const allClips = momentClips(truth);
  const split = options.split ?? defaultSplit(allClips);
  // A substring test, as the official evaluator does it: `val` is selected by `validation` and by `train+val`.
  const clips = allClips.filter(({ subset }) => split.includes(subset));
  const parts = predictionParts(predictions, truth);
  const scorer = new MomentScorer(clips, parts);
  const notes = [...scorer.notes];
  if (clips.length === 0) notes.push(`no clip has a split that \`${split}\` contains: every number is undefined`);
  else if (scorer.truth.spans.unit.length === 0)
    notes.push('the truth holds no moment, so every number is undefined: is this the unannotated test file?');
  return {
    units: scorer.truth.units.names,
    evaluate: (evalOptions) => scorer.evaluate(evalOptions, notes),
    resample: (sample, ties) => scorer.rows(ties, repeatsOf(sample, clips.length)),
  };
}

/** The only split there is, else the validation split, which the baseline scores. */
function defaultSplit(clips: readonly MomentClip[]): string {
  const splits = new Set(clips.map(({ subset }) => subset));
  return splits.size === 1 ? [...splits][0]! : 'validation';
}

function predictionParts(documents: readonly JsonDocument[], truth: readonly JsonDocument[]): Parts {
  let parts: Parts = {};
  for (const document of documents) {
    const { value } = document;
    if (isMomentRecords(value)) {
      // Also of clips without a label, which the official converter drops: what is predicted there is wrong, but no fault of the file.
      const names = truth.map(({ name }) => name).join(', ');
      const lists = momentLists(value, momentClips(truth, 'all'), names);
      parts = {
        detection: { document, results: lists.detection, at: 'detect_results', isGuess: false },
        retrieval: { document, results: lists.retrieval, at: 'retrieve_results', isGuess: false },
      };
    } else if (isObject(value) && ('detect_results' in value || 'retrieve_results' in value)) {
      parts = { ...parts, ...challengeParts(document, value) };
    } else if (isObject(value) && isObject(value['results']) && value['challenge'] === undefined) {
      parts = localParts(document, value, parts);
    } else {
      throw new EgolensError(
        'data.invalid',
        `\`${document.name}\`: expected Moment Queries predictions (\`detect_results\` and \`retrieve_results\`, or \`results\` by clip), found ${describeFile(document)}`,
        { try: 'give the predictions of this task, or name the task of this file', input: document.name },
      );
    }
  }
  if (parts.detection === undefined && parts.retrieval === undefined) {
    throw new EgolensError('data.invalid', 'no predictions among the files', { try: 'give them with `--pred`' });
  }
  return parts;
}

function challengeParts(document: JsonDocument, value: JsonObject): Parts {
  const { challenge } = value;
  if (challenge !== undefined && challenge !== 'ego4d_moment_queries') {
    throw fault(document, '/challenge', '`ego4d_moment_queries`', challenge, 'give the predictions of this task');
  }
  const part = (at: string): Part => ({ document, results: value[at], at, isGuess: false });
  return {
    ...('detect_results' in value ? { detection: part('detect_results') } : {}),
    ...('retrieve_results' in value ? { retrieval: part('retrieve_results') } : {}),
  };
}

/** A file of the local evaluator holds one list; only its name says which. */
function localParts(document: JsonDocument, value: JsonObject, parts: Parts): Parts {
  for (const key of ['version', 'external_data']) {
    if (!(key in value)) {
      throw fault(
        document,
        pointer(key),
        `a member \`${key}\``,
        undefined,
        'add it (its value is not looked at): the official reader asks for it',
      );
    }
  }
  const name = document.name.slice(Math.max(document.name.lastIndexOf('/'), document.name.lastIndexOf('\\')) + 1);
  const part: Part = { document, results: value['results'], at: 'results', isGuess: !/det|retr/i.test(name) };
  if (/retr/i.test(name)) return { ...parts, retrieval: part };
  if (/det/i.test(name)) return { ...parts, detection: part };
  return {
    detection: parts.detection ?? part,
    retrieval: parts.detection === undefined ? (parts.retrieval ?? part) : part,
  };
}

/** Both metrics over the clips of a split. */
class MomentScorer {
  readonly truth: DetectionTruth;
  readonly notes: readonly string[];
  readonly #detection: DetectionScorer | undefined;
  readonly #retrieval: Retrieval | undefined;
  readonly #kept: number;
  /** The same with the faults of the official code mended, made when first asked for. */
  #mended: { readonly detection?: DetectionScorer; readonly retrieval?: Retrieval } | undefined;
  readonly #clips: readonly MomentClip[];
  readonly #parts: Parts;

  constructor(clips: readonly MomentClip[], parts: Parts) {
    this.#clips = clips;
    this.#parts = parts;
    this.truth = truthOf(clips);
    const notes: string[] = [];
    if (parts.detection !== undefined) {
      const { document, results, at } = parts.detection;
      const guesses = readGuesses(document, results, at, this.truth);
      notes.push(...guessNotes(guesses, 'clips'));
      this.#kept = guesses.spans.unit.length;
      this.#detection = new DetectionScorer(this.truth, guesses, detectionThresholds);
    } else {
      this.#kept = 0;
      notes.push('no detection results: only retrieval is scored');
    }
    if (parts.retrieval === undefined) notes.push('no retrieval results: only detection is scored');
    else {
      try {
        this.#retrieval = retrieve(clips, this.truth, parts.retrieval);
      } catch (error) {
        if (!parts.retrieval.isGuess || !(error instanceof EgolensError)) throw error;
        notes.push(`taken as detection results only: ${error.message}`);
      }
    }
    this.notes = notes;
  }

  evaluate({ ties, detail }: EvalOptions, notes: readonly string[]): Evaluation {
    const detection = this.#detection;
    const mean = detection?.score(ties);
    const tieSpread = detection?.ties();
    const official: Record<string, Nested> = { ...this.#numbers(detection, mean, this.#retrieval, this.#kept) };
    if (tieSpread !== undefined) {
      official['tie_sensitivity'] = { first_listed_wins: tieSpread.first, last_listed_wins: tieSpread.last };
    }
    const repaired = this.#repaired();
    return {
      official,
      corrected: this.#numbers(repaired.detection, repaired.detection?.score(ties), repaired.retrieval),
      rows: rowsOf(mean, this.#retrieval?.recall()),
      correctedRows: rowsOf(repaired.detection?.score(ties), repaired.retrieval?.recall()),
      notes,
      ...(tieSpread === undefined ? {} : { ties: tieSpread }),
      ...(detail ? this.#detail(ties, mean) : {}),
    };
  }

  /** The ranking numbers on clips drawn `repeats` times each. */
  rows(ties: TieRule, repeats: Int32Array): Score[] {
    return rowsOf(this.#detection?.score(ties, repeats), this.#retrieval?.recall(repeats));
  }

  #repaired(): { readonly detection?: DetectionScorer; readonly retrieval?: Retrieval } {
    if (this.#mended !== undefined) return this.#mended;
    const clips = this.#clips.map((clip) => ({ ...clip, moments: withoutFaults(clip.moments) }));
    const part = this.#retrieval === undefined ? undefined : this.#parts.retrieval;
    this.#mended = {
      ...(this.#detection === undefined
        ? {}
        : { detection: new DetectionScorer(...mended(this.truth, this.#detection.guesses), detectionThresholds) }),
      ...(part === undefined ? {} : { retrieval: retrieve(clips, truthOf(clips), part, true) }),
    };
    return this.#mended;
  }

  #numbers(
    detection: DetectionScorer | undefined,
    mean: MeanAveragePrecision | undefined,
    retrieval: Retrieval | undefined,
    kept = detection?.guesses.spans.unit.length ?? 0,
  ): Readonly<Record<string, Nested>> {
    return {
      ...(detection === undefined || mean === undefined
        ? {}
        : {
            detection: {
              tiou_thresholds: detectionThresholds,
              ...meanNumbers(mean),
              classes: detection.truth.labels.names,
              ap_per_class: mean.ap.map((values) => Array.from(values)),
              num_ground_truth: detection.truth.spans.unit.length,
              num_predictions_kept: kept,
            },
          }),
      ...(retrieval === undefined
        ? {}
        : { retrieval: { tiou_thresholds: retrievalThresholds, multiples, recall: retrieval.recall() } }),
    };
  }

  #detail(ties: TieRule, mean: MeanAveragePrecision | undefined): Partial<Evaluation> {
    const detection = this.#detection;
    const perItem = [
      ...(detection?.perItem(ties, detailThreshold) ?? []),
      ...(this.#retrieval?.perClip(this.truth.units.names) ?? []),
    ];
    if (detection === undefined || mean === undefined) return { perItem };
    return { perClass: detection.perClass(mean), perItem, curves: detection.curves(ties, mean, detailThreshold) };
  }
}

function truthOf(clips: readonly MomentClip[]): DetectionTruth {
  const units = new NameTable();
  const labels = new NameTable();
  const list = new SpanList();
  for (const clip of clips) {
    const unit = units.add(clip.key);
    for (const { label, start, end } of clip.moments) list.add(unit, labels.add(label), start, end);
  }
  return { units, labels, spans: list.done() };
}

function withoutFaults(moments: MomentClip['moments']): MomentClip['moments'] {
  const seen = new Set<string>();
  return moments.filter(({ label, start, end }) => {
    const key = JSON.stringify([label, start, end]);
    if (!(end > start) || seen.has(key)) return false;
    seen.add(key);
    return true;
  });
}

/** For each moment of the truth, how many times its fellows of the same label and clip had to be listed until it was met. */
class Retrieval {
  constructor(
    /** Per threshold; Infinity where it never was. */
    private readonly needed: readonly Float64Array[],
    private readonly units: Int32Array,
  ) {}

  /** [threshold][multiple]; a moment counts as often as its clip is drawn. */
  recall(repeats?: Int32Array): number[][] {
    const weights = repeats === undefined ? undefined : Int32Array.from(this.units, (unit) => repeats[unit]!);
    return recallAt(this.needed, multiples, weights);
  }

  perClip(names: readonly string[]): Score[] {
    return names.flatMap((item, unit): Score[] => {
      const repeats = new Int32Array(names.length);
      repeats[unit] = 1;
      const value = this.recall(repeats)[1]![0]!;
      return Number.isNaN(value) ? [] : [{ metric: 'Recall@1x,tIoU=0.5', value, at: { item } }];
    });
  }
}

/**
 * Retrieval: of each clip and label with g moments, the first k g predictions in file order are looked at.
 *
 * @throws EgolensError data.invalid where a clip of the truth is missing, as the official evaluator does; `isMended` takes it for empty
 * @source EGO4D/episodic-memory MQ/Evaluation/ego4d/get_retrieval_performance.py, Moment_Retrieval
 * @quirk  file order, never the score; one prediction may serve several moments; the overlap must exceed the threshold; an undefined
 *         overlap (0/0) is a miss
 */
function retrieve(clips: readonly MomentClip[], truth: DetectionTruth, part: Part, isMended = false): Retrieval {
  const lists = readLists(part, isMended);
  const { spans } = truth;
  const needed = retrievalThresholds.map(() => new Float64Array(spans.unit.length));
  const names = truth.labels.names;
  let from = 0;
  for (const clip of clips) {
    const byLabel = lists.get(clip.clipId);
    if (byLabel === undefined && !isMended) {
      throw fault(
        part.document,
        pointer(part.at, clip.clipId),
        `an entry for clip \`${clip.clipId}\``,
        undefined,
        'every clip of the truth needs one: write `[]` where nothing is predicted',
      );
    }
    const to = from + clip.moments.length;
    const counts = new Map<number, number>();
    for (let i = from; i < to; i++) counts.set(spans.label[i]!, (counts.get(spans.label[i]!) ?? 0) + 1);
    for (let i = from; i < to; i++) {
      const label = spans.label[i]!;
      const count = counts.get(label)!;
      const segments = byLabel?.get(names[label]!) ?? [];
      const looked = Math.min(segments.length, multiples.at(-1)! * count);
      const overlaps = new Float64Array(looked);
      for (let s = 0; s < looked; s++) {
        const [start, end] = segments[s]!;
        overlaps[s] = hullTiou(start, end, spans.start[i]!, spans.end[i]!);
      }
      retrievalThresholds.forEach((threshold, t) => {
        needed[t]![i] = Math.ceil(firstHitRank(overlaps, threshold) / count);
      });
    }
    from = to;
  }
  return new Retrieval(needed, spans.unit.slice());
}

type SegmentsByLabel = Map<string, [number, number][]>;

function readLists(part: Part, isMended: boolean): ReadonlyMap<string, SegmentsByLabel> {
  const { document, at } = part;
  const results = objectAt(document, part.results, () => pointer(at), 'write `{clip: [{label, score, segment}]}`');
  const lists = new Map<string, SegmentsByLabel>();
  for (const [clip, value] of Object.entries(results)) {
    const byLabel: SegmentsByLabel = new Map();
    const items = listAt(document, value, () => pointer(at, clip), 'write `[]` where nothing is predicted');
    for (let i = 0; i < items.length; i++) {
      const item = objectAt(document, items[i], () => pointer(at, clip, i), 'an item is {label, score, segment}');
      const label = textAt(document, item['label'], () => pointer(at, clip, i, 'label'), 'write the class name');
      const segment = segmentOf(document, item['segment'], () => pointer(at, clip, i, 'segment'));
      if (item['score'] === undefined) {
        throw fault(document, pointer(at, clip, i, 'score'), 'a number', undefined, 'every prediction needs a score');
      }
      if (isMended && !(segment[1] > segment[0])) continue;
      const listed = byLabel.get(label);
      if (listed === undefined) byLabel.set(label, [segment]);
      else listed.push(segment);
    }
    lists.set(clip, byLabel);
  }
  return lists;
}

function rowsOf(mean: MeanAveragePrecision | undefined, recall: readonly (readonly number[])[] | undefined): Score[] {
  return [
    ...(mean === undefined
      ? []
      : [
          { metric: 'Average mAP', value: mean.average },
          ...detectionThresholds.map((tIoU, t) => ({ metric: `mAP,tIoU=${tIoU}`, value: mean.mAP[t]! })),
        ]),
    ...(recall === undefined
      ? []
      : retrievalThresholds.flatMap((tIoU, t) =>
          [0, 4].map((k) => ({ metric: `Recall@${multiples[k]!}x,tIoU=${tIoU}`, value: recall[t]![k]! })),
        )),
  ];
}
