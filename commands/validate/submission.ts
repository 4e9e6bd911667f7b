import { ValidateCommand, validateArgs, validateFlags } from '../../src/cli/validate-command.js';

export default class ValidateSubmission extends ValidateCommand {
  static override summary = "Every fault that a challenge's server would stop at, before it is handed in.";
  static override description =
    'One record a fault: JSON pointer, line, code, what was expected and found. Counts are exact however many there are; --max-errors bounds the list. Code 5 when there is an error, 0 with warnings only.';
  static override examples = [
    '<%= config.bin %> validate submission submission.json --task mq --against moments_test_unannotated.json',
    '<%= config.bin %> validate submission submission.json --against fho_sta_test_unannotated.json --fix -o mended.json',
  ];
  static override strict = false;
  static override args = validateArgs;
  static override flags = validateFlags;

  async run(): Promise<void> {
    const { argv, flags } = await this.parse(ValidateSubmission);
    await this.validate('submission', argv as string[], flags);
  }
}
