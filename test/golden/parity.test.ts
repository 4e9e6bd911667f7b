import { existsSync } from 'node:fs';
import { goldenFolder } from './cases.js';
import { parityTests } from './parity.js';

// `npm run test:golden`: the full data, or the folder in EGOLENS_GOLDEN_DIR.
if (goldenFolder === undefined || !existsSync(goldenFolder)) {
  throw new Error(`no golden data at ${goldenFolder ?? 'any known place'}; set EGOLENS_GOLDEN_DIR`);
}
parityTests(goldenFolder);
