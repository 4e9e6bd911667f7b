/** Batches for VSLNet: clips as padded units, and the answers of training as targets over them. */
import { assert } from '../../src/errors.js';
import { tensor } from '../../src/tensor.js';
import type { Seconds, Span, Tensor } from '../../src/types.js';
import { sampleFeatures, secondsToUnits } from './sampling.js';
import { vslnetTargets } from './vslnet-loss.js';

/** Clips of a batch as the graph takes them. */
export interface ClipBatch {
  readonly feeds: { readonly features: Tensor<'float32'>; readonly mask: Tensor<'float32'> };
  /** Units of each clip before the padding. */
  readonly units: readonly number[];
  /** Units of the padded batch. */
  readonly rows: number;
}

/**
 * Feature rows of clips, each averaged down to at most `positions` units.
 *
 * @param clips [rows, width] each, a row at least, of one width
 * @param positions the head's `max_pos_len`
 * @param rows to pad to; default: what the longest needs
 */
export function clipBatch(clips: readonly Tensor<'float32'>[], positions: number, rows?: number): ClipBatch {
  const sampled = clips.map((clip) => sampleFeatures(clip, positions));
  const units = sampled.map(({ shape }) => shape[0] ?? 0);
  const [longest, width] = [rows ?? Math.max(1, ...units), sampled[0]?.shape[1] ?? 0];
  const data = new Float32Array(clips.length * longest * width);
  const mask = new Float32Array(clips.length * longest);
  sampled.forEach((clip, i) => {
    const own = units[i]!; // as many as clips
    assert(own >= 1 && own <= longest && clip.shape[1] === width, `a clip of ${own} units, ${clip.shape[1]} wide`);
    data.set(clip.data, i * longest * width);
    mask.fill(1, i * longest, i * longest + own);
  });
  return {
    feeds: {
      features: tensor('float32', [clips.length, longest, width], data),
      mask: tensor('float32', [clips.length, longest], mask),
    },
    units,
    rows: longest,
  };
}

/**
 * Inputs of the loss: the answer of each clip as the units that overlap it best.
 *
 * @param answers in seconds of the clip, one for each
 * @param durations lengths of the clips in seconds
 */
export function answerTargets(
  { units, rows }: Pick<ClipBatch, 'units' | 'rows'>,
  answers: readonly Span[],
  durations: readonly Seconds[],
): Record<string, Tensor<'float32'>> {
  assert(answers.length === units.length && durations.length === units.length, 'an answer and a length for each clip');
  const spans = answers.map((answer, i) => secondsToUnits(answer, units[i]!, durations[i]!)); // as many, checked above
  return vslnetTargets(spans, units, rows);
}
