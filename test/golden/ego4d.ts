import { existsSync, readdirSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { clipAnnotations } from '../../benchmarks/ego4d/moments.js';
import { challenges } from '../../benchmarks/index.js';
import { EgolensError } from '../../src/errors.js';
import { parseJson } from '../../src/json-reader.js';
import { momentSoftNms } from '../../src/metrics/intervals.js';
import { argsort } from '../../src/metrics/order.js';
import type { Challenge, EvalOptions, Evaluation, JsonDocument, ScoredTask } from '../../src/types.js';
import { maxAbs, type Comparison, type Runner } from './results.js';

const tolerance = 1e-9;
/** What official code rounds through float32. */
const singlePrecision = ['perceiver_sum_over_positive'];
/** Texts that official scripts print: only their numbers count, and those are compared under other keys. */
const printed = ['printed', 'evaluated_line'];
const tasks: readonly ScoredTask[] = ['mq', 'nlq', 'vq2d', 'fhp', 'sta', 'lta', 'scod', 'pnr', 'oscc'];

type Json = Readonly<Record<string, unknown>>;

interface Call {
  readonly evaluator?: string;
  readonly subset?: string;
  readonly num_views?: number;
  readonly thresholds?: readonly number[];
  readonly topK?: readonly number[];
}

/** A folder of `ego4d/<task>/`: a case, all single behaviours, or one of the parts that a task has besides. */
function taskRunner(challenge: Challenge): Runner {
  return async (path) => {
    if (existsSync(join(path, 'expected.json'))) return await runCase(challenge, path);
    if (existsSync(join(path, 'base'))) return await runBehaviours(challenge, path);
    if (challenge.task === 'mq') return await runSoftNms(path);
    return [];
  };
}

async function runCase(challenge: Challenge, path: string): Promise<Comparison[]> {
  const golden = await readObject(join(path, 'expected.json'));
  const documents = await readDocuments(challenge, path);
  const options: EvalOptions = {
    ties: 'numpy',
    detail: true,
    ...(typeof golden['num_input_actions'] === 'number' ? { inputActions: golden['num_input_actions'] } : {}),
  };
  const evaluation = evaluate(challenge, documents, options);
  const expected = golden['expected'] as Json; // as the README of the data says
  const comparisons = Object.entries(expected)
    .filter(([key]) => !printed.includes(key))
    .map(([key, value]) => comparison(key, value, evaluation.official[key]));
  const spread = expected['tie_sensitivity'] as Json | undefined;
  if (spread !== undefined) {
    comparisons.push(comparison('ties, first', spread['first_listed_wins'], evaluation.ties?.first));
    comparisons.push(comparison('ties, last', spread['last_listed_wins'], evaluation.ties?.last));
  }
  return [...comparisons, ...compareWorkingFile(challenge, documents, evaluation, options)];
}

/** Where the annotations stand beside the working file that the official code makes of them, ours must be the same, and need not be given. */
function compareWorkingFile(
  challenge: Challenge,
  documents: readonly JsonDocument[],
  { official }: Evaluation,
  options: EvalOptions,
): Comparison[] {
  const byName = new Map(documents.map((document) => [document.name, document]));
  const working = byName.get('clip_annotations.json');
  const annotations = documents.filter(({ name }) => name.startsWith('moments_'));
  if (challenge.task !== 'mq' || working === undefined || annotations.length === 0) return [];
  const made = clipAnnotations(annotations, byName.get('ego4d.json'));
  const isEqual = isDeepStrictEqual(JSON.parse(JSON.stringify(made)), JSON.parse(JSON.stringify(working.value)));
  const isInOrder = Object.keys(made).join() === Object.keys(working.value as object).join();
  const without = evaluate(
    challenge,
    documents.filter((document) => document !== working),
    options,
  );
  return [
    { what: 'clip_annotations.json as converted', error: isEqual && isInOrder ? 0 : 1, tolerance },
    {
      what: 'numbers without clip_annotations.json',
      error: isDeepStrictEqual(without.official, official) ? 0 : 1,
      tolerance,
    },
  ];
}

function evaluate(challenge: Challenge, documents: readonly JsonDocument[], options: EvalOptions): Evaluation {
  const isPrediction = ({ name }: JsonDocument): boolean =>
    /submission|prediction|results|logits|detections|retrieval/.test(name);
  const truth = documents.filter((document) => !isPrediction(document));
  return challenge.prepare(truth, documents.filter(isPrediction), options).evaluate(options);
}

async function runBehaviours(challenge: Challenge, path: string): Promise<Comparison[]> {
  const base = await readDocuments(challenge, join(path, 'base'));
  const comparisons: Comparison[] = [];
  for (const name of readdirSync(path).sort()) {
    if (!name.endsWith('.json')) continue;
    const file = parseJson(name, await readFile(join(path, name)), { literals: challenge.keepsLiterals ?? false });
    const behaviour = file.value as Json;
    const call = plain(behaviour['call'] ?? {}) as Call;
    const result = plain(behaviour['result']) as { readonly returned?: unknown; readonly error?: string };
    const documents = changedDocuments(challenge, base, behaviour, call);
    const what = name.replace(/\.json$/, '');
    const outcome = outcomeOf(challenge, documents, {
      ties: 'numpy',
      detail: false,
      ...(call.subset === undefined ? {} : { split: call.subset }),
      ...(call.num_views === 1 ? { fhpScale: 'mean' } : {}),
    });
    if (result.error !== undefined || outcome instanceof EgolensError) {
      const isRight =
        result.error !== undefined && outcome instanceof EgolensError && /^(data|input)\./.test(outcome.code);
      const found = outcome instanceof EgolensError ? `: ${outcome.code} ${outcome.message}` : ': a value';
      comparisons.push({ what: isRight ? what : what + found, error: isRight ? 0 : Infinity, tolerance });
    } else {
      comparisons.push(compareReturned(challenge.task, what, result.returned, outcome, call));
    }
  }
  return comparisons;
}

/** What the tool makes of the files: numbers, or an error that is meant for its user. Any other error is a fault of ours. */
function outcomeOf(
  challenge: Challenge,
  documents: readonly JsonDocument[],
  options: EvalOptions,
): Evaluation | EgolensError {
  try {
    return evaluate(challenge, documents, options);
  } catch (error) {
    if (error instanceof EgolensError && error.code !== 'internal.bug') return error;
    throw error;
  }
}

function changedDocuments(
  challenge: Challenge,
  base: readonly JsonDocument[],
  behaviour: Json,
  call: Call,
): JsonDocument[] {
  const documents = new Map(base.map((document) => [document.name, document]));
  for (const [name, value] of Object.entries((behaviour['changed_files'] ?? {}) as Json)) {
    documents.set(name, { name, bytes: 0, value, findings: [], line: () => undefined });
  }
  for (const [name, text] of Object.entries((behaviour['changed_files_as_text'] ?? {}) as Record<string, string>)) {
    documents.set(name, parseJson(name, text, { literals: challenge.keepsLiterals ?? false }));
  }
  // MQ's local evaluator takes one list a file; its own file names say which.
  const local = documents.get('evaluator_predictions.json');
  if (local === undefined) return [...documents.values()];
  documents.delete('evaluator_predictions.json');
  documents.delete('submission.json');
  const name = call.evaluator === 'rev' ? 'retrieval_predictions.json' : 'detections_predictions.json';
  return [...documents.values(), { ...local, name }];
}

function compareReturned(
  task: ScoredTask,
  what: string,
  returned: unknown,
  { official }: Evaluation,
  call: Call,
): Comparison {
  const isText = Array.isArray(returned) && returned.every((line) => typeof line === 'string');
  switch (task) {
    case 'mq':
      return comparison(what, returned, call.evaluator === 'rev' ? official['retrieval'] : official['detection']);
    case 'nlq': {
      const { thresholds, topK, recall, mIoU } = official as {
        readonly thresholds: readonly number[];
        readonly topK: readonly number[];
        readonly recall: readonly (readonly number[])[];
        readonly mIoU: number;
      };
      const rows = (call.thresholds ?? []).map((t) => recall[thresholds.indexOf(t)]!);
      const columns = (call.topK ?? []).map((k) => topK.indexOf(k));
      if (!isText) return comparison(what, returned, { recall: rows.map((row) => columns.map((k) => row[k]!)), mIoU });
      // The table: one line of percentages with two decimals.
      const line = returned.findLast((text) => /\d\.\d/.test(text)) ?? '';
      const shown = [...columns.flatMap((k) => rows.map((row) => row[k]!)), mIoU].map((value) => 100 * value);
      return { what, error: maxAbs(numbersIn(line), shown), tolerance: 0.0050001 };
    }
    case 'fhp': {
      const shown = ['left_mean_disp', 'right_mean_disp', 'left_contact_disp', 'right_contact_disp'];
      const found = shown.map((key) => official[key] as number);
      return { what, error: maxAbs(numbersIn((returned as string[]).join(' ')), found), tolerance: 0.00050001 };
    }
    case 'vq2d':
      return comparison(what, returned, official['metrics']);
    case 'sta':
      return comparison(what, returned, official['challenge']);
    case 'scod':
      return comparison(what, returned, official['stats']);
    default:
      return comparison(what, returned, official);
  }
}

function numbersIn(text: string): number[] {
  return (text.match(/-?\d+\.\d+|nan/g) ?? []).map(Number);
}

/** Largest difference of any number below; infinite where a member is missing, a text differs or only one of two numbers is NaN. */
function comparison(what: string, expected: unknown, found: unknown): Comparison {
  let worst = 0;
  let place = what;
  const visit = (wanted: unknown, value: unknown, at: string): void => {
    const fail = (error: number): void => {
      if (error <= worst) return;
      worst = error;
      place = at;
    };
    const number = numberOf(wanted);
    if (number !== undefined) {
      const mine = typeof value === 'number' ? value : NaN;
      if (typeof value !== 'number') fail(Infinity);
      else if (!Object.is(number, mine)) fail(Number.isNaN(number - mine) ? Infinity : Math.abs(number - mine));
    } else if (Array.isArray(wanted)) {
      if (!Array.isArray(value) || value.length !== wanted.length) fail(Infinity);
      else wanted.forEach((item, i) => visit(item, (value as unknown[])[i], `${at}[${i}]`));
    } else if (typeof wanted === 'object' && wanted !== null) {
      for (const [key, member] of Object.entries(wanted)) {
        if (!printed.includes(key)) visit(member, (value as Json | undefined)?.[key], `${at}.${key}`);
      }
    } else if (wanted !== value) {
      fail(Infinity);
    }
  };
  visit(expected, found, what);
  return { what: place, error: worst, tolerance: singlePrecision.includes(what) ? 1e-6 : tolerance };
}

function numberOf(value: unknown): number | undefined {
  if (typeof value === 'number') return value;
  if (value === 'NaN') return NaN;
  if (value === 'Infinity') return Infinity;
  return value === '-Infinity' ? -Infinity : undefined;
}

/** bigints of a reader that keeps literals as numbers. */
function plain(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value, (_, item: unknown) => (typeof item === 'bigint' ? Number(item) : item)));
}

