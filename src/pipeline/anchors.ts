/** Windows that end at given times: of a run or of one item, in seconds or in frames until the rate is known. */
import type { JsonValue } from '../json.js';
import { secondsAt } from '../time.js';
import type { SamplingRecipe, Seconds } from '../types.js';
import { anchorRate, anchorSamples, checkAnchors, isEvery } from '../video/anchored-windows.js';
import type { AnchorTimes } from '../video/windows.js';
import type { InputItem } from './inputs.js';
import type { FrameBound } from './span.js';

/** What `--at` and `--every` may say. A frame is one of the sampling grid; a window ends with it. */
export type AnchorRequest = readonly (Seconds | FrameBound)[] | { readonly every: Seconds };

/**
 * Where the windows of an item end: its own times before those of the run; undefined where they lie as the recipe says.
 *
 * @throws EgolensError usage.flag at the source's own rate, for no times, and for what is no time
 */
export function anchorsOf(
  { at: own }: Pick<InputItem, 'at'>,
  ofRun: AnchorRequest | undefined,
  sampling: SamplingRecipe,
): AnchorTimes | undefined {
  const at = own ?? ofRun;
  if (at === undefined) return undefined;
  const rate = anchorRate(sampling);
  // Half a frame in, so that no rounding makes it another one.
  const times =
    'length' in at ? at.map((one) => (typeof one === 'number' ? one : secondsAt(one.frame + 0.5, rate))) : at;
  checkAnchors(times, rate);
  return times;
}

/** The windows as keys hold them: equal ones are equal, whatever was said. */
export function anchorKey(at: AnchorTimes, sampling: SamplingRecipe): JsonValue {
  return isEvery(at) ? { every: at.every } : { samples: [...anchorSamples(at, anchorRate(sampling))] };
}
