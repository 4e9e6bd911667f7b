import { ValidateCommand, validateArgs, validateFlags } from '../../src/cli/validate-command.js';

export default class ValidatePredictions extends ValidateCommand {
  static override summary = 'Every fault of prediction files: records of this program, or files of a challenge.';
  static override description =
    'One record a fault: JSON pointer, line, code, what was expected and found. Counts are exact however many there are; --max-errors bounds the list. Code 5 when there is an error, 0 with warnings only.';
  static override examples = [
    '<%= config.bin %> validate predictions fixtures/ego4d/moments.ndjson',
    '<%= config.bin %> validate predictions results.json --task scod --against coco_gt.json',
  ];
  static override strict = false;
  static override args = validateArgs;
  static override flags = validateFlags;

  async run(): Promise<void> {
    const { argv, flags } = await this.parse(ValidatePredictions);
    await this.validate('predictions', argv as string[], flags);
  }
}
