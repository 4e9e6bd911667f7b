import { Args, Flags } from '@oclif/core';
import { BaseCommand } from '../../../src/cli/base-command.js';
import { deviceFlags, ego4dFlags, given, inputFlags, inputOptions, parseDuration } from '../../../src/cli/flags.js';
import { column } from '../../../src/cli/output.js';
import { countsText, windowFlags, windowPlan } from '../../../src/cli/search-flags.js';
import { runFlags } from '../../../src/cli/video-flags.js';
import { EgolensError } from '../../../src/errors.js';

// Not commands/search/index.ts: oclif takes the name `index` of a file for its folder, so that would be the command `search`.
export default class SearchIndex extends BaseCommand {
  static override summary = 'Make or update the index of a library of videos: one file of vectors with times.';
  static override description =
    'Each video is cut into windows of --granularity, the last one shifted back to end with the video; each window becomes one vector (float16, unit length). With --update only what is new or changed is encoded; vectors of the same video, model and settings are copied. A bad video is reported and the others go on. Paths are kept as seen from the folder of the index, so that both may move together.';
  static override examples = [
    '<%= config.bin %> search index fixtures/videos -o lib.egx',
    '<%= config.bin %> search index videos/ -o lib.egx --update --prune --model viclip-b',
  ];
  static override strict = false;
  static override args = {
    path: Args.string({
      ignoreStdin: true,
      description: 'videos, folders, "patterns", @LIST, or - for a list on standard input',
    }),
  };
  static override flags = {
    output: Flags.string({ char: 'o', required: true, helpValue: 'FILE', summary: 'The index, such as lib.egx.' }),
    update: Flags.boolean({ summary: 'Add to an index that is there; other videos in it stay.' }),
    prune: Flags.boolean({ summary: 'Drop videos whose file is gone.', dependsOn: ['update'] }),
    force: Flags.boolean({ summary: 'Make an index that is there anew.', exclusive: ['update'] }),
    ...windowFlags,
    timeout: runFlags.timeout,
    'stall-timeout': runFlags['stall-timeout'],
    'cache-key': Flags.option({
      options: ['ends', 'content'] as const,
      default: 'ends',
      summary: 'What identifies a video: its first and last MiB, or all bytes.',
    })(),
    errors: runFlags.errors,
    ...inputFlags,
    ...ego4dFlags,
    ...deviceFlags,
  };

  async run(): Promise<void> {
    const { argv, flags } = await this.parse(SearchIndex);
    const { indexLibrary } = await import('../../../src/pipeline/index-library.js');
    const { listInputs } = await import('../../../src/pipeline/inputs.js');
    const { RunFiles } = await import('../../../src/pipeline/run-files.js');
    using progress = await this.progress(flags);
    if ((argv as string[]).includes('video:-')) {
      throw new EgolensError(
        'usage.conflict',
        '`video:-`: a video on standard input has no path that an index could keep',
      );
    }
    await using inputs = await listInputs(argv as string[], { ...inputOptions(flags), signal: this.signal, progress });
    await using files = await RunFiles.open({ errors: flags.errors });
    const writer = this.writer(flags, [column('input'), column('state'), column('rows', 'right')]);
    const run = indexLibrary(inputs.items, {
      output: flags.output,
      plan: await windowPlan(flags),
      device: flags.device,
      existing: flags.force ? 'anew' : flags.update ? 'update' : 'refuse',
      others: flags.prune ? 'prune' : 'keep',
      identity: flags['cache-key'],
      ...given({
        threads: flags.threads,
        batch: flags.batch,
        timeoutMs: flags.timeout === undefined ? undefined : parseDuration(flags.timeout),
      }),
      stallTimeoutMs: parseDuration(flags['stall-timeout']),
      signal: this.signal,
      progress,
    });
    let next: Awaited<ReturnType<typeof run.next>>;
    try {
      while ((next = await run.next()).done !== true) {
        if (next.value.kind === 'failed') {
          this.logError(next.value.error);
          await files.error(next.value.error);
        } else await writer.write(next.value.record);
      }
    } finally {
      await run.return(undefined as never); // what is open goes, also when a record could not be written
    }
    await writer.end();
    const { rows, encodedRows, exit } = next.value;
    progress.note(`${countsText(next.value)}; ${encodedRows} rows encoded, ${rows} in \`${flags.output}\``);
    process.exitCode = exit;
  }
}
