/** Texts through the text tower of a two-tower model, and the class vectors of zero-shot recognition. */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { asEgolensError, EgolensError } from '../errors.js';
import { cacheFolder, makeFolder, readSmallFile, sha256, writeFileAtomic } from '../files.js';
import { canonicalText } from '../json.js';
import type { ModelFolder } from '../models/folder.js';
import type { TextTower } from '../models/spec.js';
import type { Choice } from '../runtime/provider-types.js';
import type { Session } from '../runtime/session.js';
import { bytesOf, shapeText, sizeOf, tensor } from '../tensor.js';
import { checkClasses, checkTemplates, fillTemplate, promptName } from '../text/prompts.js';
import type { Tokenizer } from '../text/tokenizer.js';
import type { Progress, Tensor } from '../types.js';
import { openTextSession } from './probe.js';

export interface TextOptions {
  /** As `--device` spells it, or what `chooseProvider` found. */
  readonly device: string | Choice;
  readonly threads?: number;
  readonly signal?: AbortSignal;
  readonly progress?: Progress;
}

/** States of the text tower at every token, for heads that read words. */
export interface TokenStates {
  /** [texts, longest, width], after the last norm; zero from a text's own length on. */
  readonly rows: Tensor<'float32'>;
  /** Tokens of each text, start and end included. */
  readonly lengths: readonly number[];
}

/** An open text tower with its tokenizer. Dispose it. */
export interface TextEncoder extends AsyncDisposable {
  readonly provider: Session['provider'];
  readonly tokenizer: Tokenizer;
  /** Width of a text vector and of the picture vector it is compared with. */
  readonly embed: number;
  /** Logits are scale x cosine. */
  readonly scale: number;
  /** Tokens of each text as the tower takes it, start and end included. Throws `data.invalid` for a text over the context where the model refuses it. */
  counts(texts: readonly string[]): readonly number[];
  /** Unit vectors of texts, in their order: [texts, embed]. Throws `data.invalid` for an overlong text, `device.failed`. */
  encode(texts: readonly string[]): Promise<Tensor<'float32'>>;
  /** The same as the model gives them, not normalised. */
  features(texts: readonly string[]): Promise<Tensor<'float32'>>;
  /** States of every token of every text, in the order of the texts. */
  tokens(texts: readonly string[]): Promise<TokenStates>;
}

/** Rows of one run. Texts are short: more rows gain nothing on a cpu, and the padding within a run grows. */
const rowsPerRun = 32;

/**
 * The text tower of a model.
 *
 * @throws EgolensError model.incomplete for a model without text tower or tokenizer; model.config where its tokenizer counts other tokens
 *   than the tower; data.invalid for a damaged tokenizer; device.*
 */
export async function openTextEncoder(model: ModelFolder, options: TextOptions): Promise<TextEncoder> {
  const tower = textTowerOf(model);
  const tokenizer = await openModelTokenizer(model);
  const session = await openTextSession(model, options);
  try {
    const scale = tower.scale === 'learned' ? await learnedScale(session, tokenizer) : tower.scale;
    const run = (texts: readonly string[], output: 'text_embed' | 'text_last', take: TakeRow): Promise<void> =>
      runTexts({ session, tower, tokenizer, progress: options.progress }, texts, output, take);
    const features = async (texts: readonly string[]): Promise<Tensor<'float32'>> => {
      const data = valuesFor([texts.length, tower.embed]);
      await run(texts, 'text_embed', (index, row) => data.set(row, index * tower.embed));
      return tensor('float32', [texts.length, tower.embed], data);
    };
    return {
      provider: session.provider,
      tokenizer,
      embed: tower.embed,
      scale,
      counts: (texts) => lengthsOf(tokenRows(tokenizer, tower, texts), tokenizer),
      features,
      encode: async (texts) => unitRows(await features(texts)),
      async tokens(texts) {
        const lengths = lengthsOf(tokenRows(tokenizer, tower, texts), tokenizer);
        const longest = lengths.reduce((most, length) => Math.max(most, length), 0);
        const data = valuesFor([texts.length, longest, tower.width]);
        await run(texts, 'text_last', (index, row) => {
          data.set(row.subarray(0, lengths[index]! * tower.width), index * longest * tower.width); // one length a text
        });
        return { rows: tensor('float32', [texts.length, longest, tower.width], data), lengths };
      },
      [Symbol.asyncDispose]: () => session[Symbol.asyncDispose](),
    };
  } catch (error) {
    await session[Symbol.asyncDispose]();
    throw error;
  }
}

/** Values of a result that is kept in memory: 2 GiB. */
const maxValues = 2 ** 29;

function valuesFor(shape: readonly number[]): Float32Array<ArrayBuffer> {
  const size = sizeOf(shape);
  if (size <= maxValues) return new Float32Array(size);
  throw new EgolensError('limit.size', `${shapeText(shape)}: ${size} values of texts, expected at most ${maxValues}`, {
    try: 'fewer texts at once',
  });
}

