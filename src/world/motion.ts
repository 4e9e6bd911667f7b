/** What each verb looks like: hand, tool and objects at any moment of an action, as pure functions of the frame. */
import { between, reaching, share, smooth } from './geometry.js';
import { elbowOf, handHolding, pointBefore, reachOfHand, type HandPose, type Side } from './hands.js';
import type { Action, ObjectState, SceneObject } from './scene.js';
import { openingEdge, places } from './shapes.js';
import { toolOf, type Noun, type Verb } from './vocabulary.js';

/** Where a hand is when it does nothing: below the picture. */
export function restPose(side: Side): HandPose {
  return side === 'left' ? { x: 36, y: 121, angle: 0.18, grip: 0.25 } : { x: 97, y: 121, angle: -0.18, grip: 0.25 };
}

/** A tool as it lies in the hand: its distance before the palm. */
export const toolReach: Readonly<Partial<Record<Noun, number>>> = { knife: 23, spoon: 22, sponge: 12 };

/** A moment of an action. */
export interface Moment {
  readonly hands: Readonly<Partial<Record<Side, HandPose>>>;
  readonly objects: readonly ObjectState[];
  readonly tool: Noun | null;
  /** What runs from one vessel into the other: from, to, in scene units. */
  readonly stream: readonly [number, number, number, number] | null;
}

/** Perspective: what stands nearer is larger. */
export function nearness(y: number): number {
  return 0.84 + 0.3 * (Math.min(110, Math.max(0, y)) / 100);
}

/** A place of an object (units of its shape) on the scene. */
export function pointOn(
  object: SceneObject,
  state: ObjectState,
  [u, v]: readonly [number, number],
): readonly [number, number] {
  const scale = object.size * nearness(state.y);
  const [cos, sin] = [Math.cos(state.tilt), Math.sin(state.tilt)];
  return [state.x + scale * (u * cos - v * sin), state.y - state.lift + scale * (u * sin + v * cos)];
}

/** How fingers point from the elbow to a place. */
function angleTo(side: Side, x: number, y: number): number {
  const [elbowX, elbowY] = elbowOf(side, { x, y, angle: 0, grip: 0 });
  return Math.max(-0.95, Math.min(0.95, Math.atan2(x - elbowX, elbowY - y)));
}

/** The moment of an action at frame `f`, which may lie between frames; before its start and after its end as there. */
export function actionAt(objects: readonly SceneObject[], action: Action, f: number): Moment {
  const at = Math.min(action.end, Math.max(action.start, f));
  const state = action.before[action.object]!; // the number of an object
  const stage: Stage = { object: objects[action.object]!, state, action, objects, f: at };
  return motions[action.verb](stage);
}

interface Stage {
  readonly object: SceneObject;
  readonly state: ObjectState;
  readonly action: Action;
  readonly objects: readonly SceneObject[];
  readonly f: number;
}

type Motion = (stage: Stage) => Moment;

