/**
 * AMD: a small VideoMAE encoder pre-trained under a frozen larger one. The teacher sees what the student sees and a further set of
 * tokens (the difference); the student is to give the teacher's features on both, and the pixels of what it does not see.
 *
 * Paper: Zhao et al., "Asymmetric Masked Distillation for Pre-Training Small Foundation Models", CVPR 2024.
 * Code: MCG-NJU/AMD 8d2ec6f. The product is a VideoMAE encoder: videomae.ts loads it.
 * Differs in nothing; the official mask tokens of the generators are no parameters (never trained, never saved), here the caller freezes
 * them. The generators' last norms, which the official code declares and never uses, are left out.
 */
import type { GraphBuilder } from '../graph/builder.js';
import {
  add,
  concat,
  layerNorm,
  linear,
  lookUp,
  mean,
  mul,
  reshape,
  scalar,
  splitLike,
  sub,
  takeTokens,
} from '../graph/layers.js';
import type { Value } from '../graph/ops.js';
import { cubesOf, type Cubes, type Geometry } from './patches.js';
import type { GraphVariant } from './spec.js';
import { block, pixelTargets, sinusoid, tubelets, type Tower } from './videomae.js';

/** One aligned pair of features: those after this many blocks of the student and of the teacher. */
export interface Alignment {
  readonly student: number;
  readonly teacher: number;
}

export interface Distillation {
  readonly geometry: Geometry;
  readonly student: Tower;
  readonly teacher: Tower;
  /** Of the teacher's width. */
  readonly generator: Tower;
  readonly decoder: Tower;
  /** On the tokens that both see. As many as `generation`: the projection heads serve both. */
  readonly direct: readonly Alignment[];
  /** On the tokens that only the teacher sees. */
  readonly generation: readonly Alignment[];
}

export interface DistillationValues {
  /** The sum of the three. */
  readonly loss: Value;
  readonly reconstruction: Value;
  readonly direct: Value;
  readonly generation: Value;
  /** The last pair of each alignment: teacher [b, tokens, width], student the same. */
  readonly aligned: {
    readonly direct: readonly [teacher: Value, student: Value];
    readonly generation: readonly [teacher: Value, student: Value];
  };
}

/**
 * The distillation step as part of a graph. Inputs beside the frames, token indices int64 in raster order: `visible` [b, visible] to both,
 * `difference` [b, difference] to the teacher only, `masked` [b, masked] for the student. The teacher's parameters stand below `teacher.`,
 * the generators' mask tokens are `generator_mask_tokens.{i}`: none of them is to be trained.
 */
export function distillationValues(g: GraphBuilder, model: Distillation, variant: GraphVariant): DistillationValues {
  const { geometry, student, teacher, decoder } = model;
  const cubes = cubesOf(g, geometry, variant);
  const tokens: Tokens = {
    visible: g.input('visible', 'int64', ['batch', 'visible']),
    difference: g.input('difference', 'int64', ['batch', 'difference']),
    masked: g.input('masked', 'int64', ['batch', 'masked']),
  };
  const seen = concat(g, [tokens.visible, tokens.difference], 1);
  const taught = g.scope('teacher', () => features(g, model, cubes, { tower: teacher, tokens: seen, variant }));
  const learned = g.scope('encoder', () =>
    features(g, model, cubes, { tower: student, tokens: tokens.visible, variant }),
  );

  const projected = (layer: number, i: number): Value =>
    g.scope('encoder.projection_heads', () => linear(g, learned[layer]!, String(i), teacher.width, { bias: 'none' }));
  const directPairs = model.direct.map(({ student: layer, teacher: from }, i) => {
    const [target] = splitLike(g, taught[from]!, [tokens.visible, tokens.difference]);
    return [target!, projected(layer, i)] as const;
  });
  const generationPairs = model.generation.map(({ student: layer, teacher: from }, i) => {
    const [, target] = splitLike(g, taught[from]!, [tokens.visible, tokens.difference]);
    return [target!, generated(g, model, { x: projected(layer, i), index: i, tokens, variant })] as const;
  });

  const encoded = g.scope('encoder', () => layerNorm(g, learned[student.depth]!, 'norm', student.epsilon));
  const predicted = decoded(g, encoded, { tower: decoder, geometry, tokens, variant });
  const targets = takeTokens(g, pixelTargets(g, cubes, geometry), tokens.masked);
  const reconstruction = squared(g, [targets, predicted]);
  const direct = average(g, directPairs);
  const generation = average(g, generationPairs);
  return {
    loss: add(g, add(g, reconstruction, direct), generation),
    reconstruction,
    direct,
    generation,
    aligned: { direct: directPairs.at(-1)!, generation: generationPairs.at(-1)! },
  };
}

