/**
 * The ledger of an output folder, `egolens-run.ndjson`: append only, one write a line, shared by any number of processes
 * (files.md 6). The files decide what is done; the ledger says what failed, when, where and how long it took.
 */
import { randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { appendFile, open, truncate, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { findings, loadValidator } from '../check.js';
import { EgolensError } from '../errors.js';
import { openFileSource, pathExists } from '../files.js';
import { float, jsonText, type JsonValue } from '../json.js';
import { findProcess, hostId, tryLock } from './locks.js';

export const ledgerName = 'egolens-run.ndjson';

/** What a run states about itself. */
export interface RunFacts {
  readonly version: string;
  readonly argv: readonly string[];
  /** SHA-256 of the settings in force. */
  readonly config: string;
}

/** This run's pen. Every call writes one line; dispose it to close the file. */
export interface Ledger extends AsyncDisposable {
  readonly run: string;
  start(id: string): Promise<void>;
  /** @param files path below the output folder -> SHA-256  @param seconds stage -> seconds */
  done(id: string, files: Readonly<Record<string, string>>, seconds: Readonly<Record<string, number>>): Promise<void>;
  /** @param key digest of what was tried: another one is another attempt */
  failed(id: string, error: EgolensError, key?: string): Promise<void>;
  /** @param counts outcome -> items; on disk when the call returns */
  end(counts: Readonly<Record<string, number>>, exit: number): Promise<void>;
}

/** Open the ledger of `folder`, repair a torn last line, and write the `run` line. */
export async function openLedger(folder: string, facts: RunFacts): Promise<Ledger> {
  const path = join(folder, ledgerName);
  await repairTail(path);
  let handle: FileHandle;
  try {
    handle = await open(path, 'a');
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code ?? 'unknown reason';
    throw new EgolensError('output.unwritable', `\`${path}\`: cannot be written (${code})`, { cause });
  }
  const run = randomUUID();
  let isTorn = false;
  const write = async (event: string, fields: { readonly [key: string]: JsonValue | undefined }): Promise<void> => {
    const head = { schema: 'egolens.ledger/1', event, run, time: new Date().toISOString() };
    // O_APPEND and one write a line: lines of other processes come before or after it, never inside.
    const line = Buffer.from(`${isTorn ? '\n' : ''}${jsonText({ ...head, ...fields })}\n`);
    const { bytesWritten } = await handle.write(line).catch((cause: unknown) => {
      throw unwritable(path, (cause as NodeJS.ErrnoException).code, cause);
    });
    isTorn = bytesWritten < line.length;
    if (isTorn) throw unwritable(path, 'ENOSPC');
  };
  try {
    await write('run', { ...facts, host: hostId(), pid: process.pid });
  } catch (error) {
    await handle.close();
    throw error;
  }
  return {
    run,
    start: (id) => write('start', { id }),
    done: (id, files, seconds) =>
      write('done', {
        id,
        files: { ...files },
        seconds: Object.fromEntries(Object.entries(seconds).map(([stage, value]) => [stage, float(value)])),
      }),
    failed: (id, { code, message, details }, key) =>
      write('failed', { id, code, message, retryable: details.retryable ?? false, key }),
    async end(counts, exit) {
      await write('end', { counts: { ...counts }, exit });
      await handle.sync();
    },
    [Symbol.asyncDispose]: () => handle.close(),
  };
}

function unwritable(path: string, code = 'unknown reason', cause?: unknown): EgolensError {
  return new EgolensError(
    code === 'ENOSPC' || code === 'EDQUOT' ? 'limit.disk' : 'output.unwritable',
    `\`${path}\`: a line could not be written (${code})`,
    { cause },
  );
}

/** The last word of the ledger on an item. */
export type ItemState =
  | { readonly state: 'started'; readonly run: string }
  /** `seconds`: from opening the video to its last file. */
  | { readonly state: 'done'; readonly run: string; readonly seconds: number | undefined }
  | {
      readonly state: 'failed';
      readonly run: string;
      readonly code: string;
      readonly message: string;
      readonly retryable: boolean;
      readonly key: string | undefined;
    };

/** One run as its `run` and `end` lines tell it. */
export interface RunState {
  readonly host: string;
  readonly pid: number;
  /** Undefined while it runs, or when it was killed. */
  readonly exit: number | undefined;
}

export interface LedgerState {
  readonly items: ReadonlyMap<string, ItemState>;
  readonly runs: ReadonlyMap<string, RunState>;
  /** Lines that are torn or damaged; they say nothing. */
  readonly damagedLines: number;
}

interface LedgerLine {
  readonly event: 'run' | 'start' | 'done' | 'failed' | 'end';
  readonly run: string;
}
interface RunLine extends LedgerLine {
  readonly host: string;
  readonly pid: number;
}
interface FailedLine extends LedgerLine {
  readonly code: string;
  readonly message: string;
  readonly retryable: boolean;
  readonly key?: string;
}

/** Everything the ledger of `folder` says; empty when there is none. Later lines outdo earlier ones. */
export async function readLedger(folder: string): Promise<LedgerState> {
  const path = join(folder, ledgerName);
  const items = new Map<string, ItemState>();
  const runs = new Map<string, RunState>();
  let damagedLines = 0;
  if (!(await pathExists(path))) return { items, runs, damagedLines };
  const validator = await loadValidator('egolens.ledger/1');
  for await (const text of linesOf(path)) {
    const value = parseLine(text);
    if (value === undefined || findings(validator, value, 1).length > 0) {
      damagedLines++;
      continue;
    }
    const line = value as LedgerLine; // the schema says so, here and for the fields of each event
    const { run } = line;
    const { id } = value as { id: string };
    switch (line.event) {
      case 'run': {
        const { host, pid } = line as RunLine;
        runs.set(run, { host, pid, exit: undefined });
        break;
      }
      case 'start':
        items.set(id, { state: 'started', run });
        break;
      case 'done': {
        const { seconds } = value as { readonly seconds: Readonly<Record<string, number>> };
        items.set(id, { state: 'done', run, seconds: seconds['total'] });
        break;
      }
      case 'failed': {
        const { code, message, retryable, key } = line as FailedLine;
        items.set(id, { state: 'failed', run, code, message, retryable, key });
        break;
      }
      case 'end': {
        const known = runs.get(run);
        if (known !== undefined) runs.set(run, { ...known, exit: (value as { exit: number }).exit });
        break;
      }
    }
  }
  return { items, runs, damagedLines };
}

/** Lines that are not empty. Not node:readline: it also splits at U+2028, which JSON texts may hold. */
async function* linesOf(path: string): AsyncGenerator<string> {
  let rest = '';
  for await (const piece of createReadStream(path, 'utf8')) {
    const lines = `${rest}${String(piece)}`.split('\n');
    rest = lines.pop() ?? '';
    yield* lines.filter((line) => line !== '');
  }
  if (rest !== '') yield rest;
}

function parseLine(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/**
 * A last line without its end (a killed process, a full disk) is cut off. Where another run may be appending at this moment a
 * cut could take one of its lines along: there the torn line is closed instead, and readers pass over it.
 */
async function repairTail(path: string): Promise<void> {
  for (let round = 0; round < 100 && (await tornFrom(path)) !== undefined; round++) {
    await using lock = await tryLock(`${path}.lock`);
    if (lock === undefined) {
      await sleep(50); // somebody else repairs it
      continue;
    }
    const from = await tornFrom(path);
    if (from === undefined) return;
    if (await hasLiveRuns(path)) {
      await appendFile(path, '\n');
    } else {
      await truncate(path, from);
    }
  }
}

/** Where the torn last line begins; undefined when the file is missing, empty or ends with a whole line. */
async function tornFrom(path: string): Promise<number | undefined> {
  if (!(await pathExists(path))) return undefined;
  await using source = await openFileSource(path);
  const piece = 64 * 1024;
  for (let end = source.size; end > 0; end = Math.max(0, end - piece)) {
    const from = Math.max(0, end - piece);
    const newline = Buffer.from(await source.read(from, end - from)).lastIndexOf('\n');
    if (newline >= 0) return from + newline + 1 === source.size ? undefined : from + newline + 1;
  }
  return source.size === 0 ? undefined : 0;
}

/** Runs that wrote no `end` line and may go on: on this host those whose process is there, elsewhere all. */
async function hasLiveRuns(path: string): Promise<boolean> {
  const { runs } = await readLedger(join(path, '..'));
  for (const { host, pid, exit } of runs.values()) {
    if (exit !== undefined) continue;
    if (host !== hostId() || (await findProcess(pid)) !== undefined) return true;
  }
  return false;
}