async function readObject(path: string): Promise<Json> {
  return JSON.parse(await readFile(path, 'utf8')) as Json; // our own data
}

async function readDocuments(challenge: Challenge, folder: string): Promise<JsonDocument[]> {
  const names = readdirSync(folder).filter((name) => name.endsWith('.json') && name !== 'expected.json');
  return await Promise.all(
    names.sort().map(async (name) => {
      const bytes = await readFile(join(folder, name));
      return parseJson(name, bytes, { literals: challenge.keepsLiterals ?? false });
    }),
  );
}

const runArgsort: Runner = async (path) => {
  const { cases } = (await readObject(join(path, 'cases.json'))) as unknown as {
    readonly cases: readonly { readonly values: readonly unknown[]; readonly argsort: readonly number[] }[];
  };
  return cases.map(({ values, argsort: expected }, i) => {
    const order = argsort(Float64Array.from(values, (value) => numberOf(value)!));
    return { what: `case ${i}`, error: maxAbs(order, expected), tolerance };
  });
};

interface NmsColumns {
  readonly xmin: readonly number[];
  readonly xmax: readonly number[];
  readonly score: readonly number[];
  readonly label: readonly number[];
}

async function runSoftNms(path: string): Promise<Comparison[]> {
  const comparisons: Comparison[] = [];
  for (const name of readdirSync(path).sort()) {
    const { input, output, sigma, keep } = (await readObject(join(path, name))) as unknown as {
      readonly input: NmsColumns;
      readonly output: NmsColumns;
      readonly sigma: number;
      readonly keep: number;
    };
    const kept = momentSoftNms(
      {
        start: Float64Array.from(input.xmin),
        end: Float64Array.from(input.xmax),
        score: Float64Array.from(input.score),
        label: Int32Array.from(input.label),
      },
      sigma,
      keep,
    );
    const columns = { xmin: kept.start, xmax: kept.end, score: kept.score, label: kept.label };
    for (const [column, values] of Object.entries(columns)) {
      const expected = output[column as keyof NmsColumns]; // the keys stand two lines above
      comparisons.push({ what: `${name} ${column}`, error: maxAbs(values, expected), tolerance });
    }
  }
  return comparisons;
}

/** Runners of the Ego4D families: the challenges that are built, and the order of equal scores. */
export const ego4dRunners: Readonly<Record<string, Runner>> = {
  'ego4d/argsort': runArgsort,
  ...Object.fromEntries(
    challenges
      .filter(({ task }) => tasks.includes(task))
      .map((challenge) => [`ego4d/${challenge.task}`, taskRunner(challenge)]),
  ),
};
