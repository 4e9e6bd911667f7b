#!/usr/bin/env node
/**
 * `npm run demo`: a clip of Tabletop with known truth, drawn here; what every track answers about it; the challenge files, checked and scored. All by the
 * real program: bin/bootstrap.js has made sure of dependencies, build and ffmpeg. With a video of one's own: its windows, and what the
 * embedded heads say about it.
 *
 * Usage: node bin/demo.js [VIDEO]
 */
import { mkdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { column, tableText } from '../dist/src/cli/output.js';
import { egolens, extractAll, predict, recordsOf, submitAndScore, tracks } from './tracks.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const here = (path) => relative(process.cwd(), path) || '.';
const work = join(root, '.cache', 'demo');
mkdirSync(work, { recursive: true });

if (process.argv[2] === undefined) await tabletop();
else await ownVideo(process.argv[2]);

/** One clip of a minute and a half, from pixels to scores. */
async function tabletop() {
  const [split, seed, seconds] = ['val', 7, 90];
  const folder = join(work, 'tabletop');
  say(`A clip of Tabletop, a drawn first-person world with exact truth (${seconds} s, seed ${seed}):`);
  await shown([
    'synth',
    here(folder),
    '--clips',
    '1',
    '--seconds',
    String(seconds),
    '--seed',
    String(seed),
    '--split',
    split,
    '--force',
  ]);
  say(
    'Features by the embedded encoder: of the whole video, and of the windows that end at frames which are asked about.',
  );
  const features = await extractAll(folder, split);
  const records = {};
  for (const track of tracks) {
    records[track.task] = join(work, `${track.task}.ndjson`);
    await predict(track, { folder, split, features: features[track.task], output: records[track.task] });
  }
  const of = (task) => recordsOf(readFileSync(records[task], 'utf8'));

  say('\nWhen does what happen?  egolens moments');
  const moments = of('mq')
    .sort((a, b) => b.score - a.score)
    .slice(0, 6);
  table(
    moments
      .sort((a, b) => a.start - b.start)
      .map(({ start, end, label, score }) => {
        return { start: start.toFixed(1), end: end.toFixed(1), label, score: score.toFixed(2) };
      }),
    ['start', 'end', 'label', 'score'],
  );
  const truth = JSON.parse(readFileSync(join(folder, 'annotations', `nlq_${split}.json`), 'utf8'));
  const asked = truth.videos[0].clips[0].annotations[0].language_queries;
  say('\nAnswers to questions.  egolens nlq');
  const answers = asked.slice(0, 3).map((query, i) => {
    const best = of('nlq').find(({ id, query: text }) => text === query.query || String(id).endsWith(`_${i}`));
    return {
      question: query.query,
      answer: best === undefined ? '-' : `${best.start.toFixed(1)} to ${best.end.toFixed(1)} s`,
      truth: `${query.clip_start_sec.toFixed(1)} to ${query.clip_end_sec.toFixed(1)} s`,
    };
  });
  table(answers, ['question', 'answer', 'truth']);
  say('\nWhere will the hands be at contact?  egolens hands');
  table(
    of('fhp')
      .slice(0, 3)
      .map(({ id, points, visible }) => ({ id, left: hand(points, visible, 0), right: hand(points, visible, 1) })),
    ['id', 'left', 'right'],
  );
  say('\nWhat will be touched next, and when?  egolens anticipate');
  table(
    bestOf(of('sta'), 3).map(({ id, noun, verb, time_to_contact, box, score }) => ({
      frame: String(id).split('_').at(-1),
      next: `${verb} ${noun}`,
      in: `${time_to_contact.toFixed(1)} s`,
      box: box.map(Math.round).join(', '),
      score: score.toFixed(2),
    })),
    ['frame', 'next', 'in', 'box', 'score'],
  );
  say('\nDoes an object change, when, and which?  egolens state-change');
  const classify = of('oscc').slice(0, 4);
  const times = new Map(of('pnr').map((record) => [record.id, record]));
  table(
    classify.map(({ id, start, end, state_change, score }) => ({
      from: start.toFixed(1),
      to: end.toFixed(1),
      change: state_change ? 'yes' : 'no',
      score: score.toFixed(2),
      'point of no return': state_change ? `${times.get(id).time.toFixed(1)} s` : '',
    })),
    ['from', 'to', 'change', 'score', 'point of no return'],
  );
  say(
    '\nChallenge files, checked by `egolens validate submission` and scored by the official metrics on this one clip:',
  );
  const rows = [];
  for (const track of tracks) {
    const submission = join(work, `${track.task}-submission.json`);
    const scores = await submitAndScore(track, { folder, split, records: records[track.task], submission });
    for (const metric of track.metrics) {
      const value = scores.find((row) => row.metric === metric)?.value;
      rows.push({ track: track.title, metric, value: value?.toFixed(3) ?? 'none', file: here(submission) });
    }
  }
  table(rows, ['track', 'metric', 'value', 'file']);
  say(`
Encoder and heads are the embedded ones: they know Tabletop only (docs/default-heads.md has their figures on many clips).
With official checkpoints, or heads trained on your data, the same commands work on real videos: see README.md.`);
}

/** What the embedded models say of a video; of a real one that means little, and the program says so. */
async function ownVideo(video) {
  const output = join(work, 'own');
  await shown(['extract', here(video), '-o', here(output), '--force']);
  await shown(['moments', here(video), '--top', '5']);
  await shown(['state-change', here(video), '--mode', 'classify']);
}

async function shown(args) {
  console.log(`$ egolens ${args.join(' ')}`);
  process.stdout.write(await egolens([...args, '--format', 'table'], { quiet: false }));
}

function say(text) {
  console.log(text);
}

function table(records, keys) {
  console.log(
    tableText(
      keys.map((key) => column(key)),
      records,
    ),
  );
}

/** The record of highest score for each id, in their order. */
function bestOf(records, count) {
  const best = new Map();
  for (const record of records) if (!(best.get(record.id)?.score >= record.score)) best.set(record.id, record);
  return [...best.values()].slice(0, count);
}

/** The last key frame is the contact. */
function hand(points, visible, side) {
  const [x, y] = points.at(-1)[side];
  return visible.at(-1)[side] < 0.5 ? 'out of view' : `${x.toFixed(0)}, ${y.toFixed(0)}`;
}
