import { decode } from './decode.js';
import { encode } from './encode.js';
import { evaluate } from './evaluate.js';
import { graph } from './graph.js';
import type { SpeedBenchmark } from './harness.js';
import { heads } from './heads.js';
import { memory } from './memory.js';
import { nms } from './nms.js';
import { pipeline } from './pipeline.js';
import { search } from './search.js';
import { startup } from './startup.js';
import { synth } from './synth.js';
import { training } from './training.js';

/** The speed benchmarks, in the order in which they run. */
export const speedBenchmarks: readonly SpeedBenchmark[] = [
  startup,
  graph,
  encode,
  decode,
  pipeline,
  memory,
  evaluate,
  search,
  synth,
  training,
  nms,
  heads,
];
