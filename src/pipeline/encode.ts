import { basename, extname, join } from 'node:path';
import { readNpyHeader } from '../checkpoint/npy-header.js';
import { readNpy, writeNpy } from '../checkpoint/npy.js';
import { assert, EgolensError } from '../errors.js';
import { makeFolder, openFileSource, writeFileAtomic } from '../files.js';
import { findModel } from '../hub/cache.js';
import { openModelFolder, type ModelFolder } from '../models/folder.js';
import type { ModelSpec, OutputInfo } from '../models/spec.js';
import type { Choice } from '../runtime/provider-types.js';
import type { Session } from '../runtime/session.js';
import { shapeText, sizeOf, tensor } from '../tensor.js';
import type { AnyTensor, Progress, Tensor } from '../types.js';
import { compareTowers, jointOutputs } from './joint-outputs.js';
import { openModelSession, openTextSession } from './probe.js';

/** Which model runs over the arrays, on what, and what is written. */
export interface EncodeOptions {
  readonly model: string;
  readonly output: string;
  /** Further arrays by their name in the model: `mask` -> path. */
  readonly arrays: Readonly<Record<string, string>>;
  /** Token ids for the text tower: `.npy`, int32 or int64 [rows, length]. */
  readonly tokens?: string;
  /** Outputs to write; where absent all, those of texts only with `tokens`. */
  readonly outputs?: readonly string[];
  readonly device: string | Choice;
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
 * Arrays in, arrays out: runs a model over frames that somebody else decoded, and over token ids that somebody else made.
 *
 * @param files `.npy`: uint8 [t, h, w, 3] or [b, t, h, w, 3] at the model's size, or float32 [b, 3, t, h, w], already normalised; for an
 *   image model the same without t
 * @returns one report per file; its arrays lie in `output`, or for several files in `output/<stem>`
 * @throws EgolensError usage.conflict, data.shape, data.dtype, data.invalid before anything runs
 */
export async function* encodeArrays(files: readonly string[], options: EncodeOptions): AsyncGenerator<EncodeReport> {
  const model = await openModelFolder(await findModel(options.model));
  const chosen = chosenOutputs(model, options);
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
  const named: (readonly [string, AnyTensor])[] = [];
  for (const [name, path] of Object.entries(options.arrays)) named.push([name, await readArray(path)]);
  const arrays = Object.fromEntries(named);
  const tokens = options.tokens === undefined ? undefined : await readTokens(options.tokens, model, chosen.texts);
  const texts = tokens === undefined ? {} : await runTexts(tokens, model, chosen.texts, options);
  const sessions = new Map<'frames' | 'normalised', Session>();
  try {
    for (const [i, file] of files.entries()) {
      const frames = batched(await readArray(file), file, model.spec);
      const input = frames.dtype === 'uint8' ? 'frames' : 'normalised';
      const feeds = model.spec.feeds(arrays, frames.shape[0]!);
      let session = sessions.get(input);
      if (!session) {
        session = await openModelSession(model, options, input);
        sessions.set(input, session);
      }
      const pictures =
        chosen.pictures.length === 0
          ? {}
          : await run(
              session,
              { [input === 'frames' ? 'frames' : 'input']: frames, ...feeds },
              chosen.pictures,
              model,
              options,
            );
      const results = { ...pictures, ...texts, ...(chosen.isJoint && joint(model, pictures, texts)) };
      const folder = files.length === 1 ? options.output : join(options.output, stems[i]!);
      await makeFolder(folder);
      for (const name of chosen.names) await writeFileAtomic(join(folder, `${name}.npy`), writeNpy(results[name]!));
      yield {
        input: file,
        folder,
        model: model.id,
        provider: session.provider,
        outputs: Object.fromEntries(chosen.names.map((name) => [name, results[name]!.shape])),
      };
    }
  } finally {
    for (const session of sessions.values()) await session[Symbol.asyncDispose]();
  }
}

interface Chosen {
  /** What is written, each once. */
  readonly names: readonly string[];
  /** What the picture graph has to give for it. */
  readonly pictures: readonly string[];
  /** What the text tower has to give for it. */
  readonly texts: readonly string[];
  /** Whether pictures and texts are compared. */
  readonly isJoint: boolean;
}

function chosenOutputs({ spec, id }: ModelFolder, { outputs: wanted, tokens }: EncodeOptions): Chosen {
  const { text } = spec;
  const pictures = Object.keys(spec.outputs);
  const texts = Object.keys(text?.outputs ?? {});
  const joint = text === undefined ? [] : Object.keys(jointOutputs(text));
  if (tokens !== undefined && text === undefined) {
    throw new EgolensError(
      'usage.conflict',
      `--tokens \`${tokens}\`: ${id} has no text tower (family ${spec.family}, kind ${spec.kind})`,
    );
  }
  const ofTexts = [...texts, ...joint];
  const there = [...pictures, ...ofTexts];
  for (const name of wanted ?? []) {
    if (!there.includes(name)) {
      throw new EgolensError('usage.flag', `no output \`${name}\`; ${id} has ${there.join(', ')}`);
    }
    if (ofTexts.includes(name) && tokens === undefined) {
      throw new EgolensError('usage.conflict', `output \`${name}\` needs the token ids of texts`, {
        try: '`--tokens FILE.npy`: int64 [rows, context]',
      });
    }
  }
  const names = wanted === undefined ? (tokens === undefined ? pictures : there) : [...new Set(wanted)];
  if (tokens !== undefined && !names.some((name) => ofTexts.includes(name))) {
    throw new EgolensError(
      'usage.conflict',
      `--tokens \`${tokens}\`: none of the outputs ${names.join(', ')} needs it`,
    );
  }
  const isJoint = names.some((name) => joint.includes(name));
  const compared = text !== undefined && isJoint ? [text.against, 'text_embed', 'scale'] : [];
  const needed = [...names, ...compared];
  return {
    names,
    pictures: pictures.filter((name) => needed.includes(name)),
    texts: texts.filter((name) => needed.includes(name)),
    isJoint,
  };
}

async function readArray(path: string): Promise<AnyTensor> {
  await using source = await openFileSource(path);
  return (await readNpy(source)).tensor;
}

/** Most values that texts may be made into, in one output: 2 GB. */
const maxTextValues = 2 ** 29;

/** Token ids for the text tower, checked against it, its outputs among `names` against memory. */
async function readTokens(path: string, { spec, id }: ModelFolder, names: readonly string[]): Promise<Tensor<'int64'>> {
  const { context, vocabulary, outputs } = spec.text!; // chosenOutputs refused tokens for a model without one
  await using source = await openFileSource(path);
  const { storedType, shape } = await readNpyHeader(source);
  const [rows, length] = shape;
  const wanted = `expected int64 [rows, length], length at most ${context}, for ${id}`;
  if (!/^u?int\d+$/.test(storedType)) {
    throw new EgolensError('data.dtype', `\`${path}\`: ${wanted}, found ${storedType}`, { input: path });
  }
  if (shape.length !== 2 || !rows || !length || length > context) {
    throw new EgolensError('data.shape', `\`${path}\`: ${wanted}, found ${storedType} ${shapeText(shape)}`, {
      input: path,
      ...(length !== undefined &&
        length > context && { try: `cut the rows to ${context} ids, the end token being the last` }),
    });
  }
  for (const name of names) {
    const sizes = outputs[name]!.shape.map((dim) => (dim === 'rows' ? rows : dim === 'length' ? length : Number(dim)));
    if (sizeOf(sizes) <= maxTextValues) continue;
    throw new EgolensError(
      'limit.size',
      `\`${path}\`: ${rows} rows: output \`${name}\` ${shapeText(sizes)} is larger than 2 GB`,
      { input: path, try: 'give fewer rows at a time, or choose with `--outputs` what is needed of them' },
    );
  }
  const { data } = (await readNpy(source)).tensor;
  const ids = BigInt64Array.from(data as ArrayLike<number | bigint>, BigInt); // integers, as their type says
  const wrong = ids.findIndex((token) => token < 0n || token >= BigInt(vocabulary));
  if (wrong >= 0) {
    throw new EgolensError(
      'data.invalid',
      `\`${path}\`: row ${Math.floor(wrong / length)}, token ${wrong % length}: expected an id from 0 to ${vocabulary - 1} for ${id}, found ${ids[wrong]}`,
      { input: path, try: "take the tokenizer of the model's own vocabulary" },
    );
  }
  return tensor('int64', [rows, length], ids);
}

/** What frames may be, by element type; double is read as float32. */
const forms = {
  uint8: {
    is: 'uint8 pixels',
    axes: '[b, t, h, w, 3]',
    imageAxes: '[b, h, w, 3]',
    row: (time: readonly number[], size: number) => [...time, size, size, 3],
  },
  float32: {
    is: 'float32 normalised pixels',
    axes: '[b, 3, t, h, w]',
    imageAxes: '[b, 3, h, w]',
    row: (time: readonly number[], size: number) => [3, ...time, size, size],
  },
} as const;

/** Axes of one window or picture, without that of the batch: an image model's has no time. */
const axesOf = ({ isImage }: ModelSpec): number => (isImage ? 3 : 4);

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
  const row = form.row(spec.isImage ? [] : [spec.frames], spec.size);
  const [batch, ...rest] = shape.length === axesOf(spec) ? [1, ...shape] : shape;
  if (batch === undefined || batch === 0 || shapeText(rest) !== shapeText(row)) {
    const axes = spec.isImage ? form.imageAxes : form.axes;
    throw new EgolensError(
      'data.shape',
      `\`${file}\`: expected ${form.is} ${axes} = [b, ${row.join(', ')}] for ${id}, found ${storedType} ${shapeText(shape)}`,
      { input: file },
    );
  }
}