/** The text tower of a model. @throws EgolensError model.incomplete naming what kind of model has one */
export function textTowerOf({ spec, id }: ModelFolder): TextTower {
  if (spec.text !== undefined) return spec.text;
  throw new EgolensError(
    'model.incomplete',
    `${id}: a model of family ${spec.family} has no text tower; expected a two-tower model, such as family clip, viclip or internvideo-mm`,
    { try: '`egolens models list` shows the kind of each model: `two-tower` is meant' },
  );
}

/**
 * The tokenizer of a two-tower model.
 *
 * @throws EgolensError model.incomplete where the model was imported without one; model.config where it does not fit the tower; data.invalid
 */
export async function openModelTokenizer(model: ModelFolder): Promise<Tokenizer> {
  const { vocabulary } = textTowerOf(model);
  if (model.tokenizer === null) {
    throw new EgolensError(
      'model.incomplete',
      `${model.id}: expected \`tokenizer.json\` in the model folder, found none`,
      {
        try: 'import the model again with `--tokenizer FILE`: a `tokenizer.json`, or the merges file of CLIP, `bpe_simple_vocab_16e6.txt.gz`',
      },
    );
  }
  const { openTokenizer } = await import('../text/tokenizer.js');
  const tokenizer = openTokenizer(await readSmallFile(model.tokenizer), model.tokenizer);
  if (tokenizer.size !== vocabulary) {
    throw new EgolensError(
      'model.config',
      `${model.id}: its tokenizer has ${tokenizer.size} tokens, its text tower ${vocabulary}; expected as many`,
      { try: 'import the model again with the `--tokenizer` that belongs to it' },
    );
  }
  return tokenizer;
}

/** Each row over its length, computed in double; a row of zeros stays one. [n, width] -> [n, width] */
export function unitRows(rows: Tensor<'float32'>): Tensor<'float32'> {
  const width = rows.shape.at(-1) ?? 1;
  const data = new Float32Array(rows.data.length);
  for (let first = 0; first < data.length; first += width) {
    let squares = 0;
    for (let i = first; i < first + width; i++) squares += rows.data[i]! ** 2;
    const length = Math.sqrt(squares);
    for (let i = first; i < first + width; i++) data[i] = length === 0 ? 0 : rows.data[i]! / length;
  }
  return tensor('float32', rows.shape, data);
}

async function learnedScale(session: Session, { start, end }: Tokenizer): Promise<number> {
  const tokens = tensor('int64', [1, 2], BigInt64Array.of(BigInt(start), BigInt(end)));
  const { scale } = await session.run({ tokens }, ['scale']);
  return scale!.data[0]!; // asked for; a scalar
}

function tokenRows(tokenizer: Tokenizer, { context, overlong }: TextTower, texts: readonly string[]): Tensor<'int64'> {
  return tokenizer.rows(texts, { context, overlong });
}

/** Tokens of each row: up to the end token that stands last, behind which all is 0. */
function lengthsOf(rows: Tensor<'int64'>, { end }: Tokenizer): number[] {
  const [count, longest] = rows.shape as [number, number]; // rows of a tokenizer
  return Array.from(
    { length: count },
    (_, i) => rows.data.subarray(i * longest, (i + 1) * longest).lastIndexOf(BigInt(end)) + 1,
  );
}

type TakeRow = (index: number, row: Float32Array) => void;

interface Work {
  readonly session: Session;
  readonly tower: TextTower;
  readonly tokenizer: Tokenizer;
  readonly progress: Progress | undefined;
}

/** Runs texts of like length together; `take` gets each text's row of the output, with its index in `texts`. */
async function runTexts(
  { session, tower, tokenizer, progress }: Work,
  texts: readonly string[],
  output: string,
  take: TakeRow,
): Promise<void> {
  const rows = tokenRows(tokenizer, tower, texts);
  const lengths = lengthsOf(rows, tokenizer);
  const longest = rows.shape[1]!; // [texts, longest]
  const order = texts.map((_, i) => i).sort((a, b) => lengths[a]! - lengths[b]! || a - b);
  const bar = texts.length > rowsPerRun ? progress?.start('texts', texts.length) : undefined;
  try {
    for (let first = 0; first < order.length; first += rowsPerRun) {
      const batch = order.slice(first, first + rowsPerRun);
      const length = lengths[batch.at(-1)!]!; // sorted: the last one is the longest
      const ids = new BigInt64Array(batch.length * length);
      batch.forEach((index, i) => {
        ids.set(rows.data.subarray(index * longest, index * longest + length), i * length);
      });
      const found = await session.run({ tokens: tensor('int64', [batch.length, length], ids) }, [output]);
      const { data } = found[output]!; // asked for
      const width = data.length / batch.length;
      batch.forEach((index, i) => take(index, data.subarray(i * width, (i + 1) * width)));
      bar?.advance(batch.length);
    }
  } finally {
    bar?.stop();
  }
}

// ---- class vectors -----------------------------------------------------------------------------------------------

export interface ClassPrompts {
  readonly classes: readonly string[];
  readonly templates: readonly string[];
}

