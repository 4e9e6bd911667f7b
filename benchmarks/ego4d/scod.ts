/**
 * State Change Object Detection (SCOD): boxes of the object that changes, in the frame of no return.
 *
 * Source: cocodataset/cocoapi PythonAPI/pycocotools (the baselines' evaluator); numbers in src/metrics/coco.ts. Formats and quirks:
 * ego4d.md 3.7.
 */
import {
  cocoFigures,
  cocoOutcomes,
  cocoPrecisions,
  cocoRecalls,
  cocoThresholds,
  matchCoco,
  type CocoBoxes,
  type CocoFigures,
  type CocoMatches,
} from '../../src/metrics/coco.js';
import type {
  Challenge,
  Curve,
  EvalOptions,
  Evaluation,
  JsonDocument,
  Nested,
  Prepared,
  Score,
} from '../../src/types.js';
import { repeatsOf } from '../detections.js';
import { fault, listAt, numberAt, objectAt } from '../reading.js';
import { onlyDocument, putBox } from './box-reading.js';
import { inChallengeForm } from './box-records.js';
import { pointer } from './checks.js';
import { checkScod } from './scod-check.js';
import { scodSchema, scodSubmission } from './scod-submission.js';
import { idAt, isCoco, readScodTruth, type ImageId, type ScodTruth } from './scod-truth.js';

/** The challenge of State Change Object Detection. */
export const scod: Challenge = {
  task: 'scod',
  summary: 'State Change Object Detection: COCO average precision of the object that changes',
  primary: { metric: 'AP', higherIsBetter: true },
  check: checkScod,
  prepare,
  submission: scodSubmission,
};

interface ScodData {
  readonly truth: ScodTruth;
  /** By category, in the order of the truth's categories. */
  readonly boxes: readonly CocoBoxes[];
  readonly notes: readonly string[];
}

function prepare(truth: readonly JsonDocument[], predictions: readonly JsonDocument[]): Prepared {
  // The working file counts where it is given: its ids are those that the predictions use.
  const coco = truth.filter(({ value }) => isCoco(value));
  const what = 'the COCO truth (`coco_gt.json`) or the annotations (`fho_scod_val.json`)';
  const annotations = onlyDocument(coco.length > 0 ? coco : truth, what, '--gt');
  const data = readScod(
    annotations,
    inChallengeForm(onlyDocument(predictions, 'the results', '--pred'), scodSchema, (records) =>
      scodSubmission(records, annotations),
    ),
  );
  const matched = new Map<'first' | 'last', readonly CocoMatches[]>();
  const matches = (ties: 'first' | 'last'): readonly CocoMatches[] => {
    let found = matched.get(ties);
    if (found === undefined) matched.set(ties, (found = data.boxes.map((boxes) => matchCoco(boxes, ties))));
    return found;
  };
  return {
    units: data.truth.images.map(({ id }) => String(id)),
    evaluate: (options) => evaluate(data, matches, options),
    resample(sample, ties) {
      const repeats = repeatsOf(sample, data.truth.images.length);
      return rankingRows(cocoPrecisions(matches(ties === 'last' ? 'last' : 'first'), repeats));
    },
  };
}

/** @quirk the library sorts stably, so `numpy` and `first` are the same: of equal scores the earlier entry comes first */
function evaluate(
  data: ScodData,
  matches: (ties: 'first' | 'last') => readonly CocoMatches[],
  options: EvalOptions,
): Evaluation {
  const ties = options.ties === 'last' ? 'last' : 'first';
  const figures = cocoFigures(matches(ties));
  const tied = matches(ties).reduce((sum, match) => sum + match.tied, 0);
  const under = (rule: 'first' | 'last'): Nested => cocoPrecisions(matches(tied === 0 ? ties : rule));
  const isZeroBased = data.boxes.some(({ unseen }) => unseen.includes(1));
  return {
    official: officialOf(figures),
    corrected: isZeroBased ? officialOf(cocoFigures(data.boxes.map((boxes) => matchCoco(seen(boxes), ties)))) : null,
    rows: rankingRows(figures.stats),
    ties: { tied, first: under('first'), last: under('last') },
    ...(options.detail ? details(data, matches(ties), figures) : {}),
    notes: [
      ...data.truth.notes,
      ...data.notes,
      ...(isZeroBased
        ? ['a truth with id 0 can never be matched in the official code; the corrected numbers match it']
        : []),
    ],
  };
}

