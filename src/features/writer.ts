/** Feature files are written so that a killed run leaves none that looks whole: array, time table, and the meta file last (files.md 5). */
import { mkdir, rm, type FileHandle } from 'node:fs/promises';
import { dirname, relative, sep } from 'node:path';
import { assertValid } from '../check.js';
import { npyHeader } from '../checkpoint/npy-header.js';
import { writeNpz } from '../checkpoint/npz.js';
import { writeSafetensors } from '../checkpoint/safetensors.js';
import { assert, EgolensError } from '../errors.js';
import { beginFile, sha256, sha256File, writeAt, writeFileAtomic } from '../files.js';
import { bytesOf, shapeText, sizeOf, tensor } from '../tensor.js';
import type { RowTime, Tensor } from '../types.js';
import { metaOf, metaText, type FeatureMeta, type MetaFacts } from './meta.js';
import type { FeatureTarget } from './names.js';
import { timesText } from './times.js';

/** Name of the array inside `.npz` and `.safetensors` files. */
export const arrayName = 'features';

/** Bytes of rows that are kept in memory for `.npz` and `.safetensors`, whose headers come first and need the final count. */
const maxBufferedBytes = 2 ** 30;

/** Rows of one array on their way to disk. Disposed before `finish`, it leaves nothing behind. */
export interface FeatureWriter extends AsyncDisposable {
  readonly target: FeatureTarget;
  /** Rows so far. */
  readonly rows: number;
  /** Append `[n, ...rowShape]`; the data may be reused when the call returns. Throws `data.not_finite`, `limit.disk`, `limit.size`. */
  append(rows: Tensor<'float32'>): Promise<void>;
  /** Put array, time table and meta file in place. The clock and the table must have as many rows as were appended. */
  finish(facts: MetaFacts, times: readonly RowTime[]): Promise<FeatureMeta>;
}

/**
 * Begin a feature file: float32 rows of `rowShape`, `[width]` or `[tokens, width]`. A `.npy` is written as the rows come, with
 * memory for none; `.npz` and `.safetensors` hold up to 1 GiB of rows in memory and refuse more with `limit.size`.
 */
export async function openFeatureWriter(target: FeatureTarget, rowShape: readonly number[]): Promise<FeatureWriter> {
  assert(rowShape.length === 1 || rowShape.length === 2, `row shape ${shapeText(rowShape)}: expected one or two axes`);
  try {
    await mkdir(dirname(target.array), { recursive: true });
  } catch (cause) {
    throw diskError(target.array, cause);
  }
  const file = await beginFile(target.array);
  const sink = target.type === 'npy' ? npySink(file.handle, rowShape) : memorySink(file.handle, rowShape, target);
  const width = sizeOf(rowShape);
  let rows = 0;
  return {
    target,
    get rows() {
      return rows;
    },
    async append(batch) {
      const count = batch.shape[0] ?? 0;
      assert(
        shapeText(batch.shape.slice(1)) === shapeText(rowShape),
        `rows of shape ${shapeText(batch.shape.slice(1))}, expected ${shapeText(rowShape)}`,
      );
      const bad = batch.data.findIndex((value) => !Number.isFinite(value));
      if (bad >= 0) {
        throw new EgolensError(
          'data.not_finite',
          `\`${target.array}\`: row ${rows + Math.floor(bad / width)}, element ${bad % width} is ${batch.data[bad]}, expected finite numbers`,
        );
      }
      await sink.append(batch).catch((cause: unknown) => {
        throw diskError(target.array, cause);
      });
      rows += count;
    },
    async finish(facts, times) {
      const clockRows = facts.clock?.rows ?? rows;
      assert(clockRows === rows, `the clock has ${clockRows} rows, the array ${rows}`);
      assert(times.length === rows, `the time table has ${times.length} rows, the array ${rows}`);
      try {
        await sink.finish(rows);
        // A meta file of an earlier run must not vouch for the new array.
        await rm(target.meta, { force: true });
        await file.commit();
        const table = timesText(times);
        await writeFileAtomic(target.times, table);
        const meta = metaOf(facts, {
          array: {
            shape: [rows, ...rowShape],
            bytes: sink.bytes,
            // Of the file as it is: a header with the row count stands before the rows, so it cannot be taken while they pass.
            sha256: await sha256File(target.array),
          },
          times: { bytes: Buffer.byteLength(table), sha256: sha256(table) },
        });
        const text = metaText(meta);
        await assertValid('egolens.meta/1', JSON.parse(text), target.meta, 'internal.bug');
        await writeFileAtomic(target.meta, text);
        return meta;
      } catch (cause) {
        throw diskError(target.array, cause);
      }
    },
    [Symbol.asyncDispose]: () => file[Symbol.asyncDispose](),
  };
}

/** The files of a finished target for the ledger: path below `out`, with `/`, and SHA-256. */
export function ledgerFiles(out: string, target: FeatureTarget, meta: FeatureMeta): Readonly<Record<string, string>> {
  const name = (path: string): string => relative(out, path).split(sep).join('/');
  return {
    [name(target.array)]: meta.array.sha256,
    [name(target.times)]: meta.times.sha256,
    [name(target.meta)]: sha256(metaText(meta)),
  };
}

interface Sink {
  append(batch: Tensor<'float32'>): Promise<void>;
  finish(rows: number): Promise<void>;
  /** Bytes of the file; final after `finish`. */
  readonly bytes: number;
}

/** Room for a header, then rows as they come; the header with their count is put in front at the end. */
function npySink(handle: FileHandle, rowShape: readonly number[]): Sink {
  let position = npyHeader('float32', [0, ...rowShape]).length;
  return {
    get bytes() {
      return position;
    },
    async append(batch) {
      position = await writeAt(handle, bytesOf(batch), position);
    },
    async finish(rows) {
      await writeAt(handle, npyHeader('float32', [rows, ...rowShape]), 0);
    },
  };
}

function memorySink(handle: FileHandle, rowShape: readonly number[], target: FeatureTarget): Sink {
  const batches: Float32Array[] = [];
  let buffered = 0;
  let position = 0;
  return {
    get bytes() {
      return position;
    },
    append(batch) {
      buffered += batch.data.byteLength;
      if (buffered > maxBufferedBytes) {
        return Promise.reject(
          new EgolensError(
            'limit.size',
            `\`${target.array}\`: more than ${maxBufferedBytes} bytes of rows for a .${target.type} file`,
            { try: '`--out-type npy`, which has no such limit' },
          ),
        );
      }
      batches.push(batch.data.slice());
      return Promise.resolve();
    },
    async finish(rows) {
      const data = new Float32Array(rows * sizeOf(rowShape));
      let at = 0;
      for (const batch of batches) {
        data.set(batch, at);
        at += batch.length;
      }
      const whole = tensor('float32', [rows, ...rowShape], data);
      const { shape } = whole;
      const pieces =
        target.type === 'npz'
          ? writeNpz(new Map([[arrayName, whole]]))
          : writeSafetensors([{ name: arrayName, dtype: 'F32', shape, bytes: () => [bytesOf(whole)] }]);
      for await (const piece of pieces) position = await writeAt(handle, piece, position);
    },
  };
}

function diskError(path: string, cause: unknown): unknown {
  const code = (cause as NodeJS.ErrnoException).code;
  if (cause instanceof EgolensError || code === undefined) return cause;
  return code === 'ENOSPC' || code === 'EDQUOT'
    ? new EgolensError('limit.disk', `\`${path}\`: the disk is full`, { cause, retryable: true })
    : new EgolensError('output.unwritable', `\`${path}\`: cannot be written (${code})`, { cause });
}
