/**
 * The text tower of CLIP, which ViCLIP and InternVideo's multimodal model kept.
 *
 * Paper: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021.
 * Code: openai/CLIP d05afc4 model.py, encode_text; OpenGVLab/InternVideo 3965eef, ViCLIP viclip_text.py and the multimodal demo.
 * Differs from the official graph in one point: rows may be shorter than the context, since a token never sees those after it.
 */
import { GraphBuilder, type Graph } from '../graph/builder.js';
import {
  add,
  argMax,
  cast,
  exp,
  layerNorm,
  lookUp,
  matMul,
  reshape,
  sliceLike,
  takeTokens,
  type AttentionForm,
} from '../graph/layers.js';
import { clipBlocks, type ClipTower } from './clip-blocks.js';
import { limits, type ConfigReader } from './config.js';
import type { KeyShapes, TextTower } from './spec.js';
import { headsOf, layersOf, type SharedConfig } from './two-tower.js';

/** A text tower and where a checkpoint has it. */
export interface TextModel extends ClipTower {
  /** Most tokens of a row. */
  readonly context: number;
  readonly vocabulary: number;
  /** Of `text_embed`. */
  readonly embed: number;
  /** Scope of its keys; '' where they stand at the top level. */
  readonly scope: '' | 'text_encoder';
}

/**
 * `tokens` int64 [rows, length], length <= context -> `text_last` [rows, length, width], `text_embed` [rows, embed], and `scale` []
 * where the logits' scale is learned.
 */
export function textGraph(name: string, model: TextModel, form: AttentionForm, scale: TextTower['scale']): Graph {
  const g = new GraphBuilder(name);
  const { context, vocabulary, width, embed, scope } = model;
  const tokens = g.input('tokens', 'int64', ['rows', 'length']);
  const encode = (): void => {
    const words = lookUp(g, g.param('token_embedding.weight', [vocabulary, width]), tokens);
    const table = g.param('positional_embedding', [context, width]);
    let x = add(g, words, sliceLike(g, table, 0, tokens, 1)); // [rows, length, width]
    x = g.scope('transformer', () => clipBlocks(g, x, model, form, { causal: { context } }));
    const last = layerNorm(g, x, 'ln_final', model.epsilon);
    g.output('text_last', last);
    // The end token has the highest id, and what follows it is 0. As floats, which every provider compares; ids are exact to 2^24.
    const end = takeTokens(g, last, argMax(g, cast(g, tokens, 'float32'), 1)); // [rows, 1, width]
    const projection = g.param('text_projection', [width, embed]);
    g.output('text_embed', matMul(g, reshape(g, end, [-1, width]), projection));
  };
  if (scope === '') encode();
  else g.scope(scope, encode);
  if (scale === 'learned') g.output('scale', exp(g, g.param('logit_scale', [])));
  return g.finish();
}

/** The tower as a model describes it. */
export function textTower(
  name: string,
  model: TextModel,
  rules: Pick<TextTower, 'against' | 'scale' | 'overlong' | 'joint'>,
): TextTower {
  const { context, vocabulary, width, embed } = model;
  return {
    ...{ context, vocabulary, width, embed, ...rules },
    outputs: {
      text_last: { shape: ['rows', 'length', width], meaning: 'text tokens after ln_final' },
      text_embed: {
        shape: ['rows', embed],
        meaning: 'end token after ln_final, times text_projection; not normalised',
      },
      ...(rules.scale === 'learned' && {
        scale: { shape: [], meaning: 'what cosines are multiplied with to be logits' },
      }),
    },
    build: (form) => textGraph(`${name}-text`, model, form, rules.scale),
  };
}

/** Most tokens of a row and most words that a configuration may ask for; CLIP has 77 and 49,408. */
const most = { context: 1024, vocabulary: 2 ** 22 } as const;

/** The members under `text`; the context that a configuration leaves open is `context`. */
export function readText(
  config: ConfigReader,
  { embed, epsilon }: SharedConfig,
  { scope, context }: Pick<TextModel, 'scope' | 'context'>,
): TextModel {
  const width = config.integer('text.width', 1, limits.width);
  const heads = config.integer('text.heads', 1, limits.width);
  if (width % heads !== 0) throw config.fail('text.width', `a multiple of text.heads ${heads}`);
  return {
    scope,
    width,
    heads,
    depth: config.integer('text.layers', 1, limits.depth),
    epsilon,
    embed,
    context: config.integer('text.context_length', 2, most.context, context),
    vocabulary: config.integer('text.vocab_size', 3, most.vocabulary, 49408),
  };
}

/** The section `text` as it was read. */
export function textConfig({ context, vocabulary, width, heads, depth }: TextModel): Record<string, number> {
  return { context_length: context, vocab_size: vocabulary, width, heads, layers: depth };
}

/** The section `text` that keys below `prefix` imply. */
export function inferText(keys: KeyShapes, prefix: '' | 'text_encoder.'): Record<string, number | undefined> {
  const [vocabulary, width] = keys.get(`${prefix}token_embedding.weight`) ?? [];
  return {
    context_length: keys.get(`${prefix}positional_embedding`)?.[0],
    vocab_size: vocabulary,
    width,
    heads: headsOf(width),
    layers: layersOf(keys, `${prefix}transformer.resblocks.`),
  };
}
