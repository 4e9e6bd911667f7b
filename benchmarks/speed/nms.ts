import { suppress, type SuppressionOptions } from '../../heads/numerics/nms.js';
import type { Segments } from '../../heads/numerics/segments.js';
import { float } from '../../src/json.js';
import { seededRandom } from '../../src/random.js';
import { medianOf, valuesOf, type Case, type Sample, type SpeedBenchmark } from './harness.js';

/** What Moment Queries has: candidates that a clip of eight minutes leaves, over the classes of Ego4D. */
const [count, classes] = [5000, 110];
const most = 50;

/** Thresholds of the official Ego4D configuration. */
const official: SuppressionOptions = {
  method: 'soft',
  sigma: 0.9,
  overlapFrom: 0.1,
  minScore: 0.001,
  most: 2000,
  perClass: true,
  votingFrom: 0.95,
};

/** Suppression of the segments of one clip, on one thread. */
export const nms: SpeedBenchmark = {
  name: 'nms',
  summary: `soft-NMS over ${count} segments`,
  figures: [
    { name: 'classes', summary: `CPU time within each of ${classes} classes / ${most} ms`, limit: 1 },
    { name: 'agnostic', summary: `CPU time over all classes at once, with voting / ${most} ms`, limit: null },
  ],
  async *cases() {
    yield await Promise.resolve(nmsCase(seededSegments()));
  },
};

function nmsCase(segments: Segments): Case {
  const steps = [
    { name: 'classes', options: official },
    { name: 'agnostic', options: { ...official, perClass: false } },
  ];
  return {
    input: null,
    warmUps: 3,
    steps: steps.map(({ name, options }) => ({ name, run: () => Promise.resolve(timed(segments, options)) })),
    figures: (samples) =>
      steps.map(({ name }) => ({
        name,
        ratios: valuesOf(samples, name, 'cpuMs').map((ms) => ms / most),
        detail: {
          segments: count,
          classes,
          kept: medianOf(samples, name, 'kept'),
          cpuMilliseconds: float(medianOf(samples, name, 'cpuMs')),
        },
      })),
  };
}

/** Time of the processor: one thread computes, whatever else the machine does. */
function timed(segments: Segments, options: SuppressionOptions): Sample {
  const start = process.cpuUsage();
  const { score } = suppress(segments, options);
  const { user, system } = process.cpuUsage(start);
  return { cpuMs: (user + system) / 1000, kept: score.length };
}

/** Segments of up to 60 features in a sequence of 1024. */
function seededSegments(): Segments {
  const random = seededRandom(6, 'segments');
  const start = Float32Array.from({ length: count }, () => 1000 * random.uniform());
  return {
    start,
    end: start.map((value) => value + 0.5 + 60 * random.uniform()),
    score: start.map(() => random.uniform()),
    label: Int32Array.from(start, () => random.integer(classes)),
  };
}
