/**
 * Recognition of actions: verbs and nouns of labelled segments, each by its own list, and both at once.
 *
 * Truth: `fho_lta_*.json`, or a list with `verb` and `noun`. Predictions: records of `recognize --head`, which tell the kinds apart.
 */
import { segmentsOf, type LabelKind, type SegmentList } from '../src/ego4d/segments.js';
import { accuracy, countByClass, meanClassAccuracy } from '../src/metrics/classes.js';
import type { EvalOptions, Evaluation, JsonDocument, Nested, Prepared, Score, TieRule } from '../src/types.js';
import { pointer } from './ego4d/checks.js';
import { coverageNotes, ranker, tiedAnswers, type ListForm, type RankedList } from './ranked-lists.js';
import { fault, isObject, NameTable, numberAt, textAt } from './reading.js';

const form: ListForm = { keyWord: 'segment', nameWord: 'label', keys: ['id'], names: ['label', 'label_id'] };

/** Has this truth verbs or nouns? */
export function hasKinds({ value }: JsonDocument): boolean {
  if (isObject(value)) return Array.isArray(value['clips']);
  const [first] = Array.isArray(value) ? (value as readonly unknown[]) : [];
  return isObject(first) && !('label' in first) && ('verb' in first || 'noun' in first);
}

/** The truth as a list of ids, which the checks of single lists take. */
export function idsOnly(document: JsonDocument): JsonDocument {
  const { segments } = segmentsOf(document, { labels: 'needed' });
  return { ...document, value: segments.map(({ id }) => ({ id, label: '' })) };
}

/** One kind of label, ready to be scored. */
interface Kind {
  readonly kind: LabelKind;
  /** Class of each segment, for the mean over classes. */
  readonly classes: Int32Array;
  readonly names: readonly string[];
  readonly ranksOf: (ties: TieRule) => Float64Array;
}

/** Truth and predictions of actions. @throws EgolensError data.invalid with the place */
export function prepareKinds(truthFile: JsonDocument, predictionFile: JsonDocument): Prepared {
  const list = segmentsOf(truthFile, { labels: 'needed' });
  if (list.segments.length === 0) {
    throw fault(truthFile, '', 'at least one segment', truthFile.value, 'shares of nothing are undefined');
  }
  const lists = readKinds(predictionFile, list);
  const kinds = list.kinds.map((kind) => kindOf(kind, list, lists.get(kind)!)); // made for each
  const units = list.segments.map(({ id }) => id);
  const rows = (ties: TieRule, weights?: Int32Array): Score[] => {
    const scores: Score[] = [];
    const all = new Uint8Array(units.length).fill(1);
    for (const { kind, classes, names, ranksOf } of kinds) {
      const ranks = ranksOf(ties);
      const within = (most: number): Uint8Array => Uint8Array.from(ranks, (rank) => Number(rank <= most));
      const best = within(1);
      best.forEach((hit, i) => (all[i]! &= hit));
      const counts = countByClass(classes, best, names.length, weights);
      const five = countByClass(classes, within(5), names.length, weights);
      scores.push({ metric: `${kind}_top1`, value: accuracy(counts) });
      scores.push({ metric: `${kind}_top5`, value: accuracy(five) });
      scores.push({ metric: `${kind}_mean_class`, value: meanClassAccuracy(counts) });
    }
    if (kinds.length > 1) {
      const together = countByClass(new Int32Array(units.length), all, 1, weights);
      scores.push({ metric: 'action_top1', value: accuracy(together) });
    }
    return scores;
  };
  const numbers = (ties: TieRule): Nested => Object.fromEntries(rows(ties).map(({ metric, value }) => [metric, value]));
  const evaluate = ({ ties, detail }: EvalOptions): Evaluation => ({
    official: { ...numbers(ties), num_segments: units.length },
    corrected: null,
    rows: rows(ties),
    ties: {
      tied: kinds.reduce((sum, { kind }) => sum + tiedAnswers(lists.get(kind)!.values()), 0),
      first: numbers('first'),
      last: numbers('last'),
    },
    ...(detail
      ? {
          perClass: kinds.flatMap((kind) => perClass(kind, ties)),
          perItem: kinds.flatMap((kind) => perItem(kind, units, ties)),
        }
      : {}),
    notes: kinds.flatMap(({ kind }) => {
      const wanted = new Map(units.map((id) => [id, id]));
      return coverageNotes(wanted, lists.get(kind)!, { ...form, keyWord: `segment, ${kind}` });
    }),
  });
  return {
    units,
    evaluate,
    resample: (sample, ties) => {
      const repeats = new Int32Array(units.length);
      for (const unit of sample) repeats[unit]!++;
      return rows(ties, repeats);
    },
  };
}

function kindOf(kind: LabelKind, { segments }: SegmentList, lists: ReadonlyMap<string, RankedList>): Kind {
  const table = new NameTable();
  const wanted = new Map<string, Set<string | number>>();
  const classes = segments.map(({ id, labels }) => {
    const { name, number } = labels[kind]!; // every segment has the kinds of the list
    const wantedName = name ?? number!; // one of both is there
    wanted.set(id, new Set([wantedName]));
    return table.add(String(wantedName));
  });
  return { kind, classes: Int32Array.from(classes), names: table.names, ranksOf: ranker(wanted, lists) };
}

/** Records by kind and id; a record without a kind would count for neither, so it is refused. */
function readKinds(document: JsonDocument, { kinds }: SegmentList): Map<LabelKind, Map<string, RankedList>> {
  const lists = new Map(kinds.map((kind) => [kind, new Map<string, RankedList>()]));
  const expected = 'records {id, kind, label, score} as `recognize --head` gives them';
  const { value } = document;
  if (!Array.isArray(value)) throw fault(document, '', expected, value, 'predict with `recognize --head --segments`');
  (value as readonly unknown[]).forEach((record, i) => {
    if (!isObject(record)) throw fault(document, pointer(i), expected, record, 'one record a line');
    const at = (field: string) => (): string => pointer(i, field);
    const id = textAt(document, record['id'], at('id'), 'the id of a segment');
    const kind = kinds.find((one) => one === record['kind']);
    if (kind === undefined && record['kind'] !== 'verb' && record['kind'] !== 'noun') {
      throw fault(document, pointer(i, 'kind'), '`verb` or `noun`', record['kind'], expected);
    }
    if (kind === undefined) return; // predicted, not asked
    const score = numberAt(document, record['score'], at('score'), 'write a plain number');
    const names = [record['label'], record['label_id']].filter(
      (name): name is string | number => typeof name === 'string' || typeof name === 'number',
    );
    if (names.length === 0) throw fault(document, pointer(i, 'label'), 'a label', record['label'], expected);
    const own = lists.get(kind)!; // made above
    let ranked = own.get(id);
    if (ranked === undefined) own.set(id, (ranked = { names: [], scores: [] }));
    ranked.names.push(names);
    ranked.scores.push(score);
  });
  return lists;
}

function perClass({ kind, classes, names, ranksOf }: Kind, ties: TieRule): Score[] {
  const hits = Uint8Array.from(ranksOf(ties), (rank) => Number(rank === 1));
  const counts = countByClass(classes, hits, names.length);
  return names.map((label, c) => ({
    metric: `${kind}_top1`,
    value: counts.hits[c]! / counts.items[c]!,
    at: { label, segments: counts.items[c]! },
  }));
}

function perItem({ kind, ranksOf }: Kind, units: readonly string[], ties: TieRule): Score[] {
  const ranks = ranksOf(ties);
  return units.map((item, i) => ({ metric: `${kind}_rank`, value: ranks[i]!, at: { item } }));
}
