import { open } from 'node:fs/promises';
import { EgolensError } from '../errors.js';
import { jsonText } from '../json.js';
import type { ErrorRecord } from './records.js';

/** Error records on their way into the file of `--errors`. */
export interface ErrorFile extends AsyncDisposable {
  write(record: ErrorRecord): Promise<void>;
}

/**
 * NDJSON of error records, each written when it happens; an older file of that name is replaced. Without a path nothing is written.
 *
 * @throws EgolensError output.unwritable
 */
export async function openErrorFile(path: string | undefined): Promise<ErrorFile> {
  if (path === undefined) {
    return { write: () => Promise.resolve(), [Symbol.asyncDispose]: () => Promise.resolve() };
  }
  const handle = await open(path, 'w').catch((cause: unknown) => {
    const why = (cause as NodeJS.ErrnoException).code ?? 'unknown reason';
    throw new EgolensError('output.unwritable', `\`${path}\`: cannot be written (${why})`, { cause });
  });
  return {
    async write(record) {
      await handle.appendFile(`${jsonText(record)}\n`);
    },
    [Symbol.asyncDispose]: () => handle.close(),
  };
}
