import { createHash } from 'node:crypto';
import { constants, mkdir, open, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import { homedir } from 'node:os';
import { fileURLToPath } from 'node:url';
import { basename, dirname, isAbsolute, join, resolve } from 'node:path';
import { EgolensError } from './errors.js';
import type { ByteSource } from './types.js';

/** A file opened for random access; dispose it to close the file. */
export interface FileSource extends ByteSource, AsyncDisposable {
  /** As `read`, into memory that is there already: as many bytes as `target` takes. */
  readInto(offset: number, target: Uint8Array): Promise<void>;
}

/** Open a regular file. Throws `input.not_found`, `input.not_a_file`, `input.unreadable`. */
export async function openFileSource(path: string): Promise<FileSource> {
  let handle: FileHandle;
  try {
    // A pipe that nobody writes to would hold an open without O_NONBLOCK for ever. Windows lacks the flag, which counts as 0.
    handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (cause) {
    throw openError(path, cause);
  }
  const info = await handle.stat();
  if (!info.isFile()) {
    await handle.close();
    throw new EgolensError(
      'input.not_a_file',
      `\`${path}\`: expected a file, found ${info.isDirectory() ? 'a folder' : 'a special file'}`,
    );
  }
  const readInto = async (offset: number, target: Uint8Array): Promise<void> => {
    checkRange(path, info.size, offset, target.length);
    for (let done = 0; done < target.length;) {
      const { bytesRead } = await handle.read(target, done, target.length - done, offset + done);
      if (bytesRead === 0) throw truncated(path, info.size, offset, target.length);
      done += bytesRead;
    }
  };
  return {
    name: path,
    size: info.size,
    readInto,
    async read(offset, length) {
      checkRange(path, info.size, offset, length);
      const bytes = new Uint8Array(length);
      await readInto(offset, bytes);
      return bytes;
    },
    [Symbol.asyncDispose]: () => handle.close(),
  };
}

function checkRange(name: string, size: number, offset: number, length: number): void {
  if (
    !Number.isSafeInteger(offset) ||
    !Number.isSafeInteger(length) ||
    offset < 0 ||
    length < 0 ||
    offset + length > size
  ) {
    throw truncated(name, size, offset, length);
  }
}

function truncated(name: string, size: number, offset: number, length: number): EgolensError {
  return new EgolensError(
    'input.truncated',
    `\`${name}\`: needed ${length} bytes at offset ${offset}, the file has ${size}`,
  );
}

function openError(path: string, cause: unknown): EgolensError {
  const code = (cause as NodeJS.ErrnoException).code;
  if (code === 'ENOENT' || code === 'ENOTDIR')
    return new EgolensError('input.not_found', `\`${path}\`: no such file`, { cause });
  return new EgolensError('input.unreadable', `\`${path}\`: cannot be read (${code ?? 'unknown reason'})`, { cause });
}

/** The whole file, refused with `limit.size` above `maxBytes`: for small files whose size a stranger chose. */
export async function readSmallFile(path: string, maxBytes = 64 * 2 ** 20): Promise<Uint8Array<ArrayBuffer>> {
  await using source = await openFileSource(path);
  if (source.size > maxBytes) {
    throw new EgolensError('limit.size', `\`${path}\`: ${source.size} bytes, expected at most ${maxBytes}`);
  }
  return await source.read(0, source.size);
}

/** Name of the temporary file beside `target` that this process, or that of `pid`, writes before the rename (files.md 6). */
export function temporaryName(target: string, pid = process.pid): string {
  return join(dirname(target), `.${basename(target)}.${pid}.tmp`);
}

/** A file that appears under its name only when `commit` is called; disposing it before that leaves nothing behind. */
export interface PendingFile extends AsyncDisposable {
  readonly handle: FileHandle;
  /** Flush, close and rename. Throws `output.unwritable`, `limit.disk`. */
  commit(): Promise<void>;
}

/** Start an atomic write: a temporary file in the target's folder. Throws `output.unwritable`, `limit.disk`. */
export async function beginFile(target: string): Promise<PendingFile> {
  const temporary = temporaryName(target);
  let handle: FileHandle;
  try {
    handle = await open(temporary, 'w+');
  } catch (cause) {
    throw outputError(target, 'cannot be written', cause);
  }
  let isOpen = true;
  let isPending = true;
  return {
    handle,
    async commit() {
      try {
        await handle.sync();
        isOpen = false;
        await handle.close();
        await rename(temporary, target);
      } catch (cause) {
        throw outputError(target, 'cannot be written', cause);
      }
      isPending = false;
    },
    async [Symbol.asyncDispose]() {
      try {
        if (isOpen) await handle.close();
      } finally {
        if (isPending) await rm(temporary, { force: true });
        isOpen = isPending = false;
      }
    },
  };
}

function outputError(path: string, what: string, cause: unknown): EgolensError {
  const code = (cause as NodeJS.ErrnoException).code ?? 'unknown reason';
  return new EgolensError(
    code === 'ENOSPC' || code === 'EDQUOT' ? 'limit.disk' : 'output.unwritable',
    `\`${path}\`: ${what} (${code})`,
    { cause },
  );
}

/** All of the bytes at this position, however many the system takes in one call; gives the position after them. */
export async function writeAt(handle: FileHandle, bytes: Uint8Array, position: number): Promise<number> {
  for (let done = 0; done < bytes.length;) {
    const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, position + done);
    done += bytesWritten;
  }
  return position + bytes.length;
}

/** Make an output folder, its parents included. Throws `output.unwritable`, `limit.disk`. */
export async function makeFolder(path: string): Promise<void> {
  try {
    await makeFolders(resolve(path));
  } catch (cause) {
    throw outputError(path, 'the folder cannot be made', cause);
  }
}

/** Step by step: where a file system (`/proc`) says of an existing parent that it is missing, Node's `recursive` never returns. */
async function makeFolders(path: string): Promise<void> {
  try {
    await makeOneFolder(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || dirname(path) === path) throw error;
    await makeFolders(dirname(path));
    await makeOneFolder(path);
  }
}

async function makeOneFolder(path: string): Promise<void> {
  try {
    await mkdir(path);
  } catch (error) {
    const isThere = (await stat(path).catch(() => undefined))?.isDirectory() === true;
    if (!isThere) throw error;
  }
}

/** Write a whole file atomically: temporary name, flush, rename. */
export async function writeFileAtomic(target: string, content: string | Uint8Array): Promise<void> {
  await using file = await beginFile(target);
  try {
    await file.handle.writeFile(content);
  } catch (cause) {
    throw outputError(target, 'cannot be written', cause);
  }
  await file.commit();
}

/** SHA-256 of a file in lower-case hex, read in pieces. */
export async function sha256File(path: string): Promise<string> {
  const hash = createHash('sha256');
  await using source = await openFileSource(path);
  const piece = 4 * 2 ** 20;
  for (let offset = 0; offset < source.size; offset += piece) {
    hash.update(await source.read(offset, Math.min(piece, source.size - offset)));
  }
  return hash.digest('hex');
}

/** SHA-256 of bytes or UTF-8 text in lower-case hex. */
export function sha256(content: string | Uint8Array): string {
  return createHash('sha256').update(content).digest('hex');
}

/** Folder of the package: where package.json and fixtures/ stand, for the TypeScript source as for the build in dist/. */
export const packageRoot = fileURLToPath(new URL(import.meta.url.endsWith('.ts') ? '..' : '../..', import.meta.url));

/**
 * A compiled program of this package, for a child process or a worker thread: neither can start from TypeScript source, so the
 * build's file is meant in any case.
 */
export function builtProgram(path: string): string {
  return join(packageRoot, 'dist', path);
}

/** Our folder for what can be made again: `EGOLENS_CACHE_DIR`, else the platform's cache folder + `egolens` (files.md 5). */
export function cacheFolder(environment: Readonly<Record<string, string | undefined>> = process.env): string {
  const own = environment['EGOLENS_CACHE_DIR'];
  if (own !== undefined && own !== '') return resolve(own);
  const home = environment['HOME'] ?? homedir();
  if (process.platform === 'win32')
    return join(environment['LOCALAPPDATA'] ?? join(home, 'AppData', 'Local'), 'egolens');
  if (process.platform === 'darwin') return join(home, 'Library', 'Caches', 'egolens');
  const base = environment['XDG_CACHE_HOME'];
  return join(base !== undefined && isAbsolute(base) ? base : join(home, '.cache'), 'egolens');
}

/** Does anything exist at this path? */
export async function pathExists(path: string): Promise<boolean> {
  return await stat(path).then(
    () => true,
    () => false,
  );
}
