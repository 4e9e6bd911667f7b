import type { GraphBuilder } from '../../src/graph/builder.js';
import { exp, layerNorm, linear, mean, min, mul, multiply, scalar, unitLength } from '../../src/graph/layers.js';
import { distillationValues, type Distillation } from '../../src/models/amd.js';
import { internvideoLoss } from '../../src/models/contrastive.js';
import type { Geometry } from '../../src/models/patches.js';
import { pretrainingFeeds } from '../../src/models/videomae-family.js';
import {
  classifierValues,
  pretrainingValues,
  type Classifier,
  type Pretraining,
  type Tower,
} from '../../src/models/videomae.js';
import type { GraphVariant } from '../../src/models/spec.js';
import { tensor } from '../../src/tensor.js';
import { decayLayers, decayMatrices } from '../../src/train/groups.js';
import { classTargets, softCrossEntropy } from '../../src/train/losses.js';
import type { Tensor } from '../../src/types.js';
import { localisation } from './actionformer.js';
import type { Arrays, TrainingConfig, TrainingModel } from './training-steps.js';

/** The models of the training cases, out of their configurations. */
export type MakeModel = (config: TrainingConfig, arrays: Arrays) => TrainingModel;

type Sizes = Readonly<Record<string, number>>;
const variant: GraphVariant = { input: 'normalised', form: 'separate' };
const imagenet = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] } as const;

function tower(model: Sizes, prefix: '' | 'encoder_' | 'decoder_', layerScale = false): Tower {
  const width = model[`${prefix}embed_dim`]!;
  return {
    width,
    depth: model[`${prefix}depth`]!,
    heads: model[`${prefix}num_heads`]!,
    hidden: model['mlp_ratio']! * width,
    epsilon: 1e-6,
    qvBias: true,
    layerScale,
    cosine: false,
  };
}

const geometryOf = (model: Sizes, frames: number): Geometry => ({
  frames,
  size: model['img_size']!,
  patch: model['patch_size']!,
  tubelet: model['tubelet_size']!,
  ...imagenet,
});

const videomaeGroups = decayMatrices(0.05, ['mask_token']);

function classifier(config: TrainingConfig, targets: Tensor<'float32'>, arrays: Arrays): TrainingModel {
  const sizes = config.model as Sizes;
  const model: Classifier = {
    geometry: geometryOf(sizes, sizes['all_frames']!),
    tower: tower(sizes, '', sizes['init_values']! > 0),
    stem: [],
    positions: 'built',
    meanPooling: true,
    classes: sizes['num_classes']!,
  };
  return {
    forward(g: GraphBuilder) {
      const logits = classifierValues(g, model, variant).logits!;
      const wanted = g.input('targets', 'float32', ['batch', model.classes]);
      return { loss: softCrossEntropy(g, logits, wanted), outputs: { 'out/logits': logits } };
    },
    groups: videomaeGroups,
    sizes: { batch: targets.shape[0]! },
    batch: () => ({ input: arrays.get('batch/video')!, targets }),
  };
}

const linearProbe: MakeModel = (config, arrays) => {
  const labels = Array.from((arrays.get('batch/label') as Tensor<'int64'>).data, Number);
  return classifier(config, classTargets(labels, (config.model as Sizes)['num_classes']!), arrays);
};

const fineTuning: MakeModel = (config, arrays) => {
  const { depth, layer_decay: factor } = config.model as Sizes;
  return {
    ...classifier(config, arrays.get('batch/target') as Tensor<'float32'>, arrays),
    groups: decayLayers(videomaeGroups, depth!, factor!),
  };
};

const pretraining: MakeModel = (config, arrays) => {
  const sizes = config.model as Sizes;
  const model: Pretraining = {
    geometry: geometryOf(sizes, sizes['frames']!),
    encoder: tower(sizes, 'encoder_'),
    decoder: tower(sizes, 'decoder_'),
    positions: 'built',
  };
  const mask = arrays.get('batch/mask')!;
  const [batch, tokens] = mask.shape as [number, number];
  const indices = pretrainingFeeds({ mask }, batch, tokens);
  const feeds = { input: arrays.get('batch/video')!, ...indices };
  return {
    forward(g) {
      const { loss, predicted, targets } = pretrainingValues(g, model, variant);
      return { loss, outputs: { 'out/prediction': predicted, 'out/target': targets } };
    },
    groups: videomaeGroups,
    sizes: { batch, visible: indices['visible']!.shape[1]!, decoded: indices['decoded']!.shape[1]! },
    batch: () => feeds,
  };
};

