/**
 * Linear probe: mean of the rows, standardised by the statistics of the training split, one linear layer a kind.
 *
 * The standardisation is a batch norm without affine whose statistics are fixed before training; they are parameters of the graph, so that
 * the head is one graph. Source of the recipe: facebookresearch/mae main_linprobe.py, whose keys (`head.0.running_mean`, `head.1.weight`)
 * are read too.
 */
import { concat, div, linear, scalar, sqrt, sub, add } from '../src/graph/layers.js';
import { ConfigReader, defined } from '../src/models/config.js';
import { initialValues, type HeadFamily } from '../src/models/head.js';
import { renamed } from '../src/models/stored.js';
import { sizeOf } from '../src/tensor.js';
import { encoderKey } from './recognition-head.js';
import {
  inferClasses,
  maskedMean,
  readRecognition,
  recognitionConfig,
  recognitionParts,
  suffix,
} from './recognition.js';

const name = 'linear-probe';

/** The family `linear-probe`. */
export const linearProbe: HeadFamily = {
  name,
  task: 'recognition',
  summary: 'standardised mean feature, linear',
  official: (tensors) => renamed(tensors, (key) => key.replace(/^head\.0\./, 'norm.').replace(/^head\.1\./, 'head.')),
  infer: (keys) => ({ ...defined({ dim: keys.get('head.weight')?.[1] }), ...inferClasses(keys) }),
  spec(given) {
    const config = readRecognition(new ConfigReader(name, given), given);
    const { width, kinds, epsilon } = config;
    return {
      ...recognitionParts(config),
      family: name,
      config: recognitionConfig(config),
      pooling: 'mean',
      statistics: (mean, variance) => ({ 'norm.running_mean': mean, 'norm.running_var': variance }),
      isFrozen: (parameter) => parameter.startsWith('norm.'),
      initial: ({ name: parameter, shape }, random) =>
        parameter === 'norm.running_var'
          ? new Float32Array(sizeOf(shape)).fill(1)
          : initialValues({ name: parameter, shape }, random),
      leftover: (key) => (key === 'norm.num_batches_tracked' ? 'a counter of its training' : encoderKey(key)),
      forward(g, { features, mask }) {
        const [average, variance] = ['mean', 'var'].map((part) => g.param(`norm.running_${part}`, [width]));
        const centred = sub(g, maskedMean(g, features!, mask!), average!); // declared inputs
        const standard = div(g, centred, sqrt(g, add(g, variance!, scalar(g, epsilon))));
        const logits = kinds.map(({ count }, i) => linear(g, standard, `head${suffix(i)}`, count));
        return { logits: logits.length === 1 ? logits[0]! : concat(g, logits, 1) };
      },
    };
  },
};
