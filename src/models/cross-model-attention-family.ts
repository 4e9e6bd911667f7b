import { EgolensError } from '../errors.js';
import type { JsonValue } from '../json.js';
import { seededRandom } from '../random.js';
import { shapeText, sizeOf, tensor } from '../tensor.js';
import type { AnyTensor, StateDict, StoredTensor, Tensor } from '../types.js';
import { sampleViews } from '../video/sampling.js';
import { ConfigReader, defined, depthOf, limits, ratioOf } from './config.js';
import { coordinationGraph, evenlyAfter, type Coordination, type CrossModule } from './cross-model-attention.js';
import { tokenCount, type Geometry } from './patches.js';
import { slowfastStatistics } from './recipe.js';
import type { ConfigContext, KeyShapes, ModelFamily, ModelSpec, OutputInfo } from './spec.js';
import { readUniformer, uniformerv2 } from './uniformerv2-family.js';
import { readClassifier, videomaeClassifier } from './videomae-family.js';

const family = 'cross-model-attention';
/** The streams: a section of the configuration each, and a prefix of the keys. */
const parts = { masked: videomaeClassifier, multimodal: uniformerv2 } as const;
type Part = keyof typeof parts;

/** A section of the configuration; what its family finds wrong is said with the section's name. */
function inPart<T>(config: ConfigReader, raw: Raw, part: Part, read: (section: Raw) => T): T {
  const section = raw[part] ?? {};
  if (typeof section !== 'object' || Array.isArray(section)) throw config.fail(part, 'a configuration of its own');
  try {
    return read(section as Raw); // an object, as the line above found
  } catch (error) {
    if (!(error instanceof EgolensError)) throw error;
    throw new EgolensError(error.code, `${family}: \`${part}\`: ${error.message}`, { ...error.details, cause: error });
  }
}
type Raw = Readonly<Record<string, unknown>>;

/** Both streams' models, and their specs, which know their keys. */
interface Streams {
  readonly model: Pick<Coordination, Part>;
  readonly specs: Readonly<Record<Part, ModelSpec>>;
}

function readStreams(config: ConfigReader, raw: Raw, context: ConfigContext): Streams {
  // The preset is that of the masked stream, whose windows are read; the other stream keeps its own statistics.
  const [masked, maskedSpec] = inPart(config, raw, 'masked', (section) => [
    readClassifier(new ConfigReader(videomaeClassifier.name, section), context),
    videomaeClassifier.spec(section, context),
  ]);
  const [multimodal, multimodalSpec] = inPart(config, raw, 'multimodal', (section) => [
    readUniformer(new ConfigReader(uniformerv2.name, section), slowfastStatistics),
    uniformerv2.spec(section, {}),
  ]);
  if (masked.stem.length > 0) throw config.fail('masked', 'an official VideoMAE: no `stem_dims` in it');
  if (masked.classes === 0) throw config.fail('masked', 'a classifier: `num_classes` of 1 or more in it');
  if (masked.classes !== multimodal.classes)
    throw config.fail('multimodal', `the ${masked.classes} classes of \`masked\` in it, not ${multimodal.classes}`);
  return { model: { masked, multimodal }, specs: { masked: maskedSpec, multimodal: multimodalSpec } };
}

function readModule(config: ConfigReader, member: string, width: number, heads: number): CrossModule {
  const own = config.integer(member, 1, limits.width, heads);
  if (width % own !== 0) throw config.fail(member, `a divisor of the stream's width ${width}`);
  const hidden = Math.trunc(width * config.positive('mlp_ratio', 4));
  if (hidden < 1 || hidden > 8 * limits.width)
    throw config.fail('mlp_ratio', `a hidden width of 1 to ${8 * limits.width}`);
  return { heads: own, hidden, epsilon: config.positive('norm_eps', 1e-6) };
}

