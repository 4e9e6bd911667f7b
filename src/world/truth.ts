/** What is true of a frame, to the pixel and to the frame: label pictures, hands, boxes, the phase of the action. */
import { applied, boundsOf, type Affine } from './geometry.js';
import type { Side } from './hands.js';
import { workingPoint } from './motion.js';
import { scan, shares } from './label-picture.js';
import { projection, thingsOf, type Thing } from './outlines.js';
import type { Action, Scene } from './scene.js';
import { nouns, verbs, type Noun, type Verb } from './vocabulary.js';
import { handCentre, worldAt, type View } from './world.js';

/** Values of `FrameTruth.surface`: 0 table and room, 1 and 2 the hands, 3 + position in `nouns` an object or a tool. */
export const surfaceLabels = { nothing: 0, left: 1, right: 2, firstNoun: 3 } as const;

/** A hand in pixels of the picture. */
export interface HandTruth {
  /** Middle of palm and fingers; may lie outside the picture. */
  readonly x: number;
  readonly y: number;
  /** Pixels a second, the camera's own motion included. */
  readonly vx: number;
  readonly vy: number;
  /** Is its middle inside the picture? */
  readonly isVisible: boolean;
}

export type Stage = 'approach' | 'before-change' | 'change' | 'retreat';

export interface ActionTruth {
  /** Number of the action in the clip. */
  readonly index: number;
  readonly verb: Verb;
  readonly noun: Noun;
  /** Positions in `verbs` and `nouns`. */
  readonly verbLabel: number;
  readonly nounLabel: number;
  readonly side: Side;
  /** Share of the action that is over, 0 to 1. */
  readonly phase: number;
  readonly stage: Stage;
  /** Frames to the first touch, below 0 after it. */
  readonly framesToContact: number;
  /** Frames to the point of no return; null for an action without. */
  readonly framesToPnr: number | null;
}

/** Everything a learner may be asked about one frame. Pictures are [height, width], row by row. */
export interface FrameTruth {
  readonly frame: number;
  readonly width: number;
  readonly height: number;
  /** What lies on top of each pixel: `surfaceLabels`. */
  readonly surface: Uint8Array;
  /** 1 where the object of the action (before, while and after it is touched) lies on top. */
  readonly active: Uint8Array;
  /** 1 around the place where hand or tool touches the object: a disc of 6 % of the height; nothing while nothing is touched. */
  readonly contact: Uint8Array;
  readonly hands: Readonly<Record<Side, HandTruth>>;
  /** The action that the frame belongs to. */
  readonly action: ActionTruth | null;
  readonly isTouching: boolean;
}

/** The truth of frame `f` for a picture of this size, pixel for pixel that of `Renderer`; no picture is drawn for it. */
export function frameTruth(scene: Scene, f: number, view: View): FrameTruth {
  const world = worldAt(scene, f);
  const { width, height } = view;
  const surface = new Uint8Array(width * height);
  const active = new Uint8Array(width * height);
  const contact = new Uint8Array(width * height);
  const { action } = world;
  for (const thing of thingsOf(scene, world, view)) {
    const label = labelOf(thing);
    const isActive = thing.kind === 'object' && thing.object === action?.object ? 1 : 0;
    cover(thing, width, height, (start, end) => {
      surface.fill(label, start, end);
      active.fill(isActive, start, end);
    });
  }
  if (action !== null && world.isTouching) {
    const map = projection(world, view);
    const [x, y] = applied(map, ...workingPoint(world.hands[action.side], world.tool?.noun ?? null));
    disc(contact, width, height, x, y, 0.06 * height);
  }
  return {
    frame: f,
    width,
    height,
    surface,
    active,
    contact,
    hands: { left: handTruth(scene, f, view, 'left'), right: handTruth(scene, f, view, 'right') },
    action: action === null ? null : actionTruth(scene, action, f),
    isTouching: world.isTouching,
  };
}

/** Channels of `tokenTruth`, in their order. */
export const tokenChannels = ['left', 'right', 'active', 'contact', ...nouns] as const;

/**
 * The label pictures by token: for each square of a grid of `rows` x `columns` the share of its pixels that show a hand, the active
 * object, the contact, each noun.
 *
 * @returns float32 [rows, columns, tokenChannels.length], values in [0, 1]
 */
export function tokenTruth(truth: FrameTruth, rows: number, columns: number): Float32Array {
  const { width, height, surface, active, contact } = truth;
  const channels = tokenChannels.length;
  const target = new Float32Array(rows * columns * channels);
  const add = (channel: number, labels: Uint8Array, label: number): void => {
    shares(labels, width, height, rows, columns, (found) => found === label, target, channel, channels);
  };
  add(0, surface, surfaceLabels.left);
  add(1, surface, surfaceLabels.right);
  add(2, active, 1);
  add(3, contact, 1);
  const shown = new Set(surface);
  nouns.forEach((_, i) => {
    if (shown.has(surfaceLabels.firstNoun + i)) add(4 + i, surface, surfaceLabels.firstNoun + i);
  });
  return target;
}

