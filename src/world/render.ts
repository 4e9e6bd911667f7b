/**
 * Frames as pictures. A frame is a pure function of (scene, frame number, view): rendered alone or in order, its bytes are the same.
 */
import type { Canvas, SKRSContext2D } from '@napi-rs/canvas';
import { seededRandom } from '../random.js';
import { mapped, polygon, type Affine } from './geometry.js';
import { paintThing, css, trace } from './paint.js';
import { projection, thingsOf } from './outlines.js';
import type { Scene } from './scene.js';
import { blend, type Setting } from './setting.js';
import { worldAt, type View, type World } from './world.js';

/** Draws frames of one size; keep one and use it for many scenes. */
export interface Renderer {
  readonly view: View;
  /**
   * The picture of a frame: uint8 [height, width, 4], red, green, blue, 255.
   *
   * @param f frame number from 0; what lies between two frames can be drawn too
   * @returns the renderer's own memory, valid until the next call; copy what you keep
   */
  rgba(scene: Scene, f: number): Uint8ClampedArray;
  /** The same without the fourth channel, into `target` from `offset` on: uint8 [height, width, 3]. */
  rgb(scene: Scene, f: number, target: Uint8Array, offset?: number): void;
}

/** Scene units that the table's surface covers; the picture of it has this many pixels a unit. */
const surface = { x: -16, y: -4, width: 166, height: 150 };
const noiseLength = 1 << 17;

/** Loads the canvas library and makes a renderer. */
export async function openRenderer(view: View): Promise<Renderer> {
  const { createCanvas } = await import('@napi-rs/canvas');
  const { width, height } = view;
  const canvas = createCanvas(width, height);
  const context = canvas.getContext('2d');
  const detail = Math.min(4, Math.max(1, Math.ceil((1.2 * Math.max(width / 133, height / 100)) / 1)));
  const gain = vignette(width, height);
  const noises = new Map<number, Int8Array>();
  const pixels = new Uint8ClampedArray(width * height * 4);
  let table: { readonly scene: Scene; readonly picture: Canvas } | undefined;

  const rgba = (scene: Scene, f: number): Uint8ClampedArray => {
    if (table?.scene !== scene) table = { scene, picture: paintTable(createCanvas, scene.setting, detail) };
    const world = worldAt(scene, f);
    drawFrame(context, scene, world, view, table.picture, detail);
    const { noise, grain } = scene.setting;
    let grains = noises.get(noise);
    if (grains === undefined) noises.set(noise, (grains = noiseOf(noise)));
    const raw = canvas.data();
    develop(raw, pixels, gain, world.exposure, grains, noiseStart(grain, f));
    return pixels;
  };
  return {
    view,
    rgba,
    rgb(scene, f, target, offset = 0) {
      const from = rgba(scene, f);
      for (let i = 0, to = offset; i < from.length; i += 4, to += 3) {
        target[to] = from[i]!;
        target[to + 1] = from[i + 1]!;
        target[to + 2] = from[i + 2]!;
      }
    },
  };
}

function drawFrame(
  context: SKRSContext2D,
  scene: Scene,
  world: World,
  view: View,
  table: Canvas,
  detail: number,
): void {
  const map = projection(world, view);
  const { setting } = scene;
  drawRoom(context, setting, map, view);
  // The table: its far edge stands back, and what is beyond is the room.
  context.save();
  trace(context, mapped(map, polygon(-4, 9, 137, 9, 150, 150, -17, 150)));
  context.clip();
  context.setTransform(map.a, map.b, map.c, map.d, map.e, map.f);
  context.drawImage(
    table,
    0,
    0,
    surface.width * detail,
    surface.height * detail,
    surface.x,
    surface.y,
    surface.width,
    surface.height,
  );
  context.restore();
  const edge = mapped(map, polygon(-4, 8, 137, 8, 137, 9.6, -4, 9.6));
  trace(context, edge);
  context.fillStyle = css(blend(setting.tableColour, [255, 255, 255], 0.3));
  context.fill();
  const scale = Math.hypot(map.a, map.b);
  const things = thingsOf(scene, world, view);
  context.fillStyle = 'rgba(0,0,0,0.26)';
  for (const { shadow } of things) {
    if (shadow === null) continue;
    trace(context, shadow);
    context.fill();
  }
  let isPoured = world.stream === null;
  for (const thing of things) {
    if (!isPoured && thing.kind === 'hand') {
      drawStream(context, world, map, scale);
      isPoured = true;
    }
    paintThing(context, thing, setting, scale);
  }
}

function drawRoom(context: SKRSContext2D, setting: Setting, map: Affine, { width, height }: View): void {
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.fillStyle = css(setting.roomColour);
  context.fillRect(0, 0, width, height);
  // Shelves or doors: something that moves when the head turns.
  context.fillStyle = css(blend(setting.roomColour, [255, 255, 255], 0.14));
  for (let i = -7; i < 8; i++) {
    trace(context, mapped(map, polygon(i * 46 + 5, -60, i * 46 + 33, -60, i * 46 + 33, 200, i * 46 + 5, 200)));
    context.fill();
  }
}

