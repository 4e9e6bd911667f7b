/** `recognize --head`: the flags, and the run behind them. */
import { Flags } from '@oclif/core';
import { EgolensError, exitCodes } from '../errors.js';
import { writeFileAtomic } from '../files.js';
import type { FeatureSet, HeadRun } from '../pipeline/recognize-head.js';
import type { ErrorRecord } from '../pipeline/records.js';
import type { LabelRecord } from '../pipeline/recognize.js';
import type { Progress } from '../types.js';
import { batchExitCode, type OutputFormat } from './base-command.js';
import { given, inputOptions } from './flags.js';
import { computeFeatures, type HeadFeatureFlags } from './head-features.js';
import { isRecordFormat } from './output.js';
import { formatOfPath, labelWriter } from './label-output.js';

/** Flags of `recognize` that need `--head`. */
export const headFlags = {
  head: Flags.string({
    helpValue: 'NAME|DIR',
    summary: 'A head over the features of an encoder, as `train recognition` writes it.',
    helpGroup: 'HEAD',
  }),
  features: Flags.string({
    helpValue: 'DIR',
    summary: 'Features that `extract` wrote, in place of videos.',
    helpGroup: 'HEAD',
  }),
  segments: Flags.string({
    helpValue: 'FILE',
    summary: 'Label these segments: fho_lta_*.json, CSV, NDJSON or JSON.',
    helpGroup: 'HEAD',
  }),
  'force-features': Flags.boolean({
    summary: 'Take features of another model than the head was trained on.',
    helpGroup: 'HEAD',
  }),
  clock: Flags.option({
    options: ['ego4d-grid', 'ego4d-nlq'] as const,
    summary: 'When the rows of features without a meta file are.',
    helpGroup: 'HEAD',
  })(),
};

/** Flags of `recognize` that a head has no use for. */
const foreign = [
  'labels',
  'zero-shot',
  'class',
  'class-file',
  'template',
  'template-file',
  'merge',
  'frames',
  'preset',
  'shard',
  'name-template',
] as const;
/** Sampling that the head's clock decides. */
const sampling = ['pixels', 'window', 'stride', 'fps', 'tail', 'views'] as const;

/** What `recognize` was told, as oclif parsed it. */
type RecognizeFlags = Parameters<typeof inputOptions>[0] &
  HeadFeatureFlags & {
    readonly output?: string | undefined;
    readonly head: string;
    readonly features?: string | undefined;
    readonly segments?: string | undefined;
    readonly 'force-features': boolean;
    readonly clock?: 'ego4d-grid' | 'ego4d-nlq' | undefined;
    readonly per: 'video' | 'window';
    readonly top?: number | undefined;
    readonly 'min-score'?: string | undefined;
    readonly force: boolean;
  };

interface Shell {
  readonly format: OutputFormat;
  readonly signal: AbortSignal;
  progress(): Promise<Progress & Disposable>;
  logError(record: ErrorRecord): void;
}

/** Without `--head` its companions mean nothing. @throws EgolensError usage.conflict */
export function refuseHeadFlags(flags: Readonly<Partial<Record<keyof typeof headFlags, unknown>>>): void {
  for (const name of ['features', 'segments', 'force-features', 'clock'] as const) {
    if (flags[name] === undefined || flags[name] === false) continue;
    throw new EgolensError('usage.conflict', `--${name} goes with a head`, { try: 'add `--head DIR`' });
  }
}

/** Runs the head; gives the exit code. */
export async function recognizeWithHead(argv: readonly string[], flags: RecognizeFlags, shell: Shell): Promise<number> {
  refuseForeign(flags);
  const { openHead, featureSet, labelSegments, labelVideos } = await import('../pipeline/recognize-head.js');
  const { headOf } = await import('../../heads/index.js');
  const { readSegments } = await import('../pipeline/train-recognition.js');
  const { parseScore } = await import('../pipeline/recognize-options.js');
  const { listInputs } = await import('../pipeline/inputs.js');
  const { signal } = shell;
  using progress = await shell.progress();
  const opened = await openHead(flags.head, headOf);
  const list = flags.segments === undefined ? undefined : await readSegments(flags.segments, 'optional');
  const run: HeadRun = {
    ...opened,
    top: flags.top ?? 5,
    minScore: flags['min-score'] === undefined ? 0 : parseScore(flags['min-score']),
    forceFeatures: flags['force-features'],
    reading: given({ clock: flags.clock }),
    device: flags.device,
    ...given({ threads: flags.threads }),
    signal,
    progress,
  };
  let set: FeatureSet;
  let [done, failed] = [0, 0];
  if (flags.features !== undefined) {
    if (argv.length > 0) {
      throw new EgolensError('usage.conflict', '--features takes the place of videos', { try: 'leave the paths out' });
    }
    set = await featureSet(flags.features);
    done = 1;
  } else {
    await using inputs = await listInputs([...argv], { ...inputOptions(flags), signal, progress });
    const computed = await computeFeatures(inputs.items, flags, { ...opened, signal, progress });
    for (const error of computed.failed) shell.logError(error);
    done = computed.inputs.size;
    failed = computed.failed.length;
    set = computed;
  }
  if (done > 0) {
    const records = list === undefined ? labelVideos(set, flags.per, run) : labelSegments(list, set, run);
    const count = await writeAll(records, flags, { format: shell.format, kinds: opened.head.kinds.length > 1 });
    progress.note(`${count} labels by ${opened.folder.id}`);
  }
  return done + failed === 0 ? exitCodes.done : batchExitCode(done, failed);
}

/** To standard output as they come, or into one file when all are there. */
async function writeAll(
  records: AsyncIterable<LabelRecord>,
  { output, force }: Pick<RecognizeFlags, 'output' | 'force'>,
  { format: usual, kinds }: { readonly format: OutputFormat; readonly kinds: boolean },
): Promise<number> {
  const path = output === '-' ? undefined : output;
  const format = path === undefined ? usual : (formatOfPath(path) ?? 'ndjson');
  if (!isRecordFormat(format)) throw new EgolensError('usage.conflict', `--head gives records, no ${format}`);
  const { pathExists } = await import('../files.js');
  if (path !== undefined && !force && (await pathExists(path))) {
    throw new EgolensError('output.exists', `\`${path}\`: exists already`, { try: '`--force` replaces it' });
  }
  const pieces: string[] = [];
  const stream = path === undefined ? process.stdout : { write: (text: string) => pieces.push(text) };
  const writer = labelWriter(stream, format, kinds);
  let count = 0;
  for await (const record of records) {
    await writer.write(record);
    count++;
  }
  await writer.end();
  if (path !== undefined) await writeFileAtomic(path, pieces.join(''));
  return count;
}

function refuseForeign(flags: object): void {
  const values = new Map<string, unknown>(Object.entries(flags));
  for (const name of [...foreign, ...sampling]) {
    const value = values.get(name);
    if (value === undefined || value === false) continue;
    throw new EgolensError(
      'usage.conflict',
      `--${name}: the head decides its classes and the windows of its features`,
      {
        try: 'leave it out; `--features DIR` takes features of any recipe that fits the head',
      },
    );
  }
}
