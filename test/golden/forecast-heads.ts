import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { boxRows } from '../../heads/box-feeds.js';
import { headOf } from '../../heads/index.js';
import { softmax32 } from '../../heads/numerics/box-coder.js';
import { roiAlign, roiFactors } from '../../heads/roi-align.js';
import { stillFastDetections } from '../../heads/stillfast-detections.js';
import { GraphBuilder } from '../../src/graph/builder.js';
import { onnxBytes } from '../../src/graph/onnx.js';
import { headInputs, type Head } from '../../src/models/head.js';
import type { BoxCorners } from '../../src/models/forecasts.js';
import { importHead } from '../../src/pipeline/import-head.js';
import { openSession } from '../../src/runtime/session.js';
import { tensor } from '../../src/tensor.js';
import { adamw } from '../../src/train/optimiser.js';
import { openTraining } from '../../src/train/step.js';
import type { AnyTensor, Tensor } from '../../src/types.js';
import { readWeights } from '../cli/models.js';
import { numbers, readArray, readJson } from './model-cases.js';
import { maxAbs, type Comparison, type Runner } from './results.js';

/** `config.json` of these cases. */
interface HeadCase {
  readonly config: Readonly<Record<string, unknown>>;
  readonly files: Readonly<Record<string, { readonly bytes?: number }>>;
}

/** heads.md 11: outputs of layers. */
const layer = 1e-4;
/** Of whole numbers. */
const exact = 0.5;

