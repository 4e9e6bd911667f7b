import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { writeNpy } from '../checkpoint/npy.js';
import { writeNpz } from '../checkpoint/npz.js';
import { writeSafetensors } from '../checkpoint/safetensors.js';
import { bytesOf, tensor } from '../tensor.js';
import type { Tensor } from '../types.js';
import { encodedQueries, openQueryEmbeddings } from './query-embeddings.js';

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'egolens-queries-'));
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

const floats = (shape: readonly number[], ...values: readonly number[]): Tensor<'float32'> =>
  tensor('float32', shape, Float32Array.from(values));

async function bytes(pieces: Iterable<Uint8Array> | AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = [];
  for await (const piece of pieces) all.push(piece);
  return Buffer.concat(all);
}

const arrays = new Map([
  ['u_0', floats([2, 3], 1, 2, 3, 4, 5, 6)],
  ['u_1', floats([3], 7, 8, 9)],
]);

describe('given vectors of words', () => {
  test.each(['folder', 'file.npz', 'file.safetensors'])(
    'are read by query id out of a %s; a vector is one word',
    async (name) => {
      const path = join(folder, name);
      if (name === 'folder') {
        await mkdir(path);
        for (const [id, value] of arrays) await writeFile(join(path, `${id}.npy`), writeNpy(value));
      } else if (name === 'file.npz') await writeFile(path, await bytes(writeNpz(arrays)));
      else {
        const entries = [...arrays].map(([id, value]) => {
          return { name: id, dtype: 'F32', shape: value.shape, bytes: () => [bytesOf(value)] } as const;
        });
        await writeFile(path, await bytes(writeSafetensors(entries)));
      }
      await using embeddings = await openQueryEmbeddings(path, 3);
      expect(await embeddings.read('u_0')).toEqual(arrays.get('u_0'));
      expect(await embeddings.read('u_1')).toEqual(floats([1, 3], 7, 8, 9));
      await expect(embeddings.read('u_2')).rejects.toThrow('no embedding of query `u_2`');
    },
  );

  test('of another width than the head takes, without rows, or not finite, are refused', async () => {
    const path = join(folder, 'odd');
    await mkdir(path);
    const odd = {
      wide: floats([1, 4], 1, 2, 3, 4),
      none: floats([0, 3]),
      deep: floats([1, 1, 3], 1, 2, 3),
      nan: floats([3], 1, NaN, 2),
    };
    for (const [id, value] of Object.entries(odd)) await writeFile(join(path, `${id}.npy`), writeNpy(value));
    await writeFile(join(path, 'ids.npy'), writeNpy(tensor('int64', [3], BigInt64Array.of(1n, 2n, 3n))));
    await writeFile(join(path, 'text.npy'), 'no array');
    await using embeddings = await openQueryEmbeddings(path, 3);
    for (const id of ['wide', 'none', 'deep', 'ids']) {
      await expect(embeddings.read(id)).rejects.toMatchObject({ code: 'data.shape' });
    }
    await expect(embeddings.read('nan')).rejects.toMatchObject({ code: 'data.not_finite' });
    await expect(embeddings.read('text')).rejects.toMatchObject({ code: 'input.format' });
  });

  test('keep the width of the first query where the head names none', async () => {
    const path = join(folder, 'free.npz');
    await writeFile(
      path,
      await bytes(
        writeNpz(
          new Map([
            ['a', floats([2], 1, 2)],
            ['b', floats([3], 1, 2, 3)],
          ]),
        ),
      ),
    );
    await using embeddings = await openQueryEmbeddings(path);
    expect((await embeddings.read('a')).shape).toEqual([1, 2]);
    await expect(embeddings.read('b')).rejects.toThrow('expected float32 [words, 2]');
  });

  test('an id does not lead out of the folder', async () => {
    await mkdir(join(folder, 'inner'));
    await writeFile(join(folder, 'secret.npy'), writeNpy(floats([1], 1)));
    await using embeddings = await openQueryEmbeddings(join(folder, 'inner'));
    for (const id of ['../secret', '..', '', `${folder}/secret`]) {
      await expect(embeddings.read(id)).rejects.toMatchObject({ code: 'input.not_found' });
    }
  });

  test('need a folder or a file of many arrays', async () => {
    await expect(openQueryEmbeddings(join(folder, 'nowhere'))).rejects.toMatchObject({ code: 'input.not_found' });
    await expect(openQueryEmbeddings(join(folder, 'secret.npy'))).rejects.toMatchObject({ code: 'input.format' });
  });
});

describe('vectors out of a text tower', () => {
  const seen: string[] = [];
  /** Three tokens of the first text (start, word, end), two of the second (start, end); token i of text t is [t, i]. */
  const encoder = {
    tokens: (texts: readonly string[]) => {
      seen.push(...texts);
      return Promise.resolve({ rows: floats([2, 3, 2], 0, 0, 0, 1, 0, 2, 1, 0, 1, 1, 0, 0), lengths: [3, 2] });
    },
    features: () => Promise.resolve(floats([2, 2], 5, 6, 7, 8)),
  };

  test('are those between start and end, of questions in the form of the head', async () => {
    const found = await encodedQueries(encoder, ['Where is it?', '?'], { layer: 'words', form: 'clip' });
    expect(seen).toEqual(['where is it?', '?']);
    expect(found).toEqual([floats([1, 2], 0, 1), floats([1, 2], 1, 1)]); // the end token where there is no word
  });

  test('are all of them, or the text vector as one word', async () => {
    const all = await encodedQueries(encoder, ['a', 'b'], { layer: 'tokens', form: 'plain' });
    expect(all.map(({ shape }) => shape)).toEqual([
      [3, 2],
      [2, 2],
    ]);
    const pooled = await encodedQueries(encoder, ['a', 'b'], { layer: 'pooled', form: 'plain' });
    expect(pooled).toEqual([floats([1, 2], 5, 6), floats([1, 2], 7, 8)]);
    expect(await encodedQueries(encoder, [], { layer: 'words', form: 'clip' })).toEqual([]);
  });
});
