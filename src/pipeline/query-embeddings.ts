/** Vectors of the words of questions, for heads that are given them: out of files by query id, or from the text tower of a model. */
import { stat } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { readNpy } from '../checkpoint/npy.js';
import { openNpz } from '../checkpoint/npz.js';
import { openPt, readTensor } from '../checkpoint/pt-features.js';
import { openSafetensors } from '../checkpoint/safetensors.js';
import { EgolensError } from '../errors.js';
import { openFileSource, pathExists } from '../files.js';
import { shapeText, tensor } from '../tensor.js';
import { questionText, type QuestionForm } from '../text/questions.js';
import type { AnyTensor, Tensor } from '../types.js';
import type { TextEncoder } from './text-encoder.js';

/** Vectors of words by query id. Dispose it. */
export interface QueryEmbeddings extends AsyncDisposable {
  /**
   * float32 [words, width], one word at least.
   *
   * @throws EgolensError input.not_found for an id that has none; data.shape for another width than the first one's, or no rows of vectors;
   *   data.not_finite
   */
  read(id: string): Promise<Tensor<'float32'>>;
}

/** Most words of a question: far above every tokenizer's context. */
const maxWords = 4096;

const endings = ['.npy', '.pt', '.pth', '.safetensors', '.npz'] as const;

/**
 * Opens given vectors: a folder with a file for each query, `ID.npy` or `ID.pt`, or one file with an array for each, `.safetensors`, `.npz` or
 * `.pt`. An array of one axis is one word: a pooled vector.
 *
 * @param width that the head expects; absent: that of the first query read
 * @throws EgolensError input.not_found, input.format for another ending or a damaged file
 */
export async function openQueryEmbeddings(path: string, width?: number): Promise<QueryEmbeddings> {
  const info = await stat(path).catch(() => undefined);
  if (info === undefined) {
    throw new EgolensError('input.not_found', `\`${path}\`: no such file or folder of query embeddings`, {
      input: path,
    });
  }
  const arrays = info.isDirectory() ? folderArrays(path) : await fileArrays(path);
  let expected = width;
  return {
    async read(id) {
      const array = await arrays.read(id);
      if (array === undefined) {
        throw new EgolensError('input.not_found', `\`${path}\`: no embedding of query \`${id}\`; ${arrays.holds}`, {
          input: path,
          try: 'name each array after its query: annotation uid, `_`, number of the query',
        });
      }
      const words = checkedWords(array, `${path}: ${id}`, expected);
      expected ??= words.shape[1];
      return words;
    },
    [Symbol.asyncDispose]: () => arrays[Symbol.asyncDispose](),
  };
}

interface Arrays extends AsyncDisposable {
  readonly holds: string;
  read(id: string): Promise<AnyTensor | undefined>;
}

function folderArrays(folder: string): Arrays {
  return {
    holds: 'expected a file of that name, with the ending `.npy` or `.pt`',
    async read(id) {
      // An id comes out of an annotation file: it may not lead out of the folder.
      if (!/^[\w@=+-][\w.@=+-]*$/.test(id)) return undefined;
      for (const ending of ['.npy', '.pt', '.pth'] as const) {
        const path = join(folder, `${id}${ending}`);
        if (!(await pathExists(path))) continue;
        await using source = await openFileSource(path);
        if (ending === '.npy') return (await readNpy(source)).tensor;
        const tensors = await openPt(source);
        const [only] = tensors.values();
        return only === undefined || tensors.size > 1 ? undefined : await readTensor(only);
      }
      return undefined;
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

async function fileArrays(path: string): Promise<Arrays> {
  const ending = endings.find((one) => one === extname(path).toLowerCase());
  if (ending === undefined || ending === '.npy') {
    throw new EgolensError(
      'input.format',
      `\`${path}\`: expected a folder, or one file \`.safetensors\`, \`.npz\` or \`.pt\` with an array for each query`,
      { input: path },
    );
  }
  const source = await openFileSource(path);
  const close = async (): Promise<void> => await source[Symbol.asyncDispose]();
  try {
    if (ending === '.npz') {
      const file = await openNpz(source);
      const names = new Set(file.names);
      return {
        holds: `it holds ${names.size} arrays`,
        read: async (id) => (names.has(id) ? (await file.read(id)).tensor : undefined),
        [Symbol.asyncDispose]: close,
      };
    }
    const tensors = ending === '.safetensors' ? (await openSafetensors(source)).tensors : await openPt(source);
    return {
      holds: `it holds ${tensors.size} arrays`,
      async read(id) {
        const stored = tensors.get(id);
        return stored && (await readTensor(stored));
      },
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

function checkedWords({ dtype, shape, data }: AnyTensor, name: string, width: number | undefined): Tensor<'float32'> {
  const [words = 0, own = 0] = shape.length === 1 ? [1, shape[0]] : shape;
  const isRows = (shape.length === 1 || shape.length === 2) && words >= 1 && words <= maxWords && own >= 1;
  if (dtype !== 'float32' || !isRows || (width !== undefined && own !== width)) {
    throw new EgolensError(
      'data.shape',
      `\`${name}\`: ${dtype} ${shapeText(shape)}; expected float32 [words, ${width ?? 'width'}] of 1 to ${maxWords} words`,
    );
  }
  const wrong = data.findIndex((value) => !Number.isFinite(value));
  if (wrong >= 0) throw new EgolensError('data.not_finite', `\`${name}\`: element ${wrong} is ${data[wrong]!}`);
  return tensor('float32', [words, own], data);
}

export interface EncodedQueryOptions {
  /** `words`: states of the tokens after the last norm, without start and end; `tokens`: with them; `pooled`: the text vector, as one word. */
  readonly layer: 'words' | 'tokens' | 'pooled';
  readonly form: QuestionForm;
}

/**
 * Vectors of the words of questions, out of a text tower: [words, width] each, in the order of the questions. Official GroundNLQ: `words`
 * and form `clip` over CLIP ViT-B/32.
 *
 * @throws EgolensError those of the encoder: data.invalid for an overlong question where the model refuses it
 */
export async function encodedQueries(
  encoder: Pick<TextEncoder, 'tokens' | 'features'>,
  questions: readonly string[],
  { layer, form }: EncodedQueryOptions,
): Promise<Tensor<'float32'>[]> {
  if (questions.length === 0) return [];
  const texts = questions.map((question) => questionText(question, form));
  if (layer === 'pooled') {
    const { shape, data } = await encoder.features(texts);
    const width = shape[1]!; // [texts, embed]
    return texts.map((_, i) => tensor('float32', [1, width], data.slice(i * width, (i + 1) * width)));
  }
  const { rows, lengths } = await encoder.tokens(texts);
  const [, longest, width] = rows.shape as readonly [number, number, number];
  return lengths.map((length, i) => {
    // A question of no words has only start and end: then the end token stands for it.
    const isCut = layer === 'words' && length > 2;
    const [from, to] = isCut ? [1, length - 1] : layer === 'words' ? [length - 1, length] : [0, length];
    const first = i * longest * width;
    return tensor('float32', [to - from, width], rows.data.slice(first + from * width, first + to * width));
  });
}
