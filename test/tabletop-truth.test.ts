/** What the annotation files of Tabletop say, frame by frame, against the truth of the frames they name. */
import { describe, expect, test } from 'vitest';
import { splitFiles } from '../src/world/annotations.js';
import { clipsOf, type Clip } from '../src/world/data-set.js';
import type { Action, ObjectState } from '../src/world/scene.js';
import { frameTruth, surfaceLabels, type FrameTruth } from '../src/world/truth.js';
import { nouns, toolOf, verbs, type Verb } from '../src/world/vocabulary.js';
import { worldAt } from '../src/world/world.js';
import { jsonPieces } from '../src/json-pieces.js';

const size = { width: 160, height: 120 };
const clips = clipsOf({ split: 'val', seed: 5, clips: 6, seconds: 30, fps: 30, difficulty: 1, ...size });
const clipByVideo = new Map(clips.map((clip) => [clip.videoUid, clip]));
const files = new Map(
  [...splitFiles('val', clips)].map(([name, content]) => [
    name,
    JSON.parse([...jsonPieces(content)].join('')) as unknown,
  ]),
);

/** A file as its reader sees it; each test says what it looks at. */
function file(stem: string): unknown {
  return files.get(`${stem}_val.json`);
}

function clipOf(videoUid: string): Clip {
  const clip = clipByVideo.get(videoUid);
  if (clip === undefined) throw new Error(`no clip of ${videoUid}`);
  return clip;
}

function truthOf(videoUid: string, frame: number): FrameTruth {
  return frameTruth(clipOf(videoUid).scene, frame, size);
}

const secondsOf = (frame: number): number => frame / 30;

type Corners = readonly [x1: number, y1: number, x2: number, y2: number];

/** Corners around the pixels that `wanted` holds for, and how many there are. */
function pixelBox(
  truth: FrameTruth,
  wanted: (pixel: number) => boolean,
): { readonly box: Corners; readonly count: number } {
  let [x1, y1, x2, y2, count] = [Infinity, Infinity, -Infinity, -Infinity, 0];
  for (let i = 0; i < truth.width * truth.height; i++) {
    if (!wanted(i)) continue;
    const [x, y] = [i % truth.width, Math.floor(i / truth.width)];
    [x1, y1, x2, y2] = [Math.min(x1, x), Math.min(y1, y), Math.max(x2, x + 1), Math.max(y2, y + 1)];
    count++;
  }
  return { box: [x1, y1, x2, y2], count };
}

function areaOf([x1, y1, x2, y2]: Corners): number {
  return Math.max(0, x2 - x1) * Math.max(0, y2 - y1);
}

/** Does `inner` lie in `outer`, pixels being counted by their middles? */
function expectInside(inner: Corners, outer: Corners, where: string): void {
  expect(inner[0], where).toBeGreaterThan(outer[0] - 1);
  expect(inner[1], where).toBeGreaterThan(outer[1] - 1);
  expect(inner[2], where).toBeLessThan(outer[2] + 1);
  expect(inner[3], where).toBeLessThan(outer[3] + 1);
}

/** Boxes with hidden parts are as large as those of what is seen, or larger; most things are hidden by nothing. */
function expectTight(ratios: readonly number[], least: number): void {
  expect(ratios.length).toBeGreaterThan(least);
  const sorted = [...ratios].sort((p, q) => p - q);
  expect(sorted[Math.floor(sorted.length / 2)]).toBeGreaterThan(0.9);
}

