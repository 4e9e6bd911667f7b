#!/usr/bin/env node
/**
 * `npm run report:defaults`: the figures of the embedded heads on held-out Tabletop clips, beside those of a blind guess. Videos are rendered, encoded,
 * decoded and taken through extract, predict, submit, validate and eval by the real program. What is there is kept, so a second start goes
 * on.
 *
 * Usage: node bin/report-defaults.js [--work DIR] [--clips N] [--only TASK,…] [--json]
 *   --work     videos, features, predictions (2 GB); default .cache/report-defaults
 */
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { column, tableText } from '../dist/src/cli/output.js';
import { reportSet, trainSet } from '../dist/src/pipeline/default-heads/recipe.js';
import { egolens, extractAll, predict, recordsOf, submitAndScore, tracks } from './tracks.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const { values: flags } = parseArgs({
  options: {
    work: { type: 'string', default: join(root, '.cache', 'report-defaults') },
    clips: { type: 'string', default: String(reportSet.clips) },
    only: { type: 'string' },
    json: { type: 'boolean', default: false },
  },
});
const { seed, split, seconds, difficulty } = reportSet;
const folder = flags.work;
const chosen = tracks.filter(({ task }) => flags.only === undefined || flags.only.split(',').includes(task));
const size = ['--seconds', String(seconds), '--seed', String(seed), '--difficulty', String(difficulty), '-q'];
mkdirSync(folder, { recursive: true });
// The blind guess knows the averages of as large a training split as the heads had.
await egolens(['synth', folder, '--annotations-only', '--split', 'train', '--clips', String(trainSet.clips), ...size]);
await egolens(['synth', folder, '--split', split, '--clips', flags.clips, ...size]);
const blind = recordsOf(await egolens(['synth', 'baselines', folder, '--split', split, '--all', '--ndjson', '-q']));
const features = await extractAll(folder, split);
const rows = [];
for (const track of chosen) {
  const { task } = track;
  const records = join(folder, `${task}.ndjson`);
  if (!existsSync(records)) await predict(track, { folder, split, features: features[task], output: records });
  const submission = join(folder, `${task}-submission.json`);
  const scores = await submitAndScore(track, { folder, split, records, submission });
  for (const metric of track.metrics) {
    const guess = blind.find((row) => row.task === task && row.metric === metric && row.part === 'all');
    const value = scores.find((row) => row.metric === metric)?.value ?? null;
    rows.push({ task, metric, value, blind: guess?.blind ?? null, head: track.head });
  }
}
if (flags.json) console.log(JSON.stringify(rows, null, 2));
else {
  const shown = rows.map((row) => ({ ...row, value: row.value?.toFixed(4), blind: row.blind?.toFixed(4) }));
  const columns = ['task', 'metric', 'value', 'blind', 'head'].map((key) => column(key));
  console.log(tableText(columns, shown));
}
