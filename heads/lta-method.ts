/** `lta` as training and use take it: how its head is made for features, its inputs and its targets. */
import { EgolensError } from '../src/errors.js';
import type { Head } from '../src/models/head.js';
import { tensor } from '../src/tensor.js';
import type { Tensor } from '../src/types.js';
import { actionTargets, latestRows, lta, type Action } from './lta.js';

/** Channels: few, as futures are few; a sixth of the parameters of the family's default. */
const hidden = 64;

/** Given to `train lta` by its command: `ActionMethod` of src/pipeline/train-lta.ts. */
export const ltaMethod = {
  head: ({
    width,
    ...sizes
  }: {
    readonly width: number;
    readonly rows: number;
    readonly verbs: number;
    readonly nouns: number;
    readonly z: number;
  }): Head => lta.spec({ dim: width, ...sizes, hidden }),
  feeds: latestRows,
  targets: (
    futures: readonly (readonly Action[])[],
    { z, ...classes }: { readonly z: number; readonly verbs: number; readonly nouns: number },
  ): ReturnType<typeof actionTargets> => actionTargets(futures, { steps: z, ...classes }),
};

/**
 * Inputs of a head for the rows that were seen of one ask: of `lta` the last ones, of the official decoder as many clips as it looks at,
 * each the mean of an equal share of the rows in order. (The official clips are the last annotated actions; a video of one's own has none.)
 *
 * @param rows [n, width], one at least
 * @throws EgolensError model.config for a head of another family, data.shape for rows of another width
 */
export function actionFeeds(
  { family, config, widths }: Pick<Head, 'family' | 'config' | 'widths'>,
  rows: Tensor<'float32'>,
): Record<string, Tensor<'float32'>> {
  const [count = 0, width = 0] = rows.shape;
  if (width !== widths[0]) {
    throw new EgolensError('data.shape', `rows of ${width} numbers; ${family} expects ${widths.join()}`, {
      try: 'features of the encoder that the head was trained on',
    });
  }
  if (family === 'lta') return latestRows([rows], { rows: config['rows'] as number, width }); // as its spec wrote it
  if (family !== 'lta-head') throw new EgolensError('model.config', `${family}: expected a head for the next actions`);
  const clips = config['clips'] as number; // as its spec wrote it
  const features = new Float32Array(clips * width);
  for (let clip = 0; clip < clips; clip++) {
    const first = Math.min(count - 1, Math.floor((clip * count) / clips));
    const end = Math.max(first + 1, Math.floor(((clip + 1) * count) / clips));
    for (let row = first; row < end; row++) {
      for (let i = 0; i < width; i++) features[clip * width + i]! += rows.data[row * width + i]! / (end - first);
    }
  }
  return { features: tensor('float32', [1, clips, width], features) };
}
