import { join } from 'node:path';
import { openFeatureWriter, type TimeBase } from '../src/features/store.js';
import { sizeOf, tensor } from '../src/tensor.js';

const sha = 'a'.repeat(64);

/** A feature file as `extract --at` leaves it: windows of 57 frames that end with the given frames, at 30 a second unless said. */
export interface WrittenWindows {
  /** Last frame of each window. */
  readonly lasts: readonly number[];
  /** Shape of a row: [tokens, width], or [width]. */
  readonly row: readonly number[];
  readonly value: (row: number, i: number) => number;
  readonly of?: TimeBase;
  /** `name@digest`, of twelve digits at least. */
  readonly model?: string;
  /** Frames a second. */
  readonly rate?: number;
  /** `name@version` */
  readonly preset?: string;
  readonly picture?: { readonly width: number; readonly height: number };
}

/** Gives the path of the array. */
export async function writeWindows(
  folder: string,
  name: string,
  { lasts, row, value, of = { kind: 'file' }, model = `m@${sha}`, rate = 30, preset = 'p@1', picture }: WrittenWindows,
): Promise<string> {
  const array = join(folder, `${name}.npy`);
  const target = { type: 'npy', array, times: join(folder, `${name}.times.csv`), meta: `${array}.meta.json` } as const;
  const size = sizeOf(row);
  const data = Float32Array.from({ length: lasts.length * size }, (_, i) => value(Math.floor(i / size), i % size));
  const [modelName = '', digest = ''] = model.split('@');
  await using writer = await openFeatureWriter(target, [...row]);
  await writer.append(tensor('float32', [lasts.length, ...row], data));
  await writer.finish(
    {
      input: { name: `${name}.mp4`, bytes: 5, identity: `ends:${sha}` },
      ...{ stream: 0, startOffset: 0, frames: { claimed: null, decoded: 900 }, decodeErrors: 0, warnings: [] },
      ...(picture && { picture }),
      ...{ clock: null, of, preset, pixels: 'exact' as const },
      model: { name: modelName, digest: digest.padEnd(64, '0') },
      ...{ output: 'tokens', precision: 'fp32' as const, provider: 'cpu' },
      versions: { program: '0', runtime: '0', ffmpeg: '0' },
      key: sha,
    },
    lasts.map((last, index) => {
      const firstFrame = Math.max(0, last - 56);
      return { index, firstFrame, lastFrame: last, start: firstFrame / rate, end: (last + 1) / rate };
    }),
  );
  return array;
}