/** Frames as the graph takes them: with a batch axis, and a time axis of size 1 for an image model. */
function batched(
  { dtype, shape, data }: AnyTensor,
  file: string,
  spec: ModelSpec,
): Tensor<'uint8'> | Tensor<'float32'> {
  const whole = shape.length === axesOf(spec) ? [1, ...shape] : [...shape];
  if (spec.isImage) whole.splice(dtype === 'uint8' ? 1 : 2, 0, 1);
  if (dtype === 'uint8') return tensor(dtype, whole, data);
  if (dtype === 'float32') return tensor(dtype, whole, data);
  throw new EgolensError('data.dtype', `\`${file}\`: ${dtype} now, another type a moment ago`, { input: file });
}

/** Rows of tokens in one run. */
const textBatch = 64;

/** These outputs of the text tower. */
async function runTexts(
  tokens: Tensor<'int64'>,
  model: ModelFolder,
  names: readonly string[],
  options: EncodeOptions,
): Promise<Record<string, Tensor<'float32'>>> {
  const text = model.spec.text!; // chosenOutputs refused tokens for a model without one
  const outputs = Object.fromEntries(names.map((name) => [name, text.outputs[name]!]));
  await using session = await openTextSession(model, options);
  return await inPieces(session, { tokens }, outputs, textBatch, options);
}

