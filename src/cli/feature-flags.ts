import { Flags } from '@oclif/core';
import type { FeatureReading } from '../pipeline/feature-tools.js';
import { parseTime } from '../time.js';
import { given } from './flags.js';

/** How feature files without a meta file are read; a flag has one meaning in all commands that take features. */
export const readingFlags = {
  clock: Flags.option({
    options: ['ego4d-grid', 'ego4d-mq', 'ego4d-nlq', 'none'] as const,
    summary: 'When the rows of files without a meta file are; a meta file says it itself.',
  })(),
  duration: Flags.string({ helpValue: 'SECONDS', summary: 'Length of the video, for --clock ego4d-mq.' }),
  array: Flags.string({ helpValue: 'NAME', summary: 'Which array of a file with several; default: features.' }),
};

/** The flags above as options. */
export function featureReading(flags: {
  readonly clock: FeatureReading['clock'] | undefined;
  readonly duration: string | undefined;
  readonly array: string | undefined;
}): FeatureReading {
  const { clock, duration, array } = flags;
  return given({ clock, duration: duration === undefined ? undefined : parseTime(duration), array });
}
