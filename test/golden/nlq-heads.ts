import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { openSizes, pointsOf } from '../../heads/actionformer-sizes.js';
import { nextNormaliser, sequenceFeeds, targetFeeds, targetInputs } from '../../heads/actionformer-targets.js';
import { groundnlq, groundValues, queryFeeds, readGround, trainingPlace } from '../../heads/groundnlq.js';
import { featureAt, sampleFeatures, secondsToUnits, unitsToSeconds, type UnitSpan } from '../../heads/nlq/sampling.js';
import { reformatted, type QueryAnnotations } from '../../heads/nlq/annotations.js';
import { mergedAnswers } from '../../heads/nlq/answers.js';
import { vslnetTargets } from '../../heads/nlq/vslnet-loss.js';
import { vslnet, vslnetIntermediates } from '../../heads/vslnet.js';
import type { JsonValue } from '../../src/json.js';
import { headInputs } from '../../src/models/head.js';
import { tensor } from '../../src/tensor.js';
import type { AnyTensor, Tensor } from '../../src/types.js';
import { numbers, readArray, readJson } from './model-cases.js';
import { bounds, doubles, near } from './moment-arrays.js';
import { compareGradients, mixedError, openHead, ranHead, readTensors } from './nlq-run.js';
import { maxAbs, type Comparison, type Runner } from './results.js';

interface CaseConfig {
  readonly config: Readonly<Record<string, JsonValue>>;
}

const runVslnet = async (path: string): Promise<Comparison[]> => {
  const { config: official } = await readJson<CaseConfig>(join(path, 'config.json'));
  const array = (name: string): Promise<AnyTensor> => readArray(join(path, `${name}.npy`));
  const features = (await array('video_features')) as Tensor<'float32'>;
  const [batch, rows] = features.shape as [number, number, number];
  // The official batch leaks over its padding; what is compared is that batch.
  const config = { ...official, mask_convs: false, ...(official['predictor'] === 'rnn' && { rows }) };
  const head = vslnet.spec(config);
  const inputs: Record<string, AnyTensor> = {
    features,
    mask: await array('video_mask'),
    query_mask: await array('query_mask'),
  };
  const stored = { query: 'query_embeddings', word_ids: 'word_ids', char_ids: 'char_ids' };
  for (const [name, file] of Object.entries(stored)) if (name in head.inputs) inputs[name] = await array(file);
  const found: Comparison[] = [];
  const same = (what: string, own: ArrayLike<number>, expected: AnyTensor, tolerance: number): void => {
    found.push({ what, error: mixedError(own, numbers(expected)), tolerance });
  };

  const units = (official['lens'] as number[]).map((_, i) => i);
  const counts: number[] = [];
  for (const i of units) {
    const sampled = sampleFeatures((await array(`video_${i}`)) as Tensor<'float32'>, Number(official['max_pos_len']));
    same(`sampled ${i}`, sampled.data, await array(`sampled_${i}`), 0);
    counts.push(sampled.shape[0]!);
  }
  const durations = Array.from(await doubles(path, 'durations'));
  const truth = Array.from(await doubles(path, 'gt_seconds'));
  const spans = units.map((i): UnitSpan =>
    secondsToUnits([truth[2 * i]!, truth[2 * i + 1]!], counts[i]!, durations[i]!),
  );
  same('truth in units', spans.flat(), await array('gt_index'), 0);
  const targets = vslnetTargets(spans, counts, rows);
  same('highlight labels', targets['targets.highlight']!.data, await array('highlight_labels'), 0);

  const outputs = await ranHead(vslnet, join(path, 'vslnet_123.t7'), config, inputs);
  same('start logits', outputs['start_logits']!.data, await array('start_logits'), bounds.layers);
  same('end logits', outputs['end_logits']!.data, await array('end_logits'), bounds.layers);
  const labels = {};
  const official5 = {
    start_logits: (await array('start_logits')) as Tensor<'float32'>,
    end_logits: (await array('end_logits')) as Tensor<'float32'>,
  };
  const answers = head.decode(official5, { labels, options: { top: 5 }, clock: null, durations });
  const times = answers.flat().flatMap((one) => (one.task === 'nlq' ? [one.start, one.end] : []));
  same('answers in seconds', times, await array('predicted_times'), 0);

  const weights = await readTensors(join(path, 'vslnet_123.t7'));
  const sizes = { batch, rows, words: inputs['query_mask']!.shape[1]!, chars: inputs['char_ids']?.shape[2] ?? 0 };
  await using training = await openHead(head, weights, sizes, {
    values: (g) => vslnetIntermediates(g, config, headInputs(g, head)),
    loss(g) {
      const { loss, parts } = head.loss!(g, head.forward(g, headInputs(g, head)));
      return { loss, ...parts };
    },
  });
  const values = await training.evaluate('values', inputs);
  for (const name of layers) {
    // Sums of large products that nearly cancel are as wrong as the products are.
    found.push(near(name, values[name]!.data, numbers(await array(name)), bounds.layers));
  }
  const { span, highlight, loss } = await training.evaluate('loss', { ...inputs, ...targets });
  const losses = [span, highlight, loss].map((value) => value!.data[0]!);
  numbers(await array('losses')).forEach((expected, i) => {
    const what = `loss: ${['span', 'highlight', 'total'][i]}`;
    found.push({ what, error: Math.abs(losses[i]! - expected), tolerance: bounds.losses * Math.abs(expected) });
  });
  const gradients = await training.gradients({ ...inputs, ...targets });
  found.push(...compareGradients(gradients, await readTensors(join(path, 'grads.pth'))));
  return found;
};

