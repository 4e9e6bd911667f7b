/** Annotations of the hand and object tracks: FHP, STA, LTA, SCOD, and OSCC with PNR. */
import { float, type JsonValue } from '../json.js';
import { seededRandom, type Random } from '../random.js';
import { fileHead, parentPlace, pixel, secondsAt, uidOf, type Clip } from './data-set.js';
import type { Action, Split } from './scene.js';
import { frameBoxes, handTruth, type BoxTruth } from './truth.js';
import { nouns, verbs } from './vocabulary.js';

type Json = Readonly<Record<string, JsonValue>>;

// ---- future hands ------------------------------------------------------------------------------------------------

/** `fho_hands_*.json`: centres of the hands around every action. */
export function handsFile(split: Split, clips: readonly Clip[], isTest: boolean): Json {
  return {
    ...fileHead('Future Hand Prediction', split),
    clips: clips.map((clip) => ({
      clip_id: clip.scene.request.index + 1,
      clip_uid: clip.clipUid,
      video_uid: clip.videoUid,
      frames: clip.scene.actions.map((action) => handFrames(clip, action, isTest)),
    })),
  };
}

function handFrames(clip: Clip, action: Action, isTest: boolean): Json {
  const { start, contact, pnr, end } = action;
  const keys: readonly (readonly [name: string, frame: number | null])[] = [
    ['pre_45', start - 45],
    ['pre_30', start - 30],
    ['pre_15', start - 15],
    ['pre_frame', start],
    ['pnr_frame', pnr],
    ['contact_frame', contact],
    ['post_frame', end - 1],
  ];
  // What comes before pre_45 is the input of the track, so the clip's first frame cannot be one.
  const known = keys.filter(
    (key): key is readonly [string, number] => key[1] !== null && key[1] >= (key[0] === 'pre_45' ? 1 : 0),
  );
  return {
    ...actionPlace(clip, action),
    ...Object.fromEntries(
      known.map(([name, frame]): [string, Json] => [
        name,
        { frame, clip_frame: frame, ...(isTest ? {} : { boxes: handPoints(clip, frame) }) },
      ]),
    ),
  };
}

function actionPlace({ scene }: Clip, { start, end }: Action): Json {
  const [from, to] = [float(secondsAt(scene, start)), float(secondsAt(scene, end))];
  return {
    action_start_sec: from,
    action_end_sec: to,
    action_start_frame: start,
    action_end_frame: end,
    action_clip_start_sec: from,
    action_clip_end_sec: to,
    action_clip_start_frame: start,
    action_clip_end_frame: end,
  };
}

/** The centres of the hands that are in view; a hand below the picture is not listed. */
function handPoints({ scene, width, height }: Clip, frame: number): Json[] {
  return (['left', 'right'] as const).flatMap((side): Json[] => {
    const { x, y, isVisible } = handTruth(scene, frame, { width, height }, side);
    return isVisible ? [{ [`${side}_hand`]: [pixel(x), pixel(y)] }] : [];
  });
}

// ---- short-term anticipation -------------------------------------------------------------------------------------

/** `fho_sta_*.json`: one frame 0.2 to 2.5 s before each contact with something that is in view by then. */
export function interactionsFile(split: Split, clips: readonly Clip[], isTest: boolean): Json {
  const categories = (names: readonly string[]): Json[] => names.map((name, id) => ({ id, name }));
  return {
    info: {
      description: 'Tabletop Short-Term Anticipation: made by egolens synth, not part of Ego4D',
      version: '1.0',
      split,
      include_annotations: !isTest,
      video_metadata: Object.fromEntries(
        clips.map(({ videoUid, width, height, scene }): [string, Json] => [
          videoUid,
          { frame_width: width, frame_height: height, fps: float(scene.request.fps) },
        ]),
      ),
      year: null,
      date_created: null,
    },
    annotations: clips.flatMap((clip) => interactionsOf(clip, isTest)),
    noun_categories: categories(nouns),
    verb_categories: categories(verbs),
  };
}

