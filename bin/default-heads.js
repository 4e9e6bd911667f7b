/**
 * The embedded heads: features of drawn clips, then `egolens train TASK` for each head of src/pipeline/default-heads/recipe.ts, then the result
 * as a model folder. A part of bin/train-defaults.js.
 */
import { spawn } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { frameAsks } from '../dist/src/ego4d/asked-frames.js';
import { findModel } from '../dist/src/hub/cache.js';
import { openModelFolder } from '../dist/src/models/folder.js';
import { drawFeatures } from '../dist/src/pipeline/default-heads/drawn-features.js';
import { defaultHeadRecipes, trainSet, valSet } from '../dist/src/pipeline/default-heads/recipe.js';
import { readDocument } from '../dist/src/pipeline/documents.js';
import { synth } from '../dist/src/pipeline/synth.js';

const root = fileURLToPath(new URL('..', import.meta.url));

/** Annotation files with frames that are asked about. */
const frameFiles = { fhp: 'fho_hands', sta: 'fho_sta', scod: 'fho_scod' };

/**
 * Draws, trains and writes. What an earlier run has finished is kept.
 *
 * @param options.encoder name or folder
 * @param options.clips of the training split; default those of the recipe
 * @param options.only names of heads; default all
 */
export async function trainDefaultHeads({ work, output, encoder, clips, only, device, threads, signal, progress }) {
  const model = await openModelFolder(await findModel(encoder));
  const data = join(work, 'data');
  mkdirSync(data, { recursive: true });
  const features = { rows: join(data, 'rows'), tokens: join(data, 'tokens') };
  const chosen = defaultHeadRecipes.filter(({ name }) => only === undefined || only.includes(name));
  for (const set of [valSet, { ...trainSet, clips: clips ?? trainSet.clips }]) {
    const options = { ...set, annotationsOnly: true, variants: [], jobs: 1, force: true, signal, progress };
    const written = synth(data, options);
    while ((await written.next()).done !== true) signal.throwIfAborted();
    const drawn = { model, device, threads, signal, progress };
    if (chosen.some((head) => head.features === 'rows')) {
      await drawFeatures(features.rows, set, { ...drawn, plan: { kind: 'dense' } });
    }
    if (chosen.some((head) => head.features === 'tokens')) {
      const frames = await askedFrames(data, set);
      await drawFeatures(features.tokens, set, { ...drawn, plan: { kind: 'ends', frames } });
    }
  }
  for (const head of chosen) {
    const run = join(work, 'runs', head.name);
    const annotations = (split) => join(data, 'annotations', `${head.annotations}_${split}.json`);
    const args = [
      ...['train', head.task, '--features', features[head.features]],
      ...['--gt', annotations('train'), '--val', annotations('val')],
      ...['-o', run, '--name', head.name, '--device', device],
      ...(threads === undefined ? [] : ['--threads', String(threads)]),
      ...head.flags.map((flag) => flag.replace('{output}', output)),
    ];
    progress.note(`egolens ${args.join(' ')}`);
    await program(args, signal);
    const folder = join(output, head.name);
    rmSync(folder, { recursive: true, force: true });
    cpSync(join(run, 'final'), folder, { recursive: true });
    relabel(folder);
    progress.note(`wrote ${folder}`);
  }
}

/** Frames of the asks of all tasks, by video. */
async function askedFrames(data, { split, fps }) {
  const frames = new Map();
  for (const [task, stem] of Object.entries(frameFiles)) {
    const document = await readDocument(join(data, 'annotations', `${stem}_${split}.json`));
    for (const { videoUid, times } of frameAsks(document, task)) {
      const own = times.map(({ video }) => Math.floor(video * fps + 1e-6));
      frames.set(videoUid, [...(frames.get(videoUid) ?? []), ...own]);
    }
  }
  return frames;
}

/** What no run can say of itself: that it learned from Tabletop alone, and whose the weights are. The digest does not cover it. */
function relabel(folder) {
  const path = join(folder, 'model.json');
  const manifest = JSON.parse(readFileSync(path, 'utf8'));
  const licence = { code: 'Apache-2.0', weights: 'Apache-2.0' };
  writeFileSync(path, `${JSON.stringify({ ...manifest, trained: 'tabletop', licence }, null, 2)}\n`);
}

/** Runs the program; the records of its epochs go to standard output. */
function program(args, signal) {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [join(root, 'bin', 'run.js'), ...args], {
      stdio: ['ignore', 'inherit', 'inherit'],
    });
    const stop = () => child.kill('SIGINT');
    signal.addEventListener('abort', stop);
    child.on('error', reject);
    child.on('close', (code) => {
      signal.removeEventListener('abort', stop);
      if (code === 0 && existsSync(args[args.indexOf('-o') + 1])) resolve();
      else reject(new Error(`egolens ${args.slice(0, 2).join(' ')} ended with status ${code}`));
    });
  });
}
