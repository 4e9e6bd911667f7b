/**
 * The forms of Ego4D's files: which schema a document should obey, and what it seems to be when it is another one's.
 *
 * | schema | file |
 * |---|---|
 * | `ego4d.TASK.annotations/1` | train and val, all versions |
 * | `ego4d.TASK.test/1` | the unannotated test file |
 * | `ego4d.TASK.submission/1` | what the server takes |
 * | `ego4d.mq.clips/1`, `ego4d.mq.classes/1`, `ego4d.mq.results/1` | working files of the Moment Queries evaluator |
 * | `ego4d.fhp.labels/1`, `ego4d.scod.truth/1`, `ego4d.lta.taxonomy/1`, `ego4d.{pnr,oscc}.logits/1` | files that evaluators read beside the annotations |
 * | `ego4d.metadata/1`, `ego4d.manifest-row/1`, `ego4d.narrations/1` | the data set |
 *
 * PNR and OSCC share `ego4d.oscc-pnr.annotations/1` and `.test/1`; Goal-Step is scored as NLQ.
 */
import { schemaFindings, type SchemaName } from '../../src/check.js';
import type { DocumentKind, Finding, JsonDocument, ScoredTask } from '../../src/types.js';

/** One form a file can have. */
export interface FileForm {
  readonly schema: SchemaName;
  /** The first is the one it is named after. */
  readonly tasks: readonly ScoredTask[];
  readonly kind: 'annotations' | 'predictions';
  /** For messages: `Moment Queries annotations`. */
  readonly what: string;
  /** Does the value look like it? Cheap, and true for files with faults inside. */
  fits(value: unknown): boolean;
  /** For bare lists of numbers and the like, which a faulty file of another task may be too: is it this one beyond doubt? */
  isSure?(value: unknown): boolean;
}

type JsonObject = Readonly<Record<string, unknown>>;

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The objects among the first thousand items of a list: enough to tell what they are. */
function objectsOf(value: unknown): readonly JsonObject[] {
  return Array.isArray(value) ? (value as readonly unknown[]).slice(0, 1000).filter(isObject) : [];
}

function membersOf(value: unknown, name: string): readonly JsonObject[] {
  return isObject(value) ? objectsOf(value[name]) : [];
}

function has(name: string): (object: JsonObject) => boolean {
  return (object) => Object.hasOwn(object, name);
}

/** Is it an object whose members look like this? The first three are asked: one of them may be at fault. */
function mapOf(value: unknown, fits: (member: unknown) => boolean): boolean {
  if (!isObject(value)) return false;
  let asked = 0;
  for (const key in value) {
    if (fits(value[key])) return true;
    if (++asked === 3) break;
  }
  return false;
}

const clipsOf = (value: unknown): readonly JsonObject[] =>
  membersOf(value, 'videos').flatMap((video) => membersOf(video, 'clips'));
const annotationsOf = (value: unknown): readonly JsonObject[] =>
  clipsOf(value).flatMap((clip) => membersOf(clip, 'annotations'));
const queriesOf = (value: unknown): readonly JsonObject[] =>
  annotationsOf(value).flatMap((annotation) => membersOf(annotation, 'language_queries'));
const querySetsOf = (value: unknown): readonly JsonObject[] =>
  annotationsOf(value).flatMap(({ query_sets: sets }) => (isObject(sets) ? Object.values(sets).filter(isObject) : []));
const handFramesOf = (value: unknown): readonly JsonObject[] =>
  membersOf(value, 'clips').flatMap((clip) => membersOf(clip, 'frames'));
/** Old files of OSCC and PNR are the bare list. */
const changesOf = (value: unknown): readonly JsonObject[] =>
  (Array.isArray(value) ? objectsOf(value) : membersOf(value, 'clips')).filter(
    (clip) => has('unique_id')(clip) && has('parent_start_frame')(clip),
  );
const listOfNumbers = (accepts: (length: number) => boolean) => (value: unknown) =>
  Array.isArray(value) && accepts(value.length) && (typeof value[0] === 'number' || typeof value[0] === 'bigint');
