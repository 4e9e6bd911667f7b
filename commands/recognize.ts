import { stat } from 'node:fs/promises';
import { Flags } from '@oclif/core';
import { BaseCommand, formatFlag, type OutputFormat } from '../src/cli/base-command.js';
import {
  deviceFlags,
  ego4dFlags,
  forceFlag,
  given,
  inputArgs,
  inputFlags,
  inputOptions,
  parseDuration,
} from '../src/cli/flags.js';
import { endingOf, formatOfPath, isCueFormat, labelFormats, labelText, labelWriter } from '../src/cli/label-output.js';
import { headFlags, recognizeWithHead, refuseHeadFlags } from '../src/cli/head-recognition.js';
import { runFlags, samplingFlags, spanOf } from '../src/cli/video-flags.js';
import { EgolensError } from '../src/errors.js';
import type { InputItem } from '../src/pipeline/inputs.js';
import type { RecognizeEvent, RecognizeOptions, RecognizeOutput } from '../src/pipeline/recognize.js';

/** Labels of a stretch where --top is not given; one below a film. */
const topDefault = 5;

export default class Recognize extends BaseCommand {
  static override summary = 'Name what happens in videos: classes with scores, of each video or of each window of it.';
  static override description = [
    'Closed set: a model with a classifier names its own classes. The names are those the model was imported with, or --labels; they are never guessed, because files with the same number of classes have them in different orders.',
    'Zero-shot: with a two-tower model and classes given as text. Each class is set into every template; the score is the softmax over the classes of scale x cosine, so it depends on the other classes. A model of single pictures (CLIP) takes --frames pictures of a video or window and averages their vectors.',
    'Several views of a video (clips x crops of the preset, or --views) are one answer: by the rule of the preset, mean probabilities or softmax of mean logits; zero-shot always mean probabilities. A preset that slides has all its windows as views. The time of a video is that from its first to its last frame in use.',
    '--per window slides over the video. A preset with views is made to slide with the same frames and steps, centre crop; one that spreads its frames over the whole video takes 4 a second (--fps, --window, --stride say otherwise). --merge joins neighbours with the same first label, after --min-score: from the start of the first to the end of the last, but not before the end of the segment before; the score is the mean.',
    'With --head, a head folder that `train recognition` wrote (or `models import`) names the classes: features are computed with the encoder it was trained on, and kept in the cache, or come from --features. Labels are those of each video, with --per window of each row, with --segments of the segments in a list (the forms of `train recognition`), whose ids the records carry. Verbs and nouns are told apart by `kind`.',
    'A file in -o appears with NAME.meta.json beside it and is kept by the next run when nothing changed. srt, vtt, edl and ffcut are for --per window: one file a video, counted from the start of the container as players do.',
  ].join('\n\n');
  static override examples = [
    '<%= config.bin %> recognize fixtures/videos/demo.mp4 --model vit-b-k400 --top 3',
    '<%= config.bin %> recognize videos/ --model vit-b-k400 --per window --min-score 0.3 -o labels/',
    '<%= config.bin %> recognize videos/ --head runs/verbs/final --segments fho_lta_val.json > actions.ndjson',
    '<%= config.bin %> recognize lunch.mp4 --model viclip --class "cut vegetables" --class "wash dishes" --per window --merge --format srt > lunch.srt',
  ];
  static override strict = false;
  static override args = inputArgs;
  static override baseFlags = { ...BaseCommand.baseFlags, format: formatFlag(labelFormats) };
  static override flags = {
    output: Flags.string({
      char: 'o',
      helpValue: 'DIR|FILE|-',
      summary: 'Folder for one file a video, or the file of one video; default: standard output.',
    }),
    'name-template': Flags.string({
      helpValue: 'T',
      summary: 'Names below the output folder; default {relpath}/{stem}.recognition.{ext}.',
    }),
    model: Flags.string({
      helpValue: 'NAME|DIR',
      summary: 'A classifier, or a two-tower model for classes as text; the embedded default has no classes.',
    }),
    ...headFlags,
    labels: Flags.string({
      helpValue: 'NAME|FILE|none',
      summary:
        "Names of the classes: one of `labels list`, a file, fho_lta_taxonomy.json:verbs or :nouns; default: the model's own. none: class numbers.",
    }),
    'zero-shot': Flags.boolean({ summary: 'Classes are texts; implied by --class and --class-file.' }),
    class: Flags.string({
      multiple: true,
      multipleNonGreedy: true,
      helpValue: 'TEXT',
      summary: 'A class as text; once for each.',
    }),
    'class-file': Flags.string({ helpValue: 'FILE', summary: 'Classes as text, one a line, or a JSON list.' }),
    template: Flags.string({
      multiple: true,
      multipleNonGreedy: true,
      helpValue: 'TEXT',
      summary: 'A sentence with {} for the class; default: our own eight for activities.',
    }),
    'template-file': Flags.string({
      helpValue: 'FILE|actions|narrations',
      summary: 'Templates, one a line or a JSON list, or a list of ours.',
    }),
    per: Flags.option({
      options: ['video', 'window'] as const,
      default: 'video',
      summary: 'Labels of the whole video, or of each window.',
    })(),
    merge: Flags.boolean({ summary: 'Join neighbouring windows with the same first label.' }),
    top: Flags.integer({
      min: 1,
      max: 1000,
      summary: `Most labels of a video or window; default: ${topDefault}, 1 with --merge and in srt, vtt, edl, ffcut.`,
    }),
    'min-score': Flags.string({ helpValue: '0.1', summary: 'Leave out labels below this score.' }),
    frames: Flags.integer({
      min: 1,
      summary: 'Pictures of a video or window, for a model of single pictures; default 8.',
    }),
    force: forceFlag,
    ...samplingFlags,
    ...runFlags,
    ...inputFlags,
    ...ego4dFlags,
    ...deviceFlags,
  };

