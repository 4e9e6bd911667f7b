/** Frames in which objects are to be found: those that change, or those that are touched next, as boxes of one class. */
import type { JsonDocument } from '../types.js';
import { changeAsks, interactionAsks, type ChangeAsk } from './asked-frames.js';
import { isEntry } from './entries.js';

/** Whose boxes they are: `fho_scod_*.json` or `fho_sta_*.json`. */
export type ObjectSource = 'scod' | 'sta';

/** The task that a file is about, by its form. */
export function objectSource({ value }: JsonDocument): ObjectSource {
  return isEntry(value) && value['clips'] === undefined && Array.isArray(value['annotations']) ? 'sta' : 'scod';
}

/**
 * The asks of either file; coming interactions have one frame each.
 *
 * @throws EgolensError data.invalid with the place of the first fault
 */
export function objectAsks(document: JsonDocument): readonly ChangeAsk[] {
  if (objectSource(document) === 'scod') return changeAsks(document);
  return interactionAsks(document).map(({ objects, ...ask }) => {
    return { ...ask, boxes: objects?.map(({ box }) => box) ?? null };
  });
}