const motions: Readonly<Record<Verb, Motion>> = {
  take: (stage) => carried(stage, (f, { pnr, end }) => smooth(share(f, pnr ?? end, end))),
  // The same poses the other way round, so that only their order tells the two apart.
  put: (stage) => carried(stage, (f, { start, pnr }) => 1 - smooth(share(f, start, pnr ?? start))),
  push: (stage) => {
    const { object, state, action, f } = stage;
    const [dx, dy] = [action.to[0] - state.x, action.to[1] - state.y];
    const length = Math.hypot(dx, dy);
    const u = smooth(share(f, action.pnr ?? 0, action.release));
    const moved: ObjectState = { ...state, x: state.x + dx * u, y: state.y + dy * u };
    const [x, y] = pointOn(object, moved, [0, 0.15]);
    const behind = object.size * (object.noun === 'knife' || object.noun === 'spoon' ? 0.3 : 0.6);
    const [px, py] = [x - (dx / length) * behind, y - (dy / length) * behind * 0.8 + 2];
    return held(stage, moved, handHolding(px, py, angleTo(action.side, px, py), 0.1));
  },
  turn: (stage) => {
    const { object, state, action, f } = stage;
    const u = smooth(share(f, action.pnr ?? 0, action.release));
    const moved: ObjectState = { ...state, turn: state.turn + action.amount * u };
    const [x, y] = pointOn(object, state, places[object.noun].hold);
    const lean = angleTo(action.side, x, y) - 0.3 * action.amount;
    return held(stage, moved, handHolding(x, y, lean + 0.6 * action.amount * u, 0.5));
  },
  open: (stage) => swung(stage, (u) => u),
  close: (stage) => swung(stage, (u) => 1 - u),
  cut: (stage) => {
    const { object, state, action, f } = stage;
    const sawing = share(f, action.contact, action.pnr ?? 0);
    const apart = smooth(share(f, action.pnr ?? 0, action.release));
    const [x, y] = pointOn(object, state, [0, -0.1]);
    const stroke = 5.5 * Math.sin(2 * Math.PI * action.strokes * sawing);
    const lean = action.side === 'right' ? -0.28 : 0.28;
    const [sawX, sawY] = [x + Math.sin(lean) * stroke, y - Math.cos(lean) * stroke + 3 * apart];
    const knife = handHolding(sawX, sawY, lean, 0.8, toolReach.knife);
    const other: Side = action.side === 'right' ? 'left' : 'right';
    const side = (action.side === 'right' ? -1 : 1) * (0.95 + 0.35 * apart);
    const [holdX, holdY] = pointOn(object, state, [side, 0.15]);
    const moment = held(stage, { ...state, apart }, knife);
    const helper = travelled(stage, other, handHolding(holdX, holdY, angleTo(other, holdX, holdY), 0.45));
    return { ...moment, hands: { ...moment.hands, [other]: helper } };
  },
  pour,
  stir: (stage) => {
    const { object, state, action, f } = stage;
    const u = share(f, action.contact, action.release);
    const [x, y] = pointOn(object, state, places[object.noun].top);
    const round = 2 * Math.PI * action.strokes * u;
    const wide = object.size * (object.noun === 'bowl' ? 0.62 : 0.42);
    const [px, py] = [x + wide * Math.cos(round), y + 0.5 * wide * Math.sin(round)];
    return held(stage, state, handHolding(px, py, angleTo(action.side, x, y) * 0.7, 0.7, toolReach.spoon));
  },
  wipe: (stage) => {
    const { object, state, action, f } = stage;
    const u = share(f, action.contact, action.release);
    const [x, y] = pointOn(object, state, object.noun === 'box' ? [0, 0.2] : [0, 0]);
    const wide = object.size * 0.72;
    const [px, py] = [x + wide * Math.sin(2 * Math.PI * action.strokes * u), y + object.size * (0.9 * u - 0.4)];
    const dirt = state.dirt * (1 - share(f, action.pnr ?? 0, action.release));
    return held(stage, { ...state, dirt }, handHolding(px, py, angleTo(action.side, x, y), 0.2, toolReach.sponge));
  },
};

/** `take` and `put`: `gone(f)` is how far the object is on its way out of the picture. */
function carried(stage: Stage, gone: (f: number, action: Action) => number): Moment {
  const { object, state, action, f } = stage;
  const isTake = action.verb === 'take';
  const [x0, y0] = isTake ? [state.x, state.y] : action.to;
  const u = gone(f, action);
  const rest = restPose(action.side);
  const resting: ObjectState = { ...state, x: x0, y: y0, lift: 0, place: 'table' };
  const [holdX, holdY] = pointOn(object, resting, places[object.noun].hold);
  const [awayX, awayY] = [rest.x + 0.3 * (x0 - rest.x) - x0, 128 - y0];
  const lift = 9 * Math.sin(Math.PI * Math.min(1, 1.4 * u));
  const isHeld = isTake ? f >= (action.pnr ?? 0) : f < (action.pnr ?? 0);
  const place = isTake ? (f >= action.end ? 'away' : isHeld ? 'hand' : 'table') : isHeld ? 'hand' : 'table';
  const moved: ObjectState = { ...resting, x: x0 + awayX * u, y: y0 + awayY * u + lift, lift, place };
  const angle = angleTo(action.side, holdX, holdY);
  const grip = 0.62;
  const carrying = handHolding(holdX + awayX * u, holdY + awayY * u, angle * (1 - u) + rest.angle * u, grip);
  return held(stage, moved, carrying);
}

/** `open` and `close`: fingers follow the edge of the lid. */
function swung(stage: Stage, openAt: (u: number) => number): Moment {
  const { object, state, action, f } = stage;
  const u = smooth(share(f, action.pnr ?? 0, action.release));
  const moved: ObjectState = { ...state, open: openAt(u) };
  const [x, y] = pointOn(object, moved, openingEdge(object.noun, moved));
  // A cap is screwed before it is lifted, and after it is set down.
  const screwing =
    object.noun === 'bottle' ? 0.3 * Math.sin(2 * Math.PI * 3 * share(f, action.contact, action.release)) : 0;
  return held(stage, moved, handHolding(x, y, angleTo(action.side, x, y) + screwing, 0.55));
}

