/**
 * Natural Language Queries with VSLNet: the official network, and a small one that learns its words.
 *
 * Paper: Zhang et al., "Span-based Localizing Network for Natural Language Video Localization", ACL 2020; Ego4D version: EGO4D/episodic-memory
 * NLQ/VSLNet. Loads its checkpoints (and those of NaQ with the same keys) as they are; BERT is not part of the head: its vectors are given.
 */
import { EgolensError } from '../src/errors.js';
import type { GraphBuilder } from '../src/graph/builder.js';
import type { Value } from '../src/graph/ops.js';
import type { JsonValue } from '../src/json.js';
import { ConfigReader, defined, limits } from '../src/models/config.js';
import type { PortInfo } from '../src/models/folder.js';
import { initialValues, noise, type Head, type HeadFamily, type SpanAnswer } from '../src/models/head.js';
import type { KeyShapes } from '../src/models/spec.js';
import { secondsAt } from '../src/time.js';
import { sizeOf, tensor } from '../src/tensor.js';
import type { AnyTensor, FeatureClock, Seconds } from '../src/types.js';
import type { Random } from '../src/random.js';
import { unitsToSeconds } from './nlq/sampling.js';
import { bestSpans, rowsOf } from './nlq/spans.js';
import { vslnetValues, type VslnetSizes } from './nlq/vslnet-graph.js';
import { vslnetLoss } from './nlq/vslnet-loss.js';
import { givenWords, gloveWords, learnedWords, leastChars } from './nlq/vslnet-text.js';
import { numberOption } from './options.js';

/** Where the words come from. */
type Text =
  | { readonly kind: 'given'; readonly dim: number }
  | { readonly kind: 'words'; readonly words: number; readonly dim: number }
  | {
      readonly kind: 'glove';
      readonly words: number;
      readonly dim: number;
      readonly chars: number;
      readonly charDim: number;
    };

interface Config extends VslnetSizes {
  readonly name: string;
  readonly featureWidth: number;
  readonly text: Text;
  readonly highlightWeight: number;
  /** Rows of the graph, where it must know them. */
  readonly rows: number | undefined;
  /** tIoU from which on an answer repeats a better one; undefined: all stay. */
  readonly nms: number | undefined;
}

/** What the official configuration leaves out, or another family of the same network sets. */
interface Defaults {
  readonly name: string;
  readonly dim: number;
  readonly heads: number;
  readonly positions: number;
  readonly text: Text['kind'];
  readonly wordDim: number;
  readonly nms: number | undefined;
}

const official: Defaults = {
  name: 'vslnet',
  dim: 128,
  heads: 8,
  positions: 128,
  text: 'glove',
  wordDim: 300,
  nms: undefined,
};
const small: Defaults = {
  name: 'vslnet-small',
  dim: 64,
  heads: 4,
  positions: 128,
  text: 'words',
  wordDim: 32,
  nms: 0.5,
};

/** The official head, in both variants of its predictor. */
export const vslnet: HeadFamily = {
  name: official.name,
  task: 'nlq',
  summary: 'span localisation of Ego4D queries (VSLNet; BERT vectors given, or GloVe and characters)',
  official: (tensors) => tensors,
  infer,
  spec: (given) => headOf(readConfig(given, official)),
};

/** The same network, smaller, with word vectors of its own; its answers differ from one another. */
export const vslnetSmall: HeadFamily = {
  name: small.name,
  task: 'nlq',
  summary: 'a small VSLNet over any features, which learns the words of its training questions',
  official: (tensors) => tensors,
  infer,
  spec: (given) => headOf(readConfig(given, small)),
};

function infer(keys: KeyShapes): Record<string, JsonValue> {
  const video = keys.get('video_affine.linear.conv1d.weight');
  const glove = keys.get('embedding_net.word_emb.glove_vec');
  const words = keys.get('embedding_net.words.weight');
  const chars = keys.get('embedding_net.char_emb.char_emb.weight');
  const given = keys.get('query_affine.weight');
  const text = given ? 'given' : glove ? 'glove' : words ? 'words' : undefined;
  return defined({
    dim: video?.[0],
    video_feature_dim: video?.[1],
    max_pos_len: keys.get('feature_encoder.pos_embedding.position_embeddings.weight')?.[0],
    predictor: keys.has('predictor.start_encoder.lstm.weight_ih_l0') ? 'rnn' : undefined,
    text,
    query_dim: given?.[1],
    word_size: glove === undefined ? words?.[0] : (glove[0] ?? 0) + 2,
    word_dim: (glove ?? words)?.[1],
    char_size: chars?.[0],
    char_dim: chars?.[1],
  });
}

