import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { EgolensError } from '../errors.js';
import { seededRandom } from '../random.js';
import { memorySource } from './bytes.js';
import { readNpy } from './npy.js';
import { openNpz } from './npz.js';
import { unpickle } from './pickle.js';
import { openCheckpoint } from './state-dict.js';

const fixtures = new URL('../../fixtures/checkpoints/', import.meta.url);
const golden = join(process.env['EGOLENS_GOLDEN_DIR'] ?? '../shared/golden', 'encoder');
const isAbsent = !existsSync(golden);
const skipped = isAbsent ? ' (skipped: no golden folder, set EGOLENS_GOLDEN_DIR)' : '';

type Reader = (bytes: Uint8Array) => Promise<void>;

const readCheckpoint: Reader = async (bytes) => {
  const { tensors } = await openCheckpoint(memorySource('damaged.pth', bytes));
  for (const tensor of tensors.values()) {
    let elements = 0;
    for await (const piece of tensor.chunks()) {
      elements += piece.length;
      // A changed stride may repeat values up to the limit for expanded tensors; the first million is enough here.
      if (elements > 1_000_000) break;
    }
  }
};

const readArray: Reader = async (bytes) => {
  await readNpy(memorySource('damaged.npy', bytes));
};

const readArchive: Reader = async (bytes) => {
  const { names, read } = await openNpz(memorySource('damaged.npz', bytes));
  for (const name of names) await read(name);
};

/** 'read' or the code of an EgolensError; any other error fails the test with its own message. */
async function outcome(read: Reader, bytes: Uint8Array): Promise<string> {
  try {
    await read(bytes);
    return 'read';
  } catch (error) {
    if (error instanceof EgolensError && error.code !== 'internal.bug') return error.code;
    throw error;
  }
}

const files: readonly [string, Reader][] = [
  ['views-protocol2.pth', readCheckpoint],
  ['views-protocol4.pth', readCheckpoint],
  ['views-legacy.pth', readCheckpoint],
  ['fortran-big-endian.npy', readArray],
  ['version3.npy', readArray],
  ['stored.npz', readArchive],
  ['deflated.npz', readArchive],
];

describe.each(files)('%s', (name, read) => {
  const whole = readFileSync(new URL(name, fixtures));

  test('cut anywhere, it ends in an error with a code', async () => {
    for (let length = 0; length < whole.length; length++) {
      expect(await outcome(read, whole.subarray(0, length)), `cut to ${length} bytes`).not.toBe('read');
    }
  });

  test('with bytes changed at random, it is read or ends in an error with a code', async () => {
    const random = seededRandom(7, name);
    for (let round = 0; round < 1500; round++) {
      const bytes = Buffer.from(whole);
      const changes = 1 + random.integer(3);
      for (let i = 0; i < changes; i++) bytes[random.integer(bytes.length)] = random.integer(256);
      await outcome(read, bytes);
    }
  });

  test('with a piece left out or doubled, it is read or ends in an error with a code', async () => {
    const random = seededRandom(8, name);
    for (let round = 0; round < 150; round++) {
      const [a, b] = [random.integer(whole.length), random.integer(whole.length)];
      const spliced = Buffer.concat([whole.subarray(0, a), whole.subarray(b)]);
      await outcome(read, spliced);
    }
  });
});

describe(`real checkpoints${skipped}`, () => {
  test
    .skipIf(isAbsent)
    .each([
      'videomae_ft_first_token/checkpoint.pth',
      'videomae_v2_cosine/checkpoint.pth',
      'clip_torchscript/checkpoint.pt',
    ])('%s cut near every boundary and at random ends in an error with a code', async (name) => {
    const whole = readFileSync(join(golden, name));
    const random = seededRandom(9, name);
    const boundaries = [0, 1, 4, 15, 21, 64, 137, 4096, 65536, whole.length / 2, whole.length - 22, whole.length - 1];
    const lengths = boundaries.flatMap((at) => [Math.floor(at) - 1, Math.floor(at), Math.floor(at) + 1]);
    for (let i = 0; i < 100; i++) lengths.push(random.integer(whole.length));
    for (const length of lengths.filter((n) => n >= 0 && n < whole.length)) {
      expect(await outcome(readCheckpoint, whole.subarray(0, length)), `cut to ${length} bytes`).not.toBe('read');
    }
  });
});

test('random bytes after the first bytes of each container end in an error with a code', async () => {
  const starts = [
    '',
    'PK\x03\x04',
    '\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.',
    '\x40\0\0\0\0\0\0\0{',
  ];
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...starts), fc.uint8Array({ maxLength: 300 }), async (start, rest) => {
      const code = await outcome(readCheckpoint, Buffer.concat([Buffer.from(start, 'latin1'), rest]));
      expect(code).not.toBe('read');
    }),
    { numRuns: 1000, seed: 10 },
  );
});

test('random opcodes are a value or an error with a code', () => {
  const opcodes =
    'IJKMLSTUBCVXNFG]ael)t}dsu021(gpqhjrcRbioPQ.\x80\x81\x85\x86\x87\x88\x89\x8a\x8b\x8c\x8d\x8f\x90\x91\x92\x93\x94\x95\n\x00\x01\x02';
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...Array.from(opcodes)), { maxLength: 60 }), (characters) => {
      try {
        unpickle(Buffer.from(characters.join(''), 'latin1'), { name: 'x', persistent: (id) => id });
      } catch (error) {
        expect(error).toBeInstanceOf(EgolensError);
      }
    }),
    { numRuns: 20_000, seed: 11 },
  );
});
