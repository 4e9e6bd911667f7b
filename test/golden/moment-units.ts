import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { secondsToGrid } from '../../heads/numerics/grid.js';
import { hardNms, softNms, suppress, type Decay } from '../../heads/numerics/nms.js';
import type { Segments } from '../../heads/numerics/segments.js';
import { vsgnDetections } from '../../heads/numerics/vsgn.js';
import { cutDatabase, cutRows, momentCuts } from '../../src/ego4d/moment-clips.js';
import { GraphBuilder } from '../../src/graph/builder.js';
import { parseJson } from '../../src/json-reader.js';
import { momentSoftNms, type Proposals } from '../../src/metrics/intervals.js';
import { writeGraph } from '../../src/runtime/probe-graphs.js';
import { openSession } from '../../src/runtime/session.js';
import { distanceIou, focalLoss } from '../../src/train/losses.js';
import type { Tensor } from '../../src/types.js';
import { numbers, readArray, readJson } from './model-cases.js';
import { bounds, doubles, exactly, floats, near } from './moment-arrays.js';
import { maxAbs, type Comparison, type Runner } from './results.js';

interface Operation {
  readonly key: string;
  readonly op: 'softnms' | 'nms' | 'batched_nms';
  readonly set?: string;
  readonly method?: number;
  readonly sigma?: number;
  readonly iou_threshold: number;
  readonly min_score?: number;
  readonly max_seg_num?: number;
  readonly use_soft_nms?: boolean;
  readonly multiclass?: boolean;
  readonly voting_thresh?: number;
}

const decays: readonly Decay[] = ['cut', 'linear', 'gaussian'];

/** Every call of the suppression routines, and both losses element by element. */
const runUnits: Runner = async (path) => {
  const { config } = await readJson<{ config: { operations: readonly Operation[] } }>(join(path, 'config.json'));
  const found: Comparison[] = [];
  const set = async (name: string): Promise<Segments> => {
    const ends = (await floats(path, `${name}_segs`)).data;
    const score = (await floats(path, `${name}_scores`)).data;
    const label = name === 'batched' ? (await floats(path, `${name}_labels`)).data : new Float32Array(score.length);
    return {
      start: ends.filter((_, i) => i % 2 === 0),
      end: ends.filter((_, i) => i % 2 === 1),
      score,
      label: Int32Array.from(label),
    };
  };
  for (const operation of config.operations) {
    const { key, op } = operation;
    if (op === 'batched_nms') {
      found.push(...(await compareBatched(path, operation, await set('batched'))));
      continue;
    }
    const segments = await set(operation.set!);
    const places = numbers(await readArray(join(path, `${key}_inds.npy`)));
    if (op === 'nms') {
      found.push(exactly(key, hardNms(segments, { overlapFrom: operation.iou_threshold }), places));
      continue;
    }
    const picks = softNms(segments, {
      decay: decays[operation.method!]!,
      sigma: operation.sigma!,
      overlapFrom: operation.iou_threshold,
      minScore: operation.min_score!,
    });
    const scores = (await floats(path, `${key}_dets`)).data.filter((_, i) => i % 3 === 2);
    found.push(exactly(`${key} order`, picks.index, places), {
      what: `${key} scores`,
      error: maxAbs(picks.score, scores),
      tolerance: bounds.scores,
    });
  }
  return [...found, ...(await compareLosses(path))];
};

async function compareBatched(path: string, operation: Operation, all: Segments): Promise<Comparison[]> {
  const { key, voting_thresh: votingFrom = 0, multiclass: perClass = true } = operation;
  const left = suppress(all, {
    method: operation.use_soft_nms === true ? 'soft' : 'hard',
    sigma: operation.sigma!,
    overlapFrom: operation.iou_threshold,
    minScore: operation.min_score!,
    most: operation.max_seg_num!,
    perClass,
    votingFrom,
  });
  const ends = (await floats(path, `${key}_segs`)).data;
  const isVoted = !perClass && votingFrom > 0;
  return [
    exactly(`${key} labels`, left.label, (await floats(path, `${key}_labels_out`)).data),
    {
      what: `${key} scores`,
      error: maxAbs(left.score, (await floats(path, `${key}_scores_out`)).data),
      tolerance: bounds.scores,
    },
    {
      what: `${key} segments`,
      error: maxAbs(
        Array.from(left.start).flatMap((start, i) => [start, left.end[i]!]),
        ends,
      ),
      // Sums of float32 products in another order: a few units in the last place of the largest.
      tolerance: isVoted ? Math.max(bounds.voted, 2e-7 * Math.max(...ends)) : bounds.exact,
    },
  ];
}