/** The vectors that a picture vector is compared with. */
export interface ClassVectors {
  /** [classes, embed], unit length. */
  readonly vectors: Tensor<'float32'>;
  /** Logits are scale x cosine. */
  readonly scale: number;
  /** They came from the cache: no text was encoded, no session opened. */
  readonly cached: boolean;
}

/** Raised when the program computes other class vectors from the same texts than before. */
const vectorVersion = 1;
const maxPrompts = 2 ** 20;
/** Prompts that are encoded before they are averaged: what is kept in memory of a long list. */
const promptsPerRound = 4096;

/**
 * One vector a class: the class in every template, unit vectors averaged and normalised again (prompt ensemble). They are kept in the
 * cache folder under `text/`, by model, classes and templates; what is found there damaged is computed anew.
 *
 * @throws EgolensError data.invalid for lists that do not work, or an overlong prompt; those of `openTextEncoder`
 * @source Radford et al. 2021, section 3.1.4
 */
export async function classVectors(
  model: ModelFolder,
  { classes, templates, ...options }: ClassPrompts & TextOptions,
): Promise<ClassVectors> {
  const tower = textTowerOf(model);
  checkClasses(classes, 'the classes');
  checkTemplates(templates, 'the templates');
  if (classes.length * templates.length > maxPrompts) {
    throw new EgolensError(
      'limit.size',
      `${classes.length} classes in ${templates.length} templates: ${classes.length * templates.length} texts, expected at most ${maxPrompts}`,
      { try: 'fewer templates' },
    );
  }
  const key = sha256(
    canonicalText({ vectorVersion, model: model.manifest.digest, classes: classes.map(promptName), templates }),
  );
  const path = join(cacheFolder(), 'text', `${key}.f32`);
  const shape = [classes.length, tower.embed] as const;
  const kept = await readVectors(path, { key, shape });
  if (kept !== undefined) return { ...kept, cached: true };
  await using encoder = await openTextEncoder(model, options);
  const found = { vectors: await ensemble(encoder, { classes, templates }), scale: encoder.scale };
  try {
    await makeFolder(join(cacheFolder(), 'text'));
    await writeFileAtomic(path, vectorFile({ key, shape }, found));
  } catch (error) {
    // The result is there; the next run computes it again.
    const { code, message } = asEgolensError(error);
    options.progress?.warn(code, `class vectors are not kept: ${message}`);
  }
  return { ...found, cached: false };
}

async function ensemble(encoder: TextEncoder, { classes, templates }: ClassPrompts): Promise<Tensor<'float32'>> {
  const { embed } = encoder;
  const means = new Float32Array(classes.length * embed);
  const step = Math.max(1, Math.floor(promptsPerRound / templates.length));
  for (let first = 0; first < classes.length; first += step) {
    const some = classes.slice(first, first + step);
    const { data } = await encoder.encode(
      some.flatMap((label) => templates.map((template) => fillTemplate(template, label))),
    );
    some.forEach((_, i) => {
      for (let d = 0; d < embed; d++) {
        let sum = 0;
        for (let t = 0; t < templates.length; t++) sum += data[(i * templates.length + t) * embed + d]!;
        means[(first + i) * embed + d] = sum / templates.length;
      }
    });
  }
  return unitRows(tensor('float32', [classes.length, embed], means));
}

// A cache file: one line of JSON, filled up with blanks so that the values behind it lie on a multiple of 64 bytes, then float32.

interface Wanted {
  readonly key: string;
  readonly shape: readonly [classes: number, embed: number];
}

type Vectors = Omit<ClassVectors, 'cached'>;

const headBytes = 512;

function vectorFile(wanted: Wanted, { vectors, scale }: Vectors): Uint8Array {
  const values = bytesOf(vectors);
  const head = JSON.stringify({ ...wanted, scale, sha256: digestOf(wanted, scale, values) });
  return Buffer.concat([Buffer.from(`${head.padEnd(headBytes - 1)}\n`), values]);
}

/** Of everything that the file states and holds. */
function digestOf({ key, shape }: Wanted, scale: number, values: Uint8Array): string {
  return createHash('sha256')
    .update(JSON.stringify([key, shape, scale]))
    .update(values)
    .digest('hex');
}

/** What the cache holds; undefined where it holds nothing, or not what it says. */
async function readVectors(path: string, wanted: Wanted): Promise<Vectors | undefined> {
  try {
    const size = headBytes + 4 * wanted.shape[0] * wanted.shape[1];
    const file = await readSmallFile(path, size);
    if (file.length !== size) return undefined;
    const head = JSON.parse(Buffer.from(file.subarray(0, headBytes)).toString()) as {
      scale?: unknown;
      sha256?: unknown;
    };
    const values = file.slice(headBytes);
    if (typeof head.scale !== 'number' || head.sha256 !== digestOf(wanted, head.scale, values)) return undefined;
    return { vectors: tensor('float32', wanted.shape, new Float32Array(values.buffer)), scale: head.scale };
  } catch {
    // Missing, unreadable or damaged: the remedy is the same, it is computed anew.
    return undefined;
  }
}
