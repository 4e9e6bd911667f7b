/** The tracks through the real command line: predict, submit, validate, eval. What `npm run demo` and `npm run report:defaults` share. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { defaultDetector, defaultHeads } from '../dist/src/pipeline/default-heads/names.js';

const root = fileURLToPath(new URL('..', import.meta.url));

/**
 * A track: the command that answers and the metrics that are shown, by the names of `eval`. `features`: windows of whole videos, or tokens of
 * the windows that end at annotated frames.
 */
export const tracks = [
  {
    ...{ task: 'mq', title: 'moments', annotations: 'moments', features: 'rows' },
    ...{ command: ['moments'], head: defaultHeads.mq, metrics: ['Average mAP'] },
  },
  {
    ...{ task: 'nlq', title: 'questions', annotations: 'nlq', features: 'rows' },
    ...{ command: ['nlq'], head: defaultHeads.nlq, metrics: ['R@1,IoU=0.3'] },
  },
  {
    ...{ task: 'fhp', title: 'future hands', annotations: 'fho_hands', features: 'tokens' },
    ...{ command: ['hands'], head: defaultHeads.fhp, metrics: ['left_mean_disp', 'right_mean_disp'] },
  },
  {
    ...{ task: 'sta', title: 'next object', annotations: 'fho_sta', features: 'tokens' },
    ...{ command: ['anticipate'], head: defaultHeads.sta, metrics: ['map_box_noun_verb_ttc'] },
    extra: ['--detector', defaultDetector],
  },
  {
    ...{ task: 'lta', title: 'next actions', annotations: 'fho_lta', features: 'rows' },
    ...{ command: ['anticipate', '--mode', 'actions'], head: defaultHeads.lta, metrics: ['action ED@20'] },
  },
  {
    ...{ task: 'scod', title: 'object of change', annotations: 'fho_scod', features: 'tokens' },
    ...{ command: ['state-change', '--mode', 'objects'], head: defaultHeads.scod, metrics: ['AP50'] },
  },
  {
    ...{ task: 'pnr', title: 'point of no return', annotations: 'fho_oscc-pnr', features: 'rows' },
    ...{ command: ['state-change', '--mode', 'localize'], head: defaultHeads.pnr, metrics: ['mean_error_sec'] },
  },
  {
    ...{ task: 'oscc', title: 'state change', annotations: 'fho_oscc-pnr', features: 'rows' },
    ...{ command: ['state-change', '--mode', 'classify'], head: defaultHeads.oscc, metrics: ['accuracy'] },
  },
];

/**
 * Runs the program. Its standard error is passed on where it fails.
 *
 * @returns standard output
 */
export async function egolens(args, { quiet = true, accept = [0] } = {}) {
  const child = spawn(process.execPath, [join(root, 'bin', 'run.js'), ...args], {
    stdio: ['ignore', 'pipe', quiet ? 'pipe' : 'inherit'],
  });
  const chunks = { stdout: [], stderr: [] };
  child.stdout.on('data', (chunk) => chunks.stdout.push(chunk));
  child.stderr?.on('data', (chunk) => chunks.stderr.push(chunk));
  const code = await new Promise((resolve, reject) => child.on('error', reject).on('close', resolve));
  if (!accept.includes(code)) {
    process.stderr.write(Buffer.concat(chunks.stderr));
    throw new Error(`egolens ${args.join(' ')}: status ${code}`);
  }
  return Buffer.concat(chunks.stdout).toString();
}

/** Lines of NDJSON. */
export const recordsOf = (text) =>
  text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line));

/**
 * Features of the videos of a Tabletop folder: windows of the whole videos, and for each task that asks about frames the windows that end there.
 *
 * @returns by task the folder of its features
 */
export async function extractAll(folder, split, { model } = {}) {
  const encoder = model === undefined ? [] : ['--model', model];
  const rows = join(folder, 'features', 'rows');
  await egolens(['extract', join(folder, 'videos'), ...encoder, '-o', rows, '-q']);
  const folders = {};
  for (const { task, features } of tracks) {
    folders[task] = features === 'rows' ? rows : join(folder, 'features', task);
    if (features === 'rows') continue;
    const asked = ['--ego4d', folder, '--task', task, '--split', split, '--at', 'annotations', '--pool', 'tokens'];
    await egolens(['extract', ...asked, ...encoder, '-o', folders[task], '-q']);
  }
  return folders;
}

/** Predictions of a track over features: records in a file. */
export async function predict({ command, head, extra = [], annotations }, { folder, split, features, output }) {
  const clips = join(folder, 'annotations', `${annotations}_${split}.json`);
  await egolens([
    ...command,
    '--features',
    features,
    '--clips',
    clips,
    '--head',
    head,
    ...extra,
    '-o',
    output,
    '--force',
    '-q',
  ]);
}

/** From records to the official numbers: challenge file, validator, evaluator. */
export async function submitAndScore({ task, annotations }, { folder, split, records, submission }) {
  const truth = join(folder, 'annotations', `${annotations}_${split}.json`);
  const fill = ['--fill-missing'];
  await egolens(['submit', task, '--pred', records, '--test', truth, '-o', submission, '--force', ...fill, '-q']);
  await egolens(['validate', 'submission', submission, '--task', task, '--against', truth, '-q']);
  return recordsOf(await egolens(['eval', task, '--gt', truth, '--pred', submission, '--official', '--ndjson', '-q']));
}
