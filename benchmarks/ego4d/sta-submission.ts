/** Short-Term Anticipation: records of `anticipate` -> the submission. */
import { float } from '../../src/json.js';
import type { JsonDocument, Submission, SubmissionOptions } from '../../src/types.js';
import { listAt, objectAt, textAt, type JsonObject } from '../reading.js';
import { assertRecords } from '../records.js';
import { incomplete, recordCorners, recordFloat, recordId, recordInteger, unknownRecord } from './box-records.js';
import { pointer } from './checks.js';
import { staChallengeName, staVersion } from './sta-check.js';

/** Schema of the records that a submission is made of (files.md 7). */
export const staSchema = 'egolens.interaction/1';

/**
 * The submission over the images of `test`, in their order; predictions of an image in the order of the records.
 *
 * @throws EgolensError data.unknown_id for an image that is not in the file; data.invalid for images without record unless they are
 *         to be filled
 * @quirk  an image with an empty list vanishes from the official numbers, with its truth
 */
export function staSubmission(
  records: readonly JsonObject[],
  test: JsonDocument,
  { fillMissing }: SubmissionOptions,
): Submission {
  assertRecords(records, staSchema);
  const listed = new Map<string, unknown[]>(uidsOf(test).map((uid) => [uid, []]));
  records.forEach((record, index) => {
    const uid = recordId(record, index);
    const guesses = listed.get(uid);
    if (guesses === undefined) throw unknownRecord(index, `image \`${uid}\``, test);
    guesses.push({
      box: recordCorners(record, index).map(float),
      noun_category_id: recordInteger(record, index, 'noun_category_id'),
      verb_category_id: recordInteger(record, index, 'verb_category_id'),
      time_to_contact: recordFloat(record, index, 'time_to_contact'),
      score: recordFloat(record, index, 'score'),
    });
  });
  const empty = [...listed].filter(([, guesses]) => guesses.length === 0).map(([uid]) => uid);
  if (empty.length > 0 && !fillMissing) throw incomplete(empty.length, listed.size, 'images', empty[0]!);
  return {
    json: { version: staVersion, challenge: staChallengeName, results: Object.fromEntries(listed) },
    counts: { images: listed.size, predictions: records.length, imagesWithoutPrediction: empty.length },
    notes:
      empty.length > 0
        ? [`${empty.length} of ${listed.size} images get an empty list; the official evaluator leaves their truth out`]
        : [],
  };
}

function uidsOf(test: JsonDocument): string[] {
  const form = 'give `fho_sta_test_unannotated.json` or a file of its form';
  const { annotations } = objectAt(test, test.value, () => '', form);
  return listAt(test, annotations, () => '/annotations', form).map((item, i) => {
    const annotation = objectAt(test, item, () => pointer('annotations', i), form);
    return textAt(test, annotation['uid'], () => pointer('annotations', i, 'uid'), form);
  });
}