const envelope = (challenge: string) => (value: unknown) => isObject(value) && value['challenge'] === challenge;

/** All forms, told apart by what stands in them. */
export const fileForms: readonly FileForm[] = [
  {
    schema: 'ego4d.mq.annotations/1',
    tasks: ['mq'],
    kind: 'annotations',
    what: 'Moment Queries annotations',
    fits: (value) => annotationsOf(value).some(has('labels')),
  },
  {
    schema: 'ego4d.mq.test/1',
    tasks: ['mq'],
    kind: 'annotations',
    what: 'Moment Queries test file',
    fits: (value) => clipsOf(value).length > 0 && annotationsOf(value).length === 0,
  },
  {
    schema: 'ego4d.mq.clips/1',
    tasks: ['mq'],
    kind: 'annotations',
    what: 'Moment Queries working file `clip_annotations.json`',
    fits: (value) => mapOf(value, (clip) => isObject(clip) && has('subset')(clip)),
  },
  {
    schema: 'ego4d.mq.classes/1',
    tasks: ['mq'],
    kind: 'annotations',
    what: 'Moment Queries class list',
    fits: (value) => mapOf(value, (index) => typeof index === 'number' || typeof index === 'bigint'),
    isSure: (value) => isObject(value) && has('Background')(value),
  },
  {
    schema: 'ego4d.mq.submission/1',
    tasks: ['mq'],
    kind: 'predictions',
    what: 'Moment Queries submission',
    fits: (value) => isObject(value) && (has('detect_results')(value) || has('retrieve_results')(value)),
  },
  {
    schema: 'ego4d.mq.results/1',
    tasks: ['mq'],
    kind: 'predictions',
    what: 'Moment Queries results of one part',
    fits: (value) => isObject(value) && has('external_data')(value) && has('results')(value),
  },
  {
    schema: 'ego4d.nlq.annotations/1',
    tasks: ['nlq'],
    kind: 'annotations',
    what: 'Natural Language Queries annotations',
    fits: (value) => queriesOf(value).some((query) => has('clip_start_sec')(query) || has('clip_end_sec')(query)),
  },
  {
    schema: 'ego4d.nlq.test/1',
    tasks: ['nlq'],
    kind: 'annotations',
    what: 'Natural Language Queries test file',
    fits: (value) => annotationsOf(value).some(has('language_queries')),
  },
  {
    schema: 'ego4d.goalstep.annotations/1',
    tasks: ['nlq'],
    kind: 'annotations',
    what: 'Goal-Step annotations',
    fits: (value) => membersOf(value, 'videos').some(has('segments')),
  },
  {
    schema: 'ego4d.goalstep.test/1',
    tasks: ['nlq'],
    kind: 'annotations',
    what: 'Goal-Step test file',
    fits: (value) => membersOf(value, 'videos').some(has('step_segments')),
  },
  {
    schema: 'ego4d.nlq.submission/1',
    tasks: ['nlq'],
    kind: 'predictions',
    what: 'Natural Language Queries submission',
    fits: (value) => envelope('ego4d_nlq_challenge')(value) || membersOf(value, 'results').some(has('predicted_times')),
  },
  {
    schema: 'ego4d.vq2d.annotations/1',
    tasks: ['vq2d'],
    kind: 'annotations',
    what: 'Visual Queries 2D annotations',
    fits: (value) => querySetsOf(value).some(has('response_track')),
  },
  {
    schema: 'ego4d.vq2d.test/1',
    tasks: ['vq2d'],
    kind: 'annotations',
    what: 'Visual Queries 2D test file',
    fits: (value) => annotationsOf(value).some(has('query_sets')),
  },
  {
    schema: 'ego4d.vq2d.submission/1',
    tasks: ['vq2d'],
    kind: 'predictions',
    what: 'Visual Queries 2D submission',
    fits: (value) =>
      envelope('ego4d_vq2d_challenge')(value) ||
      (isObject(value) && isObject(value['results']) && clipsOf(value['results']).some(has('predictions'))),
  },
  {
    schema: 'ego4d.fhp.annotations/1',
    tasks: ['fhp'],
    kind: 'annotations',
    what: 'Future Hand Prediction annotations',
    fits: (value) =>
      handFramesOf(value).some((frames) => Object.values(frames).some((key) => isObject(key) && has('boxes')(key))),
  },
  {
    schema: 'ego4d.fhp.test/1',
    tasks: ['fhp'],
    kind: 'annotations',
    what: 'Future Hand Prediction test file',
    fits: (value) => handFramesOf(value).length > 0,
  },
  {
    schema: 'ego4d.fhp.submission/1',
    tasks: ['fhp'],
    kind: 'predictions',
    what: 'Future Hand Prediction submission',
    fits: (value) =>
      mapOf(
        value,
        listOfNumbers((length) => length > 16),
      ),
  },
  {
    schema: 'ego4d.fhp.labels/1',
    tasks: ['fhp'],
    kind: 'annotations',
    what: 'Future Hand Prediction truth vectors',
    fits: (value) =>
      mapOf(
        value,
        listOfNumbers((length) => length > 16),
      ),
  },
  {
    schema: 'ego4d.sta.annotations/1',
    tasks: ['sta'],
    kind: 'annotations',
    what: 'Short-Term Anticipation annotations',
    fits: (value) => membersOf(value, 'annotations').some((image) => has('uid')(image) && has('objects')(image)),
  },
  {
    schema: 'ego4d.sta.test/1',
    tasks: ['sta'],
    kind: 'annotations',
    what: 'Short-Term Anticipation test file',
    fits: (value) => membersOf(value, 'annotations').some((image) => has('uid')(image) && has('frame')(image)),
  },
  {
    schema: 'ego4d.sta.submission/1',
    tasks: ['sta'],
    kind: 'predictions',
    what: 'Short-Term Anticipation submission',
    fits: (value) =>
      envelope('ego4d_short_term_object_interaction_anticipation')(value) ||
      (isObject(value) && mapOf(value['results'], (list) => objectsOf(list).some(has('time_to_contact')))),
  },
  {
    schema: 'ego4d.lta.annotations/1',
    tasks: ['lta'],
    kind: 'annotations',
    what: 'Long-Term Anticipation annotations',
    fits: (value) => membersOf(value, 'clips').some((clip) => has('action_idx')(clip) && has('verb_label')(clip)),
  },
  {
    schema: 'ego4d.lta.test/1',
    tasks: ['lta'],
    kind: 'annotations',
    what: 'Long-Term Anticipation test file',
    fits: (value) => membersOf(value, 'clips').some(has('action_idx')),
  },
  {
    schema: 'ego4d.lta.taxonomy/1',
    tasks: ['lta'],
    kind: 'annotations',
    what: 'Long-Term Anticipation taxonomy',
    fits: (value) => isObject(value) && has('verbs')(value) && has('nouns')(value),
  },
  {
    schema: 'ego4d.lta.submission/1',
    tasks: ['lta'],
    kind: 'predictions',
    what: 'Long-Term Anticipation submission',
    fits: (value) =>
      mapOf(value, (item) => isObject(item) && Array.isArray(item['verb']) && Array.isArray(item['noun'])),
  },
  {
    schema: 'ego4d.scod.annotations/1',
    tasks: ['scod'],
    kind: 'annotations',
    what: 'State Change Object Detection annotations',
    fits: (value) => membersOf(value, 'clips').some(({ pnr_frame: frame }) => isObject(frame) && has('bbox')(frame)),
  },
  {
    schema: 'ego4d.scod.test/1',
    tasks: ['scod'],
    kind: 'annotations',
    what: 'State Change Object Detection test file',
    fits: (value) => membersOf(value, 'clips').some(({ pnr_frame: frame }) => isObject(frame)),
  },
  {
    schema: 'ego4d.scod.truth/1',
    tasks: ['scod'],
    kind: 'annotations',
    what: 'State Change Object Detection truth (COCO)',
    fits: (value) => isObject(value) && has('images')(value) && has('annotations')(value),
  },
  {
    schema: 'ego4d.scod.submission/1',
    tasks: ['scod'],
    kind: 'predictions',
    what: 'State Change Object Detection results (COCO)',
    fits: (value) => objectsOf(value).some((item) => has('image_id')(item) && has('bbox')(item)),
  },
  {
    schema: 'ego4d.oscc-pnr.annotations/1',
    tasks: ['pnr', 'oscc'],
    kind: 'annotations',
    what: 'state change annotations (OSCC and PNR)',
    fits: (value) => changesOf(value).some(has('state_change')),
  },
  {
    schema: 'ego4d.oscc-pnr.test/1',
    tasks: ['pnr', 'oscc'],
    kind: 'annotations',
    what: 'state change test file (OSCC and PNR)',
    fits: (value) => changesOf(value).length > 0,
  },
  {
    schema: 'ego4d.pnr.submission/1',
    tasks: ['pnr'],
    kind: 'predictions',
    what: 'PNR submission',
    fits: (value) => objectsOf(value).some((item) => has('unique_id')(item) && has('pnr_frame')(item)),
  },
  {
    schema: 'ego4d.pnr.logits/1',
    tasks: ['pnr'],
    kind: 'predictions',
    what: 'PNR logits',
    fits: (value) =>
      mapOf(
        value,
        listOfNumbers((length) => length > 2 && length <= 16),
      ),
    isSure: (value) =>
      mapOf(
        value,
        listOfNumbers((length) => length === 16),
      ),
  },
  {
    schema: 'ego4d.oscc.submission/1',
    tasks: ['oscc'],
    kind: 'predictions',
    what: 'OSCC submission',
    fits: (value) => objectsOf(value).some((item) => has('unique_id')(item) && has('state_change')(item)),
  },
  {
    schema: 'ego4d.oscc.logits/1',
    tasks: ['oscc'],
    kind: 'predictions',
    what: 'OSCC logits',
    fits: (value) =>
      mapOf(
        value,
        listOfNumbers((length) => length === 2),
      ),
  },
  {
    schema: 'ego4d.metadata/1',
    tasks: ['mq'],
    kind: 'annotations',
    what: 'video list `ego4d.json`',
    fits: (value) => membersOf(value, 'videos').some(has('duration_sec')),
  },
];

