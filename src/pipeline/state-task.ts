/** Point of no return and change of state as tasks of `predict`: the same records from `state-change` and from the scoring of its training. */
import { float, type JsonValue } from '../json.js';
import type { HeadPrediction } from '../models/head.js';
import type { TensorsByName } from '../runtime/training-session.js';
import { tensor } from '../tensor.js';
import { rowSpan } from '../time.js';
import type { FeatureClock, JsonDocument, Tensor } from '../types.js';
import { PlacedQueries } from './placed-clips.js';
import type { Stretch, TaskRecord } from './predict.js';
import type { FeatureSet } from './recognize-head.js';
import { ownWindows, stateFiles, type StateOptions, type StateWindow } from './state-windows.js';

export type StateTask = 'pnr' | 'oscc';

export const stateSchemas = { pnr: 'egolens.pnr/1', oscc: 'egolens.oscc/1' } as const;

/** The members of a record beside the common ones; undefined for the prediction of the other task. */
export function stateRecord(
  task: StateTask,
  prediction: HeadPrediction,
  { id, start, end, first, rate }: StateWindow,
  clock: FeatureClock,
): TaskRecord | undefined {
  if (prediction.task !== task) return undefined;
  const place: Record<string, JsonValue> = { ...(id !== null && { id }), start: float(start), end: float(end) };
  if (prediction.task === 'oscc') {
    return { ...place, state_change: prediction.stateChange, score: float(prediction.score) };
  }
  // The head counts from the start of the first row, the record from the start of the clip.
  const [from, to] = rowSpan(clock, 0);
  const after = Math.min(Math.max(prediction.time - (from + to) / 2 + first, 0), end - start);
  return { ...place, time: float(start + after), frame: float(after * rate), score: float(prediction.score) };
}

/**
 * Inputs of the head for rows [n, width] of windows, padded to the rows of the head; what a window has beyond them
 * is left out.
 *
 * @param rows most rows of the head
 */
export function stateFeeds(windows: readonly Tensor<'float32'>[], rows: number): TensorsByName {
  const width = windows[0]?.shape[1] ?? 0;
  const features = new Float32Array(windows.length * rows * width);
  const mask = new Float32Array(windows.length * rows);
  windows.forEach(({ data, shape: [count = 0] }, i) => {
    const kept = Math.min(rows, count);
    features.set(data.subarray(0, kept * width), i * rows * width);
    mask.fill(1, i * rows, i * rows + kept);
  });
  return {
    features: tensor('float32', [windows.length, rows, width], features),
    mask: tensor('float32', [windows.length, rows], mask),
  };
}

/** What a state head is asked of the files of a run. */
export class StateQueries {
  readonly #queries = new PlacedQueries<StateWindow>();

  /** Files with clips of an annotation file, and the ids of clips without features. */
  async clips(
    document: JsonDocument,
    set: FeatureSet,
    options: StateOptions,
  ): Promise<{ readonly stretches: readonly Stretch[]; readonly missing: readonly string[] }> {
    const { files, missing } = await stateFiles(document, set.index, options);
    return { stretches: this.#queries.stretches(files, set), missing };
  }

  /** The clips of a file, else its windows of eight seconds. @throws EgolensError data.clock for features without a grid */
  of(stretch: Stretch): readonly StateWindow[] {
    return this.#queries.of(stretch) ?? ownWindows(stretch.file, stretch.bounds);
  }
}
