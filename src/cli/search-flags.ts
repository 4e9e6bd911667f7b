import { Flags } from '@oclif/core';
import type { IndexEvent } from '../pipeline/index-library.js';
import type { InputItem } from '../pipeline/inputs.js';
import type { WindowPlan } from '../pipeline/window-vectors.js';

/** What `search` and `search index` take about the windows of an index. */
export const windowFlags = {
  model: Flags.string({
    helpValue: 'NAME|DIR',
    summary:
      'The model; default: that of the index, else the embedded encoder, which knows Tabletop only and reads no text.',
  }),
  granularity: Flags.string({ helpValue: '2s', summary: 'Seconds of a window; default: 2s.' }),
  stream: Flags.string({ helpValue: 'N|best', summary: 'Which video stream; default: 0.' }),
  batch: Flags.integer({ min: 1, max: 1024, summary: 'Windows in one run; default: 1 on the cpu, 8 elsewhere.' }),
};

/** Model and windows of an index that is made or updated, from the flags above. */
export async function windowPlan(flags: {
  readonly model?: string | undefined;
  readonly granularity?: string | undefined;
  readonly stream?: string | undefined;
}): Promise<WindowPlan> {
  const { defaultModelName, findModel } = await import('../hub/cache.js');
  const { openModelFolder } = await import('../models/folder.js');
  const { parseGranularity, planVectors } = await import('../pipeline/window-vectors.js');
  const { parseStreamChoice } = await import('../video/probe.js');
  const model = await openModelFolder(await findModel(flags.model ?? defaultModelName));
  return planVectors(model, {
    granularity: parseGranularity(flags.granularity ?? '2s'),
    stream: parseStreamChoice(flags.stream ?? '0'),
  });
}

/** One line about what a run did: `3 encoded, 5 kept`. */
export function countsText(counts: Readonly<Record<IndexEvent['kind'], number>>): string {
  const words = { done: 'encoded', kept: 'kept', removed: 'removed', failed: 'failed' } as const;
  const parts = (['done', 'kept', 'removed', 'failed'] as const).flatMap((key) =>
    counts[key] === 0 ? [] : [`${counts[key]} ${words[key]}`],
  );
  return parts.join(', ') || 'no video found';
}

/** Absolute path -> the name under which the user gave it. */
export function namesOf(items: readonly InputItem[]): ReadonlyMap<string, string> {
  return new Map(items.map(({ path, input }) => [path, input]));
}
