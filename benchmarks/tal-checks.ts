/** Faults of ActivityNet's files: truth with a `database`, predictions with `results`. */
import { findingList, type FindingList } from '../src/findings.js';
import type { DocumentKind, Finding, JsonDocument } from '../src/types.js';
import { below, expectObject, expectText, wrongType, type Place } from './ego4d/box-checks.js';
import { checkIds, pointer } from './ego4d/checks.js';
import { entriesOf, isObject, type JsonObject } from './reading.js';
import { areRecords } from './records.js';
import { addScores, checkSpanList, eachObject, expectSegment, warnTiedLabels } from './span-checks.js';

/** Every fault of truth, or of predictions. */
export function checkActivities(kind: DocumentKind, document: JsonDocument, against?: JsonDocument): Finding[] {
  const list = findingList(document);
  if (kind === 'annotations') checkTruth(list, document);
  else checkResults(list, document, against);
  return list.all();
}

function databaseOf({ value }: JsonDocument): JsonObject | undefined {
  return isObject(value) && isObject(value['database']) ? value['database'] : undefined;
}

function checkTruth(list: FindingList, document: JsonDocument): void {
  const root: Place = () => '';
  if (!expectObject(list, document.value, root, ['database'])) return;
  const database = databaseOf(document);
  if (database === undefined) {
    if (document.value['database'] !== undefined) {
      wrongType(list, document.value['database'], () => '/database', 'an object with an entry for each video');
    }
    return;
  }
  for (const [name, video] of entriesOf(document, database)) {
    const at: Place = () => pointer('database', name);
    if (!expectObject(list, video, at, ['subset', 'annotations'])) continue;
    if (video['subset'] !== undefined) expectText(list, video['subset'], below(at, 'subset'));
    const duration = typeof video['duration'] === 'number' ? video['duration'] : undefined;
    eachObject(list, video['annotations'], below(at, 'annotations'), ['label', 'segment'], (annotation, place) => {
      if (annotation['label'] !== undefined) expectText(list, annotation['label'], below(place, 'label'));
      if (annotation['segment'] !== undefined)
        expectSegment(list, annotation['segment'], below(place, 'segment'), duration);
    });
  }
}

function checkResults(list: FindingList, document: JsonDocument, against: JsonDocument | undefined): void {
  const { value } = document;
  if (areRecords(value, 'egolens.moment/1')) return; // our own, held to their schema elsewhere
  const root: Place = () => '';
  if (!isObject(value)) {
    wrongType(
      list,
      value,
      root,
      'an object',
      'results are {version, external_data, results: {video: [{label, score, segment}]}}',
    );
    return;
  }
  expectObject(list, value, root, ['version', 'results', 'external_data']);
  const results = value['results'];
  if (results === undefined) return;
  if (!isObject(results)) {
    wrongType(list, results, () => '/results', 'an object with a list for each video');
    return;
  }
  const database = against === undefined ? undefined : databaseOf(against);
  const names = Object.keys(results);
  if (database !== undefined) {
    checkIds(list, new Set(Object.keys(database)), names, (i) => pointer('results', names[i]!), {
      what: 'video',
      within: '/results',
      missing: false,
      hint: 'names are those of the `database`, for ActivityNet without the prefix `v_`',
    });
  }
  const labels = database === undefined ? undefined : labelsOf(database);
  const scores = new Map<string, number[]>();
  for (const [name, items] of entriesOf(document, results)) {
    const video = database?.[name];
    const duration = isObject(video) && typeof video['duration'] === 'number' ? video['duration'] : undefined;
    const rules = { isOrdered: false, ...(labels === undefined ? {} : { labels }) };
    addScores(
      scores,
      checkSpanList(list, items, () => pointer('results', name), { duration }, rules),
    );
  }
  warnTiedLabels(list, scores, '/results');
}

function labelsOf(database: JsonObject): ReadonlySet<string> {
  const labels = new Set<string>();
  for (const video of Object.values(database)) {
    const annotations = isObject(video) ? video['annotations'] : undefined;
    if (!Array.isArray(annotations)) continue;
    for (const annotation of annotations as readonly unknown[]) {
      if (isObject(annotation) && typeof annotation['label'] === 'string') labels.add(annotation['label']);
    }
  }
  return labels;
}
