/**
 * Lock files: several processes, here or on other hosts, share an output folder and do each item once (files.md 6).
 *
 * A lock is a file made with exclusive create that names its process. The lock of a process of this host that is gone is taken
 * over at once, that of another host after a minute without a heartbeat. A lock is a courtesy that saves work, not what keeps
 * outputs whole: a process that slept through a takeover may do an item twice, and writes the same bytes under the same names.
 */
import { readlinkSync } from 'node:fs';
import { mkdir, open, readdir, readFile, rm, stat, unlink, type FileHandle } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname, join } from 'node:path';
import { EgolensError } from '../errors.js';
import { temporaryName } from '../files.js';

/** Who holds a lock, as it stands in the file. */
export interface LockHolder {
  readonly host: string;
  readonly pid: number;
  /** When the process began, in the ticks of its own system; null where that cannot be read. It tells a reused pid. */
  readonly started: string | null;
  /** ISO 8601, for people; ages are taken from the file's own time. */
  readonly heartbeat: string;
}

/** A lock that this process holds; dispose it to give it back. */
export interface Lock extends AsyncDisposable {
  readonly path: string;
  /** Aborted when another process took the lock over because this one seemed dead. */
  readonly lost: AbortSignal;
}

export interface LockOptions {
  /** Targets that the lock guards: what a dead holder left half written beside them is removed on takeover. */
  readonly outputs?: readonly string[];
  readonly heartbeatMs?: number;
  /** A holder that cannot be looked at is taken for dead after this time without a heartbeat. */
  readonly staleMs?: number;
}

const defaultHeartbeatMs = 10_000;
const defaultStaleMs = 60_000;

/** Take the lock, or undefined when another process that may live holds it. */
export async function tryLock(path: string, options: LockOptions = {}): Promise<Lock | undefined> {
  // Each round ends with a verdict unless the holder let go between two of its steps.
  for (let round = 0; round < 100; round++) {
    const lock = await create(path, options);
    if (lock !== undefined) return lock;
    const found = await readLockFile(path);
    if (found === undefined) continue;
    const verdict = await judge(found);
    if (verdict === 'alive') return undefined;
    if (verdict === 'unknown') {
      // The clock of another host may be off by this much; the exact age is taken in `takeOver`, from two times of one file system.
      const seenAge = Math.abs(Date.now() - found.modifiedMs);
      if (seenAge < (options.staleMs ?? defaultStaleMs) / 2) return undefined;
    }
    return await takeOver(path, options);
  }
  return undefined;
}

/** Name of this host in lock files and ledgers. */
export function hostId(): string {
  // Containers may share a host name and yet see different processes: the pid namespace tells them apart where it is not the first.
  try {
    const namespace = /\d+/.exec(readlinkSync('/proc/self/ns/pid'))?.[0];
    return namespace === undefined || namespace === '4026531836' ? hostname() : `${hostname()}/${namespace}`;
  } catch {
    return hostname();
  }
}

/** Is a process of this host there? Its start time in system ticks where the system tells it, null elsewhere. */
export async function findProcess(pid: number): Promise<{ readonly started: string | null } | undefined> {
  try {
    const text = await readFile(`/proc/${pid}/stat`, 'utf8');
    // The command name in parentheses may itself hold blanks and parentheses. Fields 3 (state) and 22 (start time) of proc(5).
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' || fields[0] === 'X' ? undefined : { started: fields[19] ?? null };
  } catch {
    // No /proc here, or it hides the processes of other users.
  }
  try {
    process.kill(pid, 0);
    return { started: null };
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH' ? undefined : { started: null };
  }
}

/**
 * Remove the temporary files and folders in one folder (`.<name>.<pid>.tmp`) whose process is gone. Those of processes of other hosts that
 * hold a lock in the folder stay.
 */
export async function removeDeadTemporaries(folder: string): Promise<void> {
  const names = await readdir(folder).catch(() => [] as string[]);
  const dead: { name: string; pid: number }[] = [];
  for (const name of names) {
    const pid = Number(/^\..+\.(\d{1,10})\.tmp$/.exec(name)?.[1] ?? 0);
    if (pid > 0 && (await findProcess(pid)) === undefined) dead.push({ name, pid });
  }
  if (dead.length === 0) return;
  // Locks are listed after the files: whoever wrote one of those files and still does so holds its lock now.
  const foreign = new Set<number>();
  for (const name of (await readdir(folder)).filter((entry) => entry.endsWith('.lock'))) {
    const holder = (await readLockFile(join(folder, name)))?.holder;
    if (holder !== undefined && holder.host !== hostId()) foreign.add(holder.pid);
  }
  for (const { name, pid } of dead) {
    // An import that was killed leaves a folder.
    if (!foreign.has(pid)) await rm(join(folder, name), { recursive: true, force: true });
  }
}

interface LockFile {
  /** Undefined while the file is being written, or when its writer was killed in that instant. */
  readonly holder: LockHolder | undefined;
  readonly modifiedMs: number;
}

