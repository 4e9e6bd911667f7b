import { randomBytes } from 'node:crypto';
import { mkdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { EgolensError } from '../errors.js';
import { pathExists, sha256, writeFileAtomic } from '../files.js';
import type { Lattice } from './resize.js';
import { writableFolder } from './tools.js';

/**
 * The two maps by which ffmpeg's `remap` filter picks the pixels of a lattice out of a frame: 16-bit grey pictures of columns.length x
 * rows.length, one with the column and one with the row of each pixel. They are kept by content: there is one pair per size of video.
 *
 * @returns paths of the column map and of the row map
 */
export async function mapFiles({ columns, rows }: Lattice): Promise<readonly [columns: string, rows: string]> {
  const folder = await writableFolder(process.env);
  if (folder === undefined) {
    throw new EgolensError('output.unwritable', 'neither the cache folder nor the temporary folder can be written', {
      try: 'name one with EGOLENS_CACHE_DIR',
    });
  }
  const maps = join(folder, 'maps');
  await mkdir(maps, { recursive: true });
  const store = async (kind: string, value: (x: number, y: number) => number): Promise<string> => {
    const path = join(maps, `${kind}-${sha256(JSON.stringify([columns, rows])).slice(0, 32)}.pgm`);
    if (await pathExists(path)) return path;
    // Decodes that run side by side may want the same map at once: each brings a file of its own into the one place.
    const own = `${path}.${randomBytes(6).toString('hex')}`;
    await writeFileAtomic(own, greyMap(columns.length, rows.length, value));
    await rename(own, path);
    return path;
  };
  return [await store('columns', (x) => columns[x]!), await store('rows', (_, y) => rows[y]!)];
}

/** A binary PGM of 16 bits, big-endian. */
function greyMap(width: number, height: number, value: (x: number, y: number) => number): Buffer {
  const header = Buffer.from(`P5\n${width} ${height}\n65535\n`);
  const bytes = Buffer.alloc(header.length + width * height * 2);
  header.copy(bytes);
  let at = header.length;
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) at = bytes.writeUInt16BE(value(x, y), at);
  return bytes;
}
