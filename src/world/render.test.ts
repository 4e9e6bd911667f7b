import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { workingPoint } from './motion.js';
import { openRenderer } from './render.js';
import { makeScene, type Scene } from './scene.js';
import { frameBoxes, frameTruth, surfaceLabels, tokenChannels, tokenTruth, handTruth } from './truth.js';
import { nouns, toolOf } from './vocabulary.js';
import { worldAt } from './world.js';

const view = { width: 160, height: 120 };
const sceneOf = (index: number, seconds = 8): Scene =>
  makeScene({ seed: 11, split: 'train', index, seconds, fps: 30, difficulty: 1 });
const hash = (bytes: Uint8ClampedArray): string => createHash('sha256').update(bytes).digest('hex');

describe('a renderer', () => {
  test('draws a frame alone as it draws it in order, and twice the same', async () => {
    const scene = sceneOf(0, 2);
    const inOrder = await openRenderer({ width: 64, height: 48 });
    const hashes = Array.from({ length: 60 }, (_, f) => hash(inOrder.rgba(scene, f)));
    const alone = await openRenderer({ width: 64, height: 48 });
    for (const f of [59, 7, 30, 0]) expect(hash(alone.rgba(makeScene({ ...scene.request }), f))).toBe(hashes[f]);
    expect(new Set(hashes).size).toBe(60);
  });

  test('gives rgb as rgba without its fourth channel', async () => {
    const renderer = await openRenderer({ width: 32, height: 32, fit: 'stretch' });
    const rgba = renderer.rgba(sceneOf(1), 5).slice();
    const rgb = new Uint8Array(2 * 32 * 32 * 3);
    renderer.rgb(sceneOf(1), 5, rgb, 32 * 32 * 3);
    expect([...rgb.subarray(32 * 32 * 3)]).toEqual([...rgba].filter((_, i) => i % 4 !== 3));
    expect(rgba.every((value, i) => i % 4 !== 3 || value === 255)).toBe(true);
  });
});

/** The scene without one object, noise and sway, before its first action. */
function pair(index: number, object: number): { readonly scene: Scene; readonly without: Scene } {
  const made = sceneOf(index);
  const scene: Scene = {
    ...made,
    actions: [],
    distractions: [],
    headTurns: [],
    setting: { ...made.setting, noise: 0 },
  };
  const first = scene.first.map((state, i) => (i === object ? { ...state, place: 'away' as const } : state));
  return { scene, without: { ...scene, first } };
}

