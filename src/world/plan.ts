/** When what is done to which object: actions one after another, idle stretches, distractions and turns of the head between them. */
import type { Random } from '../random.js';
import { actionAt } from './motion.js';
import type { Action, Distraction, HeadTurn, ObjectState, SceneObject } from './scene.js';
import { area, drawNoun, freeSpot, freshState, isFree, wantedFirst, type Table } from './table.js';
import { affordances, changingVerbs, nouns, verbs, type Verb } from './vocabulary.js';

export interface Plan {
  readonly actions: readonly Action[];
  readonly distractions: readonly Distraction[];
  readonly headTurns: readonly HeadTurn[];
}

interface Timing {
  readonly frames: number;
  readonly fps: number;
  readonly difficulty: number;
}

/** Seconds from touch to PNR and from PNR to release, each drawn between two bounds. */
const paces: Readonly<
  Record<Verb, { readonly still: readonly [number, number]; readonly act: readonly [number, number] }>
> = {
  take: { still: [0.15, 0.3], act: [0.7, 1.1] },
  put: { still: [0.7, 1.1], act: [0.15, 0.3] },
  push: { still: [0.1, 0.2], act: [0.5, 0.9] },
  turn: { still: [0.15, 0.3], act: [0.6, 1.1] },
  open: { still: [0.2, 0.35], act: [0.7, 1.1] },
  close: { still: [0.2, 0.35], act: [0.7, 1.1] },
  cut: { still: [0.7, 1.2], act: [0.35, 0.6] },
  pour: { still: [0.8, 1.1], act: [1.1, 1.6] },
  stir: { still: [0.5, 0.8], act: [0.6, 1.2] },
  wipe: { still: [0.3, 0.5], act: [0.7, 1.2] },
};

export function planActions(random: Random, table: Table, timing: Timing): Plan {
  const { frames, fps, difficulty } = timing;
  const actions: Action[] = [];
  const distractions: Distraction[] = [];
  const headTurns: HeadTurn[] = [];
  const seconds = frames / fps;
  const idleMost = [1, 2.6, 4.2][difficulty - 1]!; // 1, 2 or 3
  const bag = [...table.wish];
  let states: readonly ObjectState[] = table.states;
  // Long clips begin with a stretch that the tracks of the future can look back on.
  let now = Math.round(fps * (seconds >= 12 ? 1.6 + 1.4 * random.uniform() : 0.15 + 0.55 * random.uniform()));
  for (;;) {
    const action = nextAction(random, bag, table, states, now, actions.length === 0, timing);
    if (action === undefined) break;
    actions.push(action);
    states = statesAfter(random, table.objects, action);
    const gap = Math.round(fps * (0.25 + idleMost * random.uniform() ** 1.5));
    fillGap(random, action.end, Math.min(frames, action.end + gap), timing, distractions, headTurns);
    now = action.end + gap;
  }
  const last = actions.at(-1)?.end ?? 0;
  const covered = Math.max(last, ...distractions.map(({ end }) => end), ...headTurns.map(({ end }) => end));
  fillGap(random, covered, frames, timing, distractions, headTurns);
  return { actions, distractions, headTurns };
}

/** The next of the bag's verbs that can be done and still fits; what is skipped keeps its place. */
function nextAction(
  random: Random,
  bag: Verb[],
  table: Table,
  states: readonly ObjectState[],
  now: number,
  isFirst: boolean,
  { frames, fps }: Timing,
): Action | undefined {
  for (let round = 0; round < 2; round++) {
    for (let i = 0; i < bag.length; i++) {
      const verb = bag[i]!;
      const at = verb === 'put' ? withNewObject(random, bag, table, states) : states;
      const target = chooseTarget(random, verb, table, at);
      if (target === undefined) {
        table.objects.length = states.length;
        continue;
      }
      // Where little time is left, an action may be a fifth quicker.
      for (const pace of [0.85 + 0.35 * random.uniform(), 0.75]) {
        const action = timed(random, verb, target, at, now, fps, pace);
        if (action.end > frames - 2) continue;
        bag.splice(i, 1);
        return action;
      }
      table.objects.length = states.length;
      // Later in a clip the short verbs would win if what fits were looked for: then a clip ends with an idle stretch instead.
      if (!isFirst) return undefined;
    }
    bag.push(...random.shuffle([...verbs]));
  }
  return undefined;
}

