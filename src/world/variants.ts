/** Further copies of a clip's video in forms that decoders stumble over, with known truth. */
import type { EncodeOptions } from '../video/encode.js';

export const variantNames = ['vfr', 'rotated', '10bit', 'hevc', 'cut'] as const;
export type VariantName = (typeof variantNames)[number];

/** Forms that are encoded from the frames; `cut` is made of the finished file. */
export interface Variant extends Pick<EncodeOptions, 'codec' | 'pixelFormat' | 'filters' | 'keepsTimes'> {
  /** Turned by this many degrees clockwise when it is shown; the frames lie the other way in the file. */
  readonly shownTurned: 0 | 90;
  /** Of so many frames of the clip, the file has these; null where only decoding tells. */
  readonly framesOf: (frames: number) => number | null;
}

const all = (frames: number): number => frames;

/** The canonical form of every video. */
export const plain: Variant = { codec: 'libx264', pixelFormat: 'yuv420p', shownTurned: 0, framesOf: all };

export const variants: Readonly<Record<Exclude<VariantName, 'cut'>, Variant>> = {
  // Frames 3, 10, 17, … are missing; the others keep their times.
  vfr: {
    ...plain,
    filters: [`select='not(eq(mod(n\\,7)\\,3))'`],
    keepsTimes: true,
    framesOf: (frames) => frames - Math.floor((frames + 3) / 7),
  },
  rotated: { ...plain, filters: ['transpose=cclock'], shownTurned: 90 },
  '10bit': { ...plain, pixelFormat: 'yuv420p10le' },
  hevc: { ...plain, codec: 'libx265' },
};

/** The share of the file's bytes that `cut` keeps. */
export const cutShare = 0.5;

/**
 * Says in an mp4 that its pictures are to be turned by 90 degrees clockwise: the matrix of the first track header. Programs that write
 * this with options of ffmpeg need another option from one version to the next.
 *
 * @param head first bytes of the file, with the whole `moov` box or at least its first `tkhd`; changed in place
 * @param height of the stored pictures
 * @returns false where there is no track header
 */
export function turnTrack(head: Uint8Array, height: number): boolean {
  const bytes = Buffer.from(head.buffer, head.byteOffset, head.byteLength);
  const name = bytes.indexOf('tkhd');
  // Type, version and flags, times, id, duration (64 bits each in version 1), 16 bytes of layer and volume, then 9 numbers.
  const matrix = name + 4 + 4 + (bytes[name + 4] === 1 ? 32 : 20) + 16;
  if (name < 4 || matrix + 36 > bytes.length) return false;
  const one = 1 << 16;
  [0, one, 0, -one, 0, 0, height * one, 0, 1 << 30].forEach((value, i) => bytes.writeInt32BE(value, matrix + 4 * i));
  return true;
}
