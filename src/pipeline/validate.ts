/** `validate`: every fault of annotation, prediction and submission files, counted exactly and listed within a bound. */
import { findings as schemaFaults, loadValidator } from '../check.js';
import { EgolensError } from '../errors.js';
import { countFindings, findingList, isMore, withLine } from '../findings.js';
import type { JsonValue } from '../json.js';
import type { Challenge, DocumentKind, Finding, JsonDocument, ScoredTask } from '../types.js';
import { readDocument, recordSchemaOf, recordTasks, type RecordSchema } from './documents.js';

/** What the room of the challenges knows of files; the command hands it over. */
export interface FileRules {
  challengeOf(task: ScoredTask): Challenge | undefined;
  /** What a value seems to be; the first task is the one it is named after. */
  formOf(
    value: unknown,
  ):
    | { readonly what: string; readonly kind: 'annotations' | 'predictions'; readonly tasks: readonly ScoredTask[] }
    | undefined;
  /** Faults against the schema of the form; one `file.other_form` for a file of another task or kind. */
  formFindings(task: ScoredTask, kind: DocumentKind, document: JsonDocument): Promise<Finding[]>;
  /** The document with what is safe to mend mended, and a finding for each change. */
  fixDocument(
    task: ScoredTask,
    document: JsonDocument,
  ): { readonly value: unknown; readonly changes: readonly Finding[] };
}

export interface ValidateOptions {
  readonly kind: DocumentKind;
  /** Guessed from what is in the file where absent. */
  readonly task?: ScoredTask;
  /** Annotations that ids, order and ranges are compared with. */
  readonly against?: string;
  /** Where the mended file goes; needs one input. */
  readonly fixed?: string;
  /** Findings listed of each file. */
  readonly most: number;
  readonly signal?: AbortSignal;
}

/** `egolens.finding/1` */
export type FindingRow = Readonly<Record<string, JsonValue>>;

export interface Validation {
  readonly input: string;
  readonly task: ScoredTask;
  /** For people: `Moment Queries submission`. */
  readonly what: string;
  readonly errors: number;
  readonly warnings: number;
  /** The counts are lower bounds: what counts stopped. */
  readonly atLeast: boolean;
  readonly rows: readonly FindingRow[];
  /** `egolens.validation/1`, the findings apart. */
  readonly record: Readonly<Record<string, JsonValue>>;
  /** What `--fix` changed, as findings; absent where nothing was to be mended. */
  readonly changes?: {
    readonly count: number;
    readonly rows: readonly FindingRow[];
    /** The same for people. */
    readonly lines: readonly string[];
    readonly output: string;
  };
}

/**
 * Look at one file. Faults of the file are values, not exceptions.
 *
 * @throws EgolensError usage.flag where no task is named and none can be guessed; what reading throws: data.invalid for text that is no JSON
 */
export async function validateFile(path: string, rules: FileRules, options: ValidateOptions): Promise<Validation> {
  const { kind, most, signal } = options;
  const document = await readDocument(path);
  signal?.throwIfAborted();
  const task = options.task ?? guessTask(document, kind, rules);
  const challenge = rules.challengeOf(task);
  if (challenge === undefined) throw new EgolensError('internal.bug', `no challenge for \`${task}\``);
  const literal = challenge.keepsLiterals === true ? await readDocument(path, { literals: true }) : document;
  const against = options.against === undefined ? undefined : await readDocument(options.against);
  const found = await documentFindings(task, kind, { document, literal, against }, challenge, rules);
  signal?.throwIfAborted();
  const { errors, warnings, atLeast } = countFindings(found);
  const what = whatOf(document, rules);
  const makeRow = rowMaker(path, task);
  const rows = listed(found, most).map(makeRow);
  const changes = options.fixed === undefined ? undefined : await writeFixed(path, task, options.fixed, rules);
  return {
    input: path,
    task,
    what,
    errors,
    warnings,
    atLeast,
    rows,
    record: {
      schema: 'egolens.validation/1',
      input: path,
      task,
      kind,
      what,
      ok: errors === 0,
      errors,
      warnings,
      atLeast,
      listed: rows.length,
      fixed: changes === undefined ? null : { output: changes.output, changes: changes.count },
    },
    ...(changes === undefined ? {} : { changes: changesOf(changes, most, makeRow) }),
  };
}

function changesOf(
  { output, found, count }: Fixed,
  most: number,
  makeRow: (finding: Finding) => FindingRow,
): NonNullable<Validation['changes']> {
  const kept = listed(found, most);
  return {
    output,
    count,
    rows: kept.map(makeRow),
    lines: kept.map(({ code, at, expected, found: before }) => `${code} ${at}: ${before} -> ${expected}`),
  };
}

