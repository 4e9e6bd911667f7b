import { extname } from 'node:path';
import { writeFileAtomic } from '../files.js';
import type { JsonValue } from '../json.js';
import type { ScoreRow } from '../pipeline/score-rows.js';
import { column, RecordWriter, type Column, type Format, type OutputRecord } from './output.js';

type Json = Readonly<Record<string, JsonValue>>;

function memberOf(value: JsonValue | undefined, key: string): JsonValue | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Json)[key] : undefined;
}

function itemOf(value: JsonValue | undefined, index: number): JsonValue | undefined {
  return Array.isArray(value) ? (value as readonly JsonValue[])[index] : undefined;
}

const right = (header: string, cell: Column['cell']): Column => ({ header, cell, align: 'right' });

/** Columns of scores; those of intervals, of a comparison and of places only where some row has them. */
export function scoreColumns(rows: readonly ScoreRow[]): Column[] {
  const has = (key: string): boolean => rows.some((row) => row[key] !== null);
  const places = [...new Set(rows.flatMap(({ at }) => Object.keys((at ?? {}) as Json)))]; // a record or null
  const compared =
    (key: string): Column['cell'] =>
    (row) =>
      memberOf(row['compared'], key);
  return [
    column('task'),
    column('variant'),
    column('metric'),
    ...places.map((key): Column => ({ header: key, cell: (row: OutputRecord) => memberOf(row['at'], key) })),
    column('value', 'right'),
    ...(has('interval')
      ? [right('low', (row) => itemOf(row['interval'], 0)), right('high', (row) => itemOf(row['interval'], 1))]
      : []),
    ...(has('compared')
      ? [
          right('other', compared('value')),
          right('difference', compared('difference')),
          right('low of difference', (row) => itemOf(compared('interval')(row), 0)),
          right('high of difference', (row) => itemOf(compared('interval')(row), 1)),
          right('p', compared('p')),
        ]
      : []),
  ];
}

/** Rows as a file of their own; csv and tsv by its ending, else ndjson. */
export async function writeScoreFile(path: string, rows: readonly ScoreRow[]): Promise<void> {
  const ending = extname(path).slice(1).toLowerCase();
  const format: Format = ending === 'csv' || ending === 'tsv' ? ending : 'ndjson';
  const pieces: string[] = [];
  const writer = new RecordWriter({ write: (text) => pieces.push(text) }, format, scoreColumns(rows));
  for (const row of rows) await writer.write(row);
  await writer.end();
  await writeFileAtomic(path, pieces.join(''));
}