async function readLockFile(path: string): Promise<LockFile | undefined> {
  let handle: FileHandle;
  try {
    // Opening asks the server of a network file system for the present state; a bare stat may answer from a cache.
    handle = await open(path, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  try {
    const { mtimeMs } = await handle.stat();
    return { holder: parseHolder(await handle.readFile('utf8')), modifiedMs: mtimeMs };
  } finally {
    await handle.close();
  }
}

function parseHolder(text: string): LockHolder | undefined {
  try {
    const { host, pid, started, heartbeat } = JSON.parse(text) as Partial<Record<keyof LockHolder, unknown>>;
    if (typeof host !== 'string' || !Number.isSafeInteger(pid) || typeof heartbeat !== 'string') return undefined;
    return { host, pid: pid as number, started: typeof started === 'string' ? started : null, heartbeat };
  } catch {
    return undefined;
  }
}

/** `unknown`: only its age can tell. */
async function judge({ holder }: LockFile): Promise<'alive' | 'dead' | 'unknown'> {
  if (holder === undefined || holder.host !== hostId()) return 'unknown';
  const found = await findProcess(holder.pid);
  if (found === undefined) return 'dead';
  if (found.started === null || holder.started === null) return 'unknown';
  return found.started === holder.started ? 'alive' : 'dead';
}

/**
 * Replace the lock of a dead process. Only the holder of a second lock, the guard, may remove a lock that is not its own, and it
 * looks again first: so of two processes that saw the same dead lock, the later one finds the new lock of the other. A guard
 * whose holder died is taken over in the same way.
 */
async function takeOver(path: string, options: LockOptions): Promise<Lock | undefined> {
  const guardPath = `${path}.take`;
  await using guard = await tryLock(guardPath, { ...options, outputs: [] });
  if (guard === undefined) return undefined;
  const found = await readLockFile(path);
  if (found !== undefined) {
    const verdict = await judge(found);
    if (verdict === 'alive') return undefined;
    // Both times are of one file system, whatever the clocks of the hosts say. A lock from the future is not to be trusted either.
    const age = Math.abs((await stat(guardPath)).mtimeMs - found.modifiedMs);
    if (verdict === 'unknown' && age <= (options.staleMs ?? defaultStaleMs)) return undefined;
    await rm(path, { force: true });
    if (found.holder !== undefined) {
      for (const output of options.outputs ?? []) await rm(temporaryName(output, found.holder.pid), { force: true });
    }
  }
  return await create(path, options);
}

/** Undefined when the file exists. */
async function create(path: string, options: LockOptions): Promise<Lock | undefined> {
  const host = hostId();
  const started = (await findProcess(process.pid))?.started ?? null;
  // The text always has the same length, so a heartbeat overwrites it in one write and a reader never sees a part.
  const content = (): string => {
    const holder: LockHolder = { host, pid: process.pid, started, heartbeat: new Date().toISOString() };
    return `${JSON.stringify(holder)}\n`;
  };
  const handle = await createWith(path, content());
  if (handle === undefined) return undefined;
  const { ino, dev } = await handle.stat({ bigint: true });
  const isOurs = async (): Promise<boolean> => {
    const found = await stat(path, { bigint: true }).catch(() => undefined);
    return found !== undefined && found.ino === ino && found.dev === dev;
  };
  const controller = new AbortController();
  let beating = Promise.resolve();
  const timer = setInterval(() => {
    beating = handle
      .write(content(), 0)
      .then(isOurs, isOurs)
      .then((ours) => {
        if (!ours) controller.abort(new EgolensError('store.locked', `\`${path}\`: another process took it over`));
      });
  }, options.heartbeatMs ?? defaultHeartbeatMs);
  timer.unref();
  let held = true;
  return {
    path,
    lost: controller.signal,
    async [Symbol.asyncDispose]() {
      if (!held) return;
      held = false;
      clearInterval(timer);
      await beating;
      // While the handle is open no other file can have its inode number.
      if (await isOurs()) await unlink(path);
      await handle.close();
    },
  };
}

async function createWith(path: string, content: string): Promise<FileHandle | undefined> {
  let handle: FileHandle | undefined;
  try {
    await mkdir(dirname(path), { recursive: true });
    handle = await open(path, 'wx');
    await handle.write(content, 0);
    return handle;
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code ?? 'unknown reason';
    if (handle === undefined && code === 'EEXIST' && (await isFile(path))) return undefined;
    if (handle !== undefined) {
      await handle.close();
      await rm(path, { force: true });
    }
    throw new EgolensError(
      code === 'ENOSPC' ? 'limit.disk' : 'output.unwritable',
      `\`${path}\`: cannot be made (${code})`,
      { cause },
    );
  }
}

/** `mkdir` says EEXIST too, when a file stands where a folder is needed. Gone in between counts as a file: it is tried again. */
async function isFile(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isFile();
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT';
  }
}

/** What a message about a held lock says of its holder: `process 4711 on lab2`. */
export async function holderText(path: string): Promise<string> {
  const holder = (await readLockFile(path))?.holder;
  return holder === undefined ? 'another process' : `process ${holder.pid} on ${holder.host}`;
}