describe('moments and actions', () => {
  test('begin and end with the frames that show them', () => {
    const { videos } = file('moments') as {
      videos: { video_uid: string; clips: { annotations: { labels: Record<string, number | string>[] }[] }[] }[];
    };
    const labels = videos.flatMap(({ video_uid: uid, clips: own }) =>
      own.flatMap(({ annotations }) => annotations.flatMap((one) => one.labels.map((label) => ({ uid, label })))),
    );
    expect(labels.length).toBeGreaterThan(40);
    for (const { uid, label } of labels) {
      const [start, end] = [Number(label['video_start_frame']), Number(label['video_end_frame'])];
      expect([label['start_time'], label['end_time']]).toEqual([secondsOf(start), secondsOf(end)]);
      const own = truthOf(uid, start).action!;
      expect(own.verb).toBe(label['label']);
      expect(truthOf(uid, end - 1).action?.index).toBe(own.index);
      expect(truthOf(uid, start - 1).action?.index).not.toBe(own.index);
      expect(truthOf(uid, end).action?.index).not.toBe(own.index);
    }
  });

  test('have the labels of what is done and of what it is done to', () => {
    const actions = (file('fho_lta') as { clips: Record<string, number | string>[] }).clips;
    expect(actions).toHaveLength(clips.reduce((sum, { scene }) => sum + scene.actions.length, 0));
    for (const action of actions) {
      const truth = truthOf(String(action['video_uid']), Number(action['action_clip_start_frame'])).action!;
      expect(truth).toMatchObject({ verb: action['verb'], noun: action['noun'], index: action['action_idx'] });
      expect(truth).toMatchObject({ verbLabel: action['verb_label'], nounLabel: action['noun_label'] });
      expect([verbs[truth.verbLabel], nouns[truth.nounLabel]]).toEqual([action['verb'], action['noun']]);
    }
  });
});

interface HandKey {
  readonly frame: number;
  readonly boxes: readonly Readonly<Record<string, readonly [number, number]>>[];
}
type HandFrames = Readonly<Partial<Record<string, HandKey>>>;

describe('hands', () => {
  const instances = (file('fho_hands') as { clips: { video_uid: string; frames: HandFrames[] }[] }).clips.flatMap(
    ({ video_uid: uid, frames }) => frames.map((keys) => ({ uid, keys })),
  );

  test('the contact frame is the first in which the hand or its tool touches', () => {
    expect(instances.length).toBeGreaterThan(40);
    for (const { uid, keys } of instances) {
      const [start, contact] = [keys['pre_frame']!.frame, keys['contact_frame']!.frame];
      for (let f = start; f < contact; f++) {
        const before = truthOf(uid, f);
        expect(before.isTouching || before.contact.includes(1), `${f} before ${contact}`).toBe(false);
      }
      const touching = truthOf(uid, contact);
      expect(touching.isTouching).toBe(true);
      expect(touching.action!.framesToContact).toBe(0);
    }
  });

  test('what touches lies upon what is touched, or next to it, in the picture', () => {
    let seen = 0;
    for (const { uid, keys } of instances) {
      const truth = truthOf(uid, keys['contact_frame']!.frame);
      const { verb, side } = truth.action!;
      // What is brought may still be below the picture, an open cover with the hand at it beside it.
      if (!truth.active.includes(1) || !truth.hands[side].isVisible) continue;
      const tool = toolOf[verb];
      const acting = [surfaceLabels[side], tool === undefined ? -1 : surfaceLabels.firstNoun + nouns.indexOf(tool)];
      const isActing = (i: number): boolean => truth.active[i] === 0 && acting.includes(truth.surface[i] ?? 0);
      const isNear = truth.active.some(
        (isActive, i) => isActive === 1 && [1, -1, size.width, -size.width].some((step) => isActing(i + step)),
      );
      expect(isNear, `${verb} ${truth.action!.noun}, frame ${truth.frame}`).toBe(true);
      seen++;
    }
    expect(seen).toBeGreaterThan(30);
  });

  test('each listed hand is where its centre is said to be, and every hand in view is listed', () => {
    let seen = 0;
    for (const { uid, keys } of instances) {
      for (const { frame, boxes } of Object.values(keys).filter(
        (key) => key !== undefined && typeof key === 'object',
      )) {
        const truth = truthOf(uid, frame);
        for (const side of ['left', 'right'] as const) {
          const point = boxes.find((box) => `${side}_hand` in box)?.[`${side}_hand`];
          expect(point !== undefined).toBe(truth.hands[side].isVisible);
          if (point === undefined) continue;
          expect(point[0]).toBeCloseTo(truth.hands[side].x, 2);
          expect(point[1]).toBeCloseTo(truth.hands[side].y, 2);
          const label = truth.surface[Math.floor(point[1]) * size.width + Math.floor(point[0])];
          expect([surfaceLabels.left, surfaceLabels.right]).toContain(label);
          if (label === surfaceLabels[side]) seen++;
        }
      }
    }
    expect(seen).toBeGreaterThan(100);
  });
});