const layers = [
  'video_affine',
  'query_projected',
  'query_encoded',
  'video_encoded',
  'cq_attention',
  'cq_concat',
  'h_score',
];

interface ReformatCase {
  readonly input: QueryAnnotations;
  readonly output: unknown;
  readonly clip_video_map: unknown;
}

const runConversions: Runner = async (path) => {
  const { config } = await readJson<{ config: { sampling_max: number[] } }>(join(path, 'config.json'));
  const array = async (name: string): Promise<number[]> => numbers(await readArray(join(path, `${name}.npy`)));
  const found: Comparison[] = [];
  const exact = (what: string, own: ArrayLike<number>, expected: ArrayLike<number>): void => {
    found.push({ what, error: maxAbs(own, expected), tolerance: 0 });
  };
  for (const [i, most] of config.sampling_max.entries()) {
    const input = (await readArray(join(path, `sampling_${i}_in.npy`))) as Tensor<'float32'>;
    exact(`sampling ${i}`, sampleFeatures(input, most).data, await array(`sampling_${i}_out`));
  }
  const spans = Array.from(await doubles(path, 'spans'));
  const converted: number[] = [];
  for (let at = 0; at < spans.length; at += 4) {
    const [start, end, units, duration] = spans.slice(at, at + 4) as [number, number, number, number];
    const indices = secondsToUnits([start, end], units, duration);
    converted.push(...indices, ...unitsToSeconds(indices, units, duration));
  }
  exact('seconds to units and back', converted, await array('converted'));
  const instants = Array.from(await doubles(path, 'frame_times'));
  exact('features at instants', instants.map(featureAt), await array('frame_floor'));
  exact('the same, rounded up', instants.map(featureAt), await array('frame_ceil'));
  const annotations = await readJson<ReformatCase>(join(path, 'reformat.json'));
  const { clips, clipVideoMap } = reformatted(annotations.input);
  const differs = (own: unknown, expected: unknown): number => (isDeepStrictEqual(own, expected) ? 0 : 1);
  found.push({ what: 'clips of annotations', error: differs(clips, annotations.output), tolerance: 0 });
  found.push({ what: 'clips by video', error: differs(clipVideoMap, annotations.clip_video_map), tolerance: 0 });
  return found;
};

