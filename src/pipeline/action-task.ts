/** Long-term anticipation as a task of `predict`: the same records from `anticipate --mode actions` and from the scoring of its training. */
import { EgolensError } from '../errors.js';
import { float, type JsonValue } from '../json.js';
import type { HeadPrediction } from '../models/head.js';
import type { TensorsByName } from '../runtime/training-session.js';
import type { JsonDocument, Seconds, Tensor } from '../types.js';
import { actionFiles, ownAsk, type ActionSelection, type ActionWindow } from './action-windows.js';
import { PlacedQueries, type PlacedOptions } from './placed-clips.js';
import type { Stretch, TaskRecord } from './predict.js';
import type { FeatureSet } from './recognize-head.js';
import { errorRecord, type ErrorRecord } from './records.js';

export const sequenceSchema = 'egolens.sequence/1';

/** Inputs of a head for actions: the rows [n, width] that were seen, the last ones counting. */
export type ActionFeeds = (
  sequences: readonly Tensor<'float32'>[],
  sizes: { readonly rows: number; readonly width: number },
) => TensorsByName;

/** The members of a record beside the common ones; undefined for the prediction of another task. */
export function actionRecord(prediction: HeadPrediction, { id, time }: ActionWindow): TaskRecord | undefined {
  if (prediction.task !== 'lta') return undefined;
  const { verb, noun, verbNames, nounNames } = prediction;
  const lists = (sequences: readonly (readonly JsonValue[])[]): JsonValue => sequences.map((one) => [...one]);
  return {
    ...(id !== null && { id }),
    time: float(time),
    verb: lists(verb),
    noun: lists(noun),
    ...(verbNames && { verb_names: lists(verbNames) }),
    ...(nounNames && { noun_names: lists(nounNames) }),
  };
}

/** What the samples of an ask are seeded with beside `seed`: they hang on the ask alone, not on what else is asked. */
export function samplesOf({ id, time }: ActionWindow): string {
  return id ?? `at ${time}`;
}

/** What a head for actions is asked of the files of a run. */
export class ActionQueries {
  readonly #queries = new PlacedQueries<ActionWindow>();
  readonly #at: Seconds | undefined;

  /** `at`: of own videos; default their end. */
  constructor(at: Seconds | undefined) {
    this.#at = at;
  }

  /** Files with asks of an annotation file, and those without features or before their first row. */
  async clips(
    document: JsonDocument,
    set: FeatureSet,
    { selection, ...options }: PlacedOptions & { readonly selection: ActionSelection },
  ): Promise<{
    readonly stretches: readonly Stretch[];
    readonly missing: readonly string[];
    readonly failed: readonly ErrorRecord[];
  }> {
    const { files, missing, outside } = await actionFiles(document, set.index, selection, options);
    const early = new Set(outside);
    const failed = outside.map((id) =>
      errorRecord(
        new EgolensError('data.invalid', `${id}: no row of its features ends by the time of this action`),
        id,
      ),
    );
    return {
      stretches: this.#queries.stretches(files, set),
      missing: missing.filter((id) => !early.has(id)),
      failed,
    };
  }

  /** The asks of a file, else that of the own video. @throws EgolensError as `ownAsk` */
  of(stretch: Stretch): readonly ActionWindow[] {
    return this.#queries.of(stretch) ?? [ownAsk(stretch, this.#at)];
  }
}
