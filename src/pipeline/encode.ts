import { basename, extname, join } from 'node:path';
import { readNpyHeader } from '../checkpoint/npy-header.js';
import { readNpy, writeNpy } from '../checkpoint/npy.js';
import { EgolensError } from '../errors.js';
import { makeFolder, openFileSource, writeFileAtomic } from '../files.js';
import { findModel } from '../hub/cache.js';
import { openModelFolder, type ModelFolder } from '../models/folder.js';
import type { Session } from '../runtime/session.js';
import { shapeText, sizeOf, tensor } from '../tensor.js';
import type { AnyTensor, Progress, Tensor } from '../types.js';
import { openModelSession } from './probe.js';

/** Which model runs over the arrays, on what, and what is written. */
export interface EncodeOptions {
  readonly model: string;
  readonly output: string;
  /** Further arrays by their name in the model: `mask` -> path. */
  readonly arrays: Readonly<Record<string, string>>;
  /** Outputs to write; all where absent. */
  readonly outputs?: readonly string[];
  readonly device: string;
  readonly threads?: number;
  /** Windows in one run; where absent 8, or all of them for a model with an output over the whole batch. */
  readonly batch?: number;
  readonly signal?: AbortSignal;
  readonly progress?: Progress;
}

/** What was computed for one array of frames. */
export interface EncodeReport {
  readonly input: string;
  readonly folder: string;
  readonly model: string;
  readonly provider: string;
  /** Output -> shape of the array that was written. */
  readonly outputs: Readonly<Record<string, readonly number[]>>;
}

/**
 * Arrays in, arrays out: runs a model over frames that somebody else decoded.
 *
 * @param files `.npy`: uint8 [t, h, w, 3] or [b, t, h, w, 3] at the model's size, or float32 [b, 3, t, h, w], already normalised
 * @returns one report per file; its arrays lie in `output`, or for several files in `output/<stem>`
 * @throws EgolensError usage.conflict, data.shape, data.dtype before anything runs
 */
export async function* encodeArrays(files: readonly string[], options: EncodeOptions): AsyncGenerator<EncodeReport> {
  const model = await openModelFolder(await findModel(options.model));
  const outputs = chosenOutputs(model, options.outputs);
  const stems = files.map((file) => basename(file, extname(file)));
  if (files.length > 1 && new Set(stems).size !== files.length) {
    throw new EgolensError(
      'usage.conflict',
      `several arrays would share a folder of \`${options.output}\`: ${stems.join(', ')}`,
    );
  }
  if (files.length > 1 && Object.keys(options.arrays).length > 0) {
    throw new EgolensError('usage.conflict', 'further arrays belong to one array of frames; give one at a time');
  }
  for (const file of files) await checkFrames(file, model);
  const arrays: Record<string, AnyTensor> = {};
  for (const [name, path] of Object.entries(options.arrays)) arrays[name] = await readArray(path);
  const sessions = new Map<'frames' | 'normalised', Session>();
  try {
    for (const [i, file] of files.entries()) {
      const frames = batched(await readArray(file), file);
      const input = frames.dtype === 'uint8' ? 'frames' : 'normalised';
      let session = sessions.get(input);
      if (!session) {
        session = await openModelSession(model, options, input);
        sessions.set(input, session);
      }
      const feeds = model.spec.feeds(arrays, frames.shape[0]!);
      const results = await run(
        session,
        { [input === 'frames' ? 'frames' : 'input']: frames, ...feeds },
        outputs,
        model,
        options,
      );
      const folder = files.length === 1 ? options.output : join(options.output, stems[i]!);
      await makeFolder(folder);
      for (const name of outputs) await writeFileAtomic(join(folder, `${name}.npy`), writeNpy(results[name]!));
      yield {
        input: file,
        folder,
        model: model.id,
        provider: session.provider,
        outputs: Object.fromEntries(outputs.map((name) => [name, results[name]!.shape])),
      };
    }
  } finally {
    for (const session of sessions.values()) await session[Symbol.asyncDispose]();
  }
}

function chosenOutputs(model: ModelFolder, wanted: readonly string[] | undefined): readonly string[] {
  const there = Object.keys(model.manifest.outputs);
  for (const name of wanted ?? []) {
    if (!there.includes(name)) {
      throw new EgolensError('usage.flag', `no output \`${name}\`; ${model.id} has ${there.join(', ')}`);
    }
  }
  return wanted === undefined ? there : [...new Set(wanted)];
}

