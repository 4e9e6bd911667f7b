/** All annotation files of a data set, by name. */
import { float, type JsonValue } from '../json.js';
import {
  actionsFile,
  changedObjectsFile,
  handsFile,
  interactionsFile,
  stateChangesFile,
  taxonomy,
} from './annotate-hands.js';
import { momentClasses, momentsFile, queriesFile, visualQueriesFile } from './annotate-moments.js';
import { clipsOf, secondsAt, uidOf, type Clip, type SetRequest } from './data-set.js';
import { worldVersion, type Action, type Scene, type Split } from './scene.js';
import { colours, nouns, presentOf, toolOf, verbs } from './vocabulary.js';

type Json = Readonly<Record<string, JsonValue>>;
type FileOf = (split: Split, clips: readonly Clip[], isTest: boolean) => Json;

/** Files by split: the beginning of their name, and what makes them. */
const files: readonly (readonly [stem: string, make: FileOf])[] = [
  ['moments', momentsFile],
  ['nlq', queriesFile],
  ['vq', visualQueriesFile],
  ['fho_hands', handsFile],
  ['fho_sta', interactionsFile],
  ['fho_lta', actionsFile],
  ['fho_scod', changedObjectsFile],
  ['fho_oscc-pnr', stateChangesFile],
];

/** The stems of the files that every split has. */
export const annotationStems = files.map(([stem]) => stem);

/**
 * The files of one split: `moments_val.json`, … For `test` also those that a server would hand out,
 * `moments_test_unannotated.json`, …; `moments_test.json` is what it would keep.
 */
export function* splitFiles(split: Split, clips: readonly Clip[]): Generator<readonly [name: string, content: Json]> {
  for (const [stem, make] of files) {
    yield [`${stem}_${split}.json`, make(split, clips, false)];
    if (split === 'test') yield [`${stem}_test_unannotated.json`, make(split, clips, true)];
  }
}

/** The files of the whole data set, of all its splits. */
export function* dataSetFiles(sets: readonly SetRequest[]): Generator<readonly [name: string, content: Json]> {
  const clips = sets.flatMap(clipsOf);
  yield ['ego4d.json', metadata(clips)];
  yield ['narration.json', Object.fromEntries(clips.map((clip) => [clip.videoUid, narrations(clip)]))];
  yield ['moment_classes_idx.json', momentClasses()];
  yield ['fho_lta_taxonomy.json', taxonomy()];
  yield ['tabletop.json', tabletop(sets, clips)];
}

function metadata(clips: readonly Clip[]): Json {
  return {
    date: null,
    version: `tabletop-${worldVersion}`,
    description: 'Tabletop: a procedural first-person world with exact truth, made by egolens synth; not part of Ego4D',
    videos: clips.map(({ scene, videoUid, width, height }) => {
      const { split, fps } = scene.request;
      return {
        video_uid: videoUid,
        duration_sec: float(secondsAt(scene, scene.frames)),
        scenarios: ['Tabletop'],
        video_metadata: media(scene, width, height),
        split_em: split,
        split_av: null,
        split_fho: split,
        s3_path: `videos/${videoUid}.mp4`,
        origin_video_id: videoUid,
        video_source: 'tabletop',
        device: 'egolens synth',
        physical_setting_name: scene.setting.texture,
        fb_participant_id: scene.setting.wearer.id,
        is_stereo: false,
        has_imu: false,
        has_gaze: false,
        imu_metadata: null,
        gaze_metadata: null,
        video_components: [
          {
            video_component_uid: uidOf('component', videoUid),
            video_uid: videoUid,
            component_idx: 0,
            redacted: false,
            canonical_video_start_sec: float(0),
            canonical_video_end_sec: float(scene.frames / fps),
            canonical_video_start_frame: 0,
            canonical_video_end_frame: scene.frames,
          },
        ],
        concurrent_sets: [],
        has_redacted_regions: false,
        redacted_intervals: [],
        gaps: null,
      };
    }),
    concurrent_video_sets: [],
    physical_settings: [],
    clips: clips.map(({ scene, videoUid, clipUid, width, height }) => ({
      clip_uid: clipUid,
      video_uid: videoUid,
      video_start_sec: float(0),
      video_end_sec: float(secondsAt(scene, scene.frames)),
      video_start_frame: 0,
      video_end_frame: scene.frames,
      clip_metadata: media(scene, width, height),
      s3_path: `videos/${videoUid}.mp4`,
      manifold_path: null,
    })),
  };
}

