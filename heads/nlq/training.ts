/** What a training run needs of VSLNet with words of its own. */
import type { Head } from '../../src/models/head.js';
import type { Random } from '../../src/random.js';
import type { AnyTensor, Seconds, Span, Tensor } from '../../src/types.js';
import { vslnetSmall } from '../vslnet.js';
import { vocabularyOf, wordFeeds, wordsOf } from '../words.js';
import { answerTargets, clipBatch } from './batches.js';
import { positionsOf } from './feeds.js';
import { sampleFeatures } from './sampling.js';

/** One question about one clip. */
export interface QueryItem {
  /** [units, width] */
  readonly units: Tensor<'float32'>;
  readonly text: string;
}

/** How a batch of questions is made. */
export interface QueryBatchOptions {
  readonly vocabulary: readonly string[];
  /** What the batch is padded to; absent: what it needs. */
  readonly sizes?: { readonly rows: number; readonly words: number };
  /** Words that become unknown in training. */
  readonly unknown?: { readonly share: number; readonly random: Random };
}

/** VSLNet in the small form, over the words of the training questions. */
export const queryMethod = {
  vocabulary: (texts: Iterable<string>): readonly string[] => vocabularyOf(texts),
  head: ({ width, words }: { readonly width: number; readonly words: number }): Head =>
    vslnetSmall.spec({ video_feature_dim: width, word_size: words }),
  /** Rows [rows, width] averaged down to what the head takes. */
  units: (head: Head, rows: Tensor<'float32'>): Tensor<'float32'> => sampleFeatures(rows, positionsOf(head)),
  /** Words of a question that the head looks at, one at least. */
  words: (head: Head, text: string): number => Math.max(1, Math.min(positionsOf(head), wordsOf(text).length)),
  batch(
    head: Head,
    items: readonly QueryItem[],
    { vocabulary, sizes, unknown }: QueryBatchOptions,
  ): Record<string, AnyTensor> {
    const clips = clipBatch(
      items.map(({ units }) => units),
      positionsOf(head),
      sizes?.rows,
    );
    const length = sizes?.words ?? items.reduce((most, { text }) => Math.max(most, queryMethod.words(head, text)), 1);
    const words = wordFeeds(
      vocabulary,
      items.map(({ text }) => text),
      { length, ...(unknown && { unknown }) },
    );
    return { ...clips.feeds, ...words };
  },
  /** Inputs of the loss: where the answers lie. @param rows units of the padded batch */
  targets(
    items: readonly (QueryItem & { readonly answer: Span; readonly duration: Seconds })[],
    rows: number,
  ): Record<string, AnyTensor> {
    const units = items.map((item) => item.units.shape[0] ?? 0);
    return answerTargets(
      { units, rows },
      items.map(({ answer }) => answer),
      items.map(({ duration }) => duration),
    );
  },
};