function interactionsOf(clip: Clip, isTest: boolean): Json[] {
  const { scene, videoUid, clipUid, width, height } = clip;
  const { fps, seed, index } = scene.request;
  const random = seededRandom(seed, `tabletop/sta/${clipUid}`);
  return scene.actions.flatMap(({ verb, object, contact, start }, i): Json[] => {
    if (contact === start) return []; // it comes in the hand
    const earliest = Math.max(0, scene.actions[i - 1]?.end ?? 0, contact - Math.floor(2.5 * fps));
    const latest = contact - Math.ceil(0.2 * fps);
    const wanted = earliest + random.integer(latest - earliest + 1);
    for (let frame = wanted; frame <= latest; frame++) {
      const seen = frameBoxes(scene, frame, { width, height }).objects.get(object);
      if (seen === undefined || seen.inside < 0.5) continue;
      return [
        {
          uid: `${videoUid}_${String(frame).padStart(7, '0')}`,
          video_id: videoUid,
          frame,
          clip_id: index + 1,
          clip_uid: clipUid,
          clip_frame: frame,
          ...(isTest
            ? {}
            : {
                objects: [
                  {
                    box: seen.box.map(pixel),
                    verb_category_id: verbs.indexOf(verb),
                    noun_category_id: nouns.indexOf(scene.objects[object]!.noun), // the number of an object
                    time_to_contact: float((contact - frame) / fps),
                  },
                ],
              }),
        },
      ];
    }
    return [];
  });
}

// ---- long-term anticipation --------------------------------------------------------------------------------------

/** Actions that follow the seen ones, and seen ones at least: a clip with fewer than their sum gives no instance. */
export const leastActions = 22;

/** `fho_lta_*.json`: every action with its labels. */
export function actionsFile(split: Split, clips: readonly Clip[], isTest: boolean): Json {
  return {
    ...fileHead('Long-Term Anticipation', split),
    clips: clips.flatMap((clip) =>
      clip.scene.actions.map((action, i): Json => {
        const { noun } = clip.scene.objects[action.object]!; // the number of an object
        const { verb, start, end } = action;
        return {
          video_uid: clip.videoUid,
          clip_uid: clip.clipUid,
          ...parentPlace(clip),
          interval_start_frame: 0,
          interval_end_frame: clip.scene.frames,
          interval_start_sec: float(0),
          interval_end_sec: float(secondsAt(clip.scene, clip.scene.frames)),
          ...(isTest ? {} : { verb, noun }),
          action_clip_start_sec: float(secondsAt(clip.scene, start)),
          action_clip_end_sec: float(secondsAt(clip.scene, end)),
          action_clip_start_frame: start,
          action_clip_end_frame: end,
          clip_id: clip.scene.request.index + 1,
          action_idx: i,
          ...(isTest ? {} : { verb_label: verbs.indexOf(verb), noun_label: nouns.indexOf(noun) }),
        };
      }),
    ),
  };
}

/** `fho_lta_taxonomy.json`: position = label. */
export function taxonomy(): Json {
  return { verbs, nouns };
}

// ---- state change ------------------------------------------------------------------------------------------------

/** Actions after which an object is another: the tracks of state change are about them alone. */
function changesOf({ scene }: Clip): (Action & { readonly pnr: number })[] {
  return scene.actions.filter(
    (action): action is Action & { readonly pnr: number } => action.changes && action.pnr !== null,
  );
}

/** `fho_scod_*.json`: before, at and after the point of no return. */
export function changedObjectsFile(split: Split, clips: readonly Clip[], isTest: boolean): Json {
  const items = clips.flatMap((clip) =>
    changesOf(clip).map((action): Json => {
      const at = (frame: number): Json => ({
        frame_number: frame,
        clip_frame_number: frame,
        width: clip.width,
        height: clip.height,
        ...(isTest ? {} : { bbox: boxesOf(clip, action, frame) }),
      });
      return {
        video_uid: clip.videoUid,
        clip_uid: clip.clipUid,
        ...parentPlace(clip),
        pre_frame: at(action.start),
        pnr_frame: at(action.pnr),
        post_frame: at(action.end - 1),
      };
    }),
  );
  return {
    ...fileHead('State Change Object Detection', split),
    clips: items.map((item, i) => ({ clip_id: i + 1, ...item })),
  };
}

