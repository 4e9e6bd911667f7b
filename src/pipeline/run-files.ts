import { open, type FileHandle } from 'node:fs/promises';
import { EgolensError } from '../errors.js';
import { writeFileAtomic } from '../files.js';
import { jsonText, type JsonValue } from '../json.js';
import type { ErrorRecord } from './records.js';

/** The files that a run over many inputs may leave beside its results: `--errors` (ndjson, line by line) and `--summary`. */
export class RunFiles implements AsyncDisposable {
  readonly #errors: FileHandle | undefined;
  readonly #summaryPath: string | undefined;

  private constructor(errors: FileHandle | undefined, summaryPath: string | undefined) {
    this.#errors = errors;
    this.#summaryPath = summaryPath;
  }

  /** Opens the error file, emptied, so that a path that cannot be written is known before any work. Throws `output.unwritable`. */
  static async open(paths: {
    readonly errors?: string | undefined;
    readonly summary?: string | undefined;
  }): Promise<RunFiles> {
    const { errors, summary } = paths;
    if (errors === undefined) return new RunFiles(undefined, summary);
    try {
      return new RunFiles(await open(errors, 'w'), summary);
    } catch (cause) {
      const code = (cause as NodeJS.ErrnoException).code ?? 'unknown reason';
      throw new EgolensError('output.unwritable', `\`${errors}\`: cannot be written (${code})`, { cause });
    }
  }

  async error(record: ErrorRecord): Promise<void> {
    await this.#errors?.write(`${jsonText(record)}\n`);
  }

  async summary(value: object): Promise<void> {
    if (this.#summaryPath === undefined) return;
    const document = { schema: 'egolens.summary/1', ...value } as unknown as JsonValue; // plain data
    await writeFileAtomic(this.#summaryPath, `${jsonText(document, 2)}\n`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#errors?.close();
  }
}
