#!/usr/bin/env node
/**
 * Makes the embedded untrained model in fixtures/models from its seed. The same seed gives the same bytes.
 * Usage: node bin/make-untrained-model.js [FOLDER]
 */
import { fileURLToPath } from 'node:url';
import { untrainedNano, makeSeededModel } from '../dist/src/pipeline/seeded-model.js';

const own = fileURLToPath(new URL(`../fixtures/models/${untrainedNano.name}`, import.meta.url));
const { manifest, matched, folder } = await makeSeededModel(process.argv[2] ?? own, untrainedNano);
console.log(`${folder}: ${matched} tensors, digest ${manifest.digest}`);
