import { readActionFormer } from '../../heads/actionformer-config.js';
import { actionFormerStep, stepSizes } from '../../heads/actionformer-training.js';
import { maskInput, nextNormaliser, targetInputs } from '../../heads/actionformer-targets.js';
import { scalarTensor } from '../../heads/actionformer.js';
import { tensor } from '../../src/tensor.js';
import type { Tensor } from '../../src/types.js';
import type { MakeModel } from './training-models.js';

/** ActionFormer as the localisation case trains it; its targets come with the data. */
export const localisation: MakeModel = (config, arrays) => {
  const own = readActionFormer(config.model);
  const positives = config.model['positive_points'] as number;
  const floats = (name: string): Tensor<'float32'> => {
    const { shape, data } = arrays.get(`batch/${name}`)!;
    return tensor('float32', shape, Float32Array.from(data as ArrayLike<number>));
  };
  const [feats, classes, offsets] = [floats('feats'), floats('target_classes'), floats('target_offsets')];
  const [batch, width, length] = feats.shape as [number, number, number];
  const [, points, count] = classes.shape as [number, number, number];
  const features = feats.data.map((_, i) => {
    const [item, row, channel] = [Math.floor(i / (width * length)), Math.floor(i / width) % length, i % width];
    return feats.data[(item * width + channel) * length + row]!;
  });
  const valid = floats('valid_all_levels');
  const positive = valid.data.map((value, i) =>
    value === 1 && classes.data.subarray(i * count, (i + 1) * count).some((one) => one > 0) ? 1 : 0,
  );
  const fixed = {
    features: tensor('float32', [batch, length, width], features),
    [maskInput]: tensor('float32', [batch, length], floats('valid').data),
    [targetInputs.classes]: classes,
    [targetInputs.offsets]: offsets,
    [targetInputs.positive]: tensor('float32', [batch, points, 1], positive),
  };
  const { forward } = actionFormerStep(own, { batch, length });
  return {
    forward,
    sizes: stepSizes(own, batch, length),
    batch(i) {
      let normaliser = own.training.normaliser;
      for (let step = 0; step <= i; step++) normaliser = nextNormaliser(normaliser, positives);
      return { ...fixed, [targetInputs.normaliser]: scalarTensor(normaliser) };
    },
  };
};
