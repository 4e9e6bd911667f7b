/** Recognition of the actions of `fho_lta_*.json` without a look at them: the labels by how often training clips show them. */
import { parseJson } from '../json-reader.js';
import type { JsonDocument } from '../types.js';
import type { ActionsFile } from './annotated.js';
import { ranking } from './blind-records.js';

/** What is recognised. */
export const recognised = ['verb', 'noun'] as const;
export type Recognised = (typeof recognised)[number];

/** Files as `eval recognition` takes them, one id an action. */
export interface RecognitionFiles {
  readonly truth: JsonDocument;
  /** Every label, the most frequent one of `seen` first, the same for each action. */
  readonly blind: JsonDocument;
  /** The truth itself. */
  readonly ceiling: JsonDocument;
}

/** The files for verbs or nouns; undefined without an action to predict. */
export function recognitionFiles(seen: ActionsFile, asked: ActionsFile, of: Recognised): RecognitionFiles | undefined {
  if (asked.clips.length === 0) return undefined;
  const labelOf = (action: ActionsFile['clips'][number]): number => action[`${of}_label`];
  const frequent = ranking(seen.clips.map((action) => String(labelOf(action)))).map(([label]) => Number(label));
  const file = (
    name: string,
    labelsOf: (action: ActionsFile['clips'][number]) => number | readonly number[],
  ): JsonDocument => {
    const entries = asked.clips.map((action) => [`${action.clip_uid}_${action.action_idx}`, labelsOf(action)] as const);
    return parseJson(`${name} of recognition (${of})`, JSON.stringify(Object.fromEntries(entries)));
  };
  return {
    truth: file('the truth', labelOf),
    blind: file('the blind baseline', () => frequent),
    ceiling: file('the ceiling', (action) => [labelOf(action)]),
  };
}
