/** Inputs of the heads for Natural Language Queries: one clip, one question. */
import { EgolensError } from '../../src/errors.js';
import type { Head } from '../../src/models/head.js';
import type { AnyTensor, Tensor } from '../../src/types.js';
import { sequenceFeeds } from '../actionformer-targets.js';
import { queryFeeds, readGround } from '../groundnlq.js';
import { wordFeeds } from '../words.js';
import { clipBatch } from './batches.js';

/** A question: its text for heads that have learned their words, vectors [words, width] for the others. */
export interface FedQuestion {
  readonly text: string;
  readonly vectors?: Tensor<'float32'>;
}

/**
 * What a head is shown: feature rows [rows, width] of a clip, and the words of a question. Words beyond what VSLNet has places for are cut.
 *
 * @param vocabulary words of the head, where it has learned them
 * @throws EgolensError usage.conflict for a question without vectors where the head takes them; data.shape for too many rows
 */
export function questionFeeds(
  head: Head,
  rows: Tensor<'float32'>,
  { text, vectors }: FedQuestion,
  vocabulary: readonly string[],
): Record<string, AnyTensor> {
  if (head.inputs['query'] === undefined) return { ...vslnetClip(head, rows), ...cutWords(head, text, vocabulary) };
  if (vectors === undefined)
    throw new EgolensError('usage.conflict', `${head.family}: takes vectors of words, found none`);
  if (head.family === 'groundnlq') {
    return { ...sequenceFeeds(readGround(head.config).pyramid, [[rows]]), ...queryFeeds([vectors]) };
  }
  const words = Math.min(vectors.shape[0] ?? 0, positionsOf(head));
  return { ...vslnetClip(head, rows), ...queryFeeds([vectors], words) };
}

/** The longest clip and question of a VSLNet, in units and in words. */
export function positionsOf({ config }: Head): number {
  return config['max_pos_len'] as number; // its configuration is complete
}

function vslnetClip(head: Head, rows: Tensor<'float32'>): Record<string, AnyTensor> {
  const fixed = head.config['rows'];
  return typeof fixed === 'number' ? clipBatch([rows], fixed, fixed).feeds : clipBatch([rows], positionsOf(head)).feeds;
}

function cutWords(head: Head, text: string, vocabulary: readonly string[]): Record<string, AnyTensor> {
  const feeds = wordFeeds(vocabulary, [text]);
  const most = positionsOf(head);
  return (feeds.word_ids.shape[1] ?? 0) <= most ? feeds : wordFeeds(vocabulary, [text], { length: most });
}
