import { basename } from 'node:path';
import { Command, Flags, type Interfaces } from '@oclif/core';
import { assert, EgolensError, exitCodes } from '../errors.js';
import { jsonText } from '../json.js';
import { installInterrupt } from '../runtime/interrupt.js';
import { errorRecord, type ErrorRecord } from '../pipeline/records.js';
import type { Progress } from '../types.js';
import { onToolRun } from '../video/trace.js';
import type { CueFormat } from '../report/subtitles.js';
import { formats, isRecordFormat, RecordWriter, type Column, type Format } from './output.js';
import { harmless, openProgress, type Verbosity } from './progress.js';

/** What `--format` may name: forms of records, and where a command says so forms of its own. */
export type OutputFormat = Format | CueFormat;

/** `--format` of a command that has these forms. */
export function formatFlag(options: readonly OutputFormat[]) {
  return Flags.option({
    options,
    char: 'f',
    summary: 'Form of the results on standard output; default: table on a terminal, else ndjson.',
    helpGroup: 'OUTPUT',
  })();
}

/** Why a command was told to end early. */
export class Interruption extends EgolensError {
  constructor(readonly exitCode: number) {
    super('run.interrupted', 'interrupted', { retryable: true });
  }
}

/** What a command lends to the function that does its work. */
export interface Shell {
  readonly format: OutputFormat;
  /** Was a form asked for by a flag? It counts before the ending of an output file. */
  readonly asksForm: boolean;
  readonly signal: AbortSignal;
  readonly progress: Progress;
  /** Records on standard output, in the form that was asked for. */
  readonly writer: (columns: readonly Column[]) => RecordWriter;
  /** One failed input on standard error. */
  readonly logError: (record: ErrorRecord) => void;
}

/**
 * What all commands share: output formats, verbosity, progress, signals. A command parses its flags, makes one call into
 * src/pipeline, and prints what comes back.
 */
export abstract class BaseCommand extends Command {
  static override baseFlags = {
    format: formatFlag(formats),
    json: Flags.boolean({ summary: 'Same as --format json.', helpGroup: 'OUTPUT', exclusive: ['ndjson', 'format'] }),
    ndjson: Flags.boolean({ summary: 'Same as --format ndjson.', helpGroup: 'OUTPUT', exclusive: ['format'] }),
    quiet: Flags.boolean({ char: 'q', summary: 'Errors only on standard error.', helpGroup: 'OUTPUT' }),
    verbose: Flags.boolean({
      char: 'v',
      summary: 'Detail on standard error; -vv: command lines of ffmpeg too.',
      helpGroup: 'OUTPUT',
    }),
    'log-format': Flags.option({
      options: ['text', 'json'] as const,
      default: 'text',
      summary: 'Form of the lines on standard error.',
      helpGroup: 'OUTPUT',
    })(),
  };

  readonly #controller = new AbortController();
  #listener: Disposable | undefined;
  #trace: Disposable | undefined;
  #logFormat: 'text' | 'json' = 'text';

  /** Aborted by Ctrl-C, by SIGTERM and by a reader that has gone (`| head`). */
  protected get signal(): AbortSignal {
    return this.#controller.signal;
  }

