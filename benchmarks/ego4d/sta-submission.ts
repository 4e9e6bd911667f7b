import type { Challenge } from '../../src/types.js';
export const staSubmission: NonNullable<Challenge['submission']> = () => ({ json: null, counts: {}, notes: [] });
