import { Args, Flags } from '@oclif/core';
import { BaseCommand, batchExitCode } from '../src/cli/base-command.js';
import { given, inputFlags, inputOptions, parseDuration } from '../src/cli/flags.js';
import { frameColumns, probeColumns } from '../src/cli/probe-columns.js';

export default class Probe extends BaseCommand {
  static override summary = 'What videos claim to be and what they are: streams, size, rate, times, faults.';
  static override description =
    'PATH is a file, a folder, a pattern in quotes, @LIST, or - for a list on standard input. Sizes are upright, times count from the first frame of the chosen stream. Faults that --check reports are no failure.';
  static override examples = [
    '<%= config.bin %> probe lunch.mp4',
    "<%= config.bin %> probe --check videos/ --ndjson | jq -r 'select(.errors>0).input'",
    '<%= config.bin %> probe --frames --stream best lunch.mp4 --format csv',
  ];
  static override strict = false;
  static override args = { path: Args.string({ required: true, ignoreStdin: true, description: 'files or folders' }) };
  static override flags = {
    fast: Flags.boolean({
      summary: 'Header, and packets of files up to 256 MiB (default).',
      exclusive: ['exact', 'check', 'frames'],
    }),
    exact: Flags.boolean({ summary: 'Decode: true frame count and times.', exclusive: ['check', 'frames'] }),
    check: Flags.boolean({ summary: 'Decode, count the errors and keep the first messages.', exclusive: ['frames'] }),
    frames: Flags.boolean({ summary: 'One record a frame: time stamp, key frame, type.' }),
    stream: Flags.string({
      default: '0',
      helpValue: 'N|best',
      summary: 'Which video stream, cover pictures not counted; best = as ffmpeg chooses.',
    }),
    jobs: Flags.integer({ char: 'j', min: 1, max: 64, default: 1, summary: 'Videos at once.' }),
    timeout: Flags.string({ helpValue: '10m', summary: 'Time limit per video.' }),
    'stall-timeout': Flags.string({
      default: '60s',
      helpValue: '60s',
      summary: 'Limit for a decoder that gives nothing.',
    }),
    errors: Flags.string({ helpValue: 'FILE', summary: 'Error records as ndjson.' }),
    ...inputFlags,
  };

  async run(): Promise<void> {
    const { argv, flags } = await this.parse(Probe);
    const { listInputs } = await import('../src/pipeline/inputs.js');
    const { probeVideos } = await import('../src/pipeline/probe-videos.js');
    const { RunFiles } = await import('../src/pipeline/run-files.js');
    using progress = await this.progress(flags);
    await using files = await RunFiles.open({ errors: flags.errors });
    await using inputs = await listInputs(argv as string[], { ...inputOptions(flags), progress });
    const writer = this.writer(flags, flags.frames ? frameColumns : probeColumns);
    const results = probeVideos(inputs.items, {
      mode: flags.frames ? 'frames' : flags.check ? 'check' : flags.exact ? 'exact' : 'fast',
      stream: flags.stream,
      jobs: flags.jobs,
      ...given({ timeoutMs: flags.timeout === undefined ? undefined : parseDuration(flags.timeout) }),
      stallTimeoutMs: parseDuration(flags['stall-timeout']),
      signal: this.signal,
      progress,
    });
    let [done, failed] = [0, 0];
    for await (const result of results) {
      if ('error' in result) {
        failed++;
        this.logError(result.error);
        await files.error(result.error);
      } else {
        done++;
        for (const record of result.records) await writer.write(record);
      }
    }
    await writer.end();
    if (done + failed === 0) progress.note('no video found');
    process.exitCode = batchExitCode(done, failed);
  }
}