async function compareLosses(path: string): Promise<Comparison[]> {
  const work = await mkdtemp(join(tmpdir(), 'egolens-golden-'));
  try {
    const names = ['focal_logits', 'focal_targets', 'diou_pred', 'diou_gt'];
    const arrays = new Map(await Promise.all(names.map(async (name) => [name, await floats(path, name)] as const)));
    const g = new GraphBuilder('losses');
    const [logits, targets, predicted, wanted] = names.map((name) => g.input(name, 'float32', arrays.get(name)!.shape));
    g.output('focal_loss', focalLoss(g, logits!, targets!));
    g.output('diou_loss', distanceIou(g, predicted!, wanted!));
    await using session = await openSession({ graph: await writeGraph(work, g.finish()), device: 'cpu' });
    const results = await session.run(Object.fromEntries(arrays), ['focal_loss', 'diou_loss']);
    return await Promise.all(
      ['focal_loss', 'diou_loss'].map(async (name) =>
        near(name, results[name]!.data, numbers(await floats(path, name)), 1e-6),
      ),
    );
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

interface CutCase {
  readonly config: { readonly feat_stride: number; readonly num_frames: number; readonly default_fps: number };
}

/** Clips cut out of features of whole videos, their list, and segments on the grid. */
const runCutting: Runner = async (path) => {
  const { config } = await readJson<CutCase>(join(path, 'config.json'));
  const { feat_stride: stride, num_frames: window, default_fps: fps } = config;
  const documents = await Promise.all(
    ['moments_train.json', 'moments_val.json'].map(async (name) => parseJson(name, await readFile(join(path, name)))),
  );
  const cuts = documents.flatMap((document) => momentCuts(document, { stride, window }));
  const names = await readdir(path);
  const found: Comparison[] = [];
  const expected = await readJson<{
    database: Record<
      string,
      { annotations: readonly { label: string; label_id: number; segment: [number, number] }[] }
    >;
  }>(join(path, 'ego4d.json'));
  const labels = new Map(
    Object.values(expected.database).flatMap(({ annotations }) =>
      annotations.map(({ label, label_id: id }) => [label, id] as const),
    ),
  );
  const isSame = JSON.stringify(cutDatabase(cuts, labels)) === JSON.stringify(expected);
  found.push({ what: 'ego4d.json', error: isSame ? 0 : 1, tolerance: bounds.exact });
  // `cut_KIND_CLIP.npy` comes out of the one file of the video that begins with the same letters.
  for (const { clipUid, videoUid, moments, ...cut } of cuts) {
    const own = names.filter((name) => name.startsWith('cut_') && name.endsWith(`_${clipUid}.npy`));
    const parts: Tensor<'float32'>[] = [];
    for (const name of own.sort((a, b) => (a < b ? 1 : -1))) {
      const kind = name.slice('cut_'.length, -`_${clipUid}.npy`.length);
      const source = names.find((one) => one.startsWith(kind) && one.endsWith(`_${videoUid}.npy`))!;
      const part = cutRows(await floats(path, source.slice(0, -4)), { clipUid, videoUid, moments, ...cut });
      found.push(exactly(name, part.data, numbers(await floats(path, name.slice(0, -4)))));
      parts.push(part);
    }
    const wanted = await floats(path, `grid_feats_${clipUid}`);
    found.push(exactly(`grid features of ${clipUid}`, channelsFirst(parts), numbers(wanted)));
    const ends = moments.flatMap(({ start, end }) =>
      [start, end].map((t) => secondsToGrid(t, { stride, window, fps })),
    );
    found.push(exactly(`segments of ${clipUid}`, ends, numbers(await floats(path, `grid_segments_${clipUid}`))));
  }
  return found;
};

function channelsFirst(parts: readonly Tensor<'float32'>[]): number[] {
  return parts.flatMap(({ shape, data }) => {
    const [rows, width] = shape as readonly [number, number];
    return Array.from({ length: rows * width }, (_, i) => data[(i % rows) * width + Math.floor(i / rows)]!);
  });
}

/** The soft-NMS of the official baseline for each sigma that a file is for, and the detections out of it. */
const runVsgn: Runner = async (path) => {
  const { config } = await readJson<{ config: { nms_alpha_detect: number; duration: number } }>(
    join(path, 'config.json'),
  );
  const rows = await doubles(path, 'proposals');
  const column = (i: number): Float64Array => Float64Array.from(rows.filter((_, at) => at % 4 === i));
  const proposals: Proposals = {
    start: column(0),
    end: column(1),
    score: column(2),
    label: Int32Array.from(column(3)),
  };
  const found: Comparison[] = [];
  for (const name of await readdir(path)) {
    const sigma = /^soft_nms_(.+)\.npy$/.exec(name)?.[1];
    if (sigma === undefined) continue;
    const left = momentSoftNms(proposals, Number(sigma));
    const flat = Array.from(left.score).flatMap((score, i) => [left.start[i]!, left.end[i]!, score, left.label[i]!]);
    found.push({ what: name, error: maxAbs(flat, await doubles(path, name.slice(0, -4))), tolerance: 1e-12 });
  }
  const expected = await readJson<Record<string, readonly { label: string; score: number; segment: number[] }[]>>(
    join(path, 'detections.json'),
  );
  const detections = vsgnDetections(proposals, { duration: config.duration, sigma: config.nms_alpha_detect });
  const text = (list: readonly { label: string; score: number; segment: readonly number[] }[]): string =>
    JSON.stringify(list.map(({ label, score, segment }) => ({ label, score, segment })));
  const own = detections.map(({ label, ...rest }) => ({ label: `c${label}`, ...rest }));
  for (const [clip, list] of Object.entries(expected))
    found.push({ what: `detections of ${clip}`, error: text(own) === text(list) ? 0 : 1, tolerance: bounds.exact });
  return found;
};

/** Runners of what lies beside the network. */
export const momentUnitRunners: Readonly<Record<string, Runner>> = {
  'heads/nms_units': runUnits,
  'heads/ego4d_clip_cutting': runCutting,
  'heads/vsgn_postprocess': runVsgn,
};
