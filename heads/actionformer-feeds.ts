/** ActionFormer heads as commands use them: inputs out of feature rows, and what a training run needs of the family. */
import type { Head } from '../src/models/head.js';
import type { Schedule } from '../src/train/schedule.js';
import type { StepDescription } from '../src/train/graphs.js';
import type { TrainingData } from '../src/train/trainer.js';
import type { FeatureClock, Tensor } from '../src/types.js';
import { readActionFormer } from './actionformer-config.js';
import { actionformerSmall, smallLength } from './actionformer-small.js';
import { sequenceFeeds } from './actionformer-targets.js';
import { actionFormerSchedule, actionFormerStep, momentData, type MomentItem } from './actionformer-training.js';
import { gridOf } from './numerics/grid.js';

/**
 * Inputs for sequences of [rows, width] over one stream of features, padded to what the longest needs.
 *
 * @throws EgolensError data.shape for sequences that do not fit the head
 */
export function actionFormerFeeds(
  head: Head,
  sequences: readonly Tensor<'float32'>[],
): Record<string, Tensor<'float32'>> {
  return sequenceFeeds(
    readActionFormer(head.config),
    sequences.map((rows) => [rows]),
  );
}

/** `actionformer-small` for a training run over cached features: its length is that of the longest sequence. */
export const actionFormerMethod = {
  head({
    width,
    classes,
    longest,
    clock,
    smoothing,
  }: {
    readonly width: number;
    readonly classes: number;
    readonly longest: number;
    readonly clock: FeatureClock;
    readonly smoothing: number;
  }): Head {
    const grid = gridOf(clock);
    return actionformerSmall.spec({
      input_dim: width,
      num_classes: classes,
      max_seq_len: smallLength(longest),
      label_smoothing: smoothing,
      ...(grid && { feat_stride: grid.stride, num_frames: grid.window, default_fps: grid.fps }),
    });
  },
  step(
    head: Head,
    options: { readonly batch: number; readonly decay: number; readonly average: number },
  ): StepDescription {
    return actionFormerStep(readActionFormer(head.config), options);
  },
  data(
    head: Head,
    {
      clock,
      ...options
    }: {
      readonly items: readonly MomentItem[];
      readonly batch: number;
      readonly accumulate: number;
      readonly seed: number;
      readonly clock: FeatureClock;
    },
  ): TrainingData {
    const grid = gridOf(clock);
    return momentData(readActionFormer(head.config), { ...options, ...(grid && { grid }) });
  },
  schedule: (options: Parameters<typeof actionFormerSchedule>[0]): Schedule => actionFormerSchedule(options),
  feeds(head: Head, sequences: readonly Tensor<'float32'>[]): Record<string, Tensor<'float32'>> {
    const config = readActionFormer(head.config);
    return sequenceFeeds(
      config,
      sequences.map((rows) => [rows]),
      config.maxLength,
    );
  },
};