/** What an action changes for good, of its object; of what is poured from, the level. */
const changed: Readonly<Partial<Record<Verb, (state: ObjectState) => readonly (number | string)[]>>> = {
  take: ({ x, y, lift, place }) => [x, y, lift, place],
  push: ({ x, y }) => [x, y],
  turn: ({ turn }) => [turn],
  open: ({ open }) => [open],
  close: ({ open }) => [open],
  cut: ({ apart }) => [apart],
  pour: ({ level }) => [level],
  wipe: ({ dirt }) => [dirt],
};

describe('the point of no return', () => {
  const stateAt = ({ scene }: Clip, { object }: Action, f: number): ObjectState => worldAt(scene, f).objects[object]!;

  test('is the last frame in which nothing has changed for good, and of a put the first in which nothing changes any more', () => {
    const seen = new Set<string>();
    for (const clip of clips) {
      for (const action of clip.scene.actions) {
        const { verb, start, pnr, end } = action;
        if (pnr === null) continue;
        if (verb === 'put') {
          const placed = stateAt(clip, action, end);
          const { x, y, lift, place } = stateAt(clip, action, pnr);
          expect({ x, y, lift, place }).toEqual({ x: placed.x, y: placed.y, lift: 0, place: 'table' });
          expect(stateAt(clip, action, pnr - 1).place).toBe('hand');
          expect(stateAt(clip, action, pnr - 1).y).not.toBe(y);
        } else {
          const of = changed[verb]!;
          const before = of(stateAt(clip, action, start));
          // A take leaves the table at its PNR: from there on the thing is in the hand.
          for (let f = start; f < pnr; f++) expect(of(stateAt(clip, action, f)), `${verb} ${f}`).toEqual(before);
          if (verb !== 'take') expect(of(stateAt(clip, action, pnr)), verb).toEqual(before);
          const isStainless = verb === 'wipe' && action.before[action.object]!.dirt === 0;
          if (!isStainless) expect(of(stateAt(clip, action, pnr + 1)), verb).not.toEqual(before);
        }
        seen.add(verb);
      }
    }
    expect([...seen].sort()).toEqual(verbs.filter((verb) => verb !== 'stir').sort());
  });

  test('lies in the stretches that say they have one, and no other change does', () => {
    const stretches = (file('fho_oscc-pnr') as { clips: Record<string, number | boolean | string>[] }).clips;
    expect(stretches.length).toBeGreaterThan(10);
    for (const stretch of stretches) {
      const { scene } = clipOf(String(stretch['video_uid']));
      const [start, end] = [Number(stretch['parent_start_frame']), Number(stretch['parent_end_frame'])];
      const inside = scene.actions
        .filter(({ changes, pnr }) => changes && pnr !== null && pnr >= start && pnr < end)
        .map(({ pnr }) => pnr);
      expect(inside).toEqual(stretch['state_change'] === true ? [stretch['parent_pnr_frame']] : []);
    }
  });
});

