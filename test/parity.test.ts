import { ownGolden } from './golden/cases.js';
import { parityTests } from './golden/parity.js';

// The part of the golden data that is in the repository, so that `npm test` has parity tests everywhere.
parityTests(ownGolden);
