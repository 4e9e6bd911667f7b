/** A clip before it is drawn: everything about it follows from a `ClipRequest`. */
import { assert } from '../errors.js';
import { seededRandom } from '../random.js';
import type { Side } from './hands.js';
import { planActions } from './plan.js';
import { startTable } from './table.js';
import { drawSetting, type Setting } from './setting.js';
import type { Condition } from './shapes.js';
import { isHeldOut, type Colour, type Noun, type Verb } from './vocabulary.js';

export const splits = ['train', 'val', 'test'] as const;
export type Split = (typeof splits)[number];

/** Part of every uid: another number is another world. Raise it whenever pictures or truth of a seed change. */
export const worldVersion = 1;

/** What a clip is made from. The picture's size is no part of it: any size shows the same scene. */
export interface ClipRequest {
  /** An integer of 32 bits. Clips of the three splits never share one: the split is mixed in. */
  readonly seed: number;
  readonly split: Split;
  /** Number of the clip in its split, from 0. */
  readonly index: number;
  readonly seconds: number;
  /** Whole frames a second. */
  readonly fps: number;
  readonly difficulty: 1 | 2 | 3;
}

export interface SceneObject {
  readonly noun: Noun;
  readonly colour: Colour;
  /** Half the width, in scene units, at the middle of the table. */
  readonly size: number;
}

/** An object at one moment. */
export interface ObjectState extends Condition {
  /** Where it stands, in scene units; y grows towards the wearer. */
  readonly x: number;
  readonly y: number;
  /** How far it is above the table. */
  readonly lift: number;
  /** Radians, in the picture's plane: a vessel that is poured from. */
  readonly tilt: number;
  /** `away`: taken off the table, out of sight. */
  readonly place: 'table' | 'hand' | 'away';
}

/**
 * One action. All times are frame numbers; `start <= contact <= pnr < release <= end`.
 * Frames `start` to `end - 1` belong to it.
 */
export interface Action {
  readonly verb: Verb;
  /** Number of its object. */
  readonly object: number;
  /** `pour`: the object that is filled. */
  readonly receiver: number | null;
  readonly side: Side;
  readonly start: number;
  /** First frame in which hand or tool touches the object; `start` where it comes in the hand (`put`). */
  readonly contact: number;
  /** The frame from which on the object is no longer what or where it was; null for `stir`, which leaves no trace. */
  readonly pnr: number | null;
  /** First frame in which nothing touches the object any more; `end` where it leaves with the hand (`take`). */
  readonly release: number;
  readonly end: number;
  /** `push`, `put`: where the object ends. */
  readonly to: readonly [x: number, y: number];
  /** `turn`: by how many radians. */
  readonly amount: number;
  /** `cut`, `stir`, `wipe`: how often. */
  readonly strokes: number;
  /** All objects when it starts. */
  readonly before: readonly ObjectState[];
  /** Is its object (for `pour`, what is poured) another afterwards, apart from where it is? */
  readonly changes: boolean;
}

/** A hand that comes and goes and touches nothing. */
export interface Distraction {
  readonly side: Side;
  readonly start: number;
  readonly end: number;
  readonly x: number;
  readonly y: number;
  readonly wiggle: number;
}

/** The head turns away and back; in between the table is out of sight. */
export interface HeadTurn {
  readonly start: number;
  readonly end: number;
  /** Scene units by which the picture moves; its sign says to which side. */
  readonly amount: number;
}

export interface Scene {
  readonly request: ClipRequest;
  readonly frames: number;
  /** Wearer, texture and every pair of noun and colour are among those that training never shows. */
  readonly isCompositional: boolean;
  readonly setting: Setting;
  readonly objects: readonly SceneObject[];
  /** Objects at frame 0. */
  readonly first: readonly ObjectState[];
  readonly actions: readonly Action[];
  readonly distractions: readonly Distraction[];
  readonly headTurns: readonly HeadTurn[];
}

/** The scene of a clip: the same request, the same scene. */
export function makeScene(request: ClipRequest): Scene {
  const { seed, split, index, seconds, fps, difficulty } = request;
  const frames = Math.round(seconds * fps);
  assert(frames >= 1, `a clip of at least one frame, found ${seconds} s at ${fps} frames a second`);
  // A stream for each part: more objects do not change who wears the camera.
  const name = `tabletop/${worldVersion}/${split}/${index}/${difficulty}`;
  // Half of the test split shows what training never does, the other half what it does: the two are reported apart.
  const isCompositional = split === 'test' && index % 2 === 1;
  const setting = drawSetting(seededRandom(seed, `${name}/setting`), difficulty, isCompositional);
  const random = seededRandom(seed, `${name}/table`);
  const table = startTable(random, difficulty, (noun, colour) => isHeldOut(noun, colour) === isCompositional);
  const plan = planActions(seededRandom(seed, `${name}/actions`), table, { frames, fps, difficulty });
  return { request, frames, isCompositional, setting, objects: table.objects, first: table.states, ...plan };
}
