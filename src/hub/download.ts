/**
 * One file from an http address to a path: continued where it was cut, checked by size and SHA-256, under its name only when it is
 * whole. What is there already lies in `<target>….incomplete` beside it; the part's name holds the server's mark of the version
 * (ETag), so parts of two versions are never glued together.
 */
import { open, readdir, rename, rm, stat, statfs, type FileHandle } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { asEgolensError, EgolensError } from '../errors.js';
import { makeFolder, sha256, sha256File, writeAt } from '../files.js';
import type { Progress, ProgressItem } from '../types.js';
import { discard, networkReason, shown, type Http, type HttpResponse } from './http.js';

/** Where a file is and what is known of it beforehand. */
export interface RemoteFile {
  readonly url: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** SHA-256 that its bytes must have; null where nobody has said. */
  readonly sha256: string | null;
  /** Size in bytes that it must have; null where nobody has said. */
  readonly bytes: number | null;
  /** What a server's refusal means for the user, by status; undefined for the general message. */
  readonly refusal?: (status: number) => EgolensError | undefined;
  /**
   * The target is named after the content (`blobs/<sha256>`): its part is `<target>.incomplete`, which other clients of the same
   * cache continue too.
   */
  readonly isContentNamed?: boolean;
}

export interface DownloadOptions {
  readonly signal?: AbortSignal;
  readonly progress?: Progress;
  /** How the progress calls it; the target's name where absent. */
  readonly label?: string;
}

/** A file that has arrived. */
export interface Downloaded {
  readonly sha256: string;
  readonly bytes: number;
}

/** No checkpoint of the families here comes near it: what a server may at most make us write when nobody states a size. */
const maxBytes = 64 * 2 ** 30;
/** Left free on the disk. */
const reserveBytes = 64 * 2 ** 20;
/** Connections in a row that bring nothing, and connections altogether. */
const maxFruitless = 5;
const maxConnections = 100;

/**
 * Fetches a file to `target`, whose folder is made. After an error or a kill, the next call goes on where this one ended.
 *
 * @throws EgolensError model.download (refused, unreachable, cut too often), model.digest (other bytes or another size: the part is
 *   removed), limit.size, limit.disk; the signal's reason
 */
export async function download(
  http: Http,
  file: RemoteFile,
  target: string,
  options: DownloadOptions = {},
): Promise<Downloaded> {
  await makeFolder(dirname(target));
  let bar: ProgressItem | undefined;
  let fruitless = 0;
  try {
    for (let connection = 1; ; connection++) {
      options.signal?.throwIfAborted();
      const part = await openPart(http, file, target, options.signal);
      let isWhole = false;
      try {
        if (bar === undefined) {
          bar = options.progress?.start(options.label ?? basename(target), part.total ?? undefined);
          bar?.advance(part.have);
        }
        const { gained, fault } = await receive(part, file, options.signal, (count) => bar?.advance(count));
        isWhole = fault === undefined;
        fruitless = gained > 0 ? 0 : fruitless + 1;
        if (fault !== undefined && (fruitless >= maxFruitless || connection >= maxConnections)) {
          throw new EgolensError('model.download', `\`${shown(file.url)}\`: cut ${connection} times (${fault})`, {
            try: 'again: the part that is there is kept',
            retryable: true,
          });
        }
      } finally {
        await part.handle.close();
      }
      if (isWhole) return await finish(part.path, file, target);
    }
  } finally {
    bar?.stop();
  }
}

/** A part that is open for its next bytes, and the answer that brings them; null when it has them all. */
interface Part {
  readonly path: string;
  readonly handle: FileHandle;
  readonly have: number;
  /** Size of the whole file; null where the server does not tell. */
  readonly total: number | null;
  readonly response: HttpResponse | null;
}

async function openPart(http: Http, file: RemoteFile, target: string, signal: AbortSignal | undefined): Promise<Part> {
  const ask = async (more: Readonly<Record<string, string>>): Promise<HttpResponse> => {
    // A compressed answer has another size than the file, and no ranges that are the file's.
    const headers = { ...file.headers, 'accept-encoding': 'identity', ...more };
    const response = await http.send(file.url, { headers, ...(signal !== undefined && { signal }) });
    if (response.ok) return response;
    await discard(response);
    throw refused(file, response.status);
  };
  const response = await ask({});
  try {
    const validator = strongValidator(response);
    const total = totalOf(response, file);
    const path = partPath(target, file, validator);
    const canResume = total !== null && (validator !== null || file.isContentNamed === true);
    const have = await removeStaleParts(target, canResume ? path : null);
    if (have === 0) {
      await checkSpace(dirname(target), total, 0);
      return { path, handle: await open(path, 'w'), have, total, response };
    }
    await discard(response);
    if (have === total) return { path, handle: await open(path, 'r+'), have, total, response: null };
    const range = { range: `bytes=${have}-`, ...(validator !== null && { 'if-range': validator }) };
    const rest = total !== null && have < total ? await ask(range) : null;
    if (rest !== null && continues(rest, have, total, validator)) {
      await checkSpace(dirname(target), total, have);
      return { path, handle: await open(path, 'r+'), have, total, response: rest };
    }
    if (rest !== null) await discard(rest);
  } catch (error) {
    await discard(response);
    throw error;
  }
  // The file has changed since, or the server knows no ranges: from the start.
  await removeStaleParts(target, null);
  return await openPart(http, file, target, signal);
}

/** Does this partial answer go on exactly where the part ends, in the same version of the file? */
function continues(response: HttpResponse, have: number, total: number | null, validator: string | null): boolean {
  if (response.status !== 206) return false;
  const range = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(response.headers.get('content-range') ?? '');
  const sent = strongValidator(response);
  return (
    Number(range?.[1]) === have &&
    Number(range?.[3]) === total &&
    (sent === null || validator === null || sent === validator)
  );
}

