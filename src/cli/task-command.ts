/** What the commands of task heads share (`moments` and its like): the flags, and the run behind them. A command adds what is its task's own. */
import { Flags } from '@oclif/core';
import type { Ego4dTask } from '../ego4d/annotated-videos.js';
import type { FrameAsk } from '../ego4d/asked-frames.js';
import { EgolensError, exitCodes } from '../errors.js';
import type { HeadTask } from '../models/head.js';
import type { AnchorRequest } from '../pipeline/anchors.js';
import type { ClipOptions } from '../pipeline/clip-sequences.js';
import type { Ego4dSelection } from '../pipeline/ego4d-inputs.js';
import type { InputItem } from '../pipeline/inputs.js';
import type { PredictionRun, PredictionTask, Stretch } from '../pipeline/predict.js';
import type { FeatureSet } from '../pipeline/recognize-head.js';
import type { ErrorRecord } from '../pipeline/records.js';
import type { JsonDocument } from '../types.js';
import { batchExitCode, type Parsed, type Shell } from './base-command.js';
import { deviceFlags, ego4dFlags, ego4dSelection, forceFlag, given, inputFlags, inputOptions } from './flags.js';
import { computeFeatures } from './head-features.js';
import { outputOf, sinkFor, type RecordLook } from './task-output.js';
import { runFlags, samplingFlags } from './video-flags.js';

/** A task on the command line. */
export interface TaskUse<Query = undefined> extends PredictionTask<Query>, RecordLook {
  readonly task: HeadTask & Ego4dTask;
  /** Task that its heads are marked with, where one head serves two; default `task`. */
  readonly headTask?: HeadTask;
  /** The head, where the command has opened it already. */
  readonly opened?: Pick<PredictionRun, 'folder' | 'head'>;
  /** Windows of own videos end at these times, where its heads look at single windows; absent: they lie as the head's recipe says. */
  readonly at?: AnchorRequest;
  /** The frames that an annotation file asks about: windows of Ego4D end there. Absent: they lie as the head's recipe says. */
  asks?(document: JsonDocument): readonly FrameAsk[];
  /** The clips of an annotation file that have features. */
  clips(
    document: JsonDocument,
    set: FeatureSet,
    options: ClipOptions,
  ): Promise<{
    readonly stretches: readonly Stretch[];
    readonly missing: readonly string[];
    /** What can not be answered for another reason than that it has no features. */
    readonly failed?: readonly ErrorRecord[];
  }>;
}

/** Flags of every task command. `tasks`: those of Ego4D that it does, one a mode. */
export function taskFlags(...tasks: readonly Ego4dTask[]) {
  const { batch, jobs, timeout, errors } = runFlags;
  const { stream, start, end } = samplingFlags;
  return {
    output: Flags.string({
      char: 'o',
      helpValue: 'FILE|-',
      summary: 'File of the records; its ending names the form.',
    }),
    head: Flags.string({
      helpValue: 'NAME|DIR',
      summary: `A head folder, as ${tasks.map((task) => `\`train ${task}\``).join(', ')} or \`models import\` write it; default: the embedded one, which knows Tabletop only.`,
    }),
    features: Flags.string({ helpValue: 'DIR', summary: 'Features that `extract` wrote; no video is decoded.' }),
    clips: Flags.string({
      helpValue: 'FILE',
      summary: 'Annotation file whose clips are asked for; with --features.',
      dependsOn: ['features'],
      exclusive: ['ego4d'],
    }),
    model: Flags.string({ helpValue: 'NAME|DIR', summary: 'Encoder in place of the one that the head names.' }),
    labels: Flags.string({ helpValue: 'NAME|FILE', summary: "Class list in place of the head's, of as many names." }),
    top: Flags.integer({ min: 1, max: 1_000_000, summary: 'Most records of a video or clip.' }),
    'min-score': Flags.string({ helpValue: 'S', summary: 'No records with a lower score, 0 to 1.' }),
    'force-features': Flags.boolean({ summary: 'Take features of another model than the head was trained on.' }),
    clock: Flags.option({
      options: ['ego4d-grid', 'ego4d-nlq'] as const,
      summary: 'When the rows of features without a meta file are.',
    })(),
    force: forceFlag,
    ...inputFlags,
    ...ego4dFlags,
    task: Flags.option({
      options: tasks,
      summary: `The task whose annotation files name the clips: ${tasks.length === 1 ? tasks.join() : 'that of the mode'}, as there is no other here.`,
      helpGroup: 'EGO4D',
    })(),
    split: Flags.option({
      options: ['train', 'val', 'test'] as const,
      summary: 'One split of the task; default: all that are there.',
      helpGroup: 'EGO4D',
    })(),
    ...{ stream, start, end },
    ...{ batch, jobs, timeout, errors },
    'on-error': runFlags['on-error'],
    'decode-errors': runFlags['decode-errors'],
    'strict-decode': runFlags['strict-decode'],
    'stall-timeout': runFlags['stall-timeout'],
    ...deviceFlags,
  };
}