function media(scene: Scene, width: number, height: number): Json {
  const { fps } = scene.request;
  const seconds = float(scene.frames / fps);
  return {
    fps: float(fps),
    num_frames: scene.frames,
    video_codec: 'h264',
    audio_codec: null,
    display_resolution_width: width,
    display_resolution_height: height,
    sample_resolution_width: null,
    sample_resolution_height: null,
    mp4_duration_sec: seconds,
    video_start_sec: float(0),
    video_duration_sec: seconds,
    audio_start_sec: null,
    audio_duration_sec: null,
    video_start_pts: 0,
    video_duration_pts: scene.frames * 512,
    video_base_numerator: 1,
    video_base_denominator: fps * 512,
  };
}

/** One narration an action, at its contact. */
function narrations({ scene, videoUid }: Clip): Json {
  const pass: Json = {
    narrations: scene.actions.map((action, i) => ({
      timestamp_sec: float(secondsAt(scene, action.contact)),
      timestamp_frame: action.contact,
      _unmapped_timestamp_sec: float(secondsAt(scene, action.contact)),
      narration_text: `#C C ${sentenceOf(scene, action)}`,
      annotation_uid: uidOf('narration', videoUid, i),
    })),
    summaries: [
      {
        start_sec: float(0),
        end_sec: float(secondsAt(scene, scene.frames)),
        summary_text: '#Summary C handles things on a table',
        annotation_uid: uidOf('summary', videoUid),
      },
    ],
  };
  return { narration_pass_1: pass, narration_pass_2: null, status: 'complete' };
}

/** `cuts the red apple with a knife`, `pours from the blue bottle into the white cup`. */
export function sentenceOf({ objects }: Scene, { verb, object, receiver }: Action): string {
  const named = (i: number): string => `the ${objects[i]!.colour} ${objects[i]!.noun}`; // numbers of objects
  const tool = toolOf[verb];
  const end = receiver === null ? (tool === undefined ? '' : ` with a ${tool}`) : ` into ${named(receiver)}`;
  return `${presentOf[verb]} ${named(object)}${end}`;
}

/** `tabletop.json`, `egolens.tabletop/1`: how the data set was made, and all of its truth that Ego4D's formats have no place for. */
function tabletop(sets: readonly SetRequest[], clips: readonly Clip[]): Json {
  return {
    schema: 'egolens.tabletop/1',
    world: worldVersion,
    verbs,
    nouns,
    colours,
    sets: sets.map(({ split, seed, clips: count, seconds, fps, difficulty, width, height }) => ({
      ...{ split, seed, clips: count, seconds: float(seconds), fps, difficulty, width, height },
    })),
    clips: clips.map(({ scene, videoUid, clipUid }) => ({
      video_uid: videoUid,
      clip_uid: clipUid,
      split: scene.request.split,
      index: scene.request.index,
      frames: scene.frames,
      compositional: scene.isCompositional,
      wearer: scene.setting.wearer.id,
      texture: scene.setting.texture,
      objects: scene.objects.map(({ noun, colour }) => ({ noun, colour })),
      actions: scene.actions.map(({ verb, object, receiver, side, start, contact, pnr, release, end, changes }) => ({
        ...{ verb, object, receiver, side, start, contact, pnr, release, end },
        state_change: changes,
      })),
      distractions: scene.distractions.map(({ side, start, end }) => ({ side, start, end })),
      head_turns: scene.headTurns.map(({ start, end }) => ({ start, end })),
    })),
  };
}
