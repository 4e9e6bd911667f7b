/** The world at one moment: camera, hands, tool and objects, as a pure function of (scene, frame). */
import { between, placed, smooth, share, type Affine } from './geometry.js';
import { reachOfHand, pointBefore, type HandPose, type Side } from './hands.js';
import { actionAt, mix, restPose, type Moment } from './motion.js';
import type { Action, ObjectState, Scene } from './scene.js';
import { waveSum } from './setting.js';
import type { Noun } from './vocabulary.js';

/** Scene units that the camera sees when it looks straight ahead. */
export const viewWidth = 400 / 3;
export const viewHeight = 100;

export interface World {
  /** From scene units to the units of the view (0 to 133.3 across, 0 to 100 down). */
  readonly camera: Affine;
  readonly hands: Readonly<Record<Side, HandPose>>;
  readonly objects: readonly ObjectState[];
  readonly tool: { readonly noun: Noun; readonly side: Side } | null;
  readonly stream: Moment['stream'];
  /** The action that the frame belongs to. */
  readonly action: Action | null;
  /** Does a hand or its tool touch the object of the action? */
  readonly isTouching: boolean;
  /** Brightness, about 1. */
  readonly exposure: number;
}

/** The action that frame `f` belongs to, and the last one that began before it. */
export function actionsAt(scene: Scene, f: number): { readonly last: Action | null; readonly current: Action | null } {
  let [low, high] = [0, scene.actions.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (scene.actions[middle]!.start <= f) low = middle + 1;
    else high = middle;
  }
  const last = scene.actions[low - 1] ?? null;
  return { last, current: last !== null && f < last.end ? last : null };
}

/** The world at frame `f`, which may lie between frames. */
export function worldAt(scene: Scene, f: number): World {
  const { last, current } = actionsAt(scene, f);
  const moment = last === null ? undefined : actionAt(scene.objects, last, f);
  const tool = moment?.tool ?? null;
  const seconds = f / scene.request.fps;
  const { sway } = scene.setting;
  const hands: Record<Side, HandPose> = { left: idle(scene, 'left', f), right: idle(scene, 'right', f) };
  if (current !== null && moment !== undefined) {
    for (const side of ['left', 'right'] as const) hands[side] = moment.hands[side] ?? hands[side];
  }
  const zoom = 1.02 + waveSum(sway.zoom, seconds);
  const roll = waveSum(sway.roll, seconds);
  const [cx, cy] = [viewWidth / 2, viewHeight / 2];
  const map = placed(0, 0, roll, zoom);
  const shift = headShift(scene, f);
  const camera: Affine = {
    ...map,
    e: cx - map.a * cx - map.c * cy + waveSum(sway.x, seconds) + shift,
    f: cy - map.b * cx - map.d * cy + waveSum(sway.y, seconds) + 0.03 * Math.abs(shift),
  };
  return {
    camera,
    hands,
    objects: moment?.objects ?? scene.first,
    tool: current === null || tool === null ? null : { noun: tool, side: current.side },
    stream: current === null ? null : (moment?.stream ?? null),
    action: current,
    isTouching: current !== null && f >= current.contact && f < current.release,
    exposure: 1 + waveSum(sway.exposure, seconds),
  };
}

/** A hand that is not part of an action: below the picture, or on its way to nothing. */
function idle(scene: Scene, side: Side, f: number): HandPose {
  const rest = restPose(side);
  const move = scene.distractions.find((one) => one.side === side && f >= one.start && f < one.end);
  if (move === undefined) return rest;
  const { start, end, x, y, wiggle } = move;
  const length = end - start;
  const near = smooth(share(f, start, start + 0.42 * length)) - smooth(share(f, start + 0.58 * length, end));
  const phase = (2 * Math.PI * 2 * (f - start)) / length;
  const over: HandPose = {
    x: x + wiggle * Math.sin(phase),
    y: y + 0.6 * wiggle * Math.cos(phase),
    angle: between(-0.3, 0.3, (x % 7) / 7),
    grip: 0.3 + 0.3 * Math.sin(0.7 * phase) ** 2,
  };
  return mix(rest, over, near);
}

function headShift(scene: Scene, f: number): number {
  const turn = scene.headTurns.find(({ start, end }) => f >= start && f < end);
  if (turn === undefined) return 0;
  const length = turn.end - turn.start;
  const away =
    smooth(share(f, turn.start, turn.start + 0.4 * length)) - smooth(share(f, turn.start + 0.6 * length, turn.end));
  return turn.amount * away;
}

/** How a view becomes a picture: `cover` fills it and cuts what is over, `stretch` changes the aspect. */
export interface View {
  readonly width: number;
  readonly height: number;
  /** `cover` where absent. */
  readonly fit?: 'cover' | 'stretch';
}

/** From units of the view to pixels. */
export function pixelsOf({ width, height, fit }: View): Affine {
  if (fit === 'stretch') return { a: width / viewWidth, b: 0, c: 0, d: height / viewHeight, e: 0, f: 0 };
  const scale = Math.max(width / viewWidth, height / viewHeight);
  return { a: scale, b: 0, c: 0, d: scale, e: (width - scale * viewWidth) / 2, f: (height - scale * viewHeight) / 2 };
}

/** What truth calls the place of a hand: the middle of palm and fingers. */
export function handCentre(pose: HandPose): readonly [x: number, y: number] {
  return pointBefore(pose, 0.3 * reachOfHand);
}
