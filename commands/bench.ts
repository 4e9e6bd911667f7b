import { Args, Flags } from '@oclif/core';
import { BaseCommand } from '../src/cli/base-command.js';
import { deviceFlags, given } from '../src/cli/flags.js';
import { column, type Column } from '../src/cli/output.js';
import { EgolensError } from '../src/errors.js';
import type { BenchRecord } from '../benchmarks/speed/run.js';

const part = (key: 'median' | 'min' | 'max'): Column => ({
  header: key,
  // The records of this command have this member.
  cell: (record) => (record['ratio'] as BenchRecord['ratio'])?.[key] ?? null,
  align: 'right',
});
const verdict: Column = {
  header: 'ok',
  cell: ({ ok }) => (ok === null ? '-' : ok === true ? 'yes' : 'NO'),
};

const factor = Flags.custom<number>({
  parse: (text) => {
    const value = Number(text);
    if (value >= 1 && Number.isFinite(value)) return Promise.resolve(value);
    throw new EgolensError('usage.flag', `expected a factor of 1 or more, found \`${text}\``);
  },
});

export default class Bench extends BaseCommand {
  static override summary = 'Measure the speed that the program promises, as ratios inside one run.';
  static override description =
    'NAME is startup, graph, encode, decode, pipeline, memory, evaluate, search, synth, training, nms or heads; all where none is given. A PATH is a video that replaces the clip that a benchmark makes itself (h264, needs libx264); clips and seeded models are made once and kept in the cache folder. A limit that is missed is reported and is no error, unless --strict or --max-slowdown say so (exit code 5). Other work on the machine widens the spread.';
  static override examples = [
    '<%= config.bin %> bench',
    '<%= config.bin %> bench decode pipeline lunch.mp4 --repeat 9',
    '<%= config.bin %> bench --json > before.json; <%= config.bin %> bench --baseline before.json --max-slowdown 1.1',
  ];
  static override strict = false;
  static override args = { names: Args.string({ ignoreStdin: true, description: 'benchmarks, then paths of videos' }) };
  static override flags = {
    model: Flags.string({
      helpValue: 'NAME|DIR',
      summary: 'Model of encode, graph and memory; default: seeded weights, ViT-B (memory: a very small one).',
    }),
    head: Flags.string({
      helpValue: 'NAME|DIR',
      multiple: true,
      multipleNonGreedy: true,
      summary: 'Head of heads, may be repeated; default: the embedded ones.',
    }),
    repeat: Flags.integer({ default: 5, min: 1, max: 1000, summary: 'Rounds that count, after one to warm up.' }),
    baseline: Flags.string({
      helpValue: 'FILE',
      summary: 'What `bench --json` printed earlier; default with --max-slowdown: the one of the program.',
    }),
    'max-slowdown': factor({ helpValue: '1.2', summary: 'Fail when a ratio is above so many times its baseline.' }),
    strict: Flags.boolean({ summary: 'Fail when a limit is missed.' }),
    threads: deviceFlags.threads,
    device: Flags.string({
      default: 'cpu',
      env: 'EGOLENS_DEVICE',
      helpValue: 'cpu|cuda[:N]|webgpu[:N]|auto',
      summary: 'Where encode and memory compute; the limit of encode holds on the cpu.',
      helpGroup: 'DEVICE',
    }),
  };

  async run(): Promise<void> {
    const { argv, flags } = await this.parse(Bench);
    const { chooseBenchmarks } = await import('../benchmarks/speed/choose.js');
    const { runBenchmarks } = await import('../benchmarks/speed/run.js');
    const { readBaseline, shippedBaseline, withBaseline, verdictOf } = await import('../benchmarks/speed/baseline.js');
    const most = flags['max-slowdown'];
    const against = flags.baseline ?? (most === undefined ? undefined : shippedBaseline);
    const baseline = against === undefined ? undefined : await readBaseline(against);
    using progress = await this.progress(flags);
    const { model, head, repeat, device, threads } = flags;
    const records: BenchRecord[] = [];
    const columns = [
      ...[
        column('name'),
        column('figure'),
        part('median'),
        part('min'),
        part('max'),
        column('limit', 'right'),
        verdict,
      ],
      ...(baseline ? [column('baseline', 'right'), column('slowdown', 'right')] : []),
      column('of'),
    ];
    const writer = this.writer(flags, columns);
    const results = runBenchmarks({
      ...{ ...chooseBenchmarks(argv as string[]), repeat, device, progress, signal: this.signal },
      ...given({ model, heads: head, threads }),
    });
    for await (const record of results) {
      records.push(record);
      await writer.write(baseline ? withBaseline(record, baseline) : record);
    }
    await writer.end();
    const fault = verdictOf(records, { strict: flags.strict, ...given({ baseline, most }) });
    if (fault !== undefined) throw fault;
  }
}
