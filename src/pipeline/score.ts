/** `eval`: predictions against truth, the official numbers first. */
import { join } from 'node:path';
import type { EgolensError } from '../errors.js';
import type { JsonValue } from '../json.js';
import type { Challenge, EvalOptions, Evaluation, JsonDocument, Prepared, Progress } from '../types.js';
import type { Uncertainty } from './bootstrap.js';
import { readDocuments } from './documents.js';
import {
  checkBounds,
  correctedScores,
  missedBounds,
  nestedJson,
  numberJson,
  rowMaker,
  tieNote,
  type Bound,
  type Compared,
  type ScoreRow,
  type Variant,
} from './score-rows.js';

export interface ScoreOptions extends Omit<EvalOptions, 'detail'> {
  /** Which numbers become rows and are held to the bounds; both where absent (bounds: official). */
  readonly variant?: Variant;
  readonly perClass: boolean;
  readonly perItem: boolean;
  /** Folder for SVG files. */
  readonly plot?: string;
  readonly bootstrap?: { readonly samples: number; readonly seed: number };
  /** Other predictions over the same truth; needs `bootstrap`. */
  readonly compare?: readonly string[];
  readonly bounds: readonly Bound[];
  readonly signal?: AbortSignal;
  readonly progress: Progress;
}

export interface ScoreResult {
  /** `egolens.evaluation/1`: everything in one document. */
  readonly document: Readonly<Record<string, JsonValue>>;
  /** `egolens.score/1`: official rows, corrected rows, rows by class. */
  readonly rows: readonly ScoreRow[];
  readonly perItem: readonly ScoreRow[];
  /** SVG files that were written. */
  readonly plots: readonly string[];
  /** Bounds that were missed. */
  readonly error: EgolensError | undefined;
}

/** What Python's reader lets pass, and people should know of. */
const toldCodes = ['json.duplicate_key', 'json.nan'];

/**
 * Evaluate the predictions of a challenge.
 *
 * @throws EgolensError data.invalid, data.unknown_id with file and place where the official evaluator dies; what reading files throws
 */
export async function score(
  challenge: Challenge,
  truthPaths: readonly string[],
  predictionPaths: readonly string[],
  options: ScoreOptions,
): Promise<ScoreResult> {
  const { progress, signal, bounds, variant, plot } = options;
  const isDetailed = options.perClass || options.perItem || plot !== undefined;
  const evalOptions: EvalOptions = { ...options, detail: isDetailed };
  const truth = await readDocuments(challenge, truthPaths);
  signal?.throwIfAborted();
  const predictions = await readDocuments(challenge, predictionPaths);
  signal?.throwIfAborted();
  noteTextFaults([...truth, ...predictions], progress);
  const prepared = challenge.prepare(truth, predictions, evalOptions);
  const evaluation = prepared.evaluate(evalOptions);
  evaluation.notes.forEach((note) => progress.note(note));
  const note = tieNote(evaluation.ties);
  if (note !== undefined) progress.note(note);

  const input = predictionPaths.join(', ');
  const { compared, uncertain, units } = await uncertainties(challenge, prepared, evaluation, truth, options);
  const makeRow = rowMaker(challenge.task, input);
  const official = evaluation.rows.map((row) =>
    makeRow('official', row, { uncertainty: uncertain.get(row.metric), compared }),
  );
  const corrected = correctedScores(evaluation);
  const perClass = options.perClass ? (evaluation.perClass ?? []) : [];
  if (options.perClass && perClass.length === 0) progress.note(`\`${challenge.task}\` has no classes`);
  const checked = checkBounds(bounds, variant === 'corrected' ? corrected : evaluation.rows);
  const plots = plot === undefined ? [] : await writePlots(plot, challenge, evaluation, progress);
  const rows = [
    ...(variant === 'corrected' ? [] : official),
    ...(variant === 'official' ? [] : corrected.map((row) => makeRow('corrected', row))),
  ];
  const classRows = perClass.map((row) => makeRow('official', row));
  if (rows.length === 0)
    progress.note(`\`${challenge.task}\`: no corrected rows: nothing that is mended occurs in these files`);
  return {
    document: {
      schema: 'egolens.evaluation/1',
      task: challenge.task,
      truth: [...truthPaths],
      predictions: [...predictionPaths],
      primary: challenge.primary.metric,
      official: nestedJson(evaluation.official),
      corrected: nestedJson(evaluation.corrected),
      ties: {
        rule: options.ties,
        tied: evaluation.ties?.tied ?? 0,
        first: nestedJson(evaluation.ties?.first ?? null),
        last: nestedJson(evaluation.ties?.last ?? null),
      },
      bootstrap: options.bootstrap === undefined ? null : { ...options.bootstrap, units },
      rows,
      ...(options.perClass ? { perClass: classRows } : {}),
      bounds: checked.map(({ kind, metric, bound, value, ok }) => ({
        kind,
        metric,
        bound: numberJson(bound),
        value: numberJson(value),
        ok,
      })),
      plots,
      notes: [...evaluation.notes, ...(note === undefined ? [] : [note])],
    },
    rows: [...rows, ...classRows],
    perItem: options.perItem ? (evaluation.perItem ?? []).map((row) => makeRow('official', row)) : [],
    plots,
    error: missedBounds(checked),
  };
}

