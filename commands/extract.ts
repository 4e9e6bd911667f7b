import { Args, Flags } from '@oclif/core';
import { BaseCommand } from '../src/cli/base-command.js';
import { deviceFlags, forceFlag, given, inputFlags, inputOptions, parseDuration } from '../src/cli/flags.js';
import { column, type OutputRecord } from '../src/cli/output.js';
import { EgolensError } from '../src/errors.js';
import type { ExtractEvent, ExtractOptions } from '../src/pipeline/extract.js';
import { parseTime } from '../src/time.js';

export default class Extract extends BaseCommand {
  static override summary = 'Features of videos: one array, one time table and one meta file per video.';
  static override description =
    'Videos are decoded with ffmpeg, cut into windows by the preset of the model, and encoded. A bad video is reported and the others go on; starting again does what is missing. Several processes may work on one output folder.';
  static override examples = [
    '<%= config.bin %> extract fixtures/videos/demo.mp4 -o features',
    '<%= config.bin %> extract videos/ --model vit-b --preset ego4d-mq -o features --errors bad.ndjson',
    "find . -name '*.mp4' -print0 | <%= config.bin %> extract -0 - -o features",
  ];
  static override strict = false;
  static override args = {
    path: Args.string({
      required: true,
      ignoreStdin: true,
      description: 'videos, folders, "patterns", @LIST, - for a list on standard input, video:- for one video there',
    }),
  };
  static override flags = {
    output: Flags.string({ char: 'o', required: true, helpValue: 'DIR', summary: 'Folder for the features.' }),
    model: Flags.string({
      helpValue: 'NAME|DIR',
      summary: 'The encoder; default: the embedded one, which is untrained.',
    }),
    preset: Flags.string({ helpValue: 'NAME[@V]|FILE', summary: "Sampling and pixels; default: the model's own." }),
    pixels: Flags.option({
      options: ['exact', 'fast'] as const,
      summary: 'Official resize on the host, or scaling inside ffmpeg.',
    })(),
    pool: Flags.option({
      options: ['mean', 'tokens'] as const,
      default: 'mean',
      summary: 'One vector a window, or all its tokens.',
    })(),
    level: Flags.option({
      options: ['clip', 'video'] as const,
      default: 'clip',
      summary: 'One row a window, or their mean.',
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
    window: Flags.string({ helpValue: 'N|1.5s', summary: 'Extent of a window, in frames or seconds.' }),
    stride: Flags.string({ helpValue: 'N|1.5s', summary: 'Distance of windows, in frames or seconds.' }),
    fps: Flags.string({ helpValue: 'source|30', summary: 'Sampling rate.' }),
    tail: Flags.option({ options: ['pad', 'align', 'drop'] as const, summary: 'What becomes of the last frames.' })(),
    views: Flags.string({ helpValue: 'CxK', summary: 'Clips x crops instead of sliding windows.' }),
    stream: Flags.string({ default: '0', helpValue: 'N|best', summary: 'Which video stream.' }),
    start: Flags.string({ helpValue: 'TIME', summary: 'Begin here: seconds or hh:mm:ss.mmm after the first frame.' }),
    end: Flags.string({ helpValue: 'TIME', summary: 'End here.' }),
    batch: Flags.integer({ min: 1, max: 1024, summary: 'Windows in one run; default: 1 on the cpu, 8 elsewhere.' }),
    jobs: Flags.integer({ char: 'j', min: 1, max: 64, default: 1, summary: 'Videos at once.' }),
    shard: Flags.string({ helpValue: 'I/N', summary: "This process's part of the list; I counts from 0." }),
    force: forceFlag,
    'dry-run': Flags.boolean({ char: 'n', summary: 'Print what would be done, touch nothing.' }),
    'retry-failed': Flags.boolean({ summary: 'Also videos that failed in an earlier run.' }),
    'on-error': Flags.option({
      options: ['skip', 'stop'] as const,
      default: 'skip',
      summary: 'After a bad video: go on, or stop.',
    })(),
    'decode-errors': Flags.string({
      default: 'ignore',
      helpValue: 'ignore|limit=N|fail',
      summary: 'How much damage a video may have.',
    }),
    'strict-decode': Flags.boolean({ summary: 'No decoding error, and no fewer frames than the header claims.' }),
    timeout: Flags.string({ helpValue: '10m', summary: 'Time limit per video.' }),
    'stall-timeout': Flags.string({
      default: '60s',
      helpValue: '60s',
      summary: 'Limit for a decoder that gives nothing.',
    }),
    'cache-key': Flags.option({
      options: ['ends', 'content'] as const,
      default: 'ends',
      summary: 'What identifies a video: its first and last MiB, or all bytes.',
    })(),
    errors: Flags.string({ helpValue: 'FILE', summary: 'Error records as ndjson.' }),
    summary: Flags.string({ helpValue: 'FILE', summary: 'Counts and times of the run as JSON.' }),
    ...inputFlags,
    ...deviceFlags,
  };

  async run(): Promise<void> {
    const { argv, flags } = await this.parse(Extract);
    const { extract, planExtract } = await import('../src/pipeline/extract.js');
    const { extractDefaults } = await import('../src/pipeline/extract-options.js');
    const { listInputs } = await import('../src/pipeline/inputs.js');
    const { RunFiles } = await import('../src/pipeline/run-files.js');
    using progress = await this.progress(flags);
    const options: ExtractOptions = {
      ...(await extractDefaults({
        ...flags,
        decodeErrors: flags['strict-decode'] ? 'fail' : flags['decode-errors'],
        outType: flags['out-type'],
        nameTemplate: flags['name-template'],
      })),
      ...given({
        span: spanOf(flags),
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
    await using inputs = await listInputs(argv as string[], { ...inputOptions(flags), signal: this.signal });
    if (flags['dry-run']) {
      const writer = this.writer(
        flags,
        ['input', 'state', 'frames', 'seconds', 'path', 'error'].map((key) => column(key)),
      );
      for await (const planned of planExtract(inputs.items, options))
        await writer.write({ schema: 'egolens.plan/1', ...planned });
      await writer.end();
      return;
    }
    await using files = await RunFiles.open({ errors: flags.errors, summary: flags.summary });
    const writer = this.writer(flags, [column('input'), column('rows', 'right'), column('shape'), column('path')]);
    const run = extract(inputs.items, options);
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

function spanOf(flags: {
  start?: string | undefined;
  end?: string | undefined;
}): readonly [number, number] | undefined {
  if (flags.start === undefined && flags.end === undefined) return undefined;
  const span = [
    flags.start === undefined ? 0 : parseTime(flags.start),
    flags.end === undefined ? Infinity : parseTime(flags.end),
  ] as const;
  if (span[0] >= span[1])
    throw new EgolensError('usage.flag', `expected --start before --end, found ${span[0]} and ${span[1]}`);
  return span;
}
