import { ValidateCommand, validateArgs, validateFlags } from '../../src/cli/validate-command.js';

export default class ValidateAnnotations extends ValidateCommand {
  static override summary = 'Every fault of annotation files, with its place.';
  static override description =
    'One record a fault: JSON pointer, line, code, what was expected and found. Counts are exact however many there are; --max-errors bounds the list. Code 5 when there is an error, 0 with warnings only.';
  static override examples = [
    '<%= config.bin %> validate annotations fixtures/ego4d/moments_val.json',
    '<%= config.bin %> validate annotations nlq_val.json fho_sta_val.json --max-errors 10',
  ];
  static override strict = false;
  static override args = validateArgs;
  static override flags = validateFlags;

  async run(): Promise<void> {
    const { argv, flags } = await this.parse(ValidateAnnotations);
    await this.validate('annotations', argv as string[], flags);
  }
}