function seen(boxes: CocoBoxes): CocoBoxes {
  return { ...boxes, unseen: boxes.unseen.map(() => 0) };
}

function officialOf({ stats, ap, recall, precision }: CocoFigures): Nested {
  const byThreshold = (values: Float64Array): Nested =>
    Object.fromEntries(cocoThresholds.map((threshold, i) => [threshold.toFixed(2), values[i]!]));
  return {
    stats,
    ap_per_iou_all_100: byThreshold(ap),
    recall_per_iou_all_100: byThreshold(recall),
    precision_101_at_iou50: Array.from(precision.subarray(0, cocoRecalls.length)),
  };
}

/** The numbers of the leaderboard; the nine others stand in the official output. */
function rankingRows(stats: Pick<CocoFigures['stats'], 'AP' | 'AP50' | 'AP75'>): Score[] {
  return (['AP', 'AP50', 'AP75'] as const).map((metric) => ({ metric, value: stats[metric] }));
}

function details(
  { truth }: ScodData,
  matches: readonly CocoMatches[],
  figures: CocoFigures,
): Pick<Evaluation, 'perClass' | 'perItem' | 'curves'> {
  const perClass = truth.categories.flatMap(({ name }, i): Score[] =>
    rankingRows(cocoPrecisions([matches[i]!])).map((row) => ({ ...row, at: { label: name } })),
  );
  const wanted = new Int32Array(truth.images.length);
  const hits = new Int32Array(truth.images.length);
  for (const match of matches) {
    for (let i = 0; i < wanted.length; i++) wanted[i]! += match.wanted[i]!;
    // The first rows are those of all areas at IoU 0.5.
    match.image.forEach((image, d) => {
      if (match.outcome[d] === cocoOutcomes.hit) hits[image]!++;
    });
  }
  const perItem = truth.images.flatMap(({ id }, i): Score[] =>
    wanted[i] === 0 ? [] : [{ metric: 'recall50', value: hits[i]! / wanted[i]!, at: { item: id } }],
  );
  const curves = [0, 5].map((threshold): Curve => {
    const from = threshold * cocoRecalls.length;
    return {
      name: `IoU=${cocoThresholds[threshold]!.toFixed(2)}`,
      x: 'recall',
      y: 'precision',
      points: cocoRecalls.map((recall, i) => [recall, figures.precision[from + i]!] as const),
    };
  });
  return { perClass, perItem, curves };
}

const resultsForm = 'a results file is [{image_id, category_id, bbox: [x, y, width, height], score}]';

/**
 * Truth and results by category and image.
 *
 * @throws EgolensError data.invalid or data.unknown_id where the library ends with an assertion, KeyError or IndexError
 * @source pycocotools/coco.py, loadRes
 * @quirk  results of a category that the truth does not list are never looked at
 */
