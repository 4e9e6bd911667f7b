/** Rows of feature files for heads that look at sequences: whole files or parts of them, checked. */
import { EgolensError } from '../errors.js';
import { openFeatures, type FeatureMeta, type ReadOptions } from '../features/store.js';
import { tensor } from '../tensor.js';
import type { RowTime, Tensor } from '../types.js';
import { formOf, type FeatureForm } from './segment-features.js';

/** What is known of a feature file without its rows. */
export interface SequenceFile {
  readonly form: FeatureForm;
  readonly rows: number;
  readonly times: readonly RowTime[];
  readonly meta: FeatureMeta | undefined;
}

/** Most elements of a sequence: 2 GiB of float32. */
const mostElements = 2 ** 29;

/**
 * Header and times of a feature file.
 *
 * @throws EgolensError data.shape for rows of tokens, or none; data.clock where nothing tells the times of its rows; as `openFeatures`
 */
export async function sequenceFile(path: string, reading?: ReadOptions): Promise<SequenceFile> {
  await using file = await openFeatures(path, reading);
  const { shape, times, meta } = file;
  const rows = shape[0] ?? 0;
  if (shape.length !== 2 || rows === 0) {
    throw new EgolensError('data.shape', `\`${path}\`: [${shape.join(', ')}] features; expected [rows, width]`, {
      input: path,
      try: '`extract --pool mean`',
    });
  }
  if (times === undefined) {
    throw new EgolensError('data.clock', `\`${path}\`: nothing tells the times of its rows`, {
      input: path,
      try: '`--clock ego4d-grid` for features of Ego4D; those of `extract` have their meta file beside them',
    });
  }
  return { form: formOf(file), rows, times, meta };
}

/**
 * Rows [first, end) of a file of [rows, width].
 *
 * @throws EgolensError data.not_finite with the row; data.shape where the file has become shorter; limit.memory
 */
export async function readRows(
  path: string,
  [first, end]: readonly [first: number, end: number],
  reading?: ReadOptions,
): Promise<Tensor<'float32'>> {
  await using file = await openFeatures(path, reading);
  const [count = 0, width = 0] = file.shape;
  if (end > count) {
    throw new EgolensError('data.shape', `\`${path}\`: ${count} rows; expected ${end} at least`, { input: path });
  }
  if ((end - first) * width > mostElements) {
    throw new EgolensError('limit.memory', `\`${path}\`: more than ${4 * mostElements} bytes of features`, {
      input: path,
    });
  }
  const data = new Float32Array((end - first) * width);
  let at = 0;
  for await (const block of file.blocks()) {
    const rows = block.shape[0] ?? 0;
    const [from, to] = [Math.max(first, at), Math.min(end, at + rows)];
    if (from < to) data.set(block.data.subarray((from - at) * width, (to - at) * width), (from - first) * width);
    at += rows;
    if (at >= end) break;
  }
  const bad = data.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0) {
    throw new EgolensError(
      'data.not_finite',
      `\`${path}\`: row ${first + Math.floor(bad / width)} holds ${data[bad]!}`,
      {
        input: path,
        try: 'extract this video again',
      },
    );
  }
  return tensor('float32', [end - first, width], data);
}