function pour(stage: Stage): Moment {
  const { object, state, action, objects, f } = stage;
  const { contact, release } = action;
  const pnr = action.pnr ?? contact;
  const receiver = objects[action.receiver ?? 0]!; // pour has one
  const into = action.before[action.receiver ?? 0]!;
  const flowEnd = pnr + 0.5 * (release - pnr);
  const away = smooth(share(f, contact + 0.12 * (pnr - contact), contact + 0.72 * (pnr - contact)));
  const home = smooth(share(f, flowEnd + 0.1 * (release - pnr), release));
  const near = away - home;
  const sign = state.x < into.x ? 1 : -1;
  const tilted =
    smooth(share(f, contact + 0.6 * (pnr - contact), pnr)) - smooth(share(f, flowEnd, flowEnd + 0.3 * (release - pnr)));
  const flowed = share(f, pnr, flowEnd);
  const [mouthX, mouthY] = pointOn(receiver, into, places[receiver.noun].top);
  const high = (object.noun === 'bottle' ? 1.2 : 0.9) * object.size;
  const spot = {
    x: mouthX - sign * (object.noun === 'bottle' ? 1.35 : 1.05) * object.size,
    y: mouthY - 0.75 * object.size,
  };
  const lift = high * near + 5 * Math.sin(Math.PI * near);
  const moved: ObjectState = {
    ...state,
    x: between(state.x, spot.x, near),
    y: between(state.y, spot.y + high, near) + 5 * Math.sin(Math.PI * near),
    lift,
    tilt: sign * 1.45 * tilted,
    level: state.level - 0.3 * flowed,
    place: f >= contact + 0.12 * (pnr - contact) && f < release ? 'hand' : 'table',
  };
  const filled: ObjectState = { ...into, level: Math.min(1, into.level + 0.45 * flowed) };
  const [holdX, holdY] = pointOn(object, { ...moved, tilt: 0 }, places[object.noun].hold);
  const lean = angleTo(action.side, holdX, holdY) + 0.45 * moved.tilt;
  const moment = held(stage, moved, handHolding(holdX, holdY, lean, 0.6));
  const withFilled = moment.objects.map((one, i) => (i === action.receiver ? filled : one));
  const isFlowing = f >= pnr && f < flowEnd;
  const [lipX, lipY] = pointOn(object, moved, [0.5 * sign, places[object.noun].top[1]]);
  return { ...moment, objects: withFilled, stream: isFlowing ? [lipX, lipY, mouthX, mouthY + 1] : null };
}

/** The acting hand on its way to `pose`, there, or on its way back; the object as given. */
function held(stage: Stage, moved: ObjectState, pose: HandPose): Moment {
  const { action } = stage;
  const objects = action.before.map((one, i) => (i === action.object ? moved : one));
  const hands = { [action.side]: travelled(stage, action.side, pose) };
  return { hands, objects, tool: toolOf[action.verb] ?? null, stream: null };
}

/** From rest to the pose by the frame of contact; back to rest from the frame of release on. `pose` is that of the moment. */
function travelled({ action, f }: Stage, side: Side, pose: HandPose): HandPose {
  const { start, contact, release, end } = action;
  const rest = restPose(side);
  if (f < contact) {
    const u = reaching(share(f, start, contact));
    const bow = (side === 'left' ? -1 : 1) * 5 * Math.sin(Math.PI * u);
    // Fingers open on the way and close on the thing.
    return { ...mix(rest, pose, u), x: between(rest.x, pose.x, u) + bow, grip: between(rest.grip, 0.6 * pose.grip, u) };
  }
  if (f < release || release === end) {
    const closing = smooth(share(f, contact, contact + 4));
    return { ...pose, grip: pose.grip * (0.6 + 0.4 * closing) };
  }
  const u = 1 - reaching(1 - share(f, release, end));
  const bow = (side === 'left' ? -1 : 1) * 5 * Math.sin(Math.PI * u);
  return { ...mix(pose, rest, u), x: between(pose.x, rest.x, u) + bow, grip: between(0.6 * pose.grip, rest.grip, u) };
}

export function mix(from: HandPose, to: HandPose, u: number): HandPose {
  return {
    x: between(from.x, to.x, u),
    y: between(from.y, to.y, u),
    angle: between(from.angle, to.angle, u),
    grip: between(from.grip, to.grip, u),
  };
}

/** Where the hand, or its tool, does its work. */
export function workingPoint(pose: HandPose, tool: Noun | null): readonly [number, number] {
  return pointBefore(pose, (tool === null ? undefined : toolReach[tool]) ?? reachOfHand);
}
