/**
 * Checkpoints of a training run: `step-000123/` with model.safetensors (trained parameters by their state-dict keys), optimizer.safetensors
 * (`m/…`, `v/…`, `ema/…`) and trainer.json. A checkpoint appears whole, by a rename; `latest` names it last.
 */
import { readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { assertValid } from '../check.js';
import { openSafetensors, writeSafetensors, type SafetensorsEntry } from '../checkpoint/safetensors.js';
import { EgolensError } from '../errors.js';
import {
  beginFile,
  makeFolder,
  openFileSource,
  pathExists,
  readSmallFile,
  temporaryName,
  writeAt,
  writeFileAtomic,
} from '../files.js';
import { jsonText, type JsonValue } from '../json.js';
import { parseJson } from '../json-reader.js';
import { bytesOf, sizeOf, tensor } from '../tensor.js';
import type { Tensor } from '../types.js';
import type { Moment } from './optimiser.js';
import type { TrainingState, Weights } from './step.js';

/** Settings that decide the result of a run. */
export type RunConfig = Readonly<Record<string, JsonValue>>;

/** A score, and after which step it was reached. */
export interface Best {
  readonly step: number;
  readonly value: number;
}

export interface Checkpoint {
  /** Trained parameters and their moments; frozen ones come from where the run got them. */
  readonly state: TrainingState;
  readonly config: RunConfig;
  readonly best: Best | null;
  /** Scorings since the best one. */
  readonly waited: number;
}

const files = { model: 'model.safetensors', optimiser: 'optimizer.safetensors', trainer: 'trainer.json' } as const;
const latestName = 'latest';
const moments = ['m', 'v', 'ema'] as const satisfies readonly Moment[];

/** Name of the folder of a checkpoint. */
export const checkpointName = (step: number): string => `step-${String(step).padStart(6, '0')}`;

/** Writes a checkpoint into the folder of a run. Throws `output.unwritable`, `limit.disk`; what was there before is then unharmed. */
export async function saveCheckpoint(folder: string, checkpoint: Checkpoint): Promise<void> {
  const { state, config, best, waited } = checkpoint;
  const target = join(folder, checkpointName(state.step));
  const temporary = temporaryName(target);
  await rm(temporary, { recursive: true, force: true });
  await makeFolder(temporary);
  try {
    await writeTensors(join(temporary, files.model), state.weights);
    const optimiser = moments.flatMap((moment) =>
      [...(state.moments[moment] ?? [])].map(([name, value]) => [`${moment}/${name}`, value] as const),
    );
    await writeTensors(join(temporary, files.optimiser), new Map(optimiser));
    const trainer = { schema: 'egolens.trainer/1', step: state.step, config, best: best && { ...best }, waited };
    await writeFileAtomic(join(temporary, files.trainer), `${jsonText(trainer, 2)}\n`);
    await replaceFolder(temporary, target);
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    throw error;
  }
  await writeFileAtomic(join(folder, latestName), `${checkpointName(state.step)}\n`);
}

/** A folder cannot be renamed over one that holds files: the old one steps aside first. */
async function replaceFolder(from: string, to: string): Promise<void> {
  const aside = `${from}.old`;
  const isThere = await pathExists(to);
  try {
    if (isThere) await rename(to, aside);
    await rename(from, to);
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code ?? 'unknown reason';
    throw new EgolensError('output.unwritable', `\`${to}\`: cannot be written (${code})`, { cause });
  }
  await rm(aside, { recursive: true, force: true });
}

/** A safetensors file of these values, as one piece. Throws `output.unwritable`, `limit.disk`. */
export async function writeTensors(path: string, values: Weights): Promise<void> {
  const entries = [...values].map(([name, value]): SafetensorsEntry => ({
    name,
    dtype: 'F32',
    shape: value.shape,
    bytes: () => [bytesOf(value)],
  }));
  await using file = await beginFile(path);
  let at = 0;
  try {
    for await (const piece of writeSafetensors(entries)) at = await writeAt(file.handle, piece, at);
  } catch (cause) {
    if (cause instanceof EgolensError) throw cause;
    const code = (cause as NodeJS.ErrnoException).code ?? 'unknown reason';
    const isFull = code === 'ENOSPC' || code === 'EDQUOT';
    throw new EgolensError(isFull ? 'limit.disk' : 'output.unwritable', `\`${path}\`: cannot be written (${code})`, {
      cause,
    });
  }
  await file.commit();
}

/** Step of the newest checkpoint of a run, by its `latest` file; undefined where there is none. Throws `input.format` for another text in it. */
export async function latestStep(folder: string): Promise<number | undefined> {
  const path = join(folder, latestName);
  if (!(await pathExists(path))) return undefined;
  const text = new TextDecoder().decode(await readSmallFile(path, 1024)).trim();
  const step = stepOf(text);
  if (step === undefined) {
    throw new EgolensError(
      'input.format',
      `\`${path}\`: expected the name of a checkpoint as \`${checkpointName(120)}\`, found \`${text.slice(0, 80)}\``,
    );
  }
  return step;
}

function stepOf(name: string): number | undefined {
  const found = /^step-(\d{6,15})$/.exec(name);
  return found ? Number(found[1]) : undefined;
}

/**
 * Reads a checkpoint of a run.
 *
 * @throws EgolensError input.not_found where there is none of that step; data.invalid for a trainer.json of another form; the codes of the
 *   safetensors reader; each names the other checkpoints there are
 */
export async function loadCheckpoint(folder: string, step: number): Promise<Checkpoint> {
  try {
    return await readCheckpoint(folder, step);
  } catch (error) {
    if (!(error instanceof EgolensError)) throw error;
    const others = (await stepsIn(folder)).filter((one) => one !== step);
    const hint =
      others.length === 0
        ? 'another folder: this one has no other checkpoint'
        : `\`--resume STEP\` with another checkpoint of this run: ${others.join(', ')}`;
    throw new EgolensError(error.code, error.message, { ...error.details, try: hint });
  }
}

async function readCheckpoint(folder: string, step: number): Promise<Checkpoint> {
  if (!(await hasCheckpoint(folder, step))) {
    throw new EgolensError('input.not_found', `\`${folder}\`: found no checkpoint of step ${step}`, { input: folder });
  }
  const from = join(folder, checkpointName(step));
  const path = join(from, files.trainer);
  const { value } = parseJson(path, await readSmallFile(path, 2 ** 20));
  await assertValid('egolens.trainer/1', value, path);
  // The schema has checked the form.
  const trainer = value as { step: number; config: RunConfig; best: Best | null; waited: number };
  if (trainer.step !== step) {
    throw new EgolensError('data.invalid', `\`${path}\`: expected step ${step}, found ${trainer.step}`);
  }
  const weights = await readTensors(join(from, files.model));
  const byMoment: Partial<Record<Moment, Map<string, Tensor<'float32'>>>> = {};
  for (const [key, value] of await readTensors(join(from, files.optimiser))) {
    const moment = moments.find((one) => key.startsWith(`${one}/`));
    if (moment === undefined) continue;
    (byMoment[moment] ??= new Map()).set(key.slice(moment.length + 1), value);
  }
  return {
    state: { step, weights, moments: byMoment },
    config: trainer.config,
    best: trainer.best,
    waited: trainer.waited,
  };
}

async function readTensors(path: string): Promise<Map<string, Tensor<'float32'>>> {
  await using source = await openFileSource(path);
  const values = new Map<string, Tensor<'float32'>>();
  for (const [name, stored] of (await openSafetensors(source)).tensors) {
    const data = new Float32Array(sizeOf(stored.shape));
    let at = 0;
    for await (const piece of stored.chunks()) {
      data.set(piece, at);
      at += piece.length;
    }
    values.set(name, tensor('float32', stored.shape, data));
  }
  return values;
}

/**
 * Removes checkpoints but that of step `current`, those before it up to `keep` in all, and that of step `best`. Those beyond `current` are
 * of a course that a resume from an earlier step has left: counted as the newest, they would push out the one just written.
 */
export async function pruneCheckpoints(
  folder: string,
  { keep, current, best }: { readonly keep: number; readonly current: number; readonly best: number | undefined },
): Promise<void> {
  const steps = await stepsIn(folder);
  const kept = steps.filter((step) => step <= current).slice(0, keep);
  for (const step of steps) {
    if (kept.includes(step) || step === best) continue;
    await rm(join(folder, checkpointName(step)), { recursive: true, force: true });
  }
}

/** Steps of the checkpoints of a run, the newest first. */
async function stepsIn(folder: string): Promise<number[]> {
  return (await readdir(folder)).flatMap((name) => stepOf(name) ?? []).sort((a, b) => b - a);
}

/** Is there a checkpoint of this step? */
export async function hasCheckpoint(folder: string, step: number): Promise<boolean> {
  return await pathExists(join(folder, checkpointName(step), files.trainer));
}

/** Where two configurations differ, as `optimiser.rate: 0.01 here, 0.001 there`. */
export function configDifferences(here: JsonValue | undefined, there: JsonValue | undefined, at = ''): string[] {
  const isObject = (value: JsonValue | undefined): value is Readonly<Record<string, JsonValue | undefined>> =>
    typeof value === 'object' && value !== null && !Array.isArray(value);
  if (isObject(here) && isObject(there)) {
    const keys = [...new Set([...Object.keys(here), ...Object.keys(there)])].sort();
    return keys.flatMap((key) => configDifferences(here[key], there[key], at === '' ? key : `${at}.${key}`));
  }
  const [mine, other] = [here, there].map((value) => (value === undefined ? 'nothing' : jsonText(value)));
  return mine === other ? [] : [`${at}: ${mine!} here, ${other!} there`];
}
