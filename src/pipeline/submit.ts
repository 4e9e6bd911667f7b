/** `submit`: records of this program -> the file that a challenge's server takes, checked before it appears. */
import { basename } from 'node:path';
import { EgolensError } from '../errors.js';
import { beginFile, pathExists, sha256File, writeFileAtomic } from '../files.js';
import { countFindings } from '../findings.js';
import { jsonText, type JsonValue } from '../json.js';
import { readJson } from '../json-reader.js';
import type { Challenge, Finding, JsonDocument, Progress, ScoredTask, SubmissionOptions } from '../types.js';
import { readDocument, recordSchemaOf } from './documents.js';
import { documentFindings, type FileRules } from './validate.js';
import { programVersion } from './versions.js';
import { pendingSource, writePieces } from './write-json.js';

/** Numbers of the challenges on EvalAI. */
const challengePages: Readonly<Partial<Record<ScoredTask, number>>> = {
  mq: 1626,
  nlq: 1629,
  vq2d: 1843,
  fhp: 1630,
  sta: 1623,
  lta: 1598,
  scod: 1632,
  pnr: 1622,
  oscc: 1627,
};

export interface SubmitOptions extends SubmissionOptions {
  readonly output: string;
  /** The file of a note, whose text is kept in the meta file. */
  readonly teamNote?: string;
  /** Replace another file of that name. */
  readonly force: boolean;
  readonly progress: Progress;
  readonly signal?: AbortSignal;
}

/**
 * Write a submission and, beside it, `NAME.meta.json`: how it was made, without dates.
 *
 * @returns `egolens.submission/1`
 * @throws EgolensError data.invalid for records that do not fit, and with the first faults where our own checks refuse the result: then
 *         nothing is written; output.exists
 */
export async function submit(
  challenge: Challenge,
  predictionPaths: readonly string[],
  testPath: string,
  rules: FileRules,
  options: SubmitOptions,
): Promise<Readonly<Record<string, JsonValue>>> {
  const { output, progress, signal, fillMissing, fhpScale } = options;
  const { task } = challenge;
  if (challenge.submission === undefined) {
    throw new EgolensError('usage.flag', `\`${task}\` has no server that takes submissions`);
  }
  const records = await readRecords(predictionPaths);
  signal?.throwIfAborted();
  const test = await readDocument(testPath);
  const { json, counts, notes } = challenge.submission(records, test, {
    fillMissing,
    ...(fhpScale === undefined ? {} : { fhpScale }),
  });
  notes.forEach((note) => progress.note(note));

  await using file = await beginFile(output);
  const written = await writePieces(file, json);
  signal?.throwIfAborted();
  const source = pendingSource(file, output, written.bytes);
  const document = await readJson(source, { check: 'values' });
  const literal = challenge.keepsLiterals === true ? await readJson(source, { literals: true }) : document;
  const found = await documentFindings(task, 'submission', { document, literal, against: test }, challenge, rules);
  const { errors, warnings } = countFindings(found);
  if (errors > 0) throw refusal(output, found, errors, options);
  for (const { code, at, expected, found: what } of found.slice(0, 10)) {
    progress.warn(code, `${at === '' ? 'the whole file' : at}: expected ${expected}, found ${what}`);
  }
  if (!options.force && (await pathExists(output)) && (await sha256File(output)) !== written.sha256) {
    throw new EgolensError('output.exists', `\`${output}\`: another file of that name exists`, {
      try: '`--force` replaces it',
    });
  }
  const page = challengePages[task];
  const upload = page === undefined ? null : `https://eval.ai/web/challenges/challenge-page/${page}`;
  const meta = {
    schema: 'egolens.submission-meta/1',
    task,
    program: programVersion(),
    predictions: await filesJson(predictionPaths),
    test: (await filesJson([testPath]))[0]!, // one path, one entry
    options: { fillMissing, fhpScale: task === 'fhp' ? (fhpScale ?? 'sum') : null },
    counts: { records: records.length, ...counts },
    warnings,
    note: options.teamNote === undefined ? null : await noteText(options.teamNote),
    output: { name: basename(output), bytes: written.bytes, sha256: written.sha256 },
  } satisfies JsonValue;
  await file.commit();
  await writeFileAtomic(`${output}.meta.json`, `${jsonText(meta, 2)}\n`);
  if (upload !== null)
    progress.note(`not uploaded: hand it in at ${upload} (EvalAI challenge ${page}), phase of the test split`);
  return {
    schema: 'egolens.submission/1',
    task,
    output,
    bytes: written.bytes,
    sha256: written.sha256,
    counts: { records: records.length, ...counts },
    errors,
    warnings,
    meta: `${output}.meta.json`,
    upload,
  };
}

type JsonObject = Readonly<Record<string, unknown>>;

/** Records of one or more files, in their order. */
async function readRecords(paths: readonly string[]): Promise<JsonObject[]> {
  const records: JsonObject[] = [];
  for (const path of paths) {
    const document = await readDocument(path);
    assertList(document);
    for (const record of document.value as readonly unknown[]) {
      if (typeof record !== 'object' || record === null || Array.isArray(record)) {
        throw new EgolensError('data.invalid', `\`${path}\`: record ${records.length + 1}: expected an object`, {
          input: path,
        });
      }
      const { of } = record as { readonly of?: { readonly kind?: unknown } | null };
      if (of?.kind === 'file') {
        throw new EgolensError(
          'data.invalid',
          `record ${records.length + 1}: \`of\`: expected a clip or video of the data set, found a file of your own`,
          { try: 'predict with `--ego4d`, which gives records their ids', input: path },
        );
      }
      records.push(record as JsonObject);
    }
  }
  return records;
}

function assertList(document: JsonDocument): void {
  const { value, name } = document;
  if (Array.isArray(value) && (value.length === 0 || recordSchemaOf(value) !== undefined)) return;
  throw new EgolensError('data.invalid', `\`${name}\`: expected NDJSON records with a \`schema\`, found another form`, {
    try: 'what is a file of the challenge already needs no `submit`: check it with `egolens validate submission`',
    input: name,
  });
}

function refusal(
  output: string,
  found: readonly Finding[],
  errors: number,
  { fillMissing }: SubmitOptions,
): EgolensError {
  const wrong = found.filter(({ level }) => level === 'error');
  const list = wrong
    .slice(0, 3)
    .map(
      ({ code, at, expected, found: what }) =>
        `${code} at ${at === '' ? 'the whole file' : at}: expected ${expected}, found ${what}`,
    );
  const isIncomplete = wrong.some(({ code }) => code === 'ids.missing');
  const hint = isIncomplete && !fillMissing ? '`--fill-missing` fills what has no prediction' : wrong[0]?.hint;
  return new EgolensError(
    'data.invalid',
    `\`${output}\` is not written, it would have ${errors} ${errors === 1 ? 'error' : 'errors'}: ${list.join('; ')}`,
    hint === undefined ? {} : { try: hint },
  );
}

async function filesJson(paths: readonly string[]): Promise<{ name: string; sha256: string }[]> {
  const files: { name: string; sha256: string }[] = [];
  for (const path of paths) files.push({ name: basename(path), sha256: await sha256File(path) });
  return files;
}

async function noteText(path: string): Promise<string> {
  const { readSmallFile } = await import('../files.js');
  return new TextDecoder().decode(await readSmallFile(path, 2 ** 16)).trim();
}
