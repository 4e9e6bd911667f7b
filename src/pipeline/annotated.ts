/** Annotation files as plain values, for what makes predictions of them: the members that are used, after the challenge's own checks. */

export interface MomentsFile {
  readonly videos: readonly {
    readonly clips: readonly {
      readonly clip_uid: string;
      readonly clip_end_sec: number;
      readonly annotations: readonly {
        readonly labels: readonly {
          readonly label: string;
          readonly start_time: number;
          readonly end_time: number;
          readonly primary: boolean;
        }[];
      }[];
    }[];
  }[];
}

export interface QueriesFile {
  readonly videos: readonly {
    readonly clips: readonly {
      readonly clip_uid: string;
      readonly clip_end_sec: number;
      readonly annotations: readonly {
        readonly annotation_uid: string;
        readonly language_queries: readonly {
          readonly query: string;
          readonly clip_start_sec: number;
          readonly clip_end_sec: number;
        }[];
      }[];
    }[];
  }[];
}

export interface TrackBox {
  readonly frame_number: number;
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

export interface VisualQueriesFile {
  readonly videos: readonly {
    readonly clips: readonly {
      readonly clip_uid: string;
      readonly annotations: readonly {
        readonly query_sets: Readonly<
          Record<
            string,
            { readonly is_valid: boolean; readonly query_frame: number; readonly response_track: readonly TrackBox[] }
          >
        >;
      }[];
    }[];
  }[];
}

type Point = readonly [x: number, y: number];

export interface HandsFile {
  readonly clips: readonly {
    readonly clip_id: number;
    readonly frames: readonly Readonly<
      Partial<
        Record<
          string,
          {
            readonly frame: number;
            readonly boxes: readonly { readonly left_hand?: Point; readonly right_hand?: Point }[];
          }
        >
      >
    >[];
  }[];
}

export interface InteractionsFile {
  readonly annotations: readonly {
    readonly uid: string;
    readonly frame: number;
    readonly objects: readonly {
      readonly box: readonly [number, number, number, number];
      readonly noun_category_id: number;
      readonly verb_category_id: number;
      readonly time_to_contact: number;
    }[];
  }[];
}

export interface ActionsFile {
  readonly clips: readonly {
    readonly clip_uid: string;
    readonly action_idx: number;
    readonly verb_label: number;
    readonly noun_label: number;
  }[];
}

export interface ChangedObjectsFile {
  readonly clips: readonly {
    readonly pnr_frame: {
      readonly frame_number: number;
      readonly bbox: readonly {
        readonly object_type: string;
        readonly bbox: { readonly x: number; readonly y: number; readonly width: number; readonly height: number };
      }[];
    };
  }[];
}

export interface StateChangesFile {
  readonly clips: readonly {
    readonly unique_id: string;
    readonly parent_start_frame: number;
    readonly parent_end_frame: number;
    readonly parent_pnr_frame?: number;
    readonly state_change: boolean;
  }[];
}

/** The file of each task. */
export interface AnnotatedFiles {
  readonly mq: MomentsFile;
  readonly nlq: QueriesFile;
  readonly vq2d: VisualQueriesFile;
  readonly fhp: HandsFile;
  readonly sta: InteractionsFile;
  readonly lta: ActionsFile;
  readonly scod: ChangedObjectsFile;
  readonly pnr: StateChangesFile;
  readonly oscc: StateChangesFile;
}
export type AnnotatedTask = keyof AnnotatedFiles;

/** One of our records (files.md 7). */
export type PredictionRecord = Readonly<Record<string, unknown>>;

/** Key frames of a hand instance, in the order of its points. */
export const handKeys = ['pre_45', 'pre_30', 'pre_15', 'pre_frame', 'contact_frame'] as const;

/** Actions of each clip in their order. */
export function actionsByClip({ clips }: ActionsFile): Map<string, ActionsFile['clips'][number][]> {
  const byClip = new Map<string, ActionsFile['clips'][number][]>();
  for (const action of clips) byClip.set(action.clip_uid, [...(byClip.get(action.clip_uid) ?? []), action]);
  for (const actions of byClip.values()) actions.sort((p, q) => p.action_idx - q.action_idx);
  return byClip;
}

/** Points of a hand instance, [5][left, right]; undefined where nothing is annotated. */
export function handPointsOf(
  frames: HandsFile['clips'][number]['frames'][number],
): (readonly [Point | undefined, Point | undefined])[] {
  return handKeys.map((key) => {
    const boxes = frames[key]?.boxes ?? [];
    const one = (name: 'left_hand' | 'right_hand'): Point | undefined =>
      boxes.find((box) => box[name] !== undefined)?.[name];
    return [one('left_hand'), one('right_hand')];
  });
}

export { futureActions, usualInputActions as seenActions } from '../ego4d/action-clips.js';