async function readArray(path: string): Promise<AnyTensor> {
  await using source = await openFileSource(path);
  return (await readNpy(source)).tensor;
}

/** What frames may be, by element type; double is read as float32. */
const forms = {
  uint8: { is: 'uint8 pixels', axes: '[b, t, h, w, 3]', row: (t: number, size: number) => [t, size, size, 3] },
  float32: {
    is: 'float32 normalised pixels',
    axes: '[b, 3, t, h, w]',
    row: (t: number, size: number) => [3, t, size, size],
  },
} as const;

/** Type and shape of an array of frames against the model, from its header. */
async function checkFrames(file: string, { spec, id }: ModelFolder): Promise<void> {
  await using source = await openFileSource(file);
  const { storedType, shape } = await readNpyHeader(source);
  const form =
    storedType === 'uint8'
      ? forms.uint8
      : storedType === 'float32' || storedType === 'float64'
        ? forms.float32
        : undefined;
  if (form === undefined) {
    throw new EgolensError(
      'data.dtype',
      `\`${file}\`: expected ${forms.uint8.is} or ${forms.float32.is}, found ${storedType}`,
      { input: file },
    );
  }
  const row = form.row(spec.frames, spec.size);
  const [batch, ...rest] = shape.length === 4 ? [1, ...shape] : shape;
  if (batch === undefined || batch === 0 || shapeText(rest) !== shapeText(row)) {
    throw new EgolensError(
      'data.shape',
      `\`${file}\`: expected ${form.is} ${form.axes} = [b, ${row.join(', ')}] for ${id}, found ${storedType} ${shapeText(shape)}`,
      { input: file },
    );
  }
}

/** Frames with a batch axis. */
function batched({ dtype, shape, data }: AnyTensor, file: string): Tensor<'uint8'> | Tensor<'float32'> {
  const whole = shape.length === 4 ? [1, ...shape] : shape;
  if (dtype === 'uint8') return tensor(dtype, whole, data);
  if (dtype === 'float32') return tensor(dtype, whole, data);
  throw new EgolensError('data.dtype', `\`${file}\`: ${dtype} now, another type a moment ago`, { input: file });
}

/** Runs in pieces of the batch and joins the results. */
async function run(
  session: Session,
  feeds: Readonly<Record<string, AnyTensor>>,
  outputs: readonly string[],
  model: ModelFolder,
  options: EncodeOptions,
): Promise<Record<string, Tensor<'float32'>>> {
  const total = Object.values(feeds)[0]!.shape[0]!;
  const isWhole = outputs.some((name) => model.manifest.outputs[name]!.shape[0] !== 'batch');
  const step = isWhole ? total : (options.batch ?? 8);
  const bar = options.progress?.start('encode', total);
  const parts: Record<string, Tensor<'float32'>>[] = [];
  for (let first = 0; first < total; first += step) {
    options.signal?.throwIfAborted();
    const count = Math.min(step, total - first);
    const piece = Object.fromEntries(Object.entries(feeds).map(([name, value]) => [name, rows(value, first, count)]));
    parts.push(await session.run(piece, outputs));
    bar?.advance(count);
  }
  bar?.stop();
  if (parts.length === 1) return parts[0]!;
  return Object.fromEntries(outputs.map((name) => [name, joined(parts.map((part) => part[name]!))]));
}

function rows(value: AnyTensor, first: number, count: number): AnyTensor {
  const row = sizeOf(value.shape.slice(1));
  const data = value.data.subarray(first * row, (first + count) * row);
  return { dtype: value.dtype, shape: [count, ...value.shape.slice(1)], data } as AnyTensor; // subarray keeps the type of array
}

function joined(parts: readonly Tensor<'float32'>[]): Tensor<'float32'> {
  const count = parts.reduce((sum, part) => sum + part.shape[0]!, 0);
  const shape = [count, ...parts[0]!.shape.slice(1)];
  const data = new Float32Array(sizeOf(shape));
  let at = 0;
  for (const part of parts) {
    data.set(part.data, at);
    at += part.data.length;
  }
  return tensor('float32', shape, data);
}