function readConfig(given: Readonly<Record<string, unknown>>, defaults: Defaults): Config {
  const reader = new ConfigReader(defaults.name, given);
  const width = reader.integer('dim', 1, limits.width, defaults.dim);
  const heads = reader.integer('num_heads', 1, width, defaults.heads);
  if (width % heads !== 0) throw reader.fail('num_heads', `a divisor of \`dim\`, ${width}`);
  const positions = reader.integer('max_pos_len', 1, limits.frames, defaults.positions);
  // `bert` names the text and, with it, the transformer.
  const predictor = reader.oneOf('predictor', ['bert', 'transformer', 'rnn'], 'transformer');
  const rows = predictor === 'rnn' || given['rows'] !== undefined;
  return {
    name: defaults.name,
    featureWidth: reader.integer('video_feature_dim', 1, limits.width),
    width,
    heads,
    positions,
    predictor: predictor === 'rnn' ? 'rnn' : 'transformer',
    maskConvs: reader.flag('mask_convs', true),
    text: readText(reader, predictor === 'bert' ? 'given' : defaults.text, defaults),
    highlightWeight: reader.nonNegative('highlight_lambda', 5),
    rows: rows ? reader.integer('rows', 1, positions, positions) : undefined,
    nms: defaults.nms,
  };
}

function readText(reader: ConfigReader, absent: Text['kind'], { wordDim }: Defaults): Text {
  const kind = reader.oneOf('text', ['given', 'words', 'glove'], absent);
  if (kind === 'given') return { kind, dim: reader.integer('query_dim', 1, limits.width, 768) };
  const words = reader.integer('word_size', 3, limits.classes);
  const dim = reader.integer('word_dim', 1, limits.width, wordDim);
  if (kind === 'words') return { kind, words, dim };
  const chars = reader.integer('char_size', 2, limits.classes);
  return { kind, words, dim, chars, charDim: reader.integer('char_dim', 1, limits.width, 50) };
}

/** The configuration as it goes into model.json. */
function configOf({ text, rows, ...config }: Config): Record<string, JsonValue> {
  const { kind, dim } = text;
  return defined({
    video_feature_dim: config.featureWidth,
    dim: config.width,
    num_heads: config.heads,
    max_pos_len: config.positions,
    predictor: config.predictor,
    highlight_lambda: config.highlightWeight,
    mask_convs: config.maskConvs,
    rows,
    text: kind,
    ...(kind === 'given' ? { query_dim: dim } : { word_size: text.words, word_dim: dim }),
    ...(kind === 'glove' && { char_size: text.chars, char_dim: text.charDim }),
    // Class lists of a head folder by kind: here the vocabulary.
    ...(kind === 'words' && { kinds: ['word'] }),
  });
}

function headOf(config: Config): Head {
  const { text, rows = 'rows', featureWidth } = config;
  const logits = (meaning: string): PortInfo => ({ dtype: 'float32', shape: ['batch', rows], meaning });
  return {
    family: config.name,
    task: 'nlq',
    config: configOf(config),
    widths: [featureWidth],
    inputs: {
      features: {
        dtype: 'float32',
        shape: ['batch', rows, featureWidth],
        meaning: `feature rows of a clip, averaged down to at most ${config.positions}`,
      },
      mask: { dtype: 'float32', shape: ['batch', rows], meaning: '1 for a row that counts, 0 for padding' },
      ...textInputs(text),
      query_mask: { dtype: 'float32', shape: ['batch', 'words'], meaning: '1 for a word that counts, 0 for padding' },
    },
    outputs: {
      start_logits: logits('of the answer starting with a row'),
      end_logits: logits('of the answer ending with a row'),
      highlight_logits: logits('of a row being in or near the answer'),
    },
    kinds: text.kind === 'words' ? [{ kind: 'word', count: text.words }] : [],
    postprocess: 'vslnet/1',
    forward(g, inputs) {
      const values = vslnetParts(g, config, inputs);
      const { start_logits, end_logits, highlight_logits } = values;
      return { start_logits, end_logits, highlight_logits };
    },
    loss: (g, outputs) => vslnetLoss(g, outputs, config.highlightWeight),
    isFrozen: (parameter) => /^embedding_net\.word_emb\.(pad_vec|glove_vec)$/.test(parameter),
    initial: (parameter, random) => startValues(parameter, random),
    leftover: (key) =>
      text.kind === 'given' && key.startsWith('embedding_net.')
        ? 'the text model of its training: vectors of words are given instead'
        : undefined,
    probe: (random) => probeItem(random, config),
    // Of clips that were averaged down the caller has to tell the length: their units are longer than the rows of the clock.
    decode(outputs, { options, clock, durations }) {
      const [starts, ends] = [outputs['start_logits']!, outputs['end_logits']!]; // declared above
      const [items, count] = starts.shape as readonly [number, number];
      return Array.from({ length: items }, (_, item) => {
        const own = ({ data }: typeof starts): Float32Array => data.subarray(item * count, (item + 1) * count);
        return answersOf(own(starts), own(ends), {
          duration: durations?.[item] ?? clockDuration(clock, rowsOf(own(starts))),
          top: numberOption(options, 'top', 5),
          nms:
            config.nms === undefined && options['nms'] === undefined
              ? undefined
              : numberOption(options, 'nms', config.nms ?? 1),
        });
      });
    },
  };
}