/** `taskFlags` as oclif parsed them. */
export type TaskFlags = Parsed<ReturnType<typeof taskFlags>>;

/** Records of a task for videos, features or the clips of a split; gives the exit code. */
export async function runTask<Query>(
  argv: readonly string[],
  flags: TaskFlags,
  use: TaskUse<Query>,
  shell: Shell,
): Promise<number> {
  const { openHead } = await import('../pipeline/recognize-head.js');
  const { headOf } = await import('../../heads/index.js');
  const { doubtOf } = await import('../models/folder.js');
  const { predict } = await import('../pipeline/predict.js');
  const { parseScore } = await import('../pipeline/recognize-options.js');
  const { RunFiles } = await import('../pipeline/run-files.js');
  const { signal, progress } = shell;
  const output = await outputOf(flags, use, shell);
  const opened = use.opened ?? (await openHead(flags.head, headOf, use.headTask ?? use.task));
  const run: PredictionRun = {
    ...opened,
    top: flags.top ?? Infinity,
    minScore: flags['min-score'] === undefined ? 0 : parseScore(flags['min-score']),
    forceFeatures: flags['force-features'],
    ...given({ labels: flags.labels, threads: flags.threads }),
    reading: given({ clock: flags.clock }),
    device: flags.device,
    signal,
    progress,
  };
  const doubt = doubtOf(opened.folder);
  if (doubt !== undefined) progress.warn(doubt.code, doubt.text);
  await using files = await RunFiles.open({ errors: flags.errors });
  const asked = await stretchesOf(argv, flags, { use, run });
  for (const error of asked.failed) {
    shell.logError(error);
    await files.error(error);
  }
  const sink = sinkFor(output, use);
  let [done, count] = [0, 0];
  for await (const one of predict(asked.stretches, use, run)) {
    await sink.add(one);
    done++;
    count += one.records.length;
  }
  await sink.end();
  progress.note(`${count} records of ${done} videos or clips by ${opened.folder.id}`);
  const failed = asked.failed.length;
  return done + failed === 0 ? exitCodes.done : batchExitCode(done, failed);
}

interface Asked {
  readonly stretches: Iterable<Stretch> | AsyncIterable<Stretch>;
  readonly failed: readonly ErrorRecord[];
}