/** The form a document of this task and kind has; the task's usual one when it looks like none of them. */
export function formFor(task: ScoredTask, kind: DocumentKind, value: unknown): FileForm | undefined {
  const wanted = kind === 'annotations' ? 'annotations' : 'predictions';
  const forms = fileForms.filter((form) => form.kind === wanted && form.tasks.includes(task));
  return forms.find((form) => form.fits(value)) ?? forms[0];
}

/** What a document seems to be, whatever it was given as. */
export function formOf(value: unknown): FileForm | undefined {
  return fileForms.find((form) => form.fits(value) && (form.isSure?.(value) ?? true));
}

/**
 * What breaks the form of a document: one error `file.other_form` when it is a file of another task or kind, else the faults
 * against its schema, with lines. [] for tasks without Ego4D files.
 */
export async function formFindings(
  task: ScoredTask,
  kind: DocumentKind,
  document: JsonDocument,
  options: { readonly limit?: number } = {},
): Promise<Finding[]> {
  const form = formFor(task, kind, document.value);
  if (form === undefined) return [];
  if (!form.fits(document.value)) {
    const other = formOf(document.value);
    if (other !== undefined) {
      return [
        {
          level: 'error',
          code: 'file.other_form',
          at: '',
          line: 1,
          expected: form.what,
          found: other.what,
          hint: `check the task: this file belongs to \`${other.tasks.join('`, `')}\``,
        },
      ];
    }
  }
  return await schemaFindings(form.schema, document, options);
}
