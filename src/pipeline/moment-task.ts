/** Moment Queries as a task of `predict`: the same records from `moments` and from the scoring of `train mq`. */
import { float, type JsonValue } from '../json.js';
import type { HeadPrediction } from '../models/head.js';
import { spanIn, type Stretch, type TaskRecord } from './predict.js';

export const momentSchema = 'egolens.moment/1';

/** The members of `egolens.moment/1` beside the common ones; undefined for what lies outside the clip. */
export function momentRecord(prediction: HeadPrediction, stretch: Stretch): TaskRecord | undefined {
  if (prediction.task !== 'mq') return undefined;
  const { start, end, label, labelId, score } = prediction;
  const span = spanIn(stretch, start, end);
  if (span === undefined) return undefined;
  const record: Record<string, JsonValue> = {
    clip_uid: stretch.clipUid,
    start: float(span[0]),
    end: float(span[1]),
    label,
    label_id: labelId,
    score: float(score),
  };
  return record;
}