function readScod(truthDocument: JsonDocument, results: JsonDocument): ScodData {
  const truth = readScodTruth(truthDocument);
  const listed = listAt(results, results.value, () => '', resultsForm);
  if (listed.length === 0) {
    throw fault(results, '', 'at least one detection', listed, 'the official code cannot score an empty list');
  }
  const imageAt = new Map(truth.images.map(({ id }, i) => [id, i]));
  const categoryAt = new Map(truth.categories.map(({ id }, i) => [id, i]));
  const count = listed.length;
  const image = new Int32Array(count);
  const category = new Int32Array(count);
  const box = new Float64Array(4 * count);
  const score = new Float64Array(count);
  let unknownCategories = 0;
  listed.forEach((item, i) => {
    const detection = objectAt(results, item, () => pointer(i), resultsForm);
    const id = idAt(results, detection['image_id'], () => pointer(i, 'image_id'));
    const at = imageAt.get(id);
    if (at === undefined) {
      const isText = typeof id === 'string' && imageAt.has(Number(id));
      const hint = isText
        ? 'write the id as a number, without quotes'
        : 'the ids are those of the COCO file of the challenge; is this file of the same split?';
      throw fault(results, pointer(i, 'image_id'), 'an image of the truth', id, hint, 'data.unknown_id');
    }
    image[i] = at;
    putBox(results, detection['bbox'], box, i, () => pointer(i, 'bbox'), '[x, y, width, height]');
    const categoryId = numberAt(results, detection['category_id'], () => pointer(i, 'category_id'), resultsForm);
    category[i] = categoryAt.get(categoryId) ?? -1;
    if (category[i] === -1) unknownCategories++;
    else score[i] = numberAt(results, detection['score'], () => pointer(i, 'score'), 'every detection needs a score');
  });
  const boxes = truth.categories.map(({ id }, at) => grouped(truth, id, imageAt, { image, category, box, score }, at));
  const cut = boxes.reduce((sum, { detectionStart }) => sum + overLimit(detectionStart), 0);
  const notes: string[] = [];
  if (truth.boxes.length === 0) notes.push('the truth holds no box, so every number is -1: is it of the test split?');
  if (unknownCategories > 0)
    notes.push(
      `${unknownCategories} of ${count} detections have a category that the truth does not list and are not looked at`,
    );
  if (cut > 0) notes.push(`${cut} of ${count} detections are past the 100 best of their image and are not looked at`);
  return { truth, boxes, notes };
}

interface Detections {
  readonly image: Int32Array;
  readonly category: Int32Array;
  readonly box: Float64Array;
  readonly score: Float64Array;
}

function grouped(
  truth: ScodTruth,
  categoryId: number,
  imageAt: ReadonlyMap<ImageId, number>,
  detections: Detections,
  category: number,
): CocoBoxes {
  const images = truth.images.length;
  // An id that stands twice brings the last annotation twice, and that one may lie in another image.
  const truths = truth.boxes
    .filter((box) => box.category === categoryId)
    .map((box) => ({ box, image: imageAt.get(box.image) ?? -1 }))
    .filter(({ image }) => image !== -1)
    .sort((a, b) => a.image - b.image);
  const truthStart = new Int32Array(images + 1);
  for (const { image } of truths) truthStart[image + 1]!++;
  const detectionStart = new Int32Array(images + 1);
  for (let i = 0; i < detections.image.length; i++) {
    if (detections.category[i] === category) detectionStart[detections.image[i]! + 1]!++;
  }
  for (let i = 0; i < images; i++) {
    truthStart[i + 1]! += truthStart[i]!;
    detectionStart[i + 1]! += detectionStart[i]!;
  }
  const boxes: CocoBoxes = {
    images,
    truthStart,
    truths: new Float64Array(4 * truths.length),
    truthArea: Float64Array.from(truths, ({ box }) => box.area),
    crowd: Uint8Array.from(truths, ({ box }) => (box.isCrowd ? 1 : 0)),
    unseen: Uint8Array.from(truths, ({ box }) => (box.id === 0 ? 1 : 0)),
    detectionStart,
    detections: new Float64Array(4 * detectionStart[images]!),
    scores: new Float64Array(detectionStart[images]!),
  };
  truths.forEach(({ box }, i) => boxes.truths.set(box.box, 4 * i));
  const next = detectionStart.slice();
  for (let i = 0; i < detections.image.length; i++) {
    if (detections.category[i] !== category) continue;
    const at = next[detections.image[i]!]!++;
    boxes.scores[at] = detections.score[i]!;
    for (let side = 0; side < 4; side++) boxes.detections[4 * at + side] = detections.box[4 * i + side]!;
  }
  return boxes;
}

function overLimit(detectionStart: Int32Array): number {
  let cut = 0;
  for (let i = 0; i + 1 < detectionStart.length; i++) {
    cut += Math.max(0, detectionStart[i + 1]! - detectionStart[i]! - 100);
  }
  return cut;
}
