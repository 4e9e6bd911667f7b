/** The training step of a whole encoder with a head on its feature, out of the graphs that both have for inference. */
import { minimatch } from 'minimatch';
import { EgolensError } from '../errors.js';
import type { GraphBuilder, GraphNode } from '../graph/builder.js';
import { mul, reshape } from '../graph/layers.js';
import type { Value } from '../graph/ops.js';
import { pruned } from '../graph/prune.js';
import { replay } from '../graph/replay.js';
import type { ModelFolder } from '../models/folder.js';
import { headGraph, type Head } from '../models/head.js';
import { shapeText } from '../tensor.js';
import type { StepDescription } from '../train/graphs.js';
import { decayLayers, decayMatrices } from '../train/groups.js';
import { adamw } from '../train/optimiser.js';

/** Prefixes of the parameters: `encoder.blocks.0.norm1.weight`, `head.fc_norm.weight`. */
export const encoderPrefix = 'encoder.';
export const headPrefix = 'head.';

/** Inputs of the step beside `frames` and the targets of the head. */
export const stepInputs = {
  mask: 'mask',
  dropout: 'dropout',
  path: (branch: number): string => `drop_path.${branch}`,
} as const;

/** What decides the step. */
export interface TuningSettings {
  readonly batch: number;
  /** Rate of a block relative to the one above it; 1: all alike. */
  readonly layerDecay: number;
  readonly weightDecay: number;
  /** Share of the feature's channels that the head does not see in training. */
  readonly dropout: number;
  /** Share of residual branches of the last block that a sample skips; it grows from 0 at the first one. */
  readonly dropPath: number;
  /** Largest norm of the gradients; 0: not clipped. */
  readonly clip: number;
  /** Decay of the moving average of the weights; 0: none is kept. */
  readonly average: number;
  /** Compute the blocks again on the way back instead of keeping what is in them. */
  readonly checkpointBlocks: boolean;
  /** Patterns over the names of parameters that stay as they are. */
  readonly freeze: readonly string[];
}

/** A step, and what its batches need. */
export interface TuningStep {
  readonly description: StepDescription;
  /** Width of the feature. */
  readonly width: number;
  /** For each residual branch that may be skipped, its share; empty without drop path. */
  readonly paths: readonly number[];
}

/** Running statistics are no weights: a step must not move them. */
const statistics = /\.running_(mean|var)$/;
const inBlock = /^(?:.*\.)?blocks\.(\d+)\./;
/** A block of any family, by all that stands before its parts. */
const stretch = /^(?:.*\.)?\w*blocks\d*\.\d+(?=\.)/;
/**
 * Does the node add a residual branch? It stands in the block itself, not in a part of it, and adds two sets of tokens; a bias or the
 * epsilon of a norm has another shape.
 */
function isResidual({ op, name, inputs }: GraphNode): boolean {
  const [kept, added] = inputs.map(({ shape }) => shapeText(shape));
  return op === 'Add' && /^(?:.*\.)?blocks\.\d+\.Add_\d+$/.test(name) && kept === added;
}

/**
 * The step for one model and head: cross-entropy of the head over the encoder's feature, taken as one row.
 *
 * @throws EgolensError model.config for a model that cannot be tuned, with what it lacks; usage.flag for a pattern that fits no parameter,
 *   and where all of them are frozen
 */
