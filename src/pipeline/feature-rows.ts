/** Rows of feature files for heads that look at sequences: whole files or parts of them, checked. */
import { EgolensError } from '../errors.js';
import { openFeatures, type FeatureMeta, type ReadOptions } from '../features/store.js';
import { sizeOf, tensor } from '../tensor.js';
import type { RowTime, Tensor } from '../types.js';
import { formOf, type FeatureForm } from './segment-features.js';

/** What is known of a feature file without its rows. */
export interface SequenceFile {
  readonly form: FeatureForm;
  readonly rows: number;
  /** Tokens of a row; null for rows that are one vector. */
  readonly tokens: number | null;
  readonly times: readonly RowTime[];
  readonly meta: FeatureMeta | undefined;
}

/** Most elements of a sequence: 2 GiB of float32. */
const mostElements = 2 ** 29;

/** What a row is: a vector, or tokens of one window. */
export type RowKind = 'vectors' | 'tokens';

/**
 * Header and times of a feature file.
 *
 * @throws EgolensError data.shape for rows of another kind, or none; data.clock where nothing tells the times of its rows; as `openFeatures`
 */
export async function sequenceFile(
  path: string,
  reading?: ReadOptions,
  kind: RowKind = 'vectors',
): Promise<SequenceFile> {
  await using file = await openFeatures(path, reading);
  const { shape, times, meta } = file;
  const rows = shape[0] ?? 0;
  if (shape.length !== (kind === 'vectors' ? 2 : 3) || rows === 0) {
    throw new EgolensError(
      'data.shape',
      `\`${path}\`: [${shape.join(', ')}] features; expected [rows, ${kind === 'vectors' ? '' : 'tokens, '}width]`,
      { input: path, try: kind === 'vectors' ? '`extract --pool mean`' : '`extract --pool tokens`' },
    );
  }
  if (times === undefined) {
    throw new EgolensError('data.clock', `\`${path}\`: nothing tells the times of its rows`, {
      input: path,
      try: '`--clock ego4d-grid` for features of Ego4D; those of `extract` have their meta file beside them',
    });
  }
  return { form: formOf(file), rows, tokens: kind === 'vectors' ? null : shape[1]!, times, meta }; // three axes
}

/**
 * Rows [first, end) of a file: [rows, width], or [rows, tokens, width].
 *
 * @throws EgolensError data.not_finite with the row; data.shape where the file has become shorter; limit.memory
 */
export async function readRows(
  path: string,
  [first, end]: readonly [first: number, end: number],
  reading?: ReadOptions,
): Promise<Tensor<'float32'>> {
  return await readRowsAt(
    path,
    Array.from({ length: end - first }, (_, i) => first + i),
    reading,
  );
}

/**
 * These rows of a file, rising and each once.
 *
 * @throws EgolensError as `readRows`
 */
export async function readRowsAt(
  path: string,
  rows: readonly number[],
  reading?: ReadOptions,
): Promise<Tensor<'float32'>> {
  await using file = await openFeatures(path, reading);
  const [count = 0, ...rest] = file.shape;
  const length = sizeOf(rest);
  const last = rows.at(-1) ?? -1;
  if (last >= count) {
    throw new EgolensError('data.shape', `\`${path}\`: ${count} rows; expected ${last + 1} at least`, { input: path });
  }
  if (rows.length * length > mostElements) {
    throw new EgolensError('limit.memory', `\`${path}\`: more than ${4 * mostElements} bytes of features`, {
      input: path,
    });
  }
  const data = new Float32Array(rows.length * length);
  let [at, next] = [0, 0];
  for await (const block of file.blocks()) {
    const end = at + (block.shape[0] ?? 0);
    for (; next < rows.length && rows[next]! < end; next++) {
      const from = (rows[next]! - at) * length;
      data.set(block.data.subarray(from, from + length), next * length);
    }
    if (next >= rows.length) break;
    at = end;
  }
  const bad = data.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0) {
    throw new EgolensError(
      'data.not_finite',
      `\`${path}\`: row ${rows[Math.floor(bad / length)]!} holds ${data[bad]!}`,
      { input: path, try: 'extract this video again' },
    );
  }
  return tensor('float32', [rows.length, ...rest], data);
}
