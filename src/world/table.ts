/** What stands on the table when a clip begins. */
import type { Random } from '../random.js';
import type { ObjectState, SceneObject } from './scene.js';
import { affordances, colours, nouns, receivers, verbs, type Colour, type Noun, type Verb } from './vocabulary.js';

export interface Table {
  /** Grows while a clip is planned: what is put down may never have been there before. */
  readonly objects: SceneObject[];
  readonly states: readonly ObjectState[];
  /** The verbs that the objects were chosen for, in the order in which they should come. */
  readonly wish: readonly Verb[];
  /** Objects that may lie on the table together. */
  readonly room: number;
  /** Another object, of a colour that its noun has not shown yet; undefined when all were shown. */
  newObject(random: Random, noun: Noun): SceneObject | undefined;
}

/** Half the width of each noun, of one common size. */
const widthOf: Readonly<Record<Noun, number>> = {
  cup: 9.5,
  bowl: 10,
  bottle: 10.5,
  knife: 11,
  apple: 9.5,
  bread: 9.5,
  box: 10.5,
  book: 11,
  phone: 10,
  spoon: 11,
  sponge: 9.5,
  plate: 11,
};

/** Where objects may stand, in scene units. */
export const area = { left: 19, right: 114, far: 33, near: 80 } as const;

/**
 * How much a noun is wanted by the verbs that fit everything: what the other verbs leave of an even share, and not less than a
 * quarter of it, so that no noun is left to special verbs alone.
 */
const wants = new Map(
  nouns.map((noun) => {
    const special = verbs
      .map((verb) => affordances[verb])
      .filter((fitting) => fitting.length < nouns.length && fitting.includes(noun));
    const named = special.reduce((sum, fitting) => sum + 1 / fitting.length, 0);
    return [noun, Math.max(0.2, verbs.length / nouns.length - named)];
  }),
);

/** In random order, the wanted nouns earlier: an item of twice the weight comes first twice as often. */
export function wantedFirst<T>(random: Random, items: readonly T[], nounOf: (item: T) => Noun): T[] {
  const keyed = items.map((item) => ({ item, key: -Math.log(1 - random.uniform()) / (wants.get(nounOf(item)) ?? 1) }));
  return keyed.sort((p, q) => p.key - q.key).map(({ item }) => item);
}

/** A noun for a verb: evenly, or for the verbs that fit everything as it is wanted. */
export function drawNoun(random: Random, among: readonly Noun[]): Noun {
  if (among.length < nouns.length) return among[random.integer(among.length)]!; // below the length
  return wantedFirst(random, among, (noun) => noun)[0]!; // twelve of them
}

export function startTable(random: Random, difficulty: number, allows: (noun: Noun, colour: Colour) => boolean): Table {
  const most = [4, 6, 7][difficulty - 1]!; // 1, 2 or 3
  const room = 3 + random.integer(most - 2);
  const scale = [1.5, 1.32, 1.15][difficulty - 1]!; // 1, 2 or 3
  const wish = random.shuffle([...verbs]);
  const objects: SceneObject[] = [];
  const states: ObjectState[] = [];
  const newObject = (random: Random, noun: Noun): SceneObject | undefined => {
    const free = colours.filter(
      (colour) => allows(noun, colour) && !objects.some((object) => object.noun === noun && object.colour === colour),
    );
    const colour = free[random.integer(Math.max(1, free.length))];
    const size = widthOf[noun] * scale * (0.92 + 0.16 * random.uniform());
    return colour === undefined ? undefined : { noun, colour, size };
  };
  const add = (noun: Noun, place: ObjectState['place'], more: Partial<ObjectState> = {}): void => {
    const object = newObject(random, noun);
    if (object === undefined) return;
    const fresh = { ...freshState(random, noun), ...more };
    const spot = freeSpot(random, objects, states, object.size);
    if (spot === undefined) return;
    objects.push(object);
    states.push({ ...fresh, x: spot[0], y: spot[1], place });
  };
  const lying = (): number => states.filter(({ place }) => place === 'table').length;
  for (const verb of wish) {
    if (verb === 'put') {
      if (!states.some(({ place }) => place === 'away')) add(drawNoun(random, nouns), 'away', { dirt: 0, open: 0 });
      continue;
    }
    if (lying() >= room) continue;
    if (verb === 'pour') {
      if (lying() + 2 > room) continue;
      add(drawNoun(random, affordances.pour), 'table', { level: 0.8 });
      if (lying() < room) add(receivers[random.integer(receivers.length)]!, 'table', { level: 0.15 });
      continue;
    }
    const more: Partial<ObjectState> =
      verb === 'close'
        ? { open: 1 }
        : verb === 'open'
          ? { open: 0 }
          : verb === 'wipe'
            ? { dirt: 1, open: 0 }
            : verb === 'stir'
              ? { level: 0.7 }
              : {};
    add(drawNoun(random, affordances[verb]), 'table', more);
  }
  while (lying() < 3 && objects.length < 12) add(drawNoun(random, nouns), 'table');
  return { objects, states, wish, room, newObject };
}

/** An object as it comes to the table. */
export function freshState(random: Random, noun: Noun): Omit<ObjectState, 'x' | 'y' | 'place'> {
  const canOpen = affordances.open.includes(noun);
  const canHold = affordances.pour.includes(noun);
  const isUpright = noun === 'cup' || noun === 'bowl' || noun === 'plate';
  return {
    turn: isUpright
      ? 2 * Math.PI * random.uniform()
      : noun === 'book'
        ? 0.5 * random.uniform() - 0.25
        : 2.4 * random.uniform() - 1.2,
    open: canOpen && random.uniform() < 0.3 ? 1 : 0,
    apart: 0,
    level: canHold && random.uniform() < 0.65 ? 0.25 + 0.6 * random.uniform() : 0,
    dirt: affordances.wipe.includes(noun) && random.uniform() < 0.5 ? 1 : 0,
    lift: 0,
    tilt: 0,
  };
}

/** A spot in the area that is clear of all that lies there; the gaps asked for shrink where none is found. */
export function freeSpot(
  random: Random,
  objects: readonly SceneObject[],
  states: readonly ObjectState[],
  size: number,
  except = -1,
): readonly [x: number, y: number] | undefined {
  for (let attempt = 0; attempt < 240; attempt++) {
    const gap = 1.2 - 0.5 * Math.floor(attempt / 60) * 0.25;
    const x = area.left + (area.right - area.left) * random.uniform();
    const y = area.far + (area.near - area.far) * random.uniform();
    if (isFree(objects, states, x, y, size * gap, except)) return [x, y];
  }
  return undefined;
}

/** Is a disc of this radius clear of all other objects? The table is seen at a slant, so distances along y count more. */
export function isFree(
  objects: readonly SceneObject[],
  states: readonly ObjectState[],
  x: number,
  y: number,
  radius: number,
  except = -1,
): boolean {
  return states.every((state, i) => {
    if (i === except || state.place === 'away') return true;
    const [dx, dy] = [state.x - x, (state.y - y) * 1.25];
    return Math.hypot(dx, dy) > radius + objects[i]!.size * 0.9; // as many as states
  });
}