interface Tokens {
  readonly visible: Value;
  readonly difference: Value;
  readonly masked: Value;
}

/** Features of the tokens: what enters the first block, then what leaves each. */
function features(
  g: GraphBuilder,
  { geometry }: Distillation,
  cubes: Cubes,
  { tower, tokens, variant }: { tower: Tower; tokens: Value; variant: GraphVariant },
): Value[] {
  const embedded = add(g, tubelets(g, cubes, geometry, tower.width), sinusoid(g, geometry, tower.width));
  const layers = [takeTokens(g, embedded, tokens)];
  for (let i = 0; i < tower.depth; i++) {
    layers.push(g.scope(`blocks.${i}`, () => block(g, layers[i]!, tower, variant)));
  }
  return layers;
}

/** The generator's features of the difference tokens out of projected features of the visible ones. */
function generated(
  g: GraphBuilder,
  { geometry, generator }: Distillation,
  { x, index, tokens, variant }: { x: Value; index: number; tokens: Tokens; variant: GraphVariant },
): Value {
  const mask = g.param(`generator_mask_tokens.${index}`, [1, 1, generator.width]);
  return g.scope(`generators.${index}`, () =>
    filled(g, x, { mask, to: tokens.difference, tower: generator, geometry, tokens, variant }),
  );
}

/** Pixels of the masked tokens. */
function decoded(
  g: GraphBuilder,
  encoded: Value,
  options: { tower: Tower; geometry: Geometry; tokens: Tokens; variant: GraphVariant },
): Value {
  const { tower, geometry, tokens } = options;
  const x = linear(g, encoded, 'encoder_to_decoder', tower.width, { bias: 'none' });
  const mask = g.param('mask_token', [1, 1, tower.width]);
  return g.scope('decoder', () => {
    const last = filled(g, x, { ...options, mask, to: tokens.masked });
    const cubeSize = 3 * geometry.tubelet * geometry.patch ** 2;
    return linear(g, layerNorm(g, last, 'norm', tower.epsilon), 'head', cubeSize);
  });
}

/** Visible tokens and mask tokens at the places `to`, each with its position, through blocks; the latter are given back. */
function filled(
  g: GraphBuilder,
  x: Value,
  {
    mask,
    to,
    tower,
    geometry,
    tokens,
    variant,
  }: {
    mask: Value;
    to: Value;
    tower: Tower;
    geometry: Geometry;
    tokens: Tokens;
    variant: GraphVariant;
  },
): Value {
  const table = sinusoid(g, geometry, tower.width);
  const known = add(g, x, lookUp(g, table, tokens.visible));
  const hidden = add(g, lookUp(g, table, to), reshape(g, mask, [tower.width]));
  let all = concat(g, [known, hidden], 1);
  for (let i = 0; i < tower.depth; i++) all = g.scope(`blocks.${i}`, () => block(g, all, tower, variant));
  const [, last] = splitLike(g, all, [tokens.visible, to]);
  return last!;
}

function squared(g: GraphBuilder, [target, value]: readonly [Value, Value]): Value {
  const error = sub(g, value, target);
  return mean(g, mul(g, error, error), [0, 1, 2]);
}

function average(g: GraphBuilder, pairs: readonly (readonly [Value, Value])[]): Value {
  const each = pairs.map((pair) => squared(g, pair));
  return mul(
    g,
    each.reduce((total, value) => add(g, total, value)),
    scalar(g, 1 / each.length),
  );
}