function noteTextFaults(documents: readonly JsonDocument[], progress: Progress): void {
  for (const { name, findings } of documents) {
    for (const code of toldCodes) {
      const first = findings.find((finding) => finding.code === code);
      if (first === undefined) continue;
      const place = first.line === undefined ? '' : ` (first in line ${first.line})`;
      progress.note(`\`${name}\`: ${code}${place}: ${first.hint ?? first.found}`);
    }
  }
}

interface Uncertainties {
  readonly uncertain: ReadonlyMap<string, Uncertainty>;
  readonly compared: Compared | undefined;
  readonly units: number;
}

async function uncertainties(
  challenge: Challenge,
  prepared: Prepared,
  evaluation: Evaluation,
  truth: readonly JsonDocument[],
  options: ScoreOptions,
): Promise<Uncertainties> {
  const { bootstrap: drawing, compare, ties, progress, signal } = options;
  if (drawing === undefined) return { uncertain: new Map(), compared: undefined, units: 0 };
  const { bootstrap } = await import('./bootstrap.js');
  const evalOptions: EvalOptions = { ...options, detail: false };
  const other =
    compare === undefined ? undefined : challenge.prepare(truth, await readDocuments(challenge, compare), evalOptions);
  const { byMetric, units } = await bootstrap(prepared, other, {
    ...drawing,
    ties,
    progress,
    ...(signal === undefined ? {} : { signal }),
  });
  if (units < prepared.units.length) {
    progress.note(`compared over the ${units} of ${prepared.units.length} units that both files predict`);
  }
  const compared =
    other === undefined || compare === undefined
      ? undefined
      : { input: compare.join(', '), rows: other.evaluate(evalOptions).rows };
  if (evaluation.rows.length > 0) progress.note(`${drawing.samples} samples of ${units} units, seed ${drawing.seed}`);
  if (options.variant === 'corrected') progress.note('intervals and differences are those of the official numbers');
  return { uncertain: byMetric, compared, units };
}

async function writePlots(
  folder: string,
  challenge: Challenge,
  { curves = [], perClass = [] }: Evaluation,
  progress: Progress,
): Promise<string[]> {
  const { makeFolder, writeFileAtomic } = await import('../files.js');
  const { plotsOf } = await import('../report/plots.js');
  const { pngOf } = await import('../report/png.js');
  const plots = plotsOf(challenge.summary.replace(/:.*/, ''), curves, perClass);
  if (plots.length === 0) progress.note(`\`${challenge.task}\` has nothing to plot`);
  await makeFolder(folder);
  const written: string[] = [];
  for (const { name, svg } of plots) {
    const path = join(folder, name);
    await writeFileAtomic(path, svg);
    written.push(path);
    const png = await pngOf(svg);
    if (png === undefined) continue;
    const picture = path.replace(/svg$/, 'png');
    await writeFileAtomic(picture, png);
    written.push(picture);
  }
  if (written.length === plots.length && plots.length > 0) progress.note('no PNG files: this system has no fonts');
  return written;
}