/** Everything that the graph computes, by the names of the official modules. */
export function vslnetIntermediates(
  g: GraphBuilder,
  given: Readonly<Record<string, unknown>>,
  inputs: Readonly<Record<string, Value>>,
): Readonly<Record<string, Value>> {
  return { ...vslnetParts(g, readConfig(given, official), inputs) };
}

function vslnetParts(
  g: GraphBuilder,
  config: Config,
  inputs: Readonly<Record<string, Value>>,
): ReturnType<typeof vslnetValues> & { readonly query_projected: Value } {
  const [features, mask, queryMask] = [inputs['features']!, inputs['mask']!, inputs['query_mask']!]; // declared
  const query = wordVectors(g, config, inputs);
  return {
    query_projected: query,
    ...vslnetValues(g, { x: features, mask }, { x: query, mask: queryMask }, config),
  };
}

function wordVectors(g: GraphBuilder, { text, width }: Config, inputs: Readonly<Record<string, Value>>): Value {
  switch (text.kind) {
    case 'given':
      return givenWords(g, inputs['query']!, width); // declared, as those below
    case 'words':
      return learnedWords(g, inputs['word_ids']!, { ...text, width });
    case 'glove':
      return gloveWords(g, inputs['word_ids']!, inputs['char_ids']!, { ...text, wordDim: text.dim, width });
  }
}

function textInputs(text: Text): Record<string, PortInfo> {
  if (text.kind === 'given') {
    return { query: { dtype: 'float32', shape: ['batch', 'words', text.dim], meaning: 'vectors of the words' } };
  }
  const ids: PortInfo = {
    dtype: 'int64',
    shape: ['batch', 'words'],
    meaning: 'words of the vocabulary: 0 padding, 1 unknown',
  };
  if (text.kind === 'words') return { word_ids: ids };
  return {
    word_ids: ids,
    char_ids: {
      dtype: 'int64',
      shape: ['batch', 'words', 'chars'],
      meaning: `characters of each word, at least ${leastChars}: 0 padding, 1 unknown`,
    },
  };
}

/** As PyTorch begins, in effect: matrices and kernels by the number of inputs, word vectors and positions as normal numbers. */
function startValues(
  { name, shape }: { readonly name: string; readonly shape: readonly number[] },
  random: Random,
): Float32Array<ArrayBuffer> {
  if (shape.length < 2) return initialValues({ name, shape }, random);
  const isTable = /position_embeddings|embedding_net\.words|_vec$|char_emb\.weight$/.test(name);
  const inputs = name.includes('cq_attention.w4') ? Math.max(...shape) : sizeOf(shape.slice(1));
  const deviation = isTable ? (name.includes('position') ? 0.02 : 1) : Math.sqrt(1 / inputs);
  return Float32Array.from({ length: sizeOf(shape) }, () => deviation * random.normal());
}

/** Rows and words that count, and one of each that does not. */
function probeItem(random: Random, { featureWidth, text, rows, positions }: Config): Record<string, AnyTensor> {
  const n = rows ?? Math.min(positions, 4);
  const words = Math.min(positions, 3);
  const ids = (shape: readonly number[], below: number): Tensor64 =>
    tensor(
      'int64',
      shape,
      BigInt64Array.from({ length: sizeOf(shape) }, () => BigInt(random.integer(below))),
    );
  const counted = (count: number): AnyTensor =>
    tensor(
      'float32',
      [1, count],
      Float32Array.from({ length: count }, (_, i) => (i > 0 && i === count - 1 ? 0 : 1)),
    );
  return {
    features: noise(random, [1, n, featureWidth]),
    mask: counted(n),
    ...(text.kind === 'given'
      ? { query: noise(random, [1, words, text.dim]) }
      : { word_ids: ids([1, words], text.words) }),
    ...(text.kind === 'glove' && { char_ids: ids([1, words, leastChars], text.chars) }),
    query_mask: counted(words),
  };
}

type Tensor64 = AnyTensor & { readonly dtype: 'int64' };

function answersOf(
  start: Float32Array,
  end: Float32Array,
  { duration, top, nms }: { readonly duration: Seconds; readonly top: number; readonly nms: number | undefined },
): SpanAnswer[] {
  const units = rowsOf(start);
  return bestSpans(start, end, { top, ...(nms !== undefined && { nms }) }).map((span) => {
    const [from, to] = unitsToSeconds([span.start, span.end], units, duration);
    return { task: 'nlq', start: from, end: to, score: span.score };
  });
}

/** What rows of this clock span, a hop each. @throws EgolensError data.clock where no clock tells it */
function clockDuration(clock: FeatureClock | null, rows: number): Seconds {
  if (clock !== null && clock.rate !== 'source') return secondsAt(rows * clock.hop, clock.rate);
  throw new EgolensError(
    'data.clock',
    'features lie on no grid of seconds; answers need one, or the length of each clip',
    {
      try: 'extract features with a preset that has a rate',
    },
  );
}