const distillation: MakeModel = (config, arrays) => {
  const { student, teacher, student_layers, teacher_layers, frames } = config.model as unknown as {
    readonly student: Sizes;
    readonly teacher: Sizes;
    readonly student_layers: { readonly dir: readonly number[]; readonly gen: readonly number[] };
    readonly teacher_layers: { readonly dir: readonly number[]; readonly gen: readonly number[] };
    readonly frames: number;
  };
  const pairs = (kind: 'dir' | 'gen') =>
    student_layers[kind].map((layer, i) => ({ student: layer, teacher: teacher_layers[kind][i]! }));
  const above = tower(teacher, '');
  const model: Distillation = {
    geometry: geometryOf(student, frames),
    student: tower(student, 'encoder_'),
    decoder: tower(student, 'decoder_'),
    teacher: above,
    // A head of a generator is always 64 wide; its ratio is the student's.
    generator: {
      ...above,
      depth: student['generator_depth']!,
      heads: above.width / 64,
      hidden: student['mlp_ratio']! * above.width,
    },
    direct: pairs('dir'),
    generation: pairs('gen'),
  };
  const code = arrays.get('batch/mask_code') as Tensor<'uint8'>;
  const [batch, tokens] = code.shape as [number, number];
  const places = (holds: (code: number) => boolean): Tensor<'int64'> => {
    const rows = Array.from({ length: batch }, (_, row) =>
      Array.from({ length: tokens }, (_, i) => i).filter((i) => holds(code.data[row * tokens + i]!)),
    );
    return tensor('int64', [batch, rows[0]!.length], BigInt64Array.from(rows.flat(), BigInt));
  };
  const [visible, difference, masked] = [
    places((value) => value === 0),
    places((value) => value === 1),
    places((value) => value > 0),
  ];
  return {
    forward(g) {
      const { loss, reconstruction, direct, generation, aligned } = distillationValues(g, model, variant);
      const outputs = {
        'out/teacher_direct_last': aligned.direct[0],
        'out/student_direct_last': aligned.direct[1],
        'out/teacher_generation_last': aligned.generation[0],
        'out/student_generation_last': aligned.generation[1],
      };
      return { loss, parts: { reconstruction, direct, generation }, outputs };
    },
    groups: videomaeGroups,
    sizes: { batch, visible: visible.shape[1]!, difference: difference.shape[1]!, masked: masked.shape[1]! },
    batch: () => ({ input: arrays.get('batch/video')!, visible, difference, masked }),
  };
};

const contrastive: MakeModel = (config, arrays) => {
  const sizes = config.model as Sizes;
  const width = sizes['embed_dim']!;
  const epsilon = sizes['layer_norm_eps']!;
  const [frames, texts] = [arrays.get('batch/frame_features')!, arrays.get('batch/text_features')!];
  return {
    forward(g) {
      const x = g.input('frames', 'float32', frames.shape);
      const y = g.input('texts', 'float32', texts.shape);
      const project = (value: ReturnType<typeof mean>, name: string) =>
        linear(g, layerNorm(g, value, `${name}_norm`, epsilon), `${name}_proj`, width, { bias: 'none' });
      const pairs = { pictures: project(mean(g, x, [1]), 'video'), texts: project(y, 'text') };
      const logitScale = min(g, g.param('logit_scale', []), scalar(g, Math.log(100)));
      const unit = [unitLength(g, pairs.pictures, 1e-12), unitLength(g, pairs.texts, 1e-12)] as const;
      const logits = mul(g, multiply(g, ...unit), exp(g, logitScale));
      return { loss: internvideoLoss(g, pairs, { logitScale }), outputs: { 'out/logits': logits } };
    },
    groups: decayMatrices(0.2),
    batch: () => ({ frames, texts }),
  };
};

export const trainingModels: Readonly<Record<string, MakeModel>> = {
  linear_probe: linearProbe,
  vit_finetune: fineTuning,
  videomae_pretrain: pretraining,
  amd_distill: distillation,
  infonce: contrastive,
  localisation_head: localisation,
};