export function tuningStep(model: ModelFolder, head: Head, settings: TuningSettings): TuningStep {
  const { spec, id } = model;
  const refuse = (lack: string): EgolensError =>
    new EgolensError('model.config', `${id}: family ${spec.family} cannot be fine-tuned: ${lack}`, {
      try: '`train recognition` on its features trains a head over it',
    });
  if (spec.kind !== 'encoder')
    throw refuse(`it is a model of kind ${spec.kind}, expected a single encoder of pictures`);
  if (spec.isImage === true) throw refuse('it looks at single pictures, expected windows');
  const [array] = Object.keys(spec.arrays);
  if (array !== undefined) throw refuse(`it takes \`${array}\` beside the frames, which no label says`);
  const feature = spec.preset.feature;
  const shape = spec.outputs[feature]?.shape ?? [];
  const width = shape[1];
  if (shape.length !== 2 || typeof width !== 'number') {
    throw refuse(`its feature \`${feature}\` is ${shapeText(shape)}, expected one row a window`);
  }
  if (head.widths.length !== 1 || head.widths[0] !== width || head.loss === undefined) {
    throw new EgolensError(
      'model.config',
      `head ${head.family} takes rows of ${head.widths.join(', ')} numbers, expected ${width} of ${id}`,
    );
  }
  const whole = spec.build({ input: 'frames', form: 'separate' });
  const encoder = pruned({ ...whole, outputs: new Map([[feature, whole.outputs.get(feature)!]]) }); // it is an output of the spec
  const depth = 1 + Math.max(-1, ...encoder.params.map(({ name }) => Number(/^blocks\.(\d+)\./.exec(name)?.[1] ?? -1)));
  if (depth === 0 && settings.layerDecay !== 1) {
    throw refuse(
      'none of its parameters is called `blocks.N.…`, which rates by layer go by (`--layer-decay 1` does without)',
    );
  }
  const branches = encoder.nodes.filter(isResidual);
  const paths =
    settings.dropPath === 0
      ? []
      : branches.map(({ name }) => (settings.dropPath * blockOf(name)) / Math.max(1, depth - 1));
  if (settings.dropPath > 0 && (depth === 0 || paths.length !== 2 * depth))
    throw refuse('its blocks have no two residual branches that are known here (`--drop-path 0` skips none)');
  if (settings.checkpointBlocks && !encoder.nodes.some(({ name }) => stretch.test(name)))
    throw refuse('no block of it is known to compute again (without `--checkpoint-blocks`)');

  const features = (g: GraphBuilder, isTraining: boolean): Value => {
    const found = g.scope('encoder', () =>
      replay(g, encoder, {
        stretchOf: ({ name }) => (isTraining && settings.checkpointBlocks ? stretch.exec(name)?.[0] : undefined),
        ...(isTraining && paths.length > 0 && { change: skipping(g, branches) }),
      }),
    );
    return found.get(feature)!; // the one output
  };
  const outputs = (g: GraphBuilder, isTraining: boolean): Readonly<Record<string, Value>> => {
    const mask = g.input(stepInputs.mask, 'float32', ['batch', 1]);
    const pooled = features(g, isTraining);
    const seen =
      isTraining && settings.dropout > 0
        ? mul(g, pooled, g.input(stepInputs.dropout, 'float32', ['batch', width]))
        : pooled;
    const rows = reshape(g, seen, [0, 1, width]);
    return g.scope('head', () => head.forward(g, { features: rows, mask }));
  };
  const names = [
    ...encoder.params.map(({ name }) => encoderPrefix + name),
    ...headGraph(head).params.map(({ name }) => headPrefix + name),
  ];
  const frozen = frozenOf(names, settings.freeze);
  const isTrained = (name: string): boolean =>
    !frozen.has(name) &&
    !statistics.test(name) &&
    !(name.startsWith(headPrefix) && head.isFrozen?.(name.slice(headPrefix.length)) === true);
  if (!names.some(isTrained))
    throw new EgolensError('usage.flag', '--freeze: expected parameters that are trained, found all frozen');
  const noDecay = ['pos_embed', 'cls_token', 'mask_token'].map((name) => encoderPrefix + name);
  const rule = decayMatrices(settings.weightDecay, noDecay);
  return {
    width,
    paths,
    description: {
      name: 'fine-tune',
      sizes: { batch: settings.batch },
      isTrained,
      groups: depth === 0 ? rule : decayLayers(rule, depth, settings.layerDecay, encoderPrefix),
      optimiser: {
        rule: adamw,
        ...(settings.clip > 0 && { clip: settings.clip }),
        ...(settings.average > 0 && { average: settings.average }),
      },
      forward: (g) => head.loss!(g, outputs(g, true)), // it was looked for above
      evaluations: { scores: (g) => outputs(g, false) },
    },
  };
}

const blockOf = (name: string): number => Number(inBlock.exec(name)?.[1] ?? 0);

/** Multiplies each residual branch by an input [batch, 1, 1]: 0 for the samples that skip it, 1 / (1 - share) for the others. */
function skipping(
  g: GraphBuilder,
  branches: readonly GraphNode[],
): (node: GraphNode, inputs: readonly Value[]) => readonly Value[] {
  const numbers = new Map(branches.map(({ name }, i) => [name, i]));
  return ({ name }, inputs) => {
    const branch = numbers.get(name);
    if (branch === undefined) return inputs;
    const [kept, added] = inputs as [Value, Value]; // an Add has two
    const ones = added.shape.slice(1).map(() => 1);
    return [kept, mul(g, added, g.input(stepInputs.path(branch), 'float32', ['batch', ...ones]))];
  };
}

function frozenOf(names: readonly string[], patterns: readonly string[]): ReadonlySet<string> {
  const frozen = new Set<string>();
  for (const pattern of patterns) {
    const found = names.filter((name) => minimatch(name, pattern, { nocomment: true, nonegate: true }));
    if (found.length === 0) {
      throw new EgolensError(
        'usage.flag',
        `--freeze ${pattern}: fits no parameter; they are called like \`${names[0]!}\` and \`${names.at(-1)!}\``,
        {
          try: "quotes around it, and `*` for any part: `--freeze 'encoder.blocks.[0-3].*'`",
        },
      );
    }
    for (const name of found) frozen.add(name);
  }
  return frozen;
}
