/** When an object is to be seen: the stretches that queries about places and pictures of objects answer with. */
import type { Action, Scene } from './scene.js';
import { frameBoxes, type Corners } from './truth.js';
import type { View } from './world.js';

/** Samples a second of Visual Queries 2D. */
export const trackRate = 5;

/** Boxes of one object on consecutive samples. */
export interface Stretch {
  readonly object: number;
  /** Sample of the first box, at `trackRate`. */
  readonly first: number;
  readonly boxes: readonly Corners[];
}

/** An object counts as seen when this share of its box is inside the picture. What hides it inside the picture does not count. */
const leastInside = 0.6;

/** All stretches of a clip, by their start. The clip's rate is a multiple of `trackRate`. */
export function stretchesOf(scene: Scene, view: View): Stretch[] {
  const step = scene.request.fps / trackRate;
  const samples = Math.ceil(scene.frames / step);
  const open = new Map<number, { first: number; boxes: Corners[] }>();
  const stretches: Stretch[] = [];
  for (let sample = 0; sample <= samples; sample++) {
    const { objects } =
      sample < samples ? frameBoxes(scene, sample * step, view) : { objects: new Map<number, never>() };
    scene.objects.forEach((_, object) => {
      const seen = objects.get(object);
      const running = open.get(object);
      if (seen !== undefined && seen.inside >= leastInside) {
        if (running === undefined) open.set(object, { first: sample, boxes: [seen.box] });
        else running.boxes.push(seen.box);
      } else if (running !== undefined) {
        stretches.push({ object, ...running });
        open.delete(object);
      }
    });
  }
  return stretches.sort((p, q) => p.first - q.first || p.object - q.object);
}

/** Frames [from, contact) in which the object of an action lies untouched before it; undefined where that is less than half a second. */
export function lying(scene: Scene, action: Action): readonly [start: number, end: number] | undefined {
  const before = scene.actions.filter(
    (other) => other.start < action.start && (other.object === action.object || other.receiver === action.object),
  );
  const from = before.at(-1)?.end ?? 0;
  return action.contact - from >= scene.request.fps / 2 ? [from, action.contact] : undefined;
}