function readCoordination(config: ConfigReader, { masked, multimodal }: Streams['model']): Coordination {
  const depth = masked.tower.depth;
  const stages = multimodal.tower.after.length;
  const after = config.ascending('after_blocks', 0, depth - 1, evenlyAfter(depth, stages));
  if (after.length !== stages)
    throw config.fail('after_blocks', `${stages} blocks, one for each global block of \`multimodal\``);
  config.oneOf('activation', ['gelu_erf'] as const, 'gelu_erf');
  return {
    masked,
    multimodal,
    after,
    module: readModule(config, 'heads_masked', masked.tower.width, masked.tower.heads),
    lastModule: readModule(config, 'heads_multimodal', multimodal.tower.width, multimodal.tower.heads),
  };
}

function coordinationSpec(raw: Raw, context: ConfigContext): ModelSpec {
  const config = new ConfigReader(family, raw);
  const { model: streams, specs } = readStreams(config, raw, context);
  const model = readCoordination(config, streams);
  const { masked, multimodal } = model;
  const second = multimodal.tower.geometry;
  const isOneSize = masked.geometry.size === second.size;
  const shape = [second.frames, second.size, second.size, 3];
  return {
    family,
    kind: 'coordination',
    config: {
      masked: { ...specs.masked.config },
      multimodal: { ...specs.multimodal.config },
      after_blocks: [...model.after],
      heads_masked: model.module.heads,
      heads_multimodal: model.lastModule.heads,
      mlp_ratio: config.positive('mlp_ratio', 4),
      activation: 'gelu_erf',
      norm_eps: model.module.epsilon,
    },
    preset: specs.masked.preset,
    frames: masked.geometry.frames,
    size: masked.geometry.size,
    classes: masked.classes,
    outputs: outputsOf(model),
    tokenOutput: `masked_after_cma_${model.after.length - 1}`,
    arrays: {
      multimodal: `frames of the multimodal stream: uint8 ${shapeText(['batch', ...shape])}, or float32 ${shapeText(['batch', 3, ...shape.slice(0, 3)])}, normalised`,
    },
    build: (variant) => coordinationGraph(family, model, variant),
    ...(isOneSize && { companions: (frames: Tensor<'uint8'>) => ({ multimodal: framesOf(frames, second.frames) }) }),
    adapt: (tensors) => adapted(tensors, specs),
    leftover(key) {
      const part = partOf(key);
      return part && specs[part].leftover(key.slice(part.length + 1));
    },
    feeds: (arrays, batch) => coordinationFeeds(arrays, batch, second),
    probeArrays() {
      const random = seededRandom(0, 'probe-multimodal');
      return {
        multimodal: tensor(
          'uint8',
          [1, ...shape],
          Uint8Array.from({ length: sizeOf(shape) }, () => random.integer(256)),
        ),
      };
    },
  };
}

function outputsOf({ masked, multimodal, after }: Coordination): Readonly<Record<string, OutputInfo>> {
  const [width, second] = [masked.tower.width, multimodal.tower.width];
  const scores = (meaning: string): OutputInfo => ({ shape: ['batch', masked.classes], meaning });
  return {
    pooled: {
      shape: ['batch', width + second],
      meaning: 'what enters the two heads: pooled feature of the masked stream, then class_token',
    },
    logits: scores('class scores of both streams, mixed by `alpha`'),
    probs: scores('softmax of logits'),
    logits_masked: scores('class scores of the masked stream'),
    logits_multimodal: scores('class scores of the multimodal stream'),
    class_token: {
      shape: ['batch', second],
      meaning: 'pooled feature of the multimodal stream after the last cross-model attention',
    },
    ...Object.fromEntries(
      after.map((i, j): [string, OutputInfo] => [
        `masked_after_cma_${j}`,
        {
          shape: ['batch', tokenCount(masked.geometry), width],
          meaning: `tokens of the masked stream after block ${i} and cross-model attention ${j}`,
        },
      ]),
    ),
  };
}

/**
 * The frames of the second stream as the graph takes them.
 *
 * @throws EgolensError data.shape where they are missing or misshapen, data.dtype for other elements, data.invalid for another array
 */
