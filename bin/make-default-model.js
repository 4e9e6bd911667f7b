#!/usr/bin/env node
/**
 * Makes the embedded default model in fixtures/models from its seed. The same seed gives the same bytes.
 * Usage: node bin/make-default-model.js [FOLDER]
 */
import { fileURLToPath } from 'node:url';
import { defaultModel, makeDefaultModel } from '../dist/src/pipeline/default-model.js';

const folder = process.argv[2] ?? fileURLToPath(new URL(`../fixtures/models/${defaultModel}`, import.meta.url));
const { manifest, matched } = await makeDefaultModel(folder, 0);
console.log(`${folder}: ${matched} tensors, digest ${manifest.digest}`);