/** The pyramid that looks at words: forward, decoding of the official outputs, loss and gradients. */
const runGround = async (path: string): Promise<Comparison[]> => {
  const { config: given } = await readJson<CaseConfig>(join(path, 'config.json'));
  const array = async (name: string): Promise<Tensor<'float32'>> =>
    (await readArray(join(path, `${name}.npy`))) as Tensor<'float32'>;
  const config = readGround(given);
  const head = groundnlq.spec(given);
  const { pyramid } = config;
  const features = rowsOfColumns(await array('feats'));
  const sequence = sequenceFeeds(pyramid, [[features]]);
  const inputs = {
    ...sequence,
    ...queryFeeds([rowsOfColumns(await array('query_feats'))]),
  };
  const found: Comparison[] = [];
  const close = (what: string, own: ArrayLike<number>, expected: readonly number[], tolerance: number): void => {
    found.push({ what, error: mixedError(own, expected), tolerance });
  };
  const levels = Array.from({ length: pyramid.branches + 1 }, (_, level) => level);
  const joined = async (name: string): Promise<number[]> =>
    (await Promise.all(levels.map((level) => array(`${name}_${level}`)))).flatMap(numbers);
  const expected = {
    logits: await joined('cls_logits'),
    offsets: await joined('offsets'),
    valid: await joined('mask'),
  };

  const checkpoint = (await readdir(path)).find((file) => file.endsWith('.pth.tar'));
  if (checkpoint === undefined) throw new Error(`${path}: no checkpoint`);
  const outputs = await ranHead(groundnlq, join(path, checkpoint), given, inputs);
  for (const [name, values] of Object.entries(expected)) close(name, outputs[name]!.data, values, bounds.layers);

  const stored = Object.fromEntries(
    Object.entries(expected).map(([name, values]) => [
      name,
      tensor('float32', outputs[name]!.shape, Float32Array.from(values)),
    ]),
  );
  const durations = [Number(given['duration'])];
  const [answers = []] = head.decode(stored, { labels: {}, options: {}, clock: null, durations });
  const spans = answers.filter((one) => one.task === 'nlq');
  const times = spans.flatMap(({ start, end }) => [start, end]);
  found.push({ what: 'answers', error: maxAbs(times, numbers(await array('final_segments'))), tolerance: 0 });
  const scores = numbers(await array('final_scores'));
  close(
    'scores',
    spans.map(({ score }) => score),
    scores,
    bounds.scores,
  );
  const merged = mergedAnswers(spans).flatMap(({ start, end, score }) => [start, end, score]);
  close('ensemble', merged, Array.from(await doubles(path, 'temporal_nms_05')), bounds.scores);

  const truth = Array.from(await doubles(path, 'train_seconds'));
  const places = truth.map((seconds) => trainingPlace(config, seconds));
  close('training places', places, Array.from(await doubles(path, 'train_grid')), bounds.scores);
  const segments = Array.from({ length: places.length / 2 }, (_, i) => ({
    start: places[2 * i]!,
    end: places[2 * i + 1]!,
    label: 0,
  }));
  const rows = features.shape[0]!;
  const length = sequence['mask']!.shape[1]!;
  const targets = targetFeeds(pyramid, [{ rows, segments }], length);
  const normaliser = nextNormaliser(pyramid.training.normaliser, targets.positives);
  const batch = {
    ...inputs,
    ...targets.feeds,
    [targetInputs.normaliser]: tensor('float32', [], Float32Array.of(normaliser)),
  };
  const weights = await readTensors(join(path, checkpoint), ['state_dict_ema']);
  const open = openSizes(pyramid);
  const points = pointsOf(pyramid, length);
  const sizes = { batch: 1, [open.rows]: length, [open.points]: points, words: inputs.query.shape[1]! };
  await using training = await openHead(head, weights, sizes, {
    values: (g) =>
      Object.fromEntries(groundValues(g, config, headInputs(g, head)).neck.map((x, level) => [`neck_${level}`, x])),
    loss(g) {
      const { loss, parts } = head.loss!(g, head.forward(g, headInputs(g, head)));
      return { loss, ...parts };
    },
  });
  const values = await training.evaluate('values', inputs);
  for (const level of levels) {
    close(`neck ${level}`, values[`neck_${level}`]!.data, numbers(await array(`neck_${level}`)), bounds.layers);
  }
  const { classification, regression, loss } = await training.evaluate('loss', batch);
  const losses = [classification, regression, loss].map((value) => value!.data[0]!);
  (await doubles(path, 'losses')).forEach((value, i) => {
    const what = `loss: ${['classification', 'regression', 'total'][i]}`;
    found.push({ what, error: Math.abs(losses[i]! - value), tolerance: bounds.losses * Math.abs(value) });
  });
  found.push(...compareGradients(await training.gradients(batch), await readTensors(join(path, 'grads.pth'))));
  return found;
};

/** [c, t] -> [t, c] */
function rowsOfColumns({ shape, data }: Tensor<'float32'>): Tensor<'float32'> {
  const [c, t] = shape as [number, number];
  return tensor(
    'float32',
    [t, c],
    data.map((_, i) => data[(i % c) * t + Math.floor(i / c)]!),
  );
}

/** Comparisons with a tolerance first: the line of a case names the one that comes nearest to its own. */
const ordered =
  (run: (path: string) => Promise<Comparison[]>): Runner =>
  async (path) =>
    (await run(path)).sort((a, b) => Number(a.tolerance === 0) - Number(b.tolerance === 0));

export const nlqRunners: Readonly<Record<string, Runner>> = {
  'heads/vslnet_bert': ordered(runVslnet),
  'heads/vslnet_glove_rnn': ordered(runVslnet),
  'heads/groundnlq': ordered(runGround),
  'heads/groundnlq_star': ordered(runGround),
  'heads/nlq_conversions': runConversions,
};
