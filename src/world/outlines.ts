/** All that is in the picture as polygons in pixels, back to front: what the painter paints and the label pictures count. */
import { compose, ellipse, mapped, placed, type Affine, type Polygon } from './geometry.js';
import { handParts, type Side } from './hands.js';
import { nearness, toolReach } from './motion.js';
import type { Scene } from './scene.js';
import { flatness, partsOf, untouched, type Part } from './shapes.js';
import type { Colour, Noun } from './vocabulary.js';
import { pixelsOf, type View, type World } from './world.js';

/** A thing in the picture. */
export type Thing = { readonly parts: readonly Part[]; readonly shadow: Polygon | null } & (
  | { readonly kind: 'object'; readonly object: number; readonly noun: Noun; readonly colour: Colour }
  /** A tool in the hand, the colour of no object. */
  | { readonly kind: 'tool'; readonly noun: Noun; readonly colour: Colour }
  | { readonly kind: 'hand'; readonly side: Side }
);

/** Tools have colours of their own: the wearer brings them. */
const toolColours: Readonly<Partial<Record<Noun, Colour>>> = { knife: 'black', spoon: 'white', sponge: 'yellow' };

/** From scene units to pixels. */
export function projection(world: World, view: View): Affine {
  return compose(pixelsOf(view), world.camera);
}

/** Everything in the order in which it is painted. */
export function thingsOf(scene: Scene, world: World, view: View): readonly Thing[] {
  const map = projection(world, view);
  const order = world.objects
    .map((state, object) => ({ state, object }))
    .filter(({ state }) => state.place !== 'away')
    // What is held or lifted is nearer to the eye than what lies; else what stands nearer hides what is behind.
    .sort((p, q) => Number(p.state.place === 'hand') - Number(q.state.place === 'hand') || p.state.y - q.state.y);
  const things = order.map(({ object }): Thing => objectThing(scene, world, object, map));
  const active = world.action?.side ?? 'right';
  const sides: readonly Side[] = active === 'right' ? ['left', 'right'] : ['right', 'left'];
  for (const side of sides) {
    const pose = world.hands[side];
    if (world.tool !== null && world.tool.side === side)
      things.push(toolThing(world.tool.noun, scene, world, side, map));
    const parts = handParts(side, pose, scene.setting.wearer).map((part) => ({
      ...part,
      points: mapped(map, part.points),
    }));
    things.push({ kind: 'hand', side, parts, shadow: null });
  }
  return things;
}

function objectThing(scene: Scene, world: World, object: number, map: Affine): Thing {
  const { noun, colour, size } = scene.objects[object]!; // numbers of objects
  const state = world.objects[object]!;
  const scale = size * nearness(state.y);
  const at = compose(map, placed(state.x, state.y - state.lift, state.tilt, scale));
  const parts = partsOf(noun, state).map((part) => ({ ...part, points: mapped(at, part.points) }));
  const width = noun === 'bottle' || noun === 'knife' || noun === 'phone' ? 0.8 : 1.05;
  const ground = compose(
    map,
    placed(state.x - scene.setting.light * (1.2 + 0.35 * state.lift), state.y + 0.42 * scale, 0, scale),
  );
  const shadow = mapped(ground, ellipse(0, 0, width, width * 0.62 * flatness));
  return { kind: 'object', object, noun, colour, parts, shadow };
}

function toolThing(noun: Noun, scene: Scene, world: World, side: Side, map: Affine): Thing {
  const pose = world.hands[side];
  const { size } = scene.setting.wearer;
  // Shapes lie along x; in the hand they point as the fingers do. The working end comes to `toolReach`.
  const long = { knife: 13, spoon: 12, sponge: 10 }[noun as string] ?? 10;
  const tip = noun === 'sponge' ? 0 : 1.1;
  const reach = (toolReach[noun] ?? 0) - tip * long;
  const [x, y] = [pose.x + Math.sin(pose.angle) * reach, pose.y - Math.cos(pose.angle) * reach];
  const upright = placed(x, y, pose.angle - Math.PI / 2, long * (noun === 'sponge' ? size : 1), long / flatness);
  const at = compose(map, upright);
  const parts = partsOf(noun, { ...untouched, turn: noun === 'sponge' ? Math.PI / 2 : 0 }).map((part) => ({
    ...part,
    points: mapped(at, part.points),
  }));
  return { kind: 'tool', noun, colour: toolColours[noun] ?? 'white', parts, shadow: null };
}
