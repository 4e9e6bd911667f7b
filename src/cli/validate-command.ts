import { Args, Flags, type Interfaces } from '@oclif/core';
import { EgolensError, exitCodes } from '../errors.js';
import type { JsonValue } from '../json.js';
import type { Validation } from '../pipeline/validate.js';
import type { DocumentKind } from '../types.js';
import { BaseCommand, type CommonFlags } from './base-command.js';
import { scoredTasks } from './challenge-flags.js';
import { printDocument } from './document.js';
import { loadFileRules } from './file-rules.js';
import { given } from './flags.js';
import { column } from './output.js';

export const validateArgs = {
  file: Args.string({ required: true, ignoreStdin: true, description: 'files to look at; .json.gz too' }),
};

export const validateFlags = {
  task: Flags.option({ options: scoredTasks, summary: 'Task of the files; guessed from what is in them.' })(),
  against: Flags.string({ helpValue: 'FILE', summary: 'Annotations that ids, order and ranges are compared with.' }),
  fix: Flags.boolean({ summary: 'Mend what is safe: number types, order, equal items twice.', dependsOn: ['output'] }),
  output: Flags.string({ char: 'o', helpValue: 'FILE', summary: 'Where --fix writes.', dependsOn: ['fix'] }),
  'max-errors': Flags.integer({ default: 50, min: 0, summary: 'Findings listed of a file; the counts are exact.' }),
};

type ValidateFlags = Interfaces.InferredFlags<typeof validateFlags> & CommonFlags;

const columns = [
  column('line', 'right'),
  ...['level', 'code', 'at', 'expected', 'found', 'hint'].map((key) => column(key)),
];

/** What `validate annotations`, `predictions` and `submission` share: they differ in the kind of their files. */
export abstract class ValidateCommand extends BaseCommand {
  protected async validate(kind: DocumentKind, files: readonly string[], flags: ValidateFlags): Promise<void> {
    if (flags.fix && files.length > 1) {
      throw new EgolensError('usage.conflict', `--fix: expected one file, found ${files.length}`);
    }
    const rules = await loadFileRules();
    const { validateFile } = await import('../pipeline/validate.js');
    using progress = await this.progress(flags);
    const isDocument = flags.json || flags.format === 'json';
    const isNdjson = flags.ndjson || flags.format === 'ndjson' || (flags.format === undefined && !process.stdout.isTTY);
    const writer = this.writer(flags, files.length > 1 ? [column('input'), ...columns] : columns);
    const validations: Validation[] = [];
    for (const file of files) {
      const validation = await validateFile(file, rules, {
        kind,
        most: flags['max-errors'],
        signal: this.signal,
        ...given({ task: flags.task, against: flags.against, fixed: flags.fix ? flags.output : undefined }),
      });
      validations.push(validation);
      if (!isDocument) for (const row of validation.rows) await writer.write(row);
      if (isNdjson && !isDocument) await writer.write(validation.record);
      for (const note of notesOf(validation, kind, flags)) progress.note(note);
    }
    if (isDocument) printDocument(flags, documentOf(validations));
    else await writer.end();
    if (validations.some(({ errors }) => errors > 0)) process.exitCode = exitCodes.invalidData;
  }
}

function notesOf(validation: Validation, kind: DocumentKind, flags: ValidateFlags): string[] {
  const { input, task, what, errors, warnings, atLeast, rows, changes } = validation;
  const all = errors + warnings;
  return [
    `${input}: ${what}: ${atLeast ? 'at least ' : ''}${errors} ${errors === 1 ? 'error' : 'errors'}, ${warnings} ${warnings === 1 ? 'warning' : 'warnings'}${rows.length < all ? `; ${rows.length} of them listed` : ''}`,
    ...(flags.against === undefined && kind !== 'annotations'
      ? [`not compared with annotations: \`--against\` finds missing and unknown ids of \`${task}\``]
      : []),
    ...(changes === undefined
      ? []
      : [`${changes.output}: ${changes.count} changes`, ...changes.lines.map((line) => `  ${line}`)]),
  ];
}

function documentOf(validations: readonly Validation[]): JsonValue {
  const documents = validations.map(({ record, rows, changes }) => ({
    ...record,
    findings: rows,
    ...(changes === undefined ? {} : { changes: changes.rows }),
  }));
  return documents.length === 1 ? documents[0]! : documents;
}
