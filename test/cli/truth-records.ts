import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../src/files.js';
import type { ScoredTask } from '../../src/types.js';

/** The golden files of the challenges, and predictions made of their truth: records that nobody can beat. */

export const challengeTasks = ['mq', 'nlq', 'vq2d', 'fhp', 'sta', 'lta', 'scod', 'pnr', 'oscc'] as const;
export type ChallengeTask = (typeof challengeTasks)[number] & ScoredTask;

export const goldenEgo4d = join(packageRoot, 'fixtures', 'golden', 'ego4d');

/** The files of one case, as `eval` takes them. */
export interface CaseFiles {
  readonly folder: string;
  readonly truth: readonly string[];
  readonly predictions: readonly string[];
  readonly expected: Readonly<Record<string, unknown>>;
}

export function caseFiles(task: ChallengeTask, name = 'basic'): CaseFiles {
  const folder = join(goldenEgo4d, task, name);
  const names = readdirSync(folder).filter((file) => file.endsWith('.json') && file !== 'expected.json');
  const isPrediction = (file: string): boolean => /submission|prediction|results|logits/.test(file);
  const paths = (wanted: boolean): string[] =>
    names.filter((file) => isPrediction(file) === wanted).map((file) => join(folder, file));
  const { expected } = readJsonFile(join(folder, 'expected.json')) as { expected: Record<string, unknown> };
  return { folder, truth: paths(false), predictions: paths(true), expected };
}

/** `--gt A --gt B --pred C` of a case. */
export function evalArgs({ truth, predictions }: Pick<CaseFiles, 'truth' | 'predictions'>): string[] {
  return [...truth.flatMap((path) => ['--gt', path]), ...predictions.flatMap((path) => ['--pred', path])];
}

export function readJsonFile(path: string): unknown {
  return JSON.parse(readFileSync(path, 'utf8'));
}

/** The annotation file that a submission is made over. */
export const testFiles: Readonly<Record<ChallengeTask, string>> = {
  mq: 'moments_val.json',
  nlq: 'nlq_val.json',
  vq2d: 'vq_val.json',
  fhp: 'fho_hands_val.json',
  sta: 'fho_sta_val.json',
  lta: 'fho_lta_val.json',
  scod: 'coco_gt.json',
  pnr: 'fho_oscc-pnr_val.json',
  oscc: 'fho_oscc-pnr_val.json',
};

/** The number that ranks, at its best; SCOD's code adds an epsilon to a denominator. */
export const best: Readonly<Record<ChallengeTask, readonly [metric: string, value: number]>> = {
  mq: ['Average mAP', 1],
  nlq: ['mean R@1', 1],
  vq2d: ['stAP25', 1],
  fhp: ['left_mean_disp', 0],
  sta: ['map_box_noun_verb_ttc', 100],
  lta: ['action ED@20', 0],
  scod: ['AP', 1],
  pnr: ['mean_error_sec', 0],
  oscc: ['accuracy', 1],
};

type Row = Readonly<Record<string, unknown>>;
interface Clips<C> {
  readonly videos: readonly { readonly clips: readonly C[] }[];
}

const clip = (uid: string): Row => ({ kind: 'clip', uid });

