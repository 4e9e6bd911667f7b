/** What a two-tower model makes of pictures and texts together: computed here from the vectors of both towers, in no graph. */
import type { OutputInfo, TextTower } from '../models/spec.js';
import { tensor } from '../tensor.js';
import type { Tensor } from '../types.js';

type Joint = TextTower['joint'][number];

const meanings: Readonly<Record<Joint, string>> = {
  similarity: 'cosine of picture and text, computed by the program from the vectors of both towers',
  logits_per_image: 'scale x cosine, computed by the program from the vectors of both towers',
  probs: 'softmax over the texts of scale x cosine, computed by the program from the vectors of both towers',
};

/** The joint outputs of a model and what they hold: [batch, rows]. */
export function jointOutputs({ joint }: Pick<TextTower, 'joint'>): Readonly<Record<string, OutputInfo>> {
  return Object.fromEntries(joint.map((name) => [name, { shape: ['batch', 'rows'], meaning: meanings[name] }]));
}

/**
 * Joint outputs of the vectors of both towers, in double.
 *
 * @param pictures [b, embed], of any length but zero
 * @param texts [rows, embed], the same
 * @param scale what cosines are multiplied by for the logits
 * @returns [b, rows] each; `probs` sums to 1 over the texts
 */
export function compareTowers(
  pictures: Tensor<'float32'>,
  texts: Tensor<'float32'>,
  scale: number,
): Readonly<Record<Joint, Tensor<'float32'>>> {
  const [batch, embed] = pictures.shape as [number, number];
  const rows = texts.shape[0]!; // [rows, embed]
  const [a, b] = [unitRows(pictures.data, embed), unitRows(texts.data, embed)];
  const shape = [batch, rows];
  const [similarity, logits, probs] = [0, 1, 2].map(() => new Float32Array(batch * rows)) as [
    Float32Array<ArrayBuffer>, // three were just made
    Float32Array<ArrayBuffer>,
    Float32Array<ArrayBuffer>,
  ];
  for (let i = 0; i < batch; i++) {
    const cosines = Array.from({ length: rows }, (_, j) => {
      let sum = 0;
      for (let d = 0; d < embed; d++) sum += a[i * embed + d]! * b[j * embed + d]!;
      return sum;
    });
    const largest = cosines.reduce((most, cosine) => Math.max(most, scale * cosine), -Infinity);
    const weights = cosines.map((cosine) => Math.exp(scale * cosine - largest));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    similarity.set(cosines, i * rows);
    logits.set(
      cosines.map((cosine) => scale * cosine),
      i * rows,
    );
    probs.set(
      weights.map((weight) => weight / total),
      i * rows,
    );
  }
  return {
    similarity: tensor('float32', shape, similarity),
    logits_per_image: tensor('float32', shape, logits),
    probs: tensor('float32', shape, probs),
  };
}

/** Each row over its length; a row of zeros stays one. */
function unitRows(data: Float32Array, width: number): Float64Array {
  const unit = Float64Array.from(data);
  for (let first = 0; first < unit.length; first += width) {
    const row = unit.subarray(first, first + width);
    const length = Math.sqrt(row.reduce((sum, value) => sum + value * value, 0));
    if (length > 0) row.forEach((value, i) => (row[i] = value / length));
  }
  return unit;
}