describe('label pictures', () => {
  test('cover the pixels that an object changes, and its shadow apart no others', async () => {
    const renderer = await openRenderer(view);
    let seen = 0;
    for (let index = 0; index < 12; index++) {
      const object = sceneOf(index).first.findIndex(({ place }) => place === 'table');
      const { scene, without } = pair(index, object);
      const [p, q] = [renderer.rgba(scene, 0).slice(), renderer.rgba(without, 0).slice()];
      const [labels, others] = [frameTruth(scene, 0, view).surface, frameTruth(without, 0, view).surface];
      const own = surfaceLabels.firstNoun + nouns.indexOf(scene.objects[object]!.noun);
      let [inside, changedInside, changedOutside] = [0, 0, 0];
      for (let i = 0; i < labels.length; i++) {
        const difference = Math.max(...[0, 1, 2].map((c) => Math.abs(p[4 * i + c]! - q[4 * i + c]!)));
        const isOwn = labels[i] === own && others[i] !== own;
        const isEdge = [1, -1, view.width, -view.width].some((step) => labels[i + step] === own);
        if (isOwn) inside++;
        if (isOwn && difference > 6) changedInside++;
        // A shadow takes a quarter of the light away; more than that is the object itself.
        if (!isOwn && !isEdge && difference > 75) changedOutside++;
      }
      if (inside < 150) continue; // hidden by others
      expect(changedInside / inside, `${index}`).toBeGreaterThan(0.9);
      expect(changedOutside / inside, `${index}`).toBeLessThan(0.03);
      seen++;
    }
    expect(seen).toBeGreaterThan(6);
  });

  test('lie in the boxes of the objects, and touch their sides', () => {
    for (let index = 0; index < 8; index++) {
      const made = sceneOf(index);
      const object = made.first.findIndex(({ place }) => place === 'table');
      const first = made.first.map((state, i) => (i === object ? state : { ...state, place: 'away' as const }));
      const alone: Scene = { ...made, first, actions: [], distractions: [], headTurns: [] };
      const { surface } = frameTruth(alone, 0, view);
      const [x1, y1, x2, y2] = frameBoxes(alone, 0, view).objects.get(object)!.box;
      let found = [Infinity, Infinity, -Infinity, -Infinity];
      surface.forEach((label, i) => {
        if (label < surfaceLabels.firstNoun) return;
        const [x, y] = [i % view.width, Math.floor(i / view.width)];
        found = [
          Math.min(found[0]!, x),
          Math.min(found[1]!, y),
          Math.max(found[2]!, x + 1),
          Math.max(found[3]!, y + 1),
        ];
      });
      [x1, y1, x2, y2].forEach((side, i) => {
        expect(Math.abs(side - found[i]!), `${made.objects[object]!.noun} side ${i}`).toBeLessThan(1.6);
      });
    }
  });

  test('show the hand at its centre whenever that is in view', () => {
    let seen = 0;
    for (let index = 0; index < 8; index++) {
      const scene = sceneOf(index);
      for (let f = 0; f < scene.frames; f += 3) {
        const truth = frameTruth(scene, f, view);
        for (const side of ['left', 'right'] as const) {
          const { x, y, isVisible } = truth.hands[side];
          if (!isVisible) continue;
          const label = truth.surface[Math.floor(y) * view.width + Math.floor(x)];
          // One hand may lie over the other.
          expect([surfaceLabels.left, surfaceLabels.right], `${index} ${f}`).toContain(label);
          if (label === surfaceLabels[side]) seen++;
        }
      }
    }
    expect(seen).toBeGreaterThan(100);
  });

  test('mark the contact from the first touching frame on, until the release', () => {
    let seen = 0;
    for (let index = 0; index < 20; index++) {
      const scene = sceneOf(index);
      for (const { contact, start, release, end } of scene.actions) {
        const touching = (f: number): boolean => frameTruth(scene, f, view).contact.includes(1);
        expect(frameTruth(scene, contact, view).isTouching).toBe(true);
        if (contact > start) expect(touching(contact - 1)).toBe(false);
        if (release < end) expect(touching(release)).toBe(false);
        expect(frameTruth(scene, release - 1, view).isTouching).toBe(true);
        seen++;
      }
    }
    expect(seen).toBeGreaterThan(20);
  });

  test('the hand is a clear step away from the object one frame before it touches', () => {
    for (let index = 0; index < 30; index++) {
      for (const step of motionTruth(sceneOf(index))) expect(step.gap, step.name).toBeGreaterThan(0.6);
    }
  });

  test('give each token the shares of its pixels', () => {
    const scene = sceneOf(3);
    const f = scene.actions[0]!.contact;
    const truth = frameTruth(scene, f, { width: 96, height: 96, fit: 'stretch' });
    const tokens = tokenTruth(truth, 6, 6);
    expect(tokens).toHaveLength(6 * 6 * tokenChannels.length);
    tokenChannels.forEach((name, channel) => {
      const sum = Array.from({ length: 36 }, (_, i) => tokens[i * tokenChannels.length + channel]! * 256).reduce(
        (p, q) => p + q,
        0,
      );
      const count =
        name === 'active'
          ? truth.active.filter(Boolean).length
          : name === 'contact'
            ? truth.contact.filter(Boolean).length
            : truth.surface.filter((label) =>
                name === 'left' || name === 'right'
                  ? label === surfaceLabels[name]
                  : label === surfaceLabels.firstNoun + nouns.indexOf(name),
              ).length;
      expect(sum, name).toBeCloseTo(count, 3);
    });
  });

  test('velocity is the way of the hand from frame to frame', () => {
    const scene = sceneOf(2);
    const { contact, side } = scene.actions[0]!;
    const f = contact - 6;
    const [p, q] = [handTruth(scene, f - 1, view, side), handTruth(scene, f + 1, view, side)];
    const { vx, vy } = handTruth(scene, f, view, side);
    expect(vx).toBeCloseTo(15 * (q.x - p.x), -1);
    expect(vy).toBeCloseTo(15 * (q.y - p.y), -1);
  });
});

describe('verbs', () => {
  test('take and put run through the same poses in opposite orders', () => {
    const heights = (verb: 'take' | 'put'): number[] => {
      for (let index = 0; index < 60; index++) {
        const scene = sceneOf(index);
        const action = scene.actions.find((one) => one.verb === verb);
        if (action === undefined) continue;
        const [from, to] = verb === 'take' ? [action.pnr!, action.end - 1] : [action.start, action.pnr!];
        return Array.from({ length: to - from }, (_, i) => handTruth(scene, from + i, view, action.side).y);
      }
      return [];
    };
    const [down, up] = [heights('take'), heights('put')];
    expect(down.at(-1)! - down[0]!).toBeGreaterThan(30);
    expect(up.at(-1)! - up[0]!).toBeLessThan(-30);
  });
});

/** How far the working end of the hand is from where it will touch, one frame before it does. */
function motionTruth(scene: Scene): { readonly name: string; readonly gap: number }[] {
  return scene.actions.flatMap(({ verb, side, contact, start }) => {
    if (contact === start) return [];
    const tool = toolOf[verb] ?? null;
    const [x0, y0] = workingPoint(worldAt(scene, contact - 1).hands[side], tool);
    const [x1, y1] = workingPoint(worldAt(scene, contact).hands[side], tool);
    return [{ name: `${verb} ${contact}`, gap: Math.hypot(x1 - x0, y1 - y0) }];
  });
}
