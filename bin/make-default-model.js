#!/usr/bin/env node
/**
 * Makes the embedded default model in fixtures/models from its seed. The same seed gives the same bytes.
 * Usage: node bin/make-default-model.js [FOLDER]
 */
import { fileURLToPath } from 'node:url';
import { defaultSeededModel, makeSeededModel } from '../dist/src/pipeline/seeded-model.js';

const own = fileURLToPath(new URL(`../fixtures/models/${defaultSeededModel.name}`, import.meta.url));
const { manifest, matched, folder } = await makeSeededModel(process.argv[2] ?? own, defaultSeededModel);
console.log(`${folder}: ${matched} tensors, digest ${manifest.digest}`);
