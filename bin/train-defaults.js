#!/usr/bin/env node
/**
 * Trains the embedded default models on Tabletop, from seeds: the encoder, then a head for every track. Draws what is learnt from, trains, prints
 * the figures and writes the folders. Interrupted, it goes on from its last checkpoint when it is started again.
 *
 * Usage: node bin/train-defaults.js [--only encoder|heads|NAME,…] [--work DIR] [--output DIR] [--device cpu] [--threads N]
 *                                   [--encoder NAME] [--clips N] [--samples N] [--windows N] [--still]
 *   --only     the encoder, all heads (over the encoder as it is), or heads by their names; default: everything
 *   --encoder  what the heads are trained over; default: the embedded one. With videomae-nano-untrained: the baseline of a random encoder
 *   --clips    of the training split of the heads; default 200
 *   --work     drawn windows and features (13 GB), checkpoints, logs; default .cache/train-defaults
 *   --output   where the model folders go; default fixtures/models
 *   --still    the baseline without motion: every frame of a window is its middle one; writes no model
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { openProgress } from '../dist/src/cli/progress.js';
import { defaultEncoderName, exportDefaultEncoder } from '../dist/src/pipeline/default-encoder/export.js';
import { trainDefaultEncoder } from '../dist/src/pipeline/default-encoder/train.js';
import { trainDefaultHeads } from './default-heads.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const { values: flags } = parseArgs({
  options: {
    work: { type: 'string', default: join(root, '.cache', 'train-defaults') },
    output: { type: 'string', default: join(root, 'fixtures', 'models') },
    device: { type: 'string', default: 'cpu' },
    threads: { type: 'string' },
    samples: { type: 'string' },
    windows: { type: 'string' },
    still: { type: 'boolean', default: false },
    only: { type: 'string' },
    encoder: { type: 'string' },
    clips: { type: 'string' },
  },
});
const count = (name) => (flags[name] === undefined ? {} : { [name]: Number(flags[name]) });
const stop = new AbortController();
process.once('SIGINT', () => stop.abort());

const progress = await openProgress({
  line: (text) => process.stderr.write(`${text}\n`),
  isTerminal: process.stderr.isTTY === true,
  verbosity: 'normal',
});
const only = flags.only?.split(',');
if (only === undefined || only.includes('encoder') || flags.still) await encoder();
if (!flags.still && !stop.signal.aborted && only?.join() !== 'encoder') {
  const names = only === undefined || only.includes('heads') ? undefined : only.filter((name) => name !== 'encoder');
  await trainDefaultHeads({
    work: resolve(flags.work, 'heads'),
    output: resolve(flags.output),
    encoder: flags.encoder ?? join(resolve(flags.output), defaultEncoderName),
    ...count('clips'),
    only: names,
    device: flags.device,
    ...count('threads'),
    signal: stop.signal,
    progress,
  });
}
progress[Symbol.dispose]?.();

async function encoder() {
  const work = resolve(flags.work, flags.still ? 'still' : 'encoder');
  mkdirSync(work, { recursive: true });
  const began = process.cpuUsage();
  const { outcome, weights, scores } = await trainDefaultEncoder({
    folder: work,
    device: flags.device,
    ...count('threads'),
    ...count('samples'),
    ...count('windows'),
    still: flags.still,
    signal: stop.signal,
    progress,
    onStep(record) {
      if (record.metrics !== undefined || record.step % 50 === 0) console.log(JSON.stringify(record));
    },
  });
  const { user, system } = process.cpuUsage(began);
  progress.note(
    `${outcome.ended} after ${outcome.step} updates; ${Math.round((user + system) / 60e6)} minutes of processor time in this run`,
  );
  if (scores !== null) {
    console.log(JSON.stringify(scores));
    writeFileSync(join(work, 'scores.json'), `${JSON.stringify(scores, null, 2)}\n`);
    if (!flags.still) {
      const { folder, manifest } = await exportDefaultEncoder(join(flags.output, defaultEncoderName), weights);
      console.log(`${folder}: digest ${manifest.digest}`);
    }
  }
}