/** All findings of a document: of its text, its form, and what the challenge says of it. */
export async function documentFindings(
  task: ScoredTask,
  kind: DocumentKind,
  files: {
    readonly document: JsonDocument;
    /** The same as the challenge reads it: with integers told from floats where it asks for that. */
    readonly literal: JsonDocument;
    readonly against?: JsonDocument | undefined;
  },
  challenge: Challenge,
  rules: FileRules,
): Promise<Finding[]> {
  const { document, literal, against } = files;
  const list = findingList(document);
  list.add(document.findings);
  const other = against === undefined ? undefined : await otherFile(task, against, rules);
  if (against !== undefined && other !== undefined) {
    list.error('reference.unreadable', () => ({
      at: '',
      expected: `annotations of \`${task}\` to compare with`,
      found: `\`${against.name}\`: ${other}`,
      hint: 'give `--against` the annotation file of the split that was predicted',
    }));
    return list.all();
  }
  const schema = kind === 'predictions' ? recordSchemaOf(document.value) : undefined;
  if (schema !== undefined) {
    const owner = recordTasks[schema];
    if (owner !== task && !(owner === 'mq' && task === 'tal')) {
      list.error('file.other_form', () => ({
        at: '',
        expected: `predictions of \`${task}\``,
        found: `records \`${schema}\``,
        hint: `check the task: these belong to \`${owner}\``,
      }));
      return list.all();
    }
    await checkRecords(list, document, schema);
    if (against !== undefined && list.errors === 0) checkWriting(list, document, against, challenge);
    return list.all();
  }
  const form = await rules.formFindings(task, kind, document);
  if (form.some(({ code }) => code === 'file.other_form')) {
    list.add(form);
    return list.all();
  }
  const own = challenge.check(kind, literal, against).filter(({ code }) => !code.startsWith('json.'));
  list.add(own);
  // The challenge counts every fault; of the schema's only those are news at whose place it said nothing.
  const told = new Set(own.map(({ at }) => at));
  const hasErrors = own.some(({ level }) => level === 'error');
  list.add(form.filter((finding) => (isMore(finding) ? !hasErrors : !told.has(finding.at))));
  return list.all();
}

/** What the file to compare with is, where that is no annotation file of the task: compared with another's, everything may look well. */
async function otherFile(task: ScoredTask, against: JsonDocument, rules: FileRules): Promise<string | undefined> {
  const form = rules.formOf(against.value);
  if (form === undefined || (form.kind === 'annotations' && form.tasks.includes(task))) return undefined;
  const found = await rules.formFindings(task, 'annotations', against);
  return found.find(({ code }) => code === 'file.other_form')?.found;
}

/** The first fault that `submit` would stop at: ids of another split, seconds of a file of one's own, items without a record. */
function checkWriting(
  list: ReturnType<typeof findingList>,
  document: JsonDocument,
  against: JsonDocument,
  challenge: Challenge,
): void {
  try {
    challenge.submission?.(document.value as readonly Readonly<Record<string, unknown>>[], against, {
      fillMissing: false,
    }); // records, held to their schema
  } catch (error) {
    if (!(error instanceof EgolensError) || !error.code.startsWith('data.')) throw error;
    const [, place, what = error.message] = /^record (\d+): (.*)$/s.exec(error.message) ?? [];
    list.error('record.refused', () => ({
      at: place === undefined ? '' : `/${Number(place) - 1}`,
      expected: `records that \`submit ${challenge.task}\` can write over \`${against.name}\``,
      found: what,
      ...(error.details.try === undefined ? {} : { hint: error.details.try }),
    }));
  }
}

async function checkRecords(
  list: ReturnType<typeof findingList>,
  document: JsonDocument,
  schema: RecordSchema,
): Promise<void> {
  const validator = await loadValidator(schema);
  (document.value as readonly unknown[]).forEach((record, index) => {
    for (const fault of schemaFaults(validator, record)) {
      list.add([withLine({ ...fault, at: `/${index}${fault.at}` }, document)]);
    }
  });
}

function whatOf(document: JsonDocument, rules: FileRules): string {
  const schema = recordSchemaOf(document.value);
  return schema === undefined ? (rules.formOf(document.value)?.what ?? 'no known form') : `records \`${schema}\``;
}

function guessTask(document: JsonDocument, kind: DocumentKind, rules: FileRules): ScoredTask {
  const schema = recordSchemaOf(document.value);
  if (schema !== undefined) return recordTasks[schema];
  const form = rules.formOf(document.value);
  if (form === undefined) {
    throw new EgolensError('data.invalid', `\`${document.name}\`: cannot tell which task it belongs to`, {
      try: 'name it with `--task`',
      input: document.name,
    });
  }
  const wanted = kind === 'annotations' ? 'annotations' : 'predictions';
  if (form.kind !== wanted) {
    throw new EgolensError('data.invalid', `\`${document.name}\`: expected ${kind}, found ${form.what}`, {
      try: `\`egolens validate ${form.kind}\``,
      input: document.name,
    });
  }
  return form.tasks[0]!; // every form has a task
}

/** The first ones by line, errors before warnings where not all fit; what stands for others comes last. */
function listed(found: readonly Finding[], most: number): Finding[] {
  const kept = [
    ...found.filter((finding) => finding.level === 'error' && !isMore(finding)),
    ...found.filter((finding) => finding.level === 'warning' && !isMore(finding)),
  ].slice(0, most);
  const place = ({ line }: Finding): number => line ?? Infinity;
  return kept
    .map((finding, index) => ({ finding, index }))
    .sort((a, b) => compare(place(a.finding), place(b.finding)) || a.index - b.index)
    .map(({ finding }) => finding);
}

function compare(a: number, b: number): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function rowMaker(input: string, task: ScoredTask): (finding: Finding) => FindingRow {
  return ({ level, code, at, line, expected, found, hint }) => ({
    schema: 'egolens.finding/1',
    input,
    task,
    level,
    code,
    at,
    line: line ?? null,
    expected,
    found,
    hint: hint ?? null,
  });
}

interface Fixed {
  readonly output: string;
  readonly found: readonly Finding[];
  readonly count: number;
}

async function writeFixed(path: string, task: ScoredTask, output: string, rules: FileRules): Promise<Fixed> {
  const document = await readDocument(path, { literals: true });
  if (recordSchemaOf(document.value) !== undefined) {
    throw new EgolensError('usage.conflict', `\`${path}\`: --fix is for files of a challenge, found records`, {
      try: '`egolens submit` writes the file of the challenge from records',
    });
  }
  const { value, changes } = rules.fixDocument(task, document);
  const { writeJsonFile } = await import('./write-json.js');
  await writeJsonFile(output, value, { literals: true });
  return { output, found: changes, count: countFindings(changes).warnings };
}
