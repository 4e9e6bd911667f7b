/** Heads of hands, objects and coming actions: official ones, which are imported, and light ones, which are trained here. */
import type { HeadFamily } from '../src/models/head.js';
import { fhpHead } from './fhp-head.js';
import { hands } from './hands.js';
import { lta } from './lta.js';
import { ltaHead } from './lta-head.js';
import { pnrOscc } from './pnr-oscc.js';
import { scod } from './scod.js';
import { staRoiHead } from './sta-roi-head.js';
import { staRoi } from './sta-roi.js';
import { stillFast } from './stillfast.js';

/** Heads of hands, interactions, actions to come and changes of state. */
export const forecastFamilies: readonly HeadFamily[] = [
  hands,
  staRoi,
  scod,
  pnrOscc,
  lta,
  fhpHead,
  staRoiHead,
  stillFast,
  ltaHead,
];