/** What the head is shown: own videos, features, or the clips of annotation files. */
async function stretchesOf<Query>(
  argv: readonly string[],
  flags: TaskFlags,
  { use, run }: { readonly use: TaskUse<Query>; readonly run: PredictionRun },
): Promise<Asked> {
  const { featureSet } = await import('../pipeline/recognize-head.js');
  const { wholeStretches } = await import('../pipeline/predict.js');
  const { listInputs } = await import('../pipeline/inputs.js');
  const { reading, signal, progress } = run;
  if (flags.features !== undefined && argv.length > 0) {
    throw new EgolensError('usage.conflict', '--features takes the place of videos', { try: 'leave the paths out' });
  }
  const anyUid = flags['video-uids'] ?? flags['clip-uids'] ?? flags['uid-file'];
  const isAsked = (flags.ego4d ?? flags.task ?? flags.split ?? anyUid) !== undefined;
  const own = isAsked ? { ...flags, task: use.task } : flags;
  const selection = ego4dSelection(own);
  const folder = flags.features === undefined ? undefined : await featureSet(flags.features);
  if (folder !== undefined && selection === undefined) {
    if (flags.clips === undefined) return { stretches: wholeStretches(folder, reading, use.rowKind), failed: [] };
    return await clipsOf([flags.clips], folder, { use, run });
  }
  await using inputs = await listInputs([...argv], { ...inputOptions(own), signal, progress });
  const computed = folder === undefined ? await computedFor(inputs.items, flags, { use, run, selection }) : undefined;
  const set = folder ?? computed!; // one of the two
  const failed = computed?.failed ?? [];
  if (selection === undefined) return { stretches: wholeStretches(set, undefined, use.rowKind), failed };
  const { annotationFiles } = await import('../pipeline/ego4d-inputs.js');
  const selected = new Set(inputs.items.map(({ name }) => name));
  const broken = new Set(failed.map(({ input }) => input));
  const lost = new Set(inputs.items.flatMap(({ input, name }) => (broken.has(input) ? [name] : [])));
  const paths = await annotationFiles(selection.folder, use.task, selection.split);
  const found = await clipsOf(paths, set, {
    use,
    run,
    only: ({ clipUid, videoUid }) =>
      (selected.has(clipUid) || selected.has(videoUid)) && !lost.has(clipUid) && !lost.has(videoUid),
  });
  return { stretches: found.stretches, failed: [...failed, ...found.failed] };
}

/** The clips of annotation files that have features; those that have none are told as failed. */
async function clipsOf<Query>(
  paths: readonly string[],
  set: FeatureSet,
  {
    use,
    run,
    only,
  }: { readonly use: TaskUse<Query>; readonly run: PredictionRun; readonly only?: ClipOptions['only'] },
): Promise<Asked> {
  const { readDocument } = await import('../pipeline/documents.js');
  const { errorRecord } = await import('../pipeline/records.js');
  const { reading, signal, progress, forceFeatures } = run;
  const options: ClipOptions = {
    ...(only && { only }),
    ...(reading && { reading }),
    mixed: forceFeatures,
    signal,
    progress,
  };
  const stretches: Stretch[] = [];
  const failed: ErrorRecord[] = [];
  for (const path of paths) {
    const { stretches: found, missing, failed: others = [] } = await use.clips(await readDocument(path), set, options);
    stretches.push(...found);
    failed.push(...others);
    for (const uid of missing) {
      const error = new EgolensError('input.not_found', `clip ${uid}: found no features of it or of its video`);
      failed.push(errorRecord(error, uid));
    }
  }
  return { stretches, failed };
}

/** Features of videos, computed for the head, with windows that end where the task asks. */
async function computedFor<Query>(
  items: readonly InputItem[],
  flags: TaskFlags,
  {
    use,
    run,
    selection,
  }: { readonly use: TaskUse<Query>; readonly run: PredictionRun; readonly selection: Ego4dSelection | undefined },
) {
  const { progress } = run;
  if (selection === undefined) return await computeFeatures(items, flags, run, use.at);
  if (use.asks === undefined) return await computeFeatures(items, flags, run);
  const { askedItems } = await import('../pipeline/asked-items.js');
  const asksOf = (document: JsonDocument): readonly FrameAsk[] => use.asks?.(document) ?? [];
  return await computeFeatures(await askedItems(items, selection, { asksOf, progress }), flags, run);
}
