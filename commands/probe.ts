import { Args, Flags } from '@oclif/core';
import { BaseCommand, batchExitCode } from '../src/cli/base-command.js';
import { given } from '../src/cli/flags.js';
import { batchFlags, inputFlags, inputOptions } from '../src/cli/input-flags.js';
import type { Column } from '../src/cli/output.js';
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
    ...batchFlags,
    ...inputFlags,
  };

  async run(): Promise<void> {
    const { argv, flags } = await this.parse(Probe);
    const { listInputs } = await import('../src/pipeline/inputs.js');
    const { probeVideos } = await import('../src/pipeline/probe-videos.js');
    const { openErrorFile } = await import('../src/pipeline/error-file.js');
    using progress = await this.progress(flags);
    const columns: readonly Column[] = flags.frames ? frameColumns : probeColumns;
    const writer = this.writer(flags, columns);
    await using errors = await openErrorFile(flags.errors);
    await using list = await listInputs(argv as string[], inputOptions(flags));
    const results = probeVideos(list.items, {
      mode: flags.frames ? 'frames' : flags.check ? 'check' : flags.exact ? 'exact' : 'fast',
      stream: flags.stream,
      jobs: flags.jobs,
      signal: this.signal,
      progress,
      ...given({ timeoutMs: flags.timeout, stallTimeoutMs: flags['stall-timeout'] }),
    });
    let done = 0;
    let failed = 0;
    for await (const result of results) {
      if ('error' in result) {
        failed++;
        this.logError(result.error);
        await errors.write(result.error);
      } else {
        done++;
        for (const record of result.records) await writer.write(record);
      }
    }
    await writer.end();
    if (list.items.length === 0) progress.note('no video found');
    process.exitCode = batchExitCode(done, failed);
  }
}
