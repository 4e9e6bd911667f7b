import { createWriteStream } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { describe, expect, test } from 'vitest';
import { inShell } from '../cli/command.js';
import { records, workFolder } from '../cli/program.js';

/** Many faults in one file: what is printed and what is kept in memory have a bound, the count has none. */

const items = 3_400_000; // each lacks three members

function* manyFaults(): Generator<string> {
  const block = `{"image_id":1}${',{"image_id":1}'.repeat(9_999)}`;
  yield '[';
  for (let i = 0; i < items; i += 10_000) yield i === 0 ? block : `,${block}`;
  yield ']';
}

describe.runIf(process.platform === 'linux')('ten million errors in one file', () => {
  test('are counted; the list is short, and memory is that of the file and its values', async () => {
    const folder = await workFolder();
    const path = join(folder, 'many.json');
    await pipeline(Readable.from(manyFaults()), createWriteStream(path));
    // The heap is held to a size: a list of all findings would take some GB.
    const script = 'NODE_OPTIONS=--max-old-space-size=700 egolens validate submission "$1" --task scod --ndjson';
    const { code, stdout, stderr } = await inShell(script, [path]);
    const rows = await records(stdout);
    expect({ code, rows: rows.length }).toEqual({ code: 5, rows: 51 });
    expect(rows.at(-1)).toMatchObject({ errors: 3 * items, atLeast: false, listed: 50 });
    expect(stdout.length + stderr.length).toBeLessThan(20_000);
  });
});