/** What tells one version of a remote file from another: a strong ETag, else the time of its last change. */
function strongValidator(response: HttpResponse): string | null {
  const etag = response.headers.get('etag');
  if (etag !== null && !etag.startsWith('W/')) return etag;
  return response.headers.get('last-modified');
}

function partPath(target: string, file: RemoteFile, validator: string | null): string {
  if (file.isContentNamed === true) return `${target}.incomplete`;
  return `${target}.${sha256(validator ?? '').slice(0, 16)}.incomplete`;
}

/** Removes parts but the one that may be continued; gives its size, 0 where there is none. */
async function removeStaleParts(target: string, keep: string | null): Promise<number> {
  const own = `${basename(target)}.`;
  for (const name of await readdir(dirname(target))) {
    const path = join(dirname(target), name);
    const isPart = name.startsWith(own) && /^(?:[0-9a-f]{16}\.)?incomplete$/.test(name.slice(own.length));
    if (isPart && path !== keep) await rm(path, { force: true });
  }
  return keep === null ? 0 : ((await stat(keep).catch(() => undefined))?.size ?? 0);
}

/** Size of the whole file as the server states it, compared with what it should be. */
function totalOf(response: HttpResponse, file: RemoteFile): number | null {
  const stated = response.headers.get('content-length');
  const isPlain = (response.headers.get('content-encoding') ?? 'identity') === 'identity';
  const total = isPlain && stated !== null && /^\d+$/.test(stated) ? Number(stated) : null;
  if (total !== null && file.bytes !== null && total !== file.bytes) {
    throw new EgolensError(
      'model.digest',
      `\`${shown(file.url)}\`: expected ${file.bytes} bytes, the server has ${total}`,
      { try: 'another source with `--from`; `egolens models show NAME` says how the size is known' },
    );
  }
  if (total !== null && total > maxBytes) throw tooLarge(file, maxBytes);
  return total ?? file.bytes;
}

async function checkSpace(folder: string, total: number | null, have: number): Promise<void> {
  if (total === null) return;
  const { bavail, bsize } = await statfs(folder);
  const needed = total - have + reserveBytes;
  if (needed > bavail * bsize) {
    throw new EgolensError('limit.disk', `\`${folder}\`: ${bavail * bsize} bytes free, ${needed} needed`, {
      try: '`EGOLENS_CACHE_DIR` on a larger disk',
    });
  }
}

/** Writes what the answer brings. A connection that breaks is a `fault`; what is written until then stays. */
async function receive(
  part: Part,
  file: RemoteFile,
  signal: AbortSignal | undefined,
  advance: (count: number) => void,
): Promise<{ gained: number; fault?: string }> {
  const { handle, response, total, have } = part;
  if (response === null) return { gained: 0 };
  const limit = total ?? maxBytes;
  let at = have;
  const pieces = (response.body ?? []) as AsyncIterable<Uint8Array>; // a body gives bytes; undici's type says `any`
  try {
    for await (const piece of withReason(pieces)) {
      if (at + piece.length > limit) throw tooLarge(file, limit);
      try {
        at = await writeAt(handle, piece, at);
      } catch (error) {
        throw asEgolensError(error, part.path);
      }
      advance(piece.length);
    }
    if (total !== null && at < total) throw new Cut('the connection ended early');
  } catch (error) {
    signal?.throwIfAborted();
    if (error instanceof Cut) return { gained: at - have, fault: error.message };
    if (error instanceof EgolensError && error.code === 'limit.size') await rm(part.path, { force: true });
    throw error;
  }
  await handle.sync();
  return { gained: at - have };
}

/** The connection broke while a body came. */
class Cut extends Error {}

async function* withReason(pieces: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const iterator = pieces[Symbol.asyncIterator]();
  try {
    for (;;) {
      let next: IteratorResult<Uint8Array>;
      try {
        next = await iterator.next();
      } catch (error) {
        throw new Cut(networkReason(error));
      }
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    await iterator.return?.().catch(() => undefined);
  }
}

/** The part becomes the file, if its bytes are the right ones. */
async function finish(path: string, file: RemoteFile, target: string): Promise<Downloaded> {
  const { size } = await stat(path);
  const found = await sha256File(path);
  if ((file.bytes !== null && size !== file.bytes) || (file.sha256 !== null && found !== file.sha256)) {
    await rm(path, { force: true });
    throw new EgolensError(
      'model.digest',
      file.sha256 === null
        ? `\`${shown(file.url)}\`: expected ${String(file.bytes)} bytes, received ${size}; removed`
        : `\`${shown(file.url)}\`: expected SHA-256 ${file.sha256}, received ${found}; removed`,
      { try: 'again, or another source with `--from`; `egolens models show NAME` says how the digest is known' },
    );
  }
  await rename(path, target);
  return { sha256: found, bytes: size };
}

function tooLarge(file: RemoteFile, limit: number): EgolensError {
  return new EgolensError('limit.size', `\`${shown(file.url)}\`: more than ${limit} bytes; removed`);
}

function refused(file: RemoteFile, status: number): EgolensError {
  return (
    file.refusal?.(status) ??
    new EgolensError('model.download', `\`${shown(file.url)}\`: the server answers ${status}`, {
      try:
        status === 404 || status === 410
          ? 'the file has moved or gone: `--from URL|DIR` takes a copy of it'
          : '`--from URL|DIR` takes a copy of the file from elsewhere',
    })
  );
}
