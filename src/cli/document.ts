import { jsonText, type JsonValue } from '../json.js';
import type { CommonFlags } from './base-command.js';

/** Prints one JSON document to be read or kept as a file: indented, on one line only where ndjson was asked for. */
export function printDocument(flags: Pick<CommonFlags, 'format' | 'ndjson'>, value: JsonValue): void {
  const isLine = flags.ndjson || flags.format === 'ndjson';
  process.stdout.write(`${jsonText(value, isLine ? 0 : 2)}\n`);
}