function boxesOf({ scene, width, height }: Clip, action: Action, frame: number): Json[] {
  const { objects, hands } = frameBoxes(scene, frame, { width, height });
  const { noun } = scene.objects[action.object]!; // the number of an object
  const sides = ({ box: [x1, y1, x2, y2] }: BoxTruth): Json => ({
    x: pixel(x1),
    y: pixel(y1),
    width: pixel(x2 - x1),
    height: pixel(y2 - y1),
  });
  const changing = objects.get(action.object);
  return [
    ...(changing === undefined
      ? []
      : [{ object_type: 'object_of_change', structured_noun: noun, instance_number: 1, bbox: sides(changing) }]),
    ...(['left', 'right'] as const).flatMap((side): Json[] => {
      const hand = hands[side];
      if (hand === undefined || hand.inside < 0.3) return [];
      return [{ object_type: `${side}_hand`, structured_noun: null, instance_number: null, bbox: sides(hand) }];
    }),
  ];
}

/** `fho_oscc-pnr_*.json`: stretches of 8 s with one change and its point of no return, and as many without. */
export function stateChangesFile(split: Split, clips: readonly Clip[], isTest: boolean): Json {
  return { ...fileHead('State Change', split), clips: clips.flatMap((clip) => stretchesOfChange(clip, isTest)) };
}

function stretchesOfChange(clip: Clip, isTest: boolean): Json[] {
  const { scene, clipUid, videoUid } = clip;
  const { seed, fps, index } = scene.request;
  const random = seededRandom(seed, `tabletop/oscc/${clipUid}`);
  const length = Math.min(scene.frames, 8 * fps);
  const points = changesOf(clip).map(({ pnr }) => pnr);
  const inside = (start: number): number[] => points.filter((pnr) => pnr >= start && pnr < start + length);
  const found: { readonly start: number; readonly pnr: number | null }[] = [];
  for (const pnr of points) {
    const start = draw(
      random,
      Math.max(0, pnr - length + 1),
      Math.min(scene.frames - length, pnr),
      (from) => inside(from).length === 1,
    );
    if (start !== undefined) found.push({ start, pnr });
  }
  for (let i = Math.max(1, found.length); i > 0; i--) {
    const start = draw(random, 0, scene.frames - length, (from) => inside(from).length === 0);
    if (start !== undefined) found.push({ start, pnr: null });
  }
  const sorted = found.sort((p, q) => p.start - q.start).filter((item, i, all) => item.start !== all[i - 1]?.start);
  return sorted.map(({ start, pnr }): Json => {
    const end = start + length;
    const place = (prefix: string): Json => ({
      [`${prefix}_start_sec`]: float(secondsAt(scene, start)),
      [`${prefix}_end_sec`]: float(secondsAt(scene, end)),
      [`${prefix}_start_frame`]: start,
      [`${prefix}_end_frame`]: end,
    });
    return {
      clip_uid: clipUid,
      clip_id: String(index + 1),
      unique_id: uidOf('oscc', clipUid, start),
      video_uid: videoUid,
      ...place('clip'),
      ...place('parent'),
      ...(isTest ? {} : { state_change: pnr !== null }),
      ...(isTest || pnr === null ? {} : { clip_pnr_frame: pnr, parent_pnr_frame: pnr }),
    };
  });
}

/** A whole number of [least, most] that fits; the changing frame may lie anywhere in a stretch. */
function draw(random: Random, least: number, most: number, fits: (value: number) => boolean): number | undefined {
  if (most < least) return undefined;
  for (let attempt = 0; attempt < 16; attempt++) {
    const value = least + random.integer(most - least + 1);
    if (fits(value)) return value;
  }
  return undefined;
}