/** What pictures and texts are to each other. */
function joint(
  { spec, id }: ModelFolder,
  pictures: Readonly<Record<string, Tensor<'float32'>>>,
  texts: Readonly<Record<string, Tensor<'float32'>>>,
): Record<string, Tensor<'float32'>> {
  const { against, scale } = spec.text!; // joint outputs are chosen of a model with one
  const [picture, text] = [pictures[against], texts['text_embed']];
  const factor = scale === 'learned' ? texts['scale']?.data[0] : scale;
  assert(
    picture && text && factor !== undefined,
    `${id}: \`${against}\`, \`text_embed\` or \`scale\` was not computed`,
  );
  return compareTowers(picture, text, factor);
}

/** Runs the picture graph in pieces of the batch. */
async function run(
  session: Session,
  feeds: Readonly<Record<string, AnyTensor>>,
  names: readonly string[],
  { spec }: ModelFolder,
  options: EncodeOptions,
): Promise<Record<string, Tensor<'float32'>>> {
  const outputs = Object.fromEntries(names.map((name) => [name, spec.outputs[name]!]));
  const isWhole = Object.values(outputs).some((output) => batchAxis(output) < 0);
  const total = Object.values(feeds)[0]!.shape[0]!;
  return await inPieces(session, feeds, outputs, isWhole ? total : (options.batch ?? 8), options);
}

/** The axis of an output along which the samples of a batch lie: `batch`, or time and batch in one (`batch*8`); -1 for none. */
const batchAxis = ({ shape }: OutputInfo): number =>
  shape.findIndex((dim) => typeof dim === 'string' && /^(batch|rows)\b/.test(dim));

/** Runs in pieces of `step` along the first axis of the feeds and joins the results; an output without such an axis (`scale`) is that of the first. */
async function inPieces(
  session: Session,
  feeds: Readonly<Record<string, AnyTensor>>,
  outputs: Readonly<Record<string, OutputInfo>>,
  step: number,
  { signal, progress }: EncodeOptions,
): Promise<Record<string, Tensor<'float32'>>> {
  const names = Object.keys(outputs);
  const total = Object.values(feeds)[0]!.shape[0]!;
  const bar = progress?.start('encode', total);
  const parts: Record<string, Tensor<'float32'>>[] = [];
  for (let first = 0; first < total; first += step) {
    signal?.throwIfAborted();
    const count = Math.min(step, total - first);
    const piece = Object.fromEntries(Object.entries(feeds).map(([name, value]) => [name, rows(value, first, count)]));
    parts.push(await session.run(piece, names));
    bar?.advance(count);
  }
  bar?.stop();
  if (parts.length === 1) return parts[0]!;
  return Object.fromEntries(
    Object.entries(outputs).map(([name, output]) => [
      name,
      joined(
        parts.map((part) => part[name]!),
        batchAxis(output),
      ),
    ]),
  );
}

function rows(value: AnyTensor, first: number, count: number): AnyTensor {
  const row = sizeOf(value.shape.slice(1));
  const data = value.data.subarray(first * row, (first + count) * row);
  return { dtype: value.dtype, shape: [count, ...value.shape.slice(1)], data } as AnyTensor; // subarray keeps the type of array
}

/** Arrays one after the other along `axis`; all other sizes are equal. */
function joined(parts: readonly Tensor<'float32'>[], axis: number): Tensor<'float32'> {
  if (axis < 0) return parts[0]!;
  const { shape } = parts[0]!;
  const outer = sizeOf(shape.slice(0, axis));
  const count = parts.reduce((sum, part) => sum + part.shape[axis]!, 0);
  const whole = [...shape.slice(0, axis), count, ...shape.slice(axis + 1)];
  const data = new Float32Array(sizeOf(whole));
  let at = 0;
  for (let i = 0; i < outer; i++) {
    for (const part of parts) {
      const length = part.data.length / outer;
      data.set(part.data.subarray(i * length, (i + 1) * length), at);
      at += length;
    }
  }
  return tensor('float32', whole, data);
}
