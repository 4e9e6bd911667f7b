/** Windows drawn ahead of the training, by worker threads, into one file of records of equal length. */
import { open, rename, stat, type FileHandle } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { asEgolensError, EgolensError } from '../../errors.js';
import { builtProgram, temporaryName } from '../../files.js';
import type { Progress } from '../../types.js';
import { recordLayout, type RecordLayout, type Window, type WindowForm } from './windows.js';

/** What a drawing thread is started with. */
export interface DrawStart {
  readonly path: string;
  readonly form: WindowForm;
  readonly windows: readonly Window[];
  /** Records of this thread: `part`, `part + parts`, … */
  readonly part: number;
  readonly parts: number;
}

/** What a drawing thread says: records done since the last message. */
export interface DrawMessage {
  readonly done: number;
}

/** Drawn windows in a file. Dispose it. */
export interface Pool extends AsyncDisposable {
  readonly count: number;
  readonly layout: RecordLayout;
  /** Reads a record. */
  read(index: number, target: Uint8Array): Promise<void>;
}

/**
 * Draws windows into the file `path`, unless it is there in full: then it is taken as it is. The bytes do not depend on the number of threads.
 *
 * @throws EgolensError limit.disk, output.unwritable
 */
export async function drawPool(
  path: string,
  options: {
    readonly form: WindowForm;
    readonly windows: readonly Window[];
    readonly label: string;
    readonly threads?: number;
    readonly progress?: Progress | undefined;
    readonly signal?: AbortSignal | undefined;
  },
): Promise<Pool> {
  const { form, windows, threads = availableParallelism(), progress, label, signal } = options;
  const layout = recordLayout(form);
  const bytes = layout.bytes * windows.length;
  const found = await stat(path).catch(() => undefined);
  if (found?.size !== bytes) {
    const work = temporaryName(path);
    try {
      await (await open(work, 'w')).close();
      const bar = progress?.start(label, windows.length);
      const draw = (part: number): Promise<void> =>
        drawn({ path: work, form, windows, part, parts: threads }, (done) => bar?.advance(done), signal);
      await Promise.all(Array.from({ length: threads }, (_, part) => draw(part)));
      bar?.stop();
      await rename(work, path);
    } catch (error) {
      throw asEgolensError(error, path);
    }
  }
  const handle = await open(path, 'r');
  return {
    count: windows.length,
    layout,
    read: (index, target) => readRecord(handle, layout.bytes * index, target),
    [Symbol.asyncDispose]: () => handle.close(),
  };
}

async function readRecord(handle: FileHandle, position: number, target: Uint8Array): Promise<void> {
  const { bytesRead } = await handle.read(target, 0, target.length, position);
  if (bytesRead !== target.length) throw new EgolensError('internal.bug', `a record ends after ${bytesRead} bytes`);
}

async function drawn(start: DrawStart, advance: (done: number) => void, signal?: AbortSignal): Promise<void> {
  signal?.throwIfAborted();
  const worker = new Worker(builtProgram('src/pipeline/default-encoder/draw-program.js'), {
    workerData: start,
    execArgv: [],
    name: 'egolens drawing',
  });
  const stop = (): void => void worker.terminate();
  signal?.addEventListener('abort', stop);
  try {
    await new Promise<void>((resolve, reject) => {
      worker.on('message', ({ done }: DrawMessage) => {
        advance(done);
      });
      worker.on('error', reject);
      worker.on('exit', (code) => {
        if (code === 0) resolve();
        else reject(new EgolensError('run.interrupted', 'drawing was interrupted'));
      });
    });
  } finally {
    signal?.removeEventListener('abort', stop);
  }
}