/** Records of this program that say what the truth of a golden case says. */
export const truthRecords: Readonly<Record<ChallengeTask, (folder: string) => Row[]>> = {
  mq(folder) {
    interface Label {
      label: string;
      start_time: number;
      end_time: number;
      primary: boolean;
    }
    const { videos } = readJsonFile(join(folder, testFiles.mq)) as Clips<{
      clip_uid: string;
      annotations: { labels: Label[] }[];
    }>;
    return videos
      .flatMap(({ clips }) => clips)
      .flatMap(({ clip_uid: uid, annotations }) =>
        annotations
          .flatMap(({ labels }) => labels.filter(({ primary }) => primary))
          .map(({ label, start_time: start, end_time: end }) => ({ label, start, end, clip_uid: uid, of: clip(uid) })),
      )
      .map((row, i) => ({ schema: 'egolens.moment/1', ...row, score: 1 - i / 1e6 }));
  },
  nlq(folder) {
    const { videos } = readJsonFile(join(folder, testFiles.nlq)) as Clips<{
      clip_uid: string;
      annotations: {
        annotation_uid: string;
        language_queries: { query?: string; clip_start_sec: number; clip_end_sec: number }[];
      }[];
    }>;
    return videos
      .flatMap(({ clips }) => clips)
      .flatMap(({ clip_uid: uid, annotations }) =>
        annotations.flatMap(({ annotation_uid: annotation, language_queries: queries }) =>
          queries.map(({ query, clip_start_sec: start, clip_end_sec: end }, i) => ({
            ...{ schema: 'egolens.answer/1', clip_uid: uid, annotation_uid: annotation, query_idx: i },
            ...{ query: query ?? null, rank: 1, start, end, score: 1, of: clip(uid) },
          })),
        ),
      );
  },
  vq2d(folder) {
    interface Box {
      frame_number: number;
      x: number;
      y: number;
      width: number;
      height: number;
    }
    interface Sets {
      query_sets: Record<string, { is_valid: boolean; response_track: Box[] }>;
    }
    const { videos } = readJsonFile(join(folder, testFiles.vq2d)) as Clips<{ clip_uid: string; annotations: Sets[] }>;
    return videos
      .flatMap(({ clips }) => clips)
      .flatMap(({ clip_uid: uid, annotations }) =>
        annotations.flatMap(({ query_sets: sets }, a) =>
          Object.entries(sets)
            .filter(([, { is_valid: isValid }]) => isValid)
            .map(([set, { response_track: track }]) => ({
              ...{ schema: 'egolens.track/1', clip_uid: uid, annotation_idx: a, query_set: set, score: 1 },
              boxes: track.map(({ frame_number: frame, x, y, width, height }) => ({
                frame,
                box: [x, y, x + width, y + height],
              })),
            })),
        ),
      );
  },
  fhp(folder) {
    const labels = readJsonFile(join(folder, 'labels.json')) as Record<string, number[]>;
    return Object.entries(labels).map(([id, values]) => ({
      ...{ schema: 'egolens.hands/1', id },
      points: [0, 1, 2, 3, 4].map((key) => [
        values.slice(4 * key, 4 * key + 2),
        values.slice(4 * key + 2, 4 * key + 4),
      ]),
    }));
  },
  sta(folder) {
    const { annotations } = readJsonFile(join(folder, testFiles.sta)) as {
      annotations: { uid: string; frame: number; objects: Row[] }[];
    };
    return annotations
      .flatMap(({ uid, frame, objects }) => objects.map((object) => ({ id: uid, frame, ...object })))
      .map((row, i) => ({ schema: 'egolens.interaction/1', ...row, score: 1 - i / 1e6 }));
  },
  lta(folder) {
    const { clips } = readJsonFile(join(folder, testFiles.lta)) as {
      clips: { clip_uid: string; action_idx: number; verb_label: number; noun_label: number }[];
    };
    const uids = [...new Set(clips.map(({ clip_uid: uid }) => uid))];
    return uids.flatMap((uid) => {
      const actions = clips.filter((action) => action.clip_uid === uid).sort((a, b) => a.action_idx - b.action_idx);
      return actions.slice(1, -20).map(({ action_idx: index }, i) => {
        const next = actions.slice(i + 2, i + 22);
        const five = (values: number[]): number[][] => Array.from({ length: 5 }, () => values);
        return {
          ...{ schema: 'egolens.sequence/1', id: `${uid}_${index}` },
          verb: five(next.map(({ verb_label: verb }) => verb)),
          noun: five(next.map(({ noun_label: noun }) => noun)),
        };
      });
    });
  },
  scod(folder) {
    const { annotations } = readJsonFile(join(folder, testFiles.scod)) as {
      annotations: { image_id: number; bbox: [number, number, number, number] }[];
    };
    return annotations.map(({ image_id: id, bbox: [x, y, width, height] }, i) => ({
      ...{ schema: 'egolens.object/1', id, box: [x, y, x + width, y + height], score: 1 - i / 1e6 },
    }));
  },
  pnr(folder) {
    return changesOf(folder).map(({ unique_id: id, parent_pnr_frame: frame, parent_start_frame: start }) => ({
      ...{ schema: 'egolens.pnr/1', id, frame: typeof frame === 'number' ? frame - start : 0 },
    }));
  },
  oscc(folder) {
    return changesOf(folder).map(({ unique_id: id, state_change: change }) => ({
      ...{ schema: 'egolens.oscc/1', id, state_change: change },
    }));
  },
};

function changesOf(
  folder: string,
): { unique_id: string; parent_pnr_frame?: number | null; parent_start_frame: number; state_change: boolean }[] {
  const { clips } = readJsonFile(join(folder, testFiles.pnr)) as { clips: ReturnType<typeof changesOf> };
  return clips;
}

export function ndjson(rows: readonly Row[]): string {
  return rows.map((row) => `${JSON.stringify(row)}\n`).join('');
}