/** Something that lets a waiting verb be done is brought where nothing was taken away, and now and then elsewhere too. */
function withNewObject(
  random: Random,
  bag: readonly Verb[],
  table: Table,
  states: readonly ObjectState[],
): readonly ObjectState[] {
  const { objects } = table;
  const isNeeded = !states.some(({ place }) => place === 'away');
  if (random.uniform() < 0.5 && !isNeeded) return states;
  const lying = objects.filter((_, i) => states[i]!.place === 'table'); // as many as states
  const waiting = bag.find((verb) => verb !== 'put' && !lying.some(({ noun }) => affordances[verb].includes(noun)));
  const noun = drawNoun(random, waiting === undefined ? nouns : affordances[waiting]);
  const object = table.newObject(random, noun);
  if (object === undefined) return states;
  objects.push(object);
  const level = waiting === 'pour' || waiting === 'stir' ? 0.8 : 0;
  const state = freshState(random, noun);
  return [
    // What was taken before comes back another time.
    ...states,
    { ...state, level: Math.max(state.level, level), open: waiting === 'close' ? 1 : 0, x: 66, y: 60, place: 'away' },
  ];
}

interface Target {
  readonly object: number;
  readonly receiver: number | null;
  readonly to: readonly [x: number, y: number];
}

function chooseTarget(
  random: Random,
  verb: Verb,
  { objects, room }: Table,
  states: readonly ObjectState[],
): Target | undefined {
  const all = states.map((_, i) => i);
  const state = (i: number): ObjectState => states[i]!; // numbers of objects, as many as states
  const lying = all.filter((i) => state(i).place === 'table');
  if (verb === 'take' && lying.length < 3) return undefined;
  if (verb === 'put' && lying.length > room) return undefined;
  const fits = all.filter((i) => {
    if (!affordances[verb].includes(objects[i]!.noun)) return false; // numbers of objects
    const { place, open, apart, level } = state(i);
    if (verb === 'put') return place === 'away';
    if (place === 'away') return false;
    if (verb === 'close') return open > 0.5;
    if (open > 0.5) return false;
    if (verb === 'cut') return apart < 0.5;
    if (verb === 'pour') return level > 0.35;
    if (verb === 'stir') return level > 0.1;
    return true;
  });
  // What can change is chosen before what cannot: a wipe of something clean leaves nothing to see.
  const stained = fits.filter((i) => state(i).dirt > 0.5);
  const fitting = verb === 'wipe' && stained.length > 0 ? stained : fits;
  // A new thing is brought first.
  const newest = verb === 'put' ? fitting.slice(-1) : [];
  const choice = [...newest, ...wantedFirst(random, fitting, (i) => objects[i]!.noun)]; // numbers of objects
  for (const object of choice) {
    const here: readonly [number, number] = [state(object).x, state(object).y];
    if (verb === 'pour') {
      const receiver = random
        .shuffle(lying.filter((i) => i !== object && (objects[i]!.noun === 'cup' || objects[i]!.noun === 'bowl'))) // numbers of objects
        .find((i) => state(i).level < 0.6);
      if (receiver !== undefined) return { object, receiver, to: here };
    } else if (verb === 'put') {
      const spot = freeSpot(random, objects, states, objects[object]!.size, object); // a number of an object
      if (spot !== undefined) return { object, receiver: null, to: spot };
    } else if (verb === 'push') {
      const to = pushedTo(random, objects, states, object);
      if (to !== undefined) return { object, receiver: null, to };
    } else return { object, receiver: null, to: here };
  }
  return undefined;
}

