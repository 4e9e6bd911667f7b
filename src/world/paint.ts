/** The look of things: which colour each kind of paint is, and how light falls on it. */
import type { SKRSContext2D } from '@napi-rs/canvas';
import { boundsOf, type Polygon } from './geometry.js';
import { blend, type Rgb, type Setting } from './setting.js';
import type { Thing } from './outlines.js';
import type { Paint, Part } from './shapes.js';
import type { Colour } from './vocabulary.js';

const colourOf: Readonly<Record<Colour, Rgb>> = {
  red: [206, 42, 38],
  orange: [238, 130, 30],
  yellow: [240, 208, 48],
  green: [52, 152, 62],
  blue: [44, 92, 200],
  purple: [132, 60, 168],
  white: [236, 236, 232],
  black: [48, 48, 52],
};

const white: Rgb = [255, 255, 255];
const black: Rgb = [0, 0, 0];

const fixed: Readonly<Partial<Record<Paint, Rgb>>> = {
  liquid: [112, 66, 34],
  metal: [196, 202, 210],
  metalDark: [140, 148, 158],
  paper: [244, 240, 226],
  ink: [52, 50, 56],
  flesh: [250, 236, 190],
  screen: [60, 110, 140],
  leaf: [70, 140, 50],
  stem: [96, 66, 40],
  stain: [92, 62, 30],
  shine: [255, 255, 255],
  nail: [246, 214, 200],
};

function rgbOf(paint: Paint, thing: Thing, setting: Setting): Rgb {
  const { skin, sleeveColour } = setting.wearer;
  if (paint === 'skin') return skin;
  if (paint === 'skinDark') return blend(skin, black, 0.45);
  if (paint === 'nail') return blend(skin, fixed.nail ?? white, 0.55);
  if (paint === 'sleeve') return sleeveColour;
  if (paint === 'sleeveDark') return blend(sleeveColour, black, 0.35);
  const own = thing.kind === 'hand' ? skin : colourOf[thing.colour];
  if (paint === 'body') return own;
  if (paint === 'bodyDark') return blend(own, black, 0.34);
  if (paint === 'bodyLight') return blend(own, white, 0.3);
  if (paint === 'inside') return blend(own, black, 0.58);
  return fixed[paint] ?? own;
}

export function css([r, g, b]: Rgb, alpha = 1): string {
  return `rgba(${Math.round(r)},${Math.round(g)},${Math.round(b)},${Math.round(alpha * 1000) / 1000})`;
}

/** Paints that are one flat colour: small marks, on which shading is not seen. */
const plain: readonly Paint[] = ['shine', 'ink', 'stain', 'nail', 'skinDark', 'stem', 'leaf', 'liquid'];

/** A thing on the canvas. `scale` is pixels a scene unit. */
export function paintThing(context: SKRSContext2D, thing: Thing, setting: Setting, scale: number): void {
  const { light } = setting;
  for (const part of thing.parts) {
    trace(context, part.points);
    const rgb = rgbOf(part.paint, thing, setting);
    const alpha = part.alpha ?? 1;
    if (plain.includes(part.paint) || part.inner === true) context.fillStyle = css(rgb, alpha);
    else context.fillStyle = shaded(context, part, rgb, light, alpha);
    context.fill();
    if (part.inner !== true) {
      context.strokeStyle = css(blend(rgb, black, 0.55), 0.75);
      context.lineWidth = Math.max(0.6, 0.45 * scale);
      context.stroke();
    }
  }
}

export function trace(context: SKRSContext2D, points: Polygon): void {
  context.beginPath();
  context.moveTo(points[0]!, points[1]!); // a polygon has points
  for (let i = 2; i < points.length; i += 2) context.lineTo(points[i]!, points[i + 1]!);
  context.closePath();
}

function shaded(
  context: SKRSContext2D,
  { points }: Part,
  rgb: Rgb,
  light: number,
  alpha: number,
): ReturnType<SKRSContext2D['createLinearGradient']> {
  const [x1, y1, x2, y2] = boundsOf([points]) ?? [0, 0, 1, 1];
  const [from, to] = light < 0 ? [x1, x2] : [x2, x1];
  const gradient = context.createLinearGradient(from, y1, to, between(y1, y2));
  gradient.addColorStop(0, css(blend(rgb, white, 0.26), alpha));
  gradient.addColorStop(0.5, css(rgb, alpha));
  gradient.addColorStop(1, css(blend(rgb, black, 0.3), alpha));
  return gradient;
}

function between(y1: number, y2: number): number {
  return y1 + 0.45 * (y2 - y1);
}
