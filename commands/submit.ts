import { Args, Flags } from '@oclif/core';
import { BaseCommand } from '../src/cli/base-command.js';
import { fhpScaleFlag, loadChallenge, submittedTasks } from '../src/cli/challenge-flags.js';
import { loadFileRules } from '../src/cli/file-rules.js';
import { forceFlag, given } from '../src/cli/flags.js';
import { column } from '../src/cli/output.js';
import type { ScoredTask } from '../src/types.js';

export default class Submit extends BaseCommand {
  static override summary =
    'Write the file that a challenge takes, from NDJSON predictions; it is checked and never uploaded.';
  static override description =
    'Times become those of the clip, floats keep their point, the order is that of the annotation file. The result is read again and held to the checks of `validate submission`; it appears only without an error, and beside it NAME.meta.json with how it was made.';
  static override examples = [
    '<%= config.bin %> submit mq --pred fixtures/ego4d/moments.ndjson --test fixtures/ego4d/moments_val.json -o submission.json',
    '<%= config.bin %> submit fhp --pred hands.ndjson --test fho_hands_test_unannotated.json -o fhp.json --fhp-scale sum',
  ];
  static override args = {
    task: Args.string({
      required: true,
      ignoreStdin: true,
      options: [...submittedTasks],
      description: 'the challenge',
    }),
  };
  static override flags = {
    pred: Flags.string({
      required: true,
      multiple: true,
      multipleNonGreedy: true,
      helpValue: 'FILE',
      summary: 'Records of this program, NDJSON.',
    }),
    test: Flags.string({
      required: true,
      helpValue: 'FILE',
      summary: 'Annotation file of the split, unannotated or not.',
    }),
    output: Flags.string({ char: 'o', required: true, helpValue: 'FILE', summary: 'The submission.' }),
    'fill-missing': Flags.boolean({ summary: 'Write something for what has no prediction.' }),
    'team-note': Flags.string({ helpValue: 'FILE', summary: 'A text that is kept in the meta file.' }),
    'fhp-scale': fhpScaleFlag(),
    force: forceFlag,
  };

  async run(): Promise<void> {
    const { args, flags } = await this.parse(Submit);
    const challenge = await loadChallenge(args.task as ScoredTask); // one of the options
    const rules = await loadFileRules();
    const { submit } = await import('../src/pipeline/submit.js');
    using progress = await this.progress(flags);
    const record = await submit(challenge, flags.pred, flags.test, rules, {
      output: flags.output,
      fillMissing: flags['fill-missing'],
      force: flags.force,
      ...given({ fhpScale: flags['fhp-scale'], teamNote: flags['team-note'] }),
      progress,
      signal: this.signal,
    });
    const writer = this.writer(
      flags,
      ['task', 'output', 'bytes', 'counts', 'sha256', 'upload'].map((key) => column(key)),
      true,
    );
    await writer.write(record);
    await writer.end();
  }
}
