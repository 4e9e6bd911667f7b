/** What a head is given of a question: its text, where the head has learned its words, else vectors of its words. */
import type { Question } from '../ego4d/query-clips.js';
import { EgolensError } from '../errors.js';
import { findModel } from '../hub/cache.js';
import { openModelFolder } from '../models/folder.js';
import type { HeadFolder } from '../models/head-folder.js';
import type { Head } from '../models/head.js';
import type { QuestionForm } from '../text/questions.js';
import type { Progress, Tensor } from '../types.js';
import { encodedQueries, openQueryEmbeddings, type EncodedQueryOptions } from './query-embeddings.js';

/** A question as a head takes it. */
export interface WordedQuestion extends Question {
  /** [words, width]; absent where the head takes the text. */
  readonly vectors?: Tensor<'float32'>;
}

/** Dispose it. */
export interface QuestionWords extends AsyncDisposable {
  /** The words of the head in the order of their numbers; empty where it is given vectors. */
  readonly vocabulary: readonly string[];
  of(questions: readonly Question[]): Promise<WordedQuestion[]>;
}

export interface QuestionWordOptions {
  /** Folder or file of given vectors. */
  readonly vectors?: string;
  /** Name or folder of the model whose text tower makes them. */
  readonly model?: string;
  /** Take vectors of another model than the head was trained on. */
  readonly force: boolean;
  readonly device: string;
  readonly threads?: number;
  readonly signal: AbortSignal;
  readonly progress: Progress;
}

/**
 * Words for a head: by what its folder says of its text, and what the user gives.
 *
 * @throws EgolensError usage.flag where neither tells where vectors come from; usage.conflict for vectors that the head does not take, or of
 *   another model than the head's; data.shape for vectors of another width, with both sides; model.incomplete for a head without its words;
 *   model.config for one of GloVe words; as `openQueryEmbeddings` and `openTextEncoder`
 */
export async function openQuestionWords(
  { folder, head }: { readonly folder: HeadFolder; readonly head: Head },
  options: QuestionWordOptions,
): Promise<QuestionWords> {
  const { vectors, model } = options;
  const { query } = head.inputs;
  if (query === undefined) return learnedWords(folder, head, options);
  const width = query.shape[2] as number; // [batch, words, width], a number in every head
  if (vectors !== undefined) {
    const given = await openQueryEmbeddings(vectors, width);
    return {
      vocabulary: [],
      async of(questions) {
        const found: WordedQuestion[] = [];
        for (const question of questions) found.push({ ...question, vectors: await given.read(question.id) });
        return found;
      },
      [Symbol.asyncDispose]: () => given[Symbol.asyncDispose](),
    };
  }
  const named = model ?? folder.info.text?.model;
  if (named !== undefined) return await towerWords({ folder, width }, named, options);
  throw new EgolensError(
    'usage.flag',
    `${folder.id}: is given vectors of words, ${width} numbers each, and does not say of which text model`,
    { try: '`--text-model MODEL`, or `--query-features DIR` with vectors that you have' },
  );
}

function learnedWords({ id, labels }: HeadFolder, { inputs }: Head, options: QuestionWordOptions): QuestionWords {
  if (inputs['char_ids'] !== undefined) {
    throw new EgolensError('model.config', `${id}: reads GloVe words and their characters, which are not made here`, {
      try: 'a head that learned its words (`train nlq`), or one of given vectors (`bert`, CLIP)',
    });
  }
  const flag = options.model !== undefined ? '--text-model' : options.vectors !== undefined ? '--query-features' : null;
  if (flag !== null) {
    throw new EgolensError('usage.conflict', `${id}: has learned its own words; expected no ${flag}`, {
      try: 'leave it out',
    });
  }
  const vocabulary = labels['word'];
  if (vocabulary === undefined || vocabulary === null) {
    throw new EgolensError(
      'model.incomplete',
      `${id}: expected the list of its words, \`labels.word.json\`, found none`,
    );
  }
  return {
    vocabulary,
    of: (questions) => Promise.resolve([...questions]),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

async function towerWords(
  { folder, width }: { readonly folder: HeadFolder; readonly width: number },
  named: string,
  { force, device, threads, signal, progress }: QuestionWordOptions,
): Promise<QuestionWords> {
  const { openTextEncoder, textTowerOf } = await import('./text-encoder.js');
  const { id, info, manifest } = folder;
  const model = await openModelFolder(await findModel(named));
  const tower = textTowerOf(model);
  const wanted = info.text;
  if (wanted !== null && !force && wanted.model !== model.id && wanted.model !== model.manifest.name) {
    throw new EgolensError('usage.conflict', `words of ${model.id}; ${id} was trained on those of ${wanted.model}`, {
      try: '`--force-features` if the models are known to be the same',
    });
  }
  const layer = layerOf(wanted?.layer) ?? (tower.width === width ? 'words' : 'pooled');
  const own = layer === 'pooled' ? tower.embed : tower.width;
  if (own !== width) {
    throw new EgolensError(
      'data.shape',
      `${model.id}: words of ${tower.width} numbers, texts of ${tower.embed}; ${id} expects ${width}`,
      { try: wanted === null ? 'the text model that the head was trained with' : `\`--text-model ${wanted.model}\`` },
    );
  }
  const encoder = await openTextEncoder(model, { device, signal, progress, ...(threads !== undefined && { threads }) });
  // As the official code of each head has its questions.
  const form: QuestionForm = manifest.family.startsWith('vslnet') ? 'bert' : 'clip';
  const known = new Map<string, Tensor<'float32'>>();
  return {
    vocabulary: [],
    async of(questions) {
      const fresh = [...new Set(questions.map(({ text }) => text))].filter((text) => !known.has(text));
      const made = await encodedQueries(encoder, fresh, { layer, form });
      made.forEach((vectors, i) => known.set(fresh[i]!, vectors)); // one each
      return questions.map((question) => ({ ...question, vectors: known.get(question.text)! })); // made just now, or before
    },
    [Symbol.asyncDispose]: () => encoder[Symbol.asyncDispose](),
  };
}

/** @throws nothing: what a folder says in other words counts as not said */
function layerOf(layer: string | number | undefined): EncodedQueryOptions['layer'] | undefined {
  return layer === 'words' || layer === 'tokens' || layer === 'pooled' ? layer : undefined;
}
