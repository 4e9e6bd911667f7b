import { describe, expect, test } from 'vitest';
import { wearerOf, unseenWearer } from './setting.js';
import { makeScene, type ClipRequest, type Scene } from './scene.js';
import { affordances, isHeldOut, nouns, colours, verbs } from './vocabulary.js';
import { worldAt } from './world.js';
import { queriesOf } from './queries.js';

const request: ClipRequest = { seed: 7, split: 'train', index: 0, seconds: 20, fps: 30, difficulty: 2 };

function scenes(count: number, change: Partial<ClipRequest> = {}): Scene[] {
  return Array.from({ length: count }, (_, index) => makeScene({ ...request, ...change, index }));
}

describe('makeScene', () => {
  test('gives the same scene for the same request, another for every part of it', () => {
    expect(makeScene(request)).toEqual(makeScene({ ...request }));
    const first = JSON.stringify(makeScene(request));
    const others: Partial<ClipRequest>[] = [
      { seed: 8 },
      { index: 1 },
      { split: 'val' },
      { difficulty: 3 },
      { seconds: 30 },
    ];
    for (const change of others)
      expect(JSON.stringify(makeScene({ ...request, ...change })), JSON.stringify(change)).not.toBe(first);
  });

  test('orders the frames of every action, one action after another, within the clip', () => {
    for (const difficulty of [1, 2, 3] as const) {
      for (const { actions, frames } of scenes(40, { difficulty })) {
        let before = 0;
        for (const { start, contact, pnr, release, end, verb } of actions) {
          expect(start).toBeGreaterThanOrEqual(before);
          expect(contact).toBeGreaterThanOrEqual(start);
          expect(contact === start, verb).toBe(verb === 'put');
          expect(pnr === null, verb).toBe(verb === 'stir');
          expect(pnr ?? contact + 1).toBeGreaterThan(contact);
          expect(release).toBeGreaterThan(pnr ?? contact);
          expect(end).toBeGreaterThanOrEqual(release);
          expect(Number.isInteger(start + contact + (pnr ?? 0) + release + end)).toBe(true);
          before = end;
        }
        expect(before).toBeLessThan(frames);
      }
    }
  });

  test('does to every noun only what can be done to it, and all verbs about as often', () => {
    const counts = new Map<string, number>(verbs.map((verb) => [verb, 0]));
    const all = scenes(400, { seconds: 6 }).flatMap(({ actions, objects }) =>
      actions.map((action) => ({ ...action, noun: objects[action.object]!.noun })),
    );
    for (const { verb, noun } of all) {
      expect(affordances[verb]).toContain(noun);
      counts.set(verb, counts.get(verb)! + 1);
    }
    for (const [verb, count] of counts) expect(count / all.length, verb).toBeGreaterThan(0.05);
    for (const noun of nouns)
      expect(all.filter((action) => action.noun === noun).length / all.length, noun).toBeGreaterThan(0.04);
  });

  test('never has two objects of one noun and colour in a clip', () => {
    for (const { objects } of scenes(30, { seconds: 60 })) {
      const names = objects.map(({ noun, colour }) => `${colour} ${noun}`);
      expect(new Set(names).size).toBe(names.length);
    }
  });

  test('shows unseen wearers, textures and pairs in odd test clips, and nowhere else', () => {
    const isUnseen = (scene: Scene): boolean[] => [
      scene.setting.wearer.id >= unseenWearer,
      scene.setting.texture === 'tiles',
      ...scene.objects.map(({ noun, colour }) => isHeldOut(noun, colour)),
    ];
    for (const split of ['train', 'val', 'test'] as const) {
      for (const scene of scenes(40, { split })) {
        const expected = split === 'test' && scene.request.index % 2 === 1;
        expect(scene.isCompositional).toBe(expected);
        expect(new Set(isUnseen(scene))).toEqual(new Set([expected]));
      }
    }
  });

  test('keeps a quarter of the pairs for the test split, two colours of every noun', () => {
    for (const noun of nouns) expect(colours.filter((colour) => isHeldOut(noun, colour))).toHaveLength(2);
  });

  test('does an action only to what is in the state that it needs', () => {
    for (const { actions, objects } of scenes(60, { seconds: 40 })) {
      for (const { verb, object, before, receiver } of actions) {
        const state = before[object]!;
        expect(state.place, verb).toBe(verb === 'put' ? 'away' : 'table');
        if (verb === 'close') expect(state.open).toBe(1);
        if (verb === 'open') expect(state.open).toBe(0);
        if (verb === 'cut') expect(state.apart).toBe(0);
        if (verb === 'pour') expect(['cup', 'bowl']).toContain(objects[receiver!]!.noun);
      }
    }
  });

  test('draws a person the same in every clip', () => {
    expect(wearerOf(3)).toEqual(wearerOf(3));
    expect(wearerOf(3)).not.toEqual(wearerOf(4));
  });
});

describe('worldAt', () => {
  test('changes nothing in jumps: objects move less than 10 units a frame, hands less than 12', () => {
    for (const scene of scenes(12, { seconds: 12 })) {
      for (let f = 0; f + 1 < scene.frames; f++) {
        const [now, next] = [worldAt(scene, f), worldAt(scene, f + 1)];
        next.objects.forEach((state, i) => {
          const before = now.objects[i];
          if (before === undefined || before.place === 'away' || state.place === 'away') return;
          expect(Math.hypot(state.x - before.x, state.y - state.lift - before.y + before.lift)).toBeLessThan(10);
        });
        for (const side of ['left', 'right'] as const) {
          const [p, q] = [now.hands[side], next.hands[side]];
          // Far below the picture hands may change their ways.
          if (p.y < 108 || q.y < 108)
            expect(Math.hypot(p.x - q.x, p.y - q.y), `${f} ${now.action?.verb}`).toBeLessThan(12);
        }
      }
    }
  });

  test('changes an object for good only by the verbs that change it', () => {
    for (const scene of scenes(30)) {
      scene.actions.forEach((action, i) => {
        const after = scene.actions[i + 1]?.before;
        if (after === undefined || action.verb === 'take') return;
        const [p, q] = [action.before[action.object]!, after[action.object]!];
        const isSame = p.open === q.open && p.apart === q.apart && p.dirt === q.dirt && p.level === q.level;
        expect(isSame, action.verb).toBe(!action.changes);
      });
    }
  });
});

describe('queriesOf', () => {
  test('asks only what exactly one span answers', () => {
    let asked = 0;
    for (const scene of scenes(25, { seconds: 60, difficulty: 1 })) {
      const questions = queriesOf(scene);
      expect(new Set(questions.map(({ query }) => query)).size).toBe(questions.length);
      for (const { query, verbX, slotX, start, end } of questions) {
        if (!query.startsWith('when') && !query.startsWith('where did')) continue;
        const answers = scene.actions.filter(
          ({ verb, object }) =>
            verb === verbX && `${scene.objects[object]!.colour} ${scene.objects[object]!.noun}` === slotX,
        );
        expect(answers.map((action) => [action.start, action.end])).toEqual([[start, end]]);
        asked++;
      }
    }
    expect(asked).toBeGreaterThan(50);
  });
});
