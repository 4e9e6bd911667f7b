/** Who wears the camera, what the table is made of, how light and head move: all that a clip shows but objects and actions. */
import { seededRandom, type Random } from '../random.js';
import type { HandBuild } from './hands.js';

export type Rgb = readonly [r: number, g: number, b: number];

/** A person; the same number is the same person in every clip. */
export interface Wearer extends HandBuild {
  readonly id: number;
  readonly skin: Rgb;
  readonly sleeveColour: Rgb;
}

export const textures = ['wood', 'stone', 'cloth', 'tiles'] as const;
export type Texture = (typeof textures)[number];

export interface Setting {
  readonly wearer: Wearer;
  readonly texture: Texture;
  readonly tableColour: Rgb;
  readonly roomColour: Rgb;
  /** Where the light comes from: -1 left, 1 right. */
  readonly light: number;
  /** 0 to 1. */
  readonly shade: number;
  /** Standard deviation of the sensor noise, of 255 levels. */
  readonly noise: number;
  /** Sines of the head's sway: amplitude in scene units (or radians for roll, shares for zoom), cycles a second, phase. */
  readonly sway: Readonly<Record<'x' | 'y' | 'roll' | 'zoom' | 'exposure', readonly Wave[]>>;
  /** For texture and noise. */
  readonly grain: number;
}

export interface Wave {
  readonly amplitude: number;
  readonly frequency: number;
  readonly phase: number;
}

/** People of training and validation; those from `unseenWearer` on appear in the compositional part of the test split alone. */
export const seenWearers = 40;
export const unseenWearer = 1000;
const unseenWearers = 24;

const skins: readonly Rgb[] = [
  [244, 208, 180],
  [229, 184, 146],
  [205, 152, 112],
  [168, 116, 80],
  [124, 82, 56],
  [88, 58, 42],
];

/** The person of this number. Unseen people wear sleeves of hues that no other does. */
export function wearerOf(id: number): Wearer {
  const random = seededRandom(id, 'tabletop/wearer');
  const at = random.uniform() * (skins.length - 1.001);
  const [lower, upper] = [skins[Math.floor(at)]!, skins[Math.floor(at) + 1]!]; // at < length - 1
  const mix = at - Math.floor(at);
  const hue = id >= unseenWearer ? 280 + 50 * random.uniform() : 250 * random.uniform();
  return {
    id,
    skin: blend(lower, upper, mix),
    size: 0.9 + 0.22 * random.uniform(),
    sleeve: random.uniform(),
    sleeveColour: fromHue(hue, 0.15 + 0.5 * random.uniform(), 0.25 + 0.5 * random.uniform()),
  };
}

export function drawSetting(random: Random, difficulty: number, isUnseen: boolean): Setting {
  const wearer = wearerOf(isUnseen ? unseenWearer + random.integer(unseenWearers) : random.integer(seenWearers));
  const texture = isUnseen ? 'tiles' : textures[random.integer(3)]!; // the first three of four
  const sway = [0.5, 1, 1.7][difficulty - 1]!; // 1, 2 or 3
  const waves = (amplitude: number, slow: number, fast: number): Wave[] =>
    [slow, (slow + fast) / 2, fast].map((frequency, i) => ({
      amplitude: (amplitude * (0.6 + 0.8 * random.uniform())) / (1 + i),
      frequency: frequency * (0.8 + 0.4 * random.uniform()),
      phase: 2 * Math.PI * random.uniform(),
    }));
  return {
    wearer,
    texture,
    tableColour: tableColour(random, texture),
    roomColour: fromHue(360 * random.uniform(), 0.15 * random.uniform(), 0.12 + 0.25 * random.uniform()),
    light: random.uniform() < 0.5 ? -1 : 1,
    shade: 0.25 + 0.6 * random.uniform(),
    noise: [2, 3.5, 6][difficulty - 1]!, // 1, 2 or 3
    sway: {
      x: waves(1.6 * sway, 0.13, 0.9),
      y: waves(1.1 * sway, 0.17, 1.1),
      roll: waves(0.014 * sway, 0.11, 0.7),
      zoom: waves(0.012 * sway, 0.09, 0.5),
      exposure: waves(0.05, 0.05, 0.3),
    },
    grain: random.integer(2 ** 31),
  };
}

/** Sum of the waves at a time in seconds. */
export function waveSum(waves: readonly Wave[], seconds: number): number {
  let sum = 0;
  for (const { amplitude, frequency, phase } of waves) {
    sum += amplitude * Math.sin(2 * Math.PI * frequency * seconds + phase);
  }
  return sum;
}

function tableColour(random: Random, texture: Texture): Rgb {
  const u = random.uniform();
  if (texture === 'wood') return fromHue(24 + 14 * u, 0.35 + 0.2 * random.uniform(), 0.35 + 0.3 * random.uniform());
  if (texture === 'stone') return fromHue(200 * u, 0.06, 0.45 + 0.35 * random.uniform());
  if (texture === 'cloth') return fromHue(360 * u, 0.2, 0.5 + 0.3 * random.uniform());
  return fromHue(180 + 60 * u, 0.15, 0.6 + 0.2 * random.uniform());
}

export function blend(p: Rgb, q: Rgb, u: number): Rgb {
  return [p[0] + (q[0] - p[0]) * u, p[1] + (q[1] - p[1]) * u, p[2] + (q[2] - p[2]) * u];
}

/** From hue in degrees, saturation and lightness in [0, 1]. */
export function fromHue(hue: number, saturation: number, lightness: number): Rgb {
  const chroma = (1 - Math.abs(2 * lightness - 1)) * saturation;
  const channel = (n: number): number => {
    const k = (n + hue / 30) % 12;
    return 255 * (lightness - (chroma / 2) * Math.max(-1, Math.min(k - 3, 9 - k, 1)));
  };
  return [channel(0), channel(8), channel(4)];
}