function drawStream(context: SKRSContext2D, world: World, map: Affine, scale: number): void {
  const [x0, y0, x1, y1] = world.stream ?? [0, 0, 0, 0];
  const middle = [x0 + 0.75 * (x1 - x0), y0 + 0.1 * (y1 - y0)] as const;
  const points = mapped(map, polygon(x0, y0, middle[0], middle[1], x1, y1));
  context.beginPath();
  context.moveTo(points[0]!, points[1]!);
  context.quadraticCurveTo(points[2]!, points[3]!, points[4]!, points[5]!); // three points
  context.strokeStyle = 'rgba(112,66,34,0.92)';
  context.lineWidth = 1.9 * scale;
  context.stroke();
}

/** The surface of the table, `detail` pixels a scene unit. */
function paintTable(create: (width: number, height: number) => Canvas, setting: Setting, detail: number): Canvas {
  const { width, height } = surface;
  const canvas = create(width * detail, height * detail);
  const context = canvas.getContext('2d');
  const random = seededRandom(setting.grain, 'tabletop/surface');
  const { tableColour: colour, texture, light, shade } = setting;
  context.scale(detail, detail);
  context.fillStyle = css(colour);
  context.fillRect(0, 0, width, height);
  const tone = (u: number, alpha: number): string =>
    css(blend(colour, u < 0 ? [0, 0, 0] : [255, 255, 255], Math.abs(u)), alpha);
  if (texture === 'wood') {
    for (let y = 0; y < height; y += 17) {
      context.fillStyle = tone(0.3 * random.uniform() - 0.15, 0.6);
      context.fillRect(0, y, width, 17);
      context.fillStyle = tone(-0.5, 0.5);
      context.fillRect(0, y, width, 0.6);
    }
    for (let i = 0; i < 90; i++) {
      const y = height * random.uniform();
      context.beginPath();
      context.moveTo(0, y);
      context.bezierCurveTo(50, y + 5 * random.normal(), 110, y + 5 * random.normal(), width, y + 3 * random.normal());
      context.strokeStyle = tone(random.uniform() < 0.7 ? -0.4 : 0.25, 0.28);
      context.lineWidth = 0.3 + 0.8 * random.uniform();
      context.stroke();
    }
  } else if (texture === 'stone') {
    for (let i = 0; i < 900; i++) {
      context.fillStyle = tone(random.uniform() < 0.6 ? -0.5 : 0.6, 0.1 + 0.3 * random.uniform());
      const size = 0.4 + 1.6 * random.uniform() ** 3;
      context.fillRect(width * random.uniform(), height * random.uniform(), size, size);
    }
  } else if (texture === 'cloth') {
    const gap = 6 + 6 * random.uniform();
    context.fillStyle = tone(0.5, 0.3);
    for (let x = 0; x < width; x += 2 * gap) context.fillRect(x, 0, gap, height);
    context.fillStyle = tone(-0.4, 0.22);
    for (let y = 0; y < height; y += 2 * gap) context.fillRect(0, y, width, gap);
  } else {
    for (let x = 0; x < width; x += 20) {
      for (let y = 0; y < height; y += 14) {
        context.fillStyle = tone(0.36 * random.uniform() - 0.18, 0.7);
        context.fillRect(x + 0.5, y + 0.5, 19, 13);
      }
    }
  }
  const falling = context.createLinearGradient(light < 0 ? 0 : width, 0, light < 0 ? width : 0, height);
  falling.addColorStop(0, 'rgba(255,255,240,0.2)');
  falling.addColorStop(1, `rgba(0,0,0,${0.42 * shade})`);
  context.fillStyle = falling;
  context.fillRect(0, 0, width, height);
  return canvas;
}

/** Brightness by pixel: corners are darker. In 1/256. */
function vignette(width: number, height: number): Uint16Array {
  const gain = new Uint16Array(width * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const r = Math.hypot((2 * (x + 0.5)) / width - 1, (2 * (y + 0.5)) / height - 1);
      gain[y * width + x] = Math.round(256 * (1 - 0.13 * r * r));
    }
  }
  return gain;
}

/** Sensor noise of this standard deviation, to be read from any place on. */
function noiseOf(deviation: number): Int8Array {
  const random = seededRandom(Math.round(deviation * 100), 'tabletop/noise');
  return Int8Array.from({ length: noiseLength }, () =>
    Math.round(Math.max(-127, Math.min(127, deviation * random.normal()))),
  );
}

function noiseStart(grain: number, f: number): number {
  let mix = (grain ^ Math.imul(Math.round(f * 64) + 1, 0x9e3779b1)) >>> 0;
  mix = Math.imul(mix ^ (mix >>> 15), 0x85ebca6b) >>> 0;
  return (mix ^ (mix >>> 13)) >>> 0;
}

/** What the sensor makes of the light: exposure, vignette, noise. */
function develop(
  raw: Uint8Array,
  pixels: Uint8ClampedArray,
  gain: Uint16Array,
  exposure: number,
  noise: Int8Array,
  start: number,
): void {
  let at = start;
  for (let i = 0, p = 0; i < gain.length; i++, p += 4) {
    const factor = (gain[i]! * exposure) / 256;
    pixels[p] = raw[p]! * factor + noise[at++ & (noiseLength - 1)]!;
    pixels[p + 1] = raw[p + 1]! * factor + noise[at++ & (noiseLength - 1)]!;
    pixels[p + 2] = raw[p + 2]! * factor + noise[at++ & (noiseLength - 1)]!;
    pixels[p + 3] = 255;
  }
}