/** A case as a user meets it: its checkpoint imported with its configuration, and a session over the graph. */
async function withHead<T>(
  path: string,
  { arch, sizes = {} }: { readonly arch: string; readonly sizes?: Readonly<Record<string, unknown>> },
  body: (opened: {
    readonly head: Head;
    readonly checkpoint: string;
    readonly run: (feeds: Readonly<Record<string, AnyTensor>>) => Promise<Record<string, Tensor<'float32'>>>;
  }) => Promise<T>,
): Promise<T> {
  const work = await mkdtemp(join(tmpdir(), 'egolens-golden-'));
  try {
    const { config, files } = await readJson<HeadCase>(join(path, 'config.json'));
    const file = Object.keys(files).find((name) => files[name]?.bytes !== undefined);
    if (file === undefined) throw new Error(`${path}: no checkpoint`);
    const checkpoint = join(path, file);
    const given = join(work, 'config.json');
    await writeFile(given, JSON.stringify({ config: { ...config, ...sizes } }));
    const output = join(work, 'head');
    const family = headOf(arch)!; // one of ours
    const { manifest } = await importHead(checkpoint, family, { arch, config: given, output });
    const head = family.spec(manifest.config);
    await using session = await openSession({ graph: join(output, 'graph.onnx'), device: 'cpu' });
    const names = Object.keys(head.outputs);
    return await body({ head, checkpoint, run: async (feeds) => await session.run(feeds, names) });
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

const floats = async (path: string, name: string): Promise<Tensor<'float32'>> =>
  (await readArray(join(path, `${name}.npy`))) as Tensor<'float32'>;

/** A map [b, c, ...places] as rows [b, places, c]. */
function placesOf({ shape, data }: Tensor<'float32'>): Tensor<'float32'> {
  const [batch = 0, channels = 0, ...space] = shape;
  const places = space.reduce((product, side) => product * side, 1);
  const rows = new Float32Array(data.length);
  for (let i = 0; i < data.length; i++) {
    const [b, c, p] = [Math.floor(i / (channels * places)), Math.floor(i / places) % channels, i % places];
    rows[(b * places + p) * channels + c] = data[i]!;
  }
  return tensor('float32', [batch, places, channels], rows);
}

/** The linear head, its loss over annotated hands, and the gradient of that. */
const hands: Runner = (path) =>
  withHead(path, { arch: 'fhp-head' }, async ({ head, checkpoint, run }) => {
    const features = placesOf(await floats(path, 'features'));
    const { points } = await run({ features });
    const [batch = 0, rows = 0] = features.shape;
    const weights = [...(await readWeights(checkpoint))].map(
      ([key, { shape, data }]) => [key.replace(/^.*projection/, 'projection'), tensor('float32', shape, data)] as const,
    );
    await using training = await openTraining(
      {
        name: 'fhp',
        sizes: { batch, rows },
        groups: () => ({ decay: 0, scale: 1 }),
        optimiser: { rule: adamw },
        forward: (g) => head.loss!(g, head.forward(g, headInputs(g, head))),
      },
      new Map(weights),
      { device: 'cpu', threads: 1 },
    );
    const feeds = {
      features,
      'targets.points': await floats(path, 'targets'),
      'targets.mask': await floats(path, 'mask'),
    };
    const gradients = await training.gradients(feeds);
    const { loss } = await training.run(feeds, 0);
    const expected = numbers(await readArray(join(path, 'grad_weight.npy')));
    const official = numbers(await readArray(join(path, 'loss.npy')))[0]!;
    const largest = Math.max(...expected.map(Math.abs));
    return [
      {
        what: 'points',
        error: maxAbs(numbers(points!), numbers(await floats(path, 'predictions'))),
        tolerance: layer,
      },
      // heads.md 11: losses and gradients within 1e-4, relative to the loss and to the largest gradient.
      { what: 'loss', error: Math.abs(loss - official) / official, tolerance: 1e-4 },
      {
        what: 'gradient',
        error: maxAbs(numbers(gradients.get('projection.weight')!), expected) / largest,
        tolerance: 1e-4,
      },
    ];
  });

/** Verbs and times of boxes, with the maps of the boxes on the way. */
const regions: Runner = async (path) => {
  const { config } = await readJson<HeadCase>(join(path, 'config.json'));
  const maps = await floats(path, 'features');
  const [pictures = 0, width = 0, slots = 0, h = 0, w = 0] = maps.shape;
  return await withHead(path, { arch: 'sta-roi-head', sizes: { grid: [h, w] } }, async ({ run }) => {
    const { data } = await floats(path, 'boxes');
    const given = Array.from({ length: data.length / 5 }, (_, i) => data.subarray(5 * i, 5 * i + 5));
    const boxes = Array.from({ length: pictures }, (_, picture) =>
      given.filter(([of]) => of === picture).map((box) => Array.from(box.subarray(1)) as unknown as BoxCorners),
    );
    const most = Math.max(...boxes.map(({ length }) => length));
    // Where each box of the case stands in the padded batch.
    const seen = new Map<number, number>();
    const places = given.map(([of = 0]) => {
      const at = seen.get(of) ?? 0;
      seen.set(of, at + 1);
      return of * most + at;
    });
    const padded = (rows: Float32Array): Tensor<'float32'> => {
      const all = new Float32Array(pictures * most * width);
      places.forEach((place, i) => {
        all.set(rows.subarray(i * width, (i + 1) * width), place * width);
      });
      return tensor('float32', [pictures, most, width], all);
    };
    const unpadded = (value: Tensor<'float32'>): number[] => {
      const each = value.data.length / (pictures * most);
      return places.flatMap((place) => [...value.data.subarray(place * each, (place + 1) * each)]);
    };
    const [above, below] = String(config['spatial_scale']).split('/').map(Number) as [number, number?];
    const scale = above / (below ?? 1);
    const output = config['roi_resolution'] as number;
    const sampling = config['sampling_ratio'] as number;
    const { rows, columns } = roiFactors(boxes, most, { grid: [h, w], scale: [scale, scale], output, sampling });
    const features = placesOf(maps);
    const { verb, contact } = await run({
      features: { ...features, shape: [pictures, slots, h, w, width] },
      rows,
      columns,
      codes: padded((await floats(path, 'box_embedding')).data),
      boxes: boxRows(
        boxes.map((list) => list.map((box) => ({ box, score: 1 }))),
        most,
      ),
    });
    const logits = Float32Array.from(unpadded(verb!));
    const classes = verb!.shape[2]!;
    const shares = Array.from({ length: given.length }, (_, i) => [
      ...softmax32(logits.subarray(i * classes, (i + 1) * classes)),
    ]).flat();
    const pooled = await pooledRegions({ maps: features, slots, grid: [h, w], rows, columns });
    // The official maps are [box, channel, bin, bin], ours [box, bin, bin, channel].
    const bins = placesOf(await floats(path, 'roi_pooled'));
    const compare = async (what: string, found: number[], name: string): Promise<Comparison> => ({
      what,
      error: maxAbs(found, numbers(await floats(path, name))),
      tolerance: layer,
    });
    return [
      { what: 'regions', error: maxAbs(unpadded(pooled), numbers(bins)), tolerance: layer },
      await compare('verb logits', [...logits], 'verb_logits'),
      await compare('verb probabilities', shares, 'verb_probabilities'),
      await compare('time to contact', unpadded(contact!), 'ttc'),
    ];
  });
};

/** RoIAlign of the mean map by itself, which the head's graph does not give out. */
async function pooledRegions(given: {
  readonly maps: Tensor<'float32'>;
  readonly slots: number;
  readonly grid: readonly [number, number];
  readonly rows: Tensor<'float32'>;
  readonly columns: Tensor<'float32'>;
}): Promise<Tensor<'float32'>> {
  const { maps, slots, grid, rows, columns } = given;
  const [pictures = 0, , width = 0] = maps.shape;
  const places = grid[0] * grid[1];
  const mean = new Float32Array(pictures * places * width);
  maps.data.forEach((value, i) => {
    const [picture, within] = [Math.floor(i / (slots * places * width)), i % (places * width)];
    mean[picture * places * width + within]! += value / slots;
  });
  const g = new GraphBuilder('regions');
  const map = g.input('map', 'float32', ['batch', ...grid, width]);
  const [of, across] = [
    g.input('rows', 'float32', ['batch', 'boxes', ...rows.shape.slice(2)]),
    g.input('columns', 'float32', ['batch', 'boxes', ...columns.shape.slice(2)]),
  ];
  g.output('regions', roiAlign(g, map, { rows: of, columns: across }));
  const work = await mkdtemp(join(tmpdir(), 'egolens-golden-'));
  try {
    const inline = (name: string): never => {
      throw new Error(`${name}: a graph without parameters`);
    };
    const plan = { slots: [], inline: [], totalBytes: 0 };
    await writeFile(join(work, 'graph.onnx'), onnxBytes(g.finish(), { weightsFile: '', plan, inline }));
    await using session = await openSession({ graph: join(work, 'graph.onnx'), device: 'cpu' });
    const feeds = { map: tensor('float32', [pictures, ...grid, width], mean), rows, columns };
    return (await session.run(feeds, ['regions']))['regions']!;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** What a video says, added to the map of a still picture. */
const fusion: Runner = async (path) => {
  const [still, fast] = [await floats(path, 'still'), await floats(path, 'fast')];
  const sizes = { still_size: still.shape.slice(2), fast_size: fast.shape.slice(3) };
  return await withHead(path, { arch: 'stillfast', sizes }, async ({ run }) => {
    const { fused } = await run({ still, fast });
    const expected = numbers(await floats(path, 'fused'));
    return [{ what: 'fused', error: maxAbs(numbers(fused!), expected), tolerance: layer }];
  });
};

/** Detections out of logits: which ones and in which order exactly, numbers to the last bits that `exp` leaves open. */
const detections: Runner = async (path) => {
  const { config } = await readJson<{ config: Readonly<Record<string, number | readonly number[]>> }>(
    join(path, 'config.json'),
  );
  const number = (name: string): number => config[name] as number;
  const [nouns, verbs] = [number('nouns'), number('verbs')];
  const all = {
    nounLogits: (await floats(path, 'noun_logits')).data,
    verbLogits: (await floats(path, 'verb_logits')).data,
    contact: (await floats(path, 'ttc_in')).data,
    offsets: (await floats(path, 'box_regression')).data,
  };
  const comparisons: Comparison[] = [];
  let first = 0;
  for (const [image, count] of (config['proposals'] as readonly number[]).entries()) {
    const rows = (values: Float32Array, each: number): Float32Array =>
      values.subarray(first * each, (first + count) * each);
    const found = stillFastDetections(
      {
        proposals: (await floats(path, `proposals_${image}`)).data,
        nounLogits: rows(all.nounLogits, nouns + 1),
        verbLogits: rows(all.verbLogits, verbs + 1),
        contact: rows(all.contact, 1),
        offsets: rows(all.offsets, 4 * (nouns + 1)),
      },
      {
        image: config['image'] as unknown as [number, number],
        nouns,
        verbs,
        verbTop: number('verb_topk'),
        score: number('score_thresh'),
        overlap: number('nms_thresh'),
        most: number('detections_per_img'),
        weights: config['box_coder_weights'] as unknown as [number, number, number, number],
      },
    );
    first += count;
    const compare = async (what: string, values: number[], tolerance: number): Promise<void> => {
      const expected = numbers(await readArray(join(path, `out${image}_${what}.npy`)));
      comparisons.push({ what: `${what} of image ${image}`, error: maxAbs(values, expected), tolerance });
    };
    // Classes of the data count the background; `exp` may differ in the last bit, and with it a score and a side of a box.
    await compare(
      'nouns',
      found.map(({ noun }) => noun + 1),
      exact,
    );
    await compare(
      'verbs',
      found.map(({ verb }) => verb + 1),
      exact,
    );
    await compare(
      'ttcs',
      found.map(({ contact }) => contact),
      exact,
    );
    await compare(
      'scores',
      found.map(({ score }) => score),
      1e-7,
    );
    await compare(
      'boxes',
      found.flatMap(({ box }) => [...box]),
      1e-5,
    );
  }
  return comparisons;
};

/** The next actions: logits, and the softmax over verbs and nouns together that the official head gives in evaluation. */
const sequences: Runner = async (path) => {
  const features = await floats(path, 'aggregated');
  const [batch = 0, width = 0] = features.shape;
  const feeds = { features: { ...features, shape: [batch, 1, width] } };
  const plain = await withHead(path, { arch: 'lta-head' }, async ({ run }) => {
    const outputs = await run(feeds);
    return await Promise.all(
      (['verb', 'noun'] as const).map(async (kind): Promise<Comparison> => {
        const expected = numbers(await floats(path, `${kind}_logits`));
        return { what: `${kind} logits`, error: maxAbs(numbers(outputs[kind]!), expected), tolerance: layer };
      }),
    );
  });
  const joint = await withHead(path, { arch: 'lta-head', sizes: { activation: true } }, async ({ run }) => {
    const { verb, noun } = await run(feeds);
    const steps = verb!.shape[1]!;
    const row = ({ data }: Tensor<'float32'>, i: number): number[] => {
      const each = data.length / (batch * steps);
      return [...data.subarray(i * each, (i + 1) * each)];
    };
    const values = Array.from({ length: batch * steps }, (_, i) => [...row(verb!, i), ...row(noun!, i)]).flat();
    const error = maxAbs(values, numbers(await floats(path, 'with_activation')));
    return { what: 'joint softmax', error, tolerance: layer };
  });
  return [...plain, joint];
};

export const forecastRunners: Readonly<Record<string, Runner>> = {
  'heads/fhp_head': hands,
  'heads/sta_roi_head': regions,
  'heads/stillfast_fusion': fusion,
  'heads/stillfast_postprocess': detections,
  'heads/lta_head': sequences,
};
