import type { Challenge } from '../../src/types.js';
export const staChallengeName = 'ego4d_short_term_object_interaction_anticipation';
export const staVersion = '1.0';
export const checkSta: Challenge['check'] = () => [];
