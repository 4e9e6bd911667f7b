/** The families of heads, in the order in which help lists them. */
import type { HeadFamily } from '../src/models/head.js';
import { actionformerSmall } from './actionformer-small.js';
import { actionformer } from './actionformer.js';
import { attentiveProbe } from './attentive-probe.js';
import { forecastFamilies } from './forecast-families.js';
import { groundnlq } from './groundnlq.js';
import { linearProbe } from './linear-probe.js';
import { recognitionHead } from './recognition-head.js';
import { vslnet, vslnetSmall } from './vslnet.js';

/** Everything that `models import --arch` takes as a head, and head folders are made of. */
export const headFamilies: readonly HeadFamily[] = [
  recognitionHead,
  linearProbe,
  attentiveProbe,
  actionformer,
  actionformerSmall,
  vslnet,
  vslnetSmall,
  groundnlq,
  ...forecastFamilies,
];

/** The family of heads of this name; undefined where there is none. */
export function headOf(name: string): HeadFamily | undefined {
  return headFamilies.find((family) => family.name === name);
}