  async run(): Promise<void> {
    const { argv, flags } = await this.parse(Recognize);
    if (flags.head !== undefined) {
      process.exitCode = await recognizeWithHead(
        argv as string[],
        { ...flags, head: flags.head },
        {
          format: this.formatOf(flags),
          signal: this.signal,
          progress: () => this.progress(flags),
          logError: (record) => this.logError(record),
        },
      );
      return;
    }
    refuseHeadFlags(flags);
    const { recognize } = await import('../src/pipeline/recognize.js');
    const { recognizeDefaults } = await import('../src/pipeline/recognize-options.js');
    const { listInputs } = await import('../src/pipeline/inputs.js');
    const { RunFiles } = await import('../src/pipeline/run-files.js');
    using progress = await this.progress(flags);
    const path = flags.output === '-' ? undefined : flags.output;
    const asksForm = flags.format !== undefined || flags.json || flags.ndjson;
    const format = path === undefined || asksForm ? this.formatOf(flags) : (formatOfPath(path) ?? 'ndjson');
    if (isCueFormat(format) && flags.per !== 'window') {
      throw new EgolensError('usage.conflict', `--format ${format} needs times within the video`, {
        try: 'add `--per window`, and `--merge` for one entry a segment',
      });
    }
    const options: RecognizeOptions = {
      ...(await recognizeDefaults({
        ...flags,
        zeroShot: flags['zero-shot'],
        classFile: flags['class-file'],
        templateFile: flags['template-file'],
        topDefault: isCueFormat(format) ? 1 : topDefault,
        minScore: flags['min-score'],
        decodeErrors: flags['strict-decode'] ? 'fail' : flags['decode-errors'],
      })),
      ...given({
        span: spanOf(flags),
        timeoutMs: flags.timeout === undefined ? undefined : parseDuration(flags.timeout),
      }),
      stallTimeoutMs: parseDuration(flags['stall-timeout']),
      strict: flags['strict-decode'],
      onError: flags['on-error'],
      signal: this.signal,
      progress,
    };
    await using inputs = await listInputs(argv as string[], { ...inputOptions(flags), signal: this.signal, progress });
    const output = path === undefined ? undefined : await outputOf(path, flags, format, inputs.items);
    if (format === 'ffcut' && inputs.items.some(({ input }) => input === 'video:-')) {
      throw new EgolensError('usage.conflict', '--format ffcut: video:- is gone when the commands run');
    }
    if (output === undefined && isCueFormat(format) && inputs.items.length > 1) {
      throw new EgolensError('usage.conflict', `--format ${format} holds one video, found ${inputs.items.length}`, {
        try: '`-o DIR` writes a file for each',
      });
    }
    await using files = await RunFiles.open({ errors: flags.errors, summary: flags.summary });
    const writer = output !== undefined || isCueFormat(format) ? undefined : labelWriter(process.stdout, format);
    const run = recognize(inputs.items, { ...options, ...(output !== undefined && { output }) });
    let next: Awaited<ReturnType<typeof run.next>>;
    try {
      while ((next = await run.next()).done !== true) {
        const event: RecognizeEvent = next.value;
        if (event.kind === 'failed') {
          this.logError(event.error);
          await files.error(event.error);
        } else if (event.kind === 'done' && output === undefined) {
          if (writer) for (const record of event.video.records) await writer.write(record);
          else process.stdout.write(await labelText(event.video, format));
        }
      }
    } finally {
      await run.return(undefined as never); // what is open goes, also when a record could not be written
    }
    await writer?.end();
    await files.summary(next.value);
    const { done, kept, failed, records, exit } = next.value;
    const parts = [`${done} done`, `${kept} kept`, `${failed} failed`].filter((part) => !part.startsWith('0 '));
    progress.note(`${parts.join(', ') || 'nothing to do'}; ${records} labels`);
    process.exitCode = exit;
  }
}

/** `-o`: a file for one video where it is called like one, else a folder. */
async function outputOf(
  path: string,
  flags: { 'name-template'?: string | undefined; force: boolean },
  format: OutputFormat,
  items: readonly InputItem[],
): Promise<RecognizeOutput> {
  const isFolder = (await stat(path).catch(() => undefined))?.isDirectory() === true || path.endsWith('/');
  const isFile = !isFolder && formatOfPath(path) !== undefined;
  if (isFile && items.length > 1) {
    throw new EgolensError('usage.conflict', `-o ${path}: a file is for one video, found ${items.length}`, {
      try: '`-o DIR` writes a file for each, `> FILE` all records into one',
    });
  }
  const template = flags['name-template'];
  return {
    path,
    isFile,
    ending: endingOf(format),
    ...(template !== undefined && { template }),
    force: flags.force,
    render: (video) => labelText(video, format),
  };
}
