import { floatText, jsonText, Float, type JsonValue } from '../json.js';

export const formats = ['ndjson', 'table', 'json', 'csv', 'tsv'] as const;
export type Format = (typeof formats)[number];

export function isRecordFormat(format: string): format is Format {
  return (formats as readonly string[]).includes(format);
}

/** A record as it goes out: members in the order of its schema. */
export type OutputRecord = Readonly<Record<string, JsonValue | undefined>>;

/** One column of a table or of csv: where the value is, and how a person reads it. */
export interface Column {
  readonly header: string;
  /** The cell, from the record. */
  readonly cell: (record: OutputRecord) => JsonValue | undefined;
  readonly align?: 'right';
}

/** The column of a top-level member. */
export function column(key: string, align?: 'right'): Column {
  return { header: key, cell: (record) => record[key], ...(align === undefined ? {} : { align }) };
}

export interface OutputStream {
  write(text: string): unknown;
}

/**
 * Writes records to standard output in one of the formats. ndjson, csv and tsv go out record by record; a table and a json
 * document when all are there.
 */
export class RecordWriter {
  readonly #stream: OutputStream;
  readonly #format: Format;
  readonly #columns: readonly Column[];
  readonly #single: boolean;
  readonly #kept: OutputRecord[] = [];
  #delimited: ((cells: string[]) => string) | undefined;

  /** `single`: json prints the one record itself instead of a list. */
  constructor(stream: OutputStream, format: Format, columns: readonly Column[], single = false) {
    this.#stream = stream;
    this.#format = format;
    this.#columns = columns;
    this.#single = single;
  }

  async write(record: OutputRecord): Promise<void> {
    switch (this.#format) {
      case 'ndjson':
        this.#stream.write(`${jsonText(record)}\n`);
        return;
      case 'table':
      case 'json':
        this.#kept.push(record);
        return;
      case 'csv':
      case 'tsv':
        this.#stream.write((await this.#delimiter())(this.#columns.map(({ cell }) => cellText(cell(record)))));
    }
  }

  async end(): Promise<void> {
    if (this.#format === 'table') this.#stream.write(tableText(this.#columns, this.#kept));
    if (this.#format === 'json') {
      const document = this.#single && this.#kept.length === 1 ? this.#kept[0]! : this.#kept;
      this.#stream.write(`${jsonText(document, 2)}\n`);
    }
    if (this.#format === 'csv' || this.#format === 'tsv') await this.#delimiter(); // the header, where no record came
  }

  async #delimiter(): Promise<(cells: string[]) => string> {
    if (this.#delimited) return this.#delimited;
    const { stringify } = await import('csv-stringify/sync');
    const delimiter = this.#format === 'tsv' ? '\t' : ',';
    this.#delimited = (cells) => stringify([cells], { delimiter });
    this.#stream.write(this.#delimited(this.#columns.map(({ header }) => header)));
    return this.#delimited;
  }
}

function cellText(value: JsonValue | undefined): string {
  if (value === undefined || value === null) return '';
  if (typeof value === 'string') return value;
  if (value instanceof Float) return floatText(value.value);
  return typeof value === 'object' ? jsonText(value) : String(value);
}

/** A cell for people: numbers are cut to a readable length; what could steer a terminal (names come from strangers' files) is shown as `?`. */
function readable(value: JsonValue | undefined): string {
  const number = value instanceof Float ? value.value : value;
  if (typeof number === 'number' && !Number.isInteger(number)) return String(Number(number.toPrecision(6)));
  return cellText(value).replaceAll(/\p{Cc}/gu, '?');
}

/** Aligned columns with a header line; empty string for no records. */
export function tableText(columns: readonly Column[], records: readonly OutputRecord[]): string {
  if (records.length === 0) return '';
  const rows = [
    columns.map(({ header }) => header),
    ...records.map((record) => columns.map(({ cell }) => readable(cell(record)))),
  ];
  const widths = columns.map((_, i) => rows.reduce((width, row) => Math.max(width, Array.from(row[i]!).length), 0));
  const line = (row: readonly string[]): string =>
    row
      .map((cell, i) => {
        const blank = ' '.repeat(widths[i]! - Array.from(cell).length);
        return columns[i]!.align === 'right' ? blank + cell : cell + blank;
      })
      .join('  ')
      .trimEnd();
  return `${rows.map(line).join('\n')}\n`;
}
