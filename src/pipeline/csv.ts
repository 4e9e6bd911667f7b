/** Comma-separated values with a header line, as lists of JSON objects: spreadsheets write them. */
import { EgolensError } from '../errors.js';
import type { JsonDocument } from '../types.js';

/**
 * Rows as objects of texts by the names in the header; quoted cells may hold commas, quotes (doubled) and line breaks.
 *
 * @throws EgolensError data.invalid for an unclosed quote, a row of another length, a column without a name or two of one name
 */
export function parseCsv(name: string, text: string): JsonDocument {
  const rows = cellsOf(name, text.replace(/^\uFEFF/, ''));
  const [header, ...body] = rows;
  if (header === undefined) throw new EgolensError('data.invalid', `\`${name}\`: expected a header line, found none`);
  const names = header.cells.map((cell) => cell.trim());
  const strange = names.find((cell, i) => cell === '' || names.indexOf(cell) !== i);
  if (strange !== undefined) {
    const what = strange === '' ? 'one without a name' : `\`${strange}\` twice`;
    throw new EgolensError('data.invalid', `\`${name}\`, line 1: expected a name for every column, found ${what}`);
  }
  const value = body.map(({ cells, line }) => {
    if (cells.length !== names.length) {
      throw new EgolensError(
        'data.invalid',
        `\`${name}\`, line ${line}: ${cells.length} cells, expected the ${names.length} of the header`,
      );
    }
    return Object.fromEntries(names.map((key, i) => [key, cells[i]!])); // as many cells as names
  });
  return {
    name,
    bytes: text.length,
    value,
    findings: [],
    line(pointer) {
      const index = /^\/(\d+)/.exec(pointer)?.[1];
      return index === undefined ? undefined : body[Number(index)]?.line;
    },
  };
}

interface Row {
  readonly cells: string[];
  /** Where it begins, from 1. */
  readonly line: number;
}

function cellsOf(name: string, text: string): Row[] {
  const rows: Row[] = [];
  let line = 1;
  let at = 0;
  while (at < text.length) {
    const row: Row = { cells: [], line };
    for (;;) {
      let cell = '';
      if (text[at] === '"') {
        const opened = line;
        at++;
        for (;;) {
          const end = text.indexOf('"', at);
          if (end < 0) {
            throw new EgolensError('data.invalid', `\`${name}\`, line ${opened}: a quote that nothing closes`);
          }
          const piece = text.slice(at, end);
          line += piece.split('\n').length - 1;
          cell += piece;
          at = end + 1;
          if (text[at] !== '"') break;
          cell += '"';
          at++;
        }
      }
      const rest = /[,\r\n]/g;
      rest.lastIndex = at;
      const end = rest.exec(text)?.index ?? text.length;
      row.cells.push(cell + text.slice(at, end));
      at = end;
      if (text[at] !== ',') break;
      at++;
    }
    if (text[at] === '\r') at++;
    if (text[at] === '\n') at++;
    line++;
    if (row.cells.length > 1 || row.cells[0] !== '') rows.push(row); // a blank line is none
  }
  return rows;
}
