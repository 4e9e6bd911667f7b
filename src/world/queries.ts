/** Questions about a clip that exactly one span of it answers. */
import { lying } from './stretches.js';
import type { Action, Scene } from './scene.js';
import { asked, type Verb } from './vocabulary.js';

export interface SpanQuery {
  readonly query: string;
  readonly template: string;
  /** Frames [start, end). */
  readonly start: number;
  readonly end: number;
  readonly slotX: string;
  readonly verbX: string;
  readonly slotY: string | null;
  readonly verbY: string | null;
  readonly answer: string | null;
}

const templates = {
  what: 'Objects: What X did I Y?',
  where: 'Objects: Where did I put X?',
  order: 'Objects: Where is object X before / after event Y?',
} as const;

/** `open the red box`, `put down the red box`. */
function phrase(verb: Verb, thing: string): string {
  return `${asked[verb]} the ${thing}`;
}

/** All questions that the templates give for a clip, each with its one answer. */
export function queriesOf(scene: Scene): SpanQuery[] {
  const { actions } = scene;
  const nounOf = ({ object }: Action): string => scene.objects[object]!.noun; // numbers of objects
  const nameOf = ({ object }: Action): string => `${scene.objects[object]!.colour} ${scene.objects[object]!.noun}`;
  const count = (test: (action: Action) => boolean): number => actions.filter(test).length;
  return actions.flatMap((action, i): SpanQuery[] => {
    const { verb, start, end } = action;
    const [name, noun] = [nameOf(action), nounOf(action)];
    const queries: SpanQuery[] = [];
    const about = { slotX: name, verbX: verb, slotY: null, verbY: null, answer: null };
    const isOnly = count((other) => other.verb === verb && other.object === action.object) === 1;
    const isOnlyNoun = count((other) => other.verb === verb && nounOf(other) === noun) === 1;
    if (isOnly && verb === 'put') {
      queries.push({ ...about, query: `where did I put the ${name}?`, template: templates.where, start, end });
    } else if (isOnly) {
      queries.push({ ...about, query: `when did I ${phrase(verb, name)}?`, template: templates.what, start, end });
    }
    if (isOnlyNoun) {
      queries.push({
        ...about,
        slotX: noun,
        answer: scene.objects[action.object]!.colour,
        query: `what colour was the ${noun} that I ${past[verb]}?`,
        template: templates.what,
        start,
        end,
      });
    }
    const next = actions[i + 1];
    if (isOnly && next !== undefined) {
      queries.push({
        query: `what did I do right after I ${past[verb]} the ${name}?`,
        template: templates.order,
        start: next.start,
        end: next.end,
        slotX: nameOf(next),
        verbX: next.verb,
        slotY: name,
        verbY: verb,
        answer: phrase(next.verb, nameOf(next)),
      });
    }
    if (isOnly && verb === 'take') {
      const span = lying(scene, action);
      if (span !== undefined) {
        const query = `where was the ${name} before I put it away?`;
        queries.push({
          ...about,
          query,
          template: templates.order,
          start: span[0],
          end: span[1],
          slotY: name,
          verbY: verb,
        });
      }
    }
    return queries;
  });
}

const past: Readonly<Record<Verb, string>> = {
  take: 'took',
  put: 'put down',
  push: 'pushed',
  turn: 'turned',
  open: 'opened',
  close: 'closed',
  cut: 'cut',
  pour: 'poured from',
  stir: 'stirred in',
  wipe: 'wiped',
};