function coordinationFeeds(
  arrays: Readonly<Record<string, AnyTensor>>,
  batch: number,
  { frames, size }: Geometry,
): Readonly<Record<string, AnyTensor>> {
  for (const name of Object.keys(arrays)) {
    if (name !== 'multimodal')
      throw new EgolensError(
        'data.invalid',
        `\`${name}\`: this model takes no such array; expected the frames and \`multimodal\``,
      );
  }
  const value = arrays['multimodal'];
  const bytes = [batch, frames, size, size, 3];
  const floats = [batch, 3, frames, size, size];
  if (value === undefined) {
    throw new EgolensError('data.shape', `\`multimodal\`: expected uint8 ${shapeText(bytes)}, found none`, {
      try: 'give the frames of the second stream with `--input multimodal=FILE.npy`',
    });
  }
  if (value.dtype !== 'uint8' && value.dtype !== 'float32') {
    throw new EgolensError('data.dtype', `\`multimodal\`: expected uint8 or float32, found ${value.dtype}`);
  }
  const wanted = value.dtype === 'uint8' ? bytes : floats;
  const found = value.shape.length === 4 ? [1, ...value.shape] : value.shape;
  if (found.join() !== wanted.join()) {
    throw new EgolensError(
      'data.shape',
      `\`multimodal\`: expected ${value.dtype} ${shapeText(wanted)}, found ${shapeText(value.shape)}`,
    );
  }
  return { multimodal: { ...value, shape: found } };
}

/** `count` frames of each window [b, t, size, size, 3], taken evenly from its first to its last. */
function framesOf(windows: Tensor<'uint8'>, count: number): Tensor<'uint8'> {
  const [batch, t, ...picture] = windows.shape as [number, number, ...number[]];
  const even = { plan: 'internvideo_mm_linspace', frames: count, step: 1, hop: count } as const;
  const taken = sampleViews({ ...even, rate: 'source', tail: 'pad', views: [1, 1] }, t)[0]!; // one view, never none
  const length = sizeOf(picture);
  const data = new Uint8Array(batch * count * length);
  for (let b = 0; b < batch; b++) {
    taken.forEach((index, i) => {
      const from = (b * t + index) * length;
      data.set(windows.data.subarray(from, from + length), (b * count + i) * length);
    });
  }
  return tensor('uint8', [batch, count, ...picture], data);
}

function partOf(key: string): Part | undefined {
  return key.startsWith('masked.') ? 'masked' : key.startsWith('multimodal.') ? 'multimodal' : undefined;
}

/** What lies below `part.`, under its own names. */
function below<T>(members: ReadonlyMap<string, T>, part: Part): Map<string, T> {
  const prefix = `${part}.`;
  return new Map(
    [...members].flatMap(([key, value]) => (key.startsWith(prefix) ? [[key.slice(prefix.length), value]] : [])),
  );
}

/** The streams' tensors as their own families adapt them, the modules' as they are. */
function adapted(tensors: StateDict, specs: Streams['specs']): StateDict {
  const all = new Map<string, StoredTensor>([...tensors].filter(([key]) => partOf(key) === undefined));
  for (const part of Object.keys(parts) as Part[]) {
    for (const [key, value] of specs[part].adapt(below(tensors, part))) all.set(`${part}.${key}`, value);
  }
  return all;
}

/** What the keys of one stream tell; nothing where there are none. */
function inferPart(keys: KeyShapes, part: Part): Record<string, JsonValue> | undefined {
  const own = below(keys, part);
  return own.size === 0 ? undefined : { ...parts[part].infer(own) };
}

export const crossModelAttention: ModelFamily = {
  name: family,
  summary:
    'VideoMAE and UniFormerV2 coordinated by cross-model attention; our reference design, no official code exists',
  sizes: {},
  parts,
  recognises: (keys) => keys.has('alpha') && keys.has('cma_last.gate_attn') && depthOf(keys, 'cma.') > 0,
  official: (tensors) => tensors,
  infer(keys) {
    const fc1 = keys.get('cma_last.fc1.weight');
    return defined({
      masked: inferPart(keys, 'masked'),
      multimodal: inferPart(keys, 'multimodal'),
      mlp_ratio: fc1?.[0] === undefined || fc1[1] === undefined ? undefined : ratioOf(fc1[0], fc1[1]),
    });
  },
  spec: coordinationSpec,
};