/** Away from the wearer or sideways, 14 to 26 units, with the way clear. */
function pushedTo(
  random: Random,
  objects: readonly SceneObject[],
  states: readonly ObjectState[],
  object: number,
): readonly [number, number] | undefined {
  const { x, y } = states[object]!; // a number of an object
  const { size } = objects[object]!;
  for (let attempt = 0; attempt < 24; attempt++) {
    const angle = Math.PI * (1.12 * random.uniform() - 1.06);
    const way = 14 + 12 * random.uniform();
    const [toX, toY] = [x + Math.cos(angle) * way, y + 0.8 * Math.sin(angle) * way];
    if (toX < area.left - 4 || toX > area.right + 4 || toY < area.far - 8 || toY > area.near) continue;
    const clear = [0.5, 1].every((u) =>
      isFree(objects, states, x + (toX - x) * u, y + (toY - y) * u, size * 0.8, object),
    );
    if (clear) return [toX, toY];
  }
  return undefined;
}

function timed(
  random: Random,
  verb: Verb,
  { object, receiver, to }: Target,
  states: readonly ObjectState[],
  now: number,
  fps: number,
  pace: number,
): Action {
  const draw = ([least, most]: readonly [number, number]): number =>
    Math.max(2, Math.round(fps * pace * (least + (most - least) * random.uniform())));
  const [reach, retreat] = [draw([0.65, 1]), draw([0.5, 0.75])];
  const [still, act] = [draw(paces[verb].still), draw(paces[verb].act)];
  const { x, turn, dirt } = states[object]!; // a number of an object
  const aim = verb === 'put' ? to[0] : x;
  // Tools and vessels are for the better hand; else the nearer one comes, mostly.
  const isHandy = ['cut', 'stir', 'wipe', 'pour'].includes(verb);
  const isRight = isHandy ? random.uniform() < 0.85 : aim > 66.7 === random.uniform() < 0.8;
  const contact = verb === 'put' ? now : now + reach;
  const pnr = contact + still;
  const isTake = verb === 'take';
  const release = pnr + act;
  const end = isTake ? release : release + retreat;
  const most = verb === 'turn' && Math.abs(turn) > 0.4 ? -Math.sign(turn) : random.uniform() < 0.5 ? -1 : 1;
  return {
    verb,
    object,
    receiver,
    side: isRight ? 'right' : 'left',
    start: now,
    contact,
    pnr: verb === 'stir' ? null : pnr,
    release,
    end,
    to,
    amount: most * (1 + 0.9 * random.uniform()),
    strokes: 3 + random.integer(2),
    before: states,
    changes: changingVerbs.includes(verb) && (verb !== 'wipe' || dirt > 0.5),
  };
}

/** Objects when the action is over. What has left the table comes back later as new: filled, whole, clean or not. */
function statesAfter(random: Random, objects: readonly SceneObject[], action: Action): ObjectState[] {
  const { objects: after } = actionAt(objects, action, action.end);
  return after.map((state, i) =>
    i === action.object && action.verb === 'take'
      ? { ...state, ...freshState(random, objects[i]!.noun), open: 0, place: 'away' } // as many objects as states
      : state,
  );
}

/** What happens between actions: a hand that only comes near, a look to the side, mostly nothing. */
function fillGap(
  random: Random,
  from: number,
  to: number,
  { fps, difficulty }: Timing,
  distractions: Distraction[],
  headTurns: HeadTurn[],
): void {
  const room = (to - from) / fps;
  const wish = random.uniform();
  const [isHand, isHead] = [wish < 0.15 + 0.15 * difficulty, wish > 1 - 0.08 * (1 + difficulty)];
  if (isHead && room > 1.7) {
    const length = Math.round(fps * Math.min(room - 0.3, 1.3 + 0.7 * random.uniform()));
    const start = from + Math.floor((to - from - length) / 2);
    headTurns.push({
      start,
      end: start + length,
      amount: (random.uniform() < 0.5 ? -1 : 1) * (172 + 16 * random.uniform()),
    });
  } else if (isHand && room > 1.3) {
    const length = Math.round(fps * Math.min(room - 0.2, 1.1 + random.uniform()));
    const start = from + Math.floor((to - from - length) / 2);
    const isRight = random.uniform() < 0.5;
    distractions.push({
      side: isRight ? 'right' : 'left',
      start,
      end: start + length,
      x: (isRight ? 80 : 30) + 24 * random.uniform(),
      y: 66 + 20 * random.uniform(),
      wiggle: 3 * random.uniform(),
    });
  }
}