describe('boxes', () => {
  test('of short-term anticipation hold the pixels of the next active object, and time runs to its contact', () => {
    const { annotations } = file('fho_sta') as {
      annotations: {
        video_id: string;
        frame: number;
        objects: { box: Corners; verb_category_id: number; noun_category_id: number; time_to_contact: number }[];
      }[];
    };
    const ratios: number[] = [];
    for (const { video_id: uid, frame, objects } of annotations) {
      const [{ box, time_to_contact: wait, noun_category_id: noun, verb_category_id: verb }] = objects as [
        (typeof objects)[number],
      ];
      const contact = frame + Math.round(wait * 30);
      expect(truthOf(uid, contact)).toMatchObject({
        isTouching: true,
        action: { framesToContact: 0, verbLabel: verb, nounLabel: noun },
      });
      expect(truthOf(uid, contact - 1).isTouching).toBe(false);
      const truth = truthOf(uid, frame);
      // Another thing of that noun may be in the picture: pixels near the box count.
      const shown = pixelBox(truth, (i) => {
        const [x, y] = [i % size.width, Math.floor(i / size.width)];
        const isNear = x >= box[0] - 3 && x < box[2] + 3 && y >= box[1] - 3 && y < box[3] + 3;
        return isNear && truth.surface[i] === surfaceLabels.firstNoun + noun;
      });
      if (shown.count > 0) ratios.push(areaOf(shown.box) / areaOf(box));
    }
    expectTight(ratios, 30);
  });

  test('of changing objects hold their pixels before, at and after the change, those of hands the hands', () => {
    type Side = Readonly<Record<'x' | 'y' | 'width' | 'height', number>>;
    type Key = { frame_number: number; bbox: { object_type: string; bbox: Side }[] };
    const items = (
      file('fho_scod') as { clips: Record<'pre_frame' | 'pnr_frame' | 'post_frame', Key>[] & { video_uid: string }[] }
    ).clips;
    const ratios: number[] = [];
    for (const item of items) {
      for (const key of ['pre_frame', 'pnr_frame', 'post_frame'] as const) {
        const { frame_number: frame, bbox } = item[key];
        const truth = truthOf(item.video_uid, frame);
        for (const { object_type: type, bbox: side } of bbox) {
          const box: Corners = [side.x, side.y, side.x + side.width, side.y + side.height];
          if (type === 'object_of_change') {
            const shown = pixelBox(truth, (i) => truth.active[i] === 1);
            if (shown.count === 0) continue;
            expectInside(shown.box, box, `${key} ${frame}`);
            ratios.push(areaOf(shown.box) / areaOf(box));
          } else {
            const hand = truth.hands[type === 'left_hand' ? 'left' : 'right'];
            expect(hand.x).toBeGreaterThan(box[0]);
            expect(hand.x).toBeLessThan(box[2]);
          }
        }
      }
    }
    expectTight(ratios, 20);
  });

  test('of visual queries hold the pixels of what is asked for, at six frames a sample', () => {
    type Box = Readonly<Record<'frame_number' | 'video_frame_number' | 'x' | 'y' | 'width' | 'height', number>>;
    const { videos } = file('vq') as {
      videos: {
        video_uid: string;
        clips: {
          annotations: { query_sets: Record<string, { object_title: string; response_track: Box[] }> }[];
        }[];
      }[];
    };
    const ratios: number[] = [];
    for (const { video_uid: uid, clips: own } of videos) {
      const sets = own.flatMap(({ annotations }) => annotations.flatMap((one) => Object.values(one.query_sets)));
      for (const { object_title: title, response_track: track } of sets) {
        const noun = title.split(' ').at(-1) as (typeof nouns)[number];
        const middle = track[Math.floor(track.length / 2)]!;
        expect(middle.video_frame_number).toBe(6 * middle.frame_number);
        const truth = truthOf(uid, middle.video_frame_number);
        const [x1, y1, x2, y2] = [middle.x, middle.y, middle.x + middle.width, middle.y + middle.height];
        const shown = pixelBox(truth, (i) => {
          const [x, y] = [i % size.width, Math.floor(i / size.width)];
          const isNear = x >= x1 - 3 && x < x2 + 3 && y >= y1 - 3 && y < y2 + 3;
          return isNear && truth.surface[i] === surfaceLabels.firstNoun + nouns.indexOf(noun);
        });
        if (shown.count > 0) ratios.push(areaOf(shown.box) / areaOf([x1, y1, x2, y2]));
      }
    }
    expectTight(ratios, 5);
  });
});
