import { Flags } from '@oclif/core';
import { BaseCommand } from '../src/cli/base-command.js';
import {
  deviceFlags,
  ego4dFlags,
  ego4dSelection,
  forceFlag,
  given,
  inputArgs,
  inputFlags,
  inputOptions,
  parseDuration,
} from '../src/cli/flags.js';
import { column, type OutputRecord } from '../src/cli/output.js';
import { anchorsOf, runFlags, samplingFlags, spanOf } from '../src/cli/video-flags.js';
import { EgolensError } from '../src/errors.js';
import { timeText } from '../src/time.js';
import type { ExtractEvent, ExtractOptions } from '../src/pipeline/extract.js';

/** What `--text` has no use for and would otherwise pass over in silence. */
const videoOnly = [
  ...[
    'multimodal',
    'stream-set',
    'level',
    'out-type',
    'name-template',
    'dry-run',
    'errors',
    'summary',
    'shard',
    'batch',
  ],
  ...[
    'preset',
    'pixels',
    'window',
    'stride',
    'fps',
    'tail',
    'views',
    'stream',
    'start',
    'end',
    'at',
    'every',
    'retry-failed',
  ],
  ...['ego4d', 'task', 'split', 'video-uids', 'clip-uids', 'uid-file'],
];

export default class Extract extends BaseCommand {
  static override summary = 'Features of videos: one array, one time table and one meta file per video.';
  static override description =
    'Videos are decoded with ffmpeg, cut into windows by the preset of the model, and encoded. A bad video is reported and the others go on; starting again does what is missing. Several processes may work on one output folder.';
  static override examples = [
    '<%= config.bin %> extract fixtures/videos/demo.mp4 -o features',
    '<%= config.bin %> extract videos/ --model vit-b --preset ego4d-mq -o features --errors bad.ndjson',
    "find . -name '*.mp4' -print0 | <%= config.bin %> extract -0 - -o features",
    '<%= config.bin %> extract --ego4d ego4d_data/v2 --task mq --split val --preset ego4d-mq -o features --shard auto',
    '<%= config.bin %> extract fixtures/videos/demo.mp4 --at 1.5,3.2 -o features',
    '<%= config.bin %> extract --text queries.txt --model viclip-l -o features',
  ];
  static override strict = false;
  static override args = inputArgs;
  static override flags = {
    output: Flags.string({ char: 'o', required: true, helpValue: 'DIR', summary: 'Folder for the features.' }),
    model: Flags.string({
      helpValue: 'NAME|DIR',
      summary: 'The encoder; default: the embedded one, which knows Tabletop only.',
    }),
    multimodal: Flags.string({
      helpValue: 'NAME|DIR',
      summary: 'A second encoder, that of the multimodal stream; its rows lie on the same windows.',
    }),
    'stream-set': Flags.option({
      options: ['masked', 'multimodal', 'both'] as const,
      summary: 'Which streams: that of --model, of --multimodal, or both, a file each; with --multimodal both.',
    })(),
    text: Flags.string({
      helpValue: 'FILE',
      summary:
        'Features of texts in place of videos: one a line, or NDJSON with `text` or `query`; --model with a text tower.',
      dependsOn: ['model'],
      exclusive: videoOnly,
    }),
    pool: Flags.option({
      options: ['mean', 'tokens'] as const,
      default: 'mean',
      summary: 'One vector a window or text (not normalised), or all its tokens.',
    })(),
    level: Flags.option({
      options: ['clip', 'frame', 'video'] as const,
      default: 'clip',
      summary: 'One row a window, a frame (image models), or the mean of all.',
    })(),
    'out-type': Flags.option({
      options: ['npy', 'npz', 'safetensors'] as const,
      default: 'npy',
      summary: 'Form of the arrays.',
    })(),
    'name-template': Flags.string({
      helpValue: 'T',
      summary: 'Names below the output folder; default {relpath}/{stem}.{ext}.',
    }),
    force: forceFlag,
    'dry-run': Flags.boolean({ char: 'n', summary: 'Print what would be done, touch nothing.' }),
    'retry-failed': Flags.boolean({ summary: 'Also videos that failed in an earlier run.' }),
    'cache-key': Flags.option({
      options: ['ends', 'content'] as const,
      default: 'ends',
      summary: 'What identifies a video: its first and last MiB, or all bytes.',
    })(),
    ...samplingFlags,
    at: Flags.string({
      helpValue: 'TIME,…|annotations',
      summary:
        'One window at each of these times, ending there: seconds, hh:mm:ss.mmm or #FRAME at the sampling rate; or at the frames that the annotation files of --task fhp, sta or scod ask about.',
      exclusive: ['every', 'start', 'end', 'stride', 'tail'],
    }),
    every: Flags.string({
      helpValue: '1s',
      summary: 'One window each so many seconds, ending there.',
      exclusive: ['start', 'end', 'stride', 'tail'],
    }),
    ...runFlags,
    ...inputFlags,
    ...ego4dFlags,
    ...deviceFlags,
  };