  override async init(): Promise<void> {
    await super.init();
    this.#listener = installInterrupt((signal) => {
      this.#controller.abort(new Interruption(signal === 'SIGINT' ? exitCodes.interrupted : exitCodes.terminated));
    });
    // bin/run.js says so when standard output is closed.
    process.on('SIGPIPE', () => this.#controller.abort(new Interruption(exitCodes.done)));
  }

  protected override async finally(error: Error | undefined): Promise<void> {
    this.#listener?.[Symbol.dispose]();
    this.#trace?.[Symbol.dispose]();
    const reason: unknown = this.#controller.signal.aborted ? this.#controller.signal.reason : undefined;
    if (reason instanceof Interruption) process.exitCode = reason.exitCode;
    await super.finally(error);
  }

  /** An error that ends the command because it was interrupted is no fault: the exit code says it. */
  protected override async catch(error: Interfaces.CommandError): Promise<unknown> {
    if (this.#controller.signal.aborted && (error as Error) === this.#controller.signal.reason) return undefined;
    return await super.catch(error);
  }

  protected writer(flags: CommonFlags, columns: readonly Column[], single = false): RecordWriter {
    const format = this.formatOf(flags);
    assert(isRecordFormat(format), `no records in the form of ${format}`);
    return new RecordWriter(process.stdout, format, columns, single);
  }

  /** What the flags ask for; where they say nothing, a table on a terminal, else ndjson. */
  protected formatOf({ format, json, ndjson }: Pick<CommonFlags, 'format' | 'json' | 'ndjson'>): OutputFormat {
    return format ?? (json ? 'json' : ndjson ? 'ndjson' : process.stdout.isTTY ? 'table' : 'ndjson');
  }

  protected shell(flags: CommonFlags, progress: Progress): Shell {
    return {
      format: this.formatOf(flags),
      asksForm: flags.format !== undefined || flags.json || flags.ndjson,
      signal: this.signal,
      progress,
      writer: (columns) => this.writer(flags, columns),
      logError: (record) => this.logError(record),
    };
  }

  protected async progress(flags: CommonFlags): Promise<Progress & Disposable> {
    this.#logFormat = flags['log-format'];
    const verbosity: Verbosity = flags.quiet ? 'quiet' : flags.verbose ? this.#loudness() : 'normal';
    const progress = await openProgress({
      isTerminal: process.stderr.isTTY && process.env['TERM'] !== 'dumb' && this.#logFormat === 'text',
      verbosity,
      line: (text) => this.logLine(text),
    });
    if (verbosity === 'trace') this.#trace = onToolRun((line) => progress.detail?.(line));
    return progress;
  }

  /** oclif knows that a flag is there, not how often: `-vv`, `-v -v`. */
  #loudness(): 'verbose' | 'trace' {
    const end = this.argv.indexOf('--');
    const words = end < 0 ? this.argv : this.argv.slice(0, end);
    const letters = words.map((word) => (word === '--verbose' ? 'v' : (/^-(v+)$/.exec(word)?.[1] ?? '')));
    return letters.join('').length > 1 ? 'trace' : 'verbose';
  }

  /** One line on standard error. */
  protected logLine(text: string): void {
    process.stderr.write(
      this.#logFormat === 'json' ? `${jsonText({ level: 'info', message: text })}\n` : `${harmless(text)}\n`,
    );
  }

  /** One failed input on standard error, as `--log-format` says. */
  protected logError(record: ErrorRecord): void {
    if (this.#logFormat === 'json') {
      process.stderr.write(`${jsonText(record)}\n`);
      return;
    }
    const { input, code, hint } = record;
    // Modules that see only a file name begin their message with it; the user knows the input under the name he gave.
    const own = input === null ? '' : `\`${basename(input)}\`: `;
    const text = record.message.startsWith(own) ? record.message.slice(own.length) : record.message;
    const where = input === null || text.includes(input) ? '' : ` \`${input}\`:`;
    const oneLine = input?.replaceAll('\n', '\\n') ?? '';
    const line = input === null ? ` ${text}` : `${where} ${text}`.replaceAll(input, oneLine);
    process.stderr.write(harmless(`error ${code}:${line}${hint === null ? '' : `\ntry: ${hint}`}\n`));
  }

  /** An error that a command caught itself. */
  protected logThrown(error: EgolensError): void {
    this.logError(errorRecord(error));
  }
}

export type CommonFlags = Interfaces.InferredFlags<typeof BaseCommand.baseFlags>;

/** A set of flags as oclif parses it. */
export type Parsed<F> = Omit<Interfaces.InferredFlags<F>, 'json'>;

/** Exit code of work over many inputs: 0, 3 when some failed, 4 when none could be done. */
export function batchExitCode(done: number, failed: number): number {
  if (failed === 0) return exitCodes.done;
  return done === 0 ? exitCodes.noneDone : exitCodes.someFailed;
}
