import type { Finding } from '../../src/types.js';
export function checkMoments(): Finding[] { return []; }