function labelOf(thing: Thing): number {
  if (thing.kind === 'hand') return surfaceLabels[thing.side];
  return surfaceLabels.firstNoun + nouns.indexOf(thing.noun);
}

function cover(thing: Thing, width: number, height: number, paint: (start: number, end: number) => void): void {
  for (const { points, inner } of thing.parts) {
    if (inner === true) continue;
    scan(points, width, height, (y, from, to) => {
      paint(y * width + from, y * width + to);
    });
  }
}

function disc(target: Uint8Array, width: number, height: number, x: number, y: number, radius: number): void {
  for (let row = Math.max(0, Math.floor(y - radius)); row < Math.min(height, y + radius + 1); row++) {
    for (let column = Math.max(0, Math.floor(x - radius)); column < Math.min(width, x + radius + 1); column++) {
      if (Math.hypot(column + 0.5 - x, row + 0.5 - y) <= radius) target[row * width + column] = 1;
    }
  }
}

/** Where a hand is at frame `f`, and how fast it moves: the difference over one frame around it. */
export function handTruth(scene: Scene, f: number, view: View, side: Side): HandTruth {
  const at = (frame: number): readonly [number, number] => {
    const world = worldAt(scene, frame);
    const map: Affine = projection(world, view);
    return applied(map, ...handCentre(world.hands[side]));
  };
  const [x, y] = at(f);
  const [x0, y0] = at(f - 0.5);
  const [x1, y1] = at(f + 0.5);
  const { fps } = scene.request;
  return {
    x,
    y,
    vx: (x1 - x0) * fps,
    vy: (y1 - y0) * fps,
    isVisible: x >= 0 && y >= 0 && x < view.width && y < view.height,
  };
}

function actionTruth(scene: Scene, action: Action, f: number): ActionTruth {
  const { verb, side, start, contact, pnr, release, end } = action;
  const { noun } = scene.objects[action.object]!; // the number of an object
  const stage: Stage =
    f < contact ? 'approach' : f < (pnr ?? contact) ? 'before-change' : f < release ? 'change' : 'retreat';
  return {
    index: scene.actions.indexOf(action),
    verb,
    noun,
    verbLabel: verbs.indexOf(verb),
    nounLabel: nouns.indexOf(noun),
    side,
    phase: (f - start) / (end - start),
    stage,
    framesToContact: contact - f,
    framesToPnr: pnr === null ? null : pnr - f,
  };
}

/** Corners of a box in pixels, x1 < x2, y1 < y2. */
export type Corners = readonly [x1: number, y1: number, x2: number, y2: number];

/** A box of a thing, cut at the edges of the picture. */
export interface BoxTruth {
  readonly box: Corners;
  /** Share of the whole box that is inside the picture, 0 to 1. */
  readonly inside: number;
}

/** The boxes of all that is in the picture of a frame: objects by their number, hands by side. What is outside has none. */
export interface FrameBoxes {
  readonly objects: ReadonlyMap<number, BoxTruth>;
  readonly hands: Readonly<Partial<Record<Side, BoxTruth>>>;
}

/** Boxes of frame `f`: those of the outlines, hidden parts included, cut at the edges. The box of a hand is without its forearm. */
export function frameBoxes(scene: Scene, f: number, view: View): FrameBoxes {
  const objects = new Map<number, BoxTruth>();
  const hands: Partial<Record<Side, BoxTruth>> = {};
  for (const thing of thingsOf(scene, worldAt(scene, f), view)) {
    if (thing.kind === 'tool') continue;
    const outline = thing.parts.filter(({ inner, paint }) => {
      if (inner === true) return false;
      return thing.kind === 'object' || paint !== 'sleeve';
    });
    // The first part of a hand is its forearm.
    const box = clipped(
      boundsOf((thing.kind === 'hand' ? outline.slice(1) : outline).map(({ points }) => points)),
      view,
    );
    if (box === undefined) continue;
    if (thing.kind === 'object') objects.set(thing.object, box);
    else hands[thing.side] = box;
  }
  return { objects, hands };
}

function clipped(bounds: Corners | undefined, { width, height }: View): BoxTruth | undefined {
  if (bounds === undefined) return undefined;
  const [x1, y1, x2, y2] = bounds;
  const box: Corners = [Math.max(0, x1), Math.max(0, y1), Math.min(width, x2), Math.min(height, y2)];
  const [w, h] = [box[2] - box[0], box[3] - box[1]];
  if (w <= 0 || h <= 0) return undefined;
  return { box, inside: (w * h) / ((x2 - x1) * (y2 - y1)) };
}