  async run(): Promise<void> {
    const { argv, flags } = await this.parse(Extract);
    const hasVideos = argv.length > 0 || ego4dSelection(flags) !== undefined;
    if ((flags.text === undefined) !== hasVideos) {
      const found = hasVideos ? 'both' : 'neither';
      throw new EgolensError('usage.flag', `expected videos, or a list of texts with --text, found ${found}`);
    }
    if (flags.text !== undefined) {
      const { extractTexts } = await import('../src/pipeline/extract-text.js');
      using progress = await this.progress(flags);
      const { output, model = '', pool, force, device, threads } = flags; // --text depends on --model
      const options = { output, model, pool, force, device, ...given({ threads }), signal: this.signal, progress };
      const writer = this.writer(flags, [column('input'), column('rows', 'right'), column('shape'), column('path')]);
      await writer.write(await extractTexts(flags.text, options));
      await writer.end();
      return;
    }
    const { extract, planExtract } = await import('../src/pipeline/extract.js');
    const { extractDefaults } = await import('../src/pipeline/extract-options.js');
    const { listInputs } = await import('../src/pipeline/inputs.js');
    const { RunFiles } = await import('../src/pipeline/run-files.js');
    using progress = await this.progress(flags);
    const at = anchorsOf(flags);
    const options: ExtractOptions = {
      ...(await extractDefaults({
        ...flags,
        decodeErrors: flags['strict-decode'] ? 'fail' : flags['decode-errors'],
        outType: flags['out-type'],
        nameTemplate: flags['name-template'],
        streamSet: flags['stream-set'],
      })),
      ...given({
        span: spanOf(flags),
        at: at === 'annotations' ? undefined : at,
        timeoutMs: flags.timeout === undefined ? undefined : parseDuration(flags.timeout),
      }),
      stallTimeoutMs: parseDuration(flags['stall-timeout']),
      strict: flags['strict-decode'],
      retryFailed: flags['retry-failed'],
      onError: flags['on-error'],
      identity: flags['cache-key'],
      argv: this.argv,
      signal: this.signal,
      progress,
    };
    const listing = inputOptions(flags);
    await using inputs = await listInputs(argv as string[], { ...listing, signal: this.signal, progress });
    let { items } = inputs;
    if (at === 'annotations') {
      const { askedItems } = await import('../src/pipeline/asked-items.js');
      items = await askedItems(items, listing.ego4d, { progress });
    }
    if (flags['dry-run']) {
      const writer = this.writer(
        flags,
        ['input', 'state', 'frames', 'seconds', 'estimate', 'path', 'error'].map((key) => column(key)),
      );
      const counts = { missing: 0, complete: 0, failed: 0 };
      let work: number | undefined;
      for await (const planned of planExtract(items, options)) {
        counts[planned.state]++;
        if (planned.estimate !== null) work = (work ?? 0) + planned.estimate;
        await writer.write({ schema: 'egolens.plan/1', ...planned });
      }
      await writer.end();
      const { missing, complete, failed } = counts;
      const time =
        missing > 0 && work !== undefined && work > 0 ? `; about ${timeText(work / flags.jobs)} of work` : '';
      progress.note(`${missing} missing, ${complete} complete, ${failed} cannot be read${time}`);
      return;
    }
    await using files = await RunFiles.open({ errors: flags.errors, summary: flags.summary });
    const writer = this.writer(flags, [column('input'), column('rows', 'right'), column('shape'), column('path')]);
    const run = extract(items, options);
    let next: Awaited<ReturnType<typeof run.next>>;
    try {
      while ((next = await run.next()).done !== true) {
        const record = this.recordOf(next.value, flags.verbose);
        if (record) await writer.write(record);
        if (next.value.kind === 'failed') await files.error(next.value.error);
      }
    } finally {
      await run.return(undefined as never); // what is open goes, also when a record could not be written
    }
    await writer.end();
    await files.summary(next.value);
    const { done, kept, failed, failedBefore, locked, rows, exit } = next.value;
    const parts = [
      `${done} done`,
      `${kept} kept`,
      `${failed} failed`,
      `${failedBefore} failed before`,
      `${locked} in other hands`,
    ];
    progress.note(`${parts.filter((part) => !part.startsWith('0 ')).join(', ') || 'nothing to do'}; ${rows} rows`);
    process.exitCode = exit;
  }

  /** What goes to standard output; the rest is said on standard error. */
  private recordOf(event: ExtractEvent, verbose: boolean): OutputRecord | undefined {
    if (event.kind === 'failed') this.logError(event.error);
    else if (event.kind === 'skipped') {
      const why =
        event.why === 'locked' ? 'another process works on it' : 'failed before; `--retry-failed` tries again';
      if (verbose) this.logLine(`skipped ${event.input}: ${why}`);
    } else return event.record;
    return undefined;
  }
}
