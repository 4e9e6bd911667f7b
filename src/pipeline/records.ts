import type { EgolensError } from '../errors.js';
import type { TimeBase } from '../features/store.js';
import type { InputItem } from './inputs.js';

/** `egolens.error/1`: one input, or the whole command, that failed. */
export type ErrorRecord = {
  readonly schema: 'egolens.error/1';
  readonly input: string | null;
  readonly code: string;
  readonly message: string;
  readonly hint: string | null;
  readonly frame: number | null;
  readonly retryable: boolean;
};

/** The `of` of a record: whose seconds and frames it holds (files.md 7). */
export function timeBaseOf({ of = { kind: 'file' } }: Pick<InputItem, 'of'>): TimeBase {
  return of;
}

/** The record of an error; `input` where the error itself names none. */
export function errorRecord(error: EgolensError, input?: string): ErrorRecord {
  const { details } = error;
  return {
    schema: 'egolens.error/1',
    input: details.input ?? input ?? null,
    code: error.code,
    message: error.message,
    hint: details.try ?? null,
    frame: details.frame ?? null,
    retryable: details.retryable ?? false,
  };
}
