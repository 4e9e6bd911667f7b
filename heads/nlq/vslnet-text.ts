/**
 * Where VSLNet takes the words of a question from: vectors that are given, word vectors learned with the head, or the official GloVe and
 * character embedding.
 *
 * Official code: EGO4D/episodic-memory NLQ/VSLNet/model/layers.py, Embedding, WordEmbedding, CharacterEmbedding; `query_affine` of VSLNet.py.
 */
import type { GraphBuilder } from '../../src/graph/builder.js';
import { concat, convolve, largest, lookUp, multiply, relu, slice, transpose } from '../../src/graph/layers.js';
import type { Value } from '../../src/graph/ops.js';
import { detached } from './detached.js';
import { pointwise } from './vslnet-graph.js';

/** Word vectors that the user gives, or a text model gave: query [batch, words, any width] -> [batch, words, width]. */
export function givenWords(g: GraphBuilder, query: Value, width: number): Value {
  const weight = g.param('query_affine.weight', [width, query.shape[2] as number]);
  return multiply(g, query, weight, g.param('query_affine.bias', [width]));
}

/** Word vectors that are learned with the head: ids int64 [batch, words] -> [batch, words, width]. */
export function learnedWords(
  g: GraphBuilder,
  ids: Value,
  { words, dim, width }: { readonly words: number; readonly dim: number; readonly width: number },
): Value {
  return g.scope('embedding_net', () => {
    const table = g.param('words.weight', [words, dim]);
    return pointwise(g, lookUp(g, table, ids), 'linear.conv1d', width);
  });
}

/** Sizes of the official word and character embedding. */
export interface GloveSizes {
  /** Rows of the word table, `<pad>` and `<unk>` included. */
  readonly words: number;
  readonly wordDim: number;
  readonly chars: number;
  readonly charDim: number;
  readonly width: number;
}

/** Channels of the convolutions over 1, 2, 3 and 4 characters. */
const charChannels = [10, 20, 30, 40];

/** Characters that a word has at least, padding included, so that every convolution has a place to stand. */
export const leastChars = charChannels.length;

/**
 * GloVe vectors, fixed but for that of unknown words, beside what convolutions make of the characters.
 *
 * @param ids int64 [batch, words], 0 padding, 1 unknown
 * @param charIds int64 [batch, words, chars], 0 padding
 */
export function gloveWords(
  g: GraphBuilder,
  ids: Value,
  charIds: Value,
  { words, wordDim, chars, charDim, width }: GloveSizes,
): Value {
  return g.scope('embedding_net', () => {
    const table = g.scope('word_emb', () => {
      const rows = { pad_vec: 1, unk_vec: 1, glove_vec: words - 2 };
      return concat(
        g,
        Object.entries(rows).map(([name, count]) => g.param(name, [count, wordDim])),
        0,
      );
    });
    const spelt = g.scope('char_emb', () => {
      const letters = lookUp(g, withFixedRow(g, g.param('char_emb.weight', [chars, charDim])), charIds);
      const planes = transpose(g, letters, [0, 3, 1, 2]); // [batch, dim, words, chars]
      const found = charChannels.map((channels, i) => {
        const weight = g.param(`char_convs.${i}.0.weight`, [channels, charDim, 1, i + 1]);
        const bias = g.param(`char_convs.${i}.0.bias`, [channels]);
        const taps = relu(g, convolve(g, planes, weight, bias, { strides: [1, 1], padding: [0, 0] }));
        return largest(g, taps, [3]);
      });
      return transpose(g, concat(g, found, 1), [0, 2, 1]);
    });
    return pointwise(g, concat(g, [lookUp(g, table, ids), spelt], 2), 'linear.conv1d', width);
  });
}

/** A table whose first row, that of padding, is not learned, as PyTorch's `padding_idx` has it. */
function withFixedRow(g: GraphBuilder, table: Value): Value {
  const rows = table.shape[0] as number;
  return concat(g, [detached(g, slice(g, table, 0, 0, 1)), slice(g, table, 0, 1, rows)], 0);
}
