/** State Change Object Detection: records of `state-change --mode objects` -> COCO results. */
import { EgolensError } from '../../src/errors.js';
import { float } from '../../src/json.js';
import type { JsonDocument, Submission } from '../../src/types.js';
import { fault, listAt, objectAt, type JsonObject } from '../reading.js';
import { assertRecords } from '../records.js';
import { recordCorners, recordFloat, recordId, unknownRecord } from './box-records.js';
import { pointer } from './checks.js';
import { changeCategory, idAt, imagesOf, isCoco, isScodAnnotations, type ImageId } from './scod-truth.js';

/** Schema of the records that a submission is made of (files.md 7). */
export const scodSchema = 'egolens.object/1';

/**
 * The detections of all records, in their order. The ids are those of the images of `test`: of a COCO file as they stand there, else
 * the clips of the annotation file numbered from 1.
 *
 * @throws EgolensError data.unknown_id for an image that is not in the file; data.invalid without any record
 * @quirk  images without detections are left out: the results are a plain list
 */
export function scodSubmission(records: readonly JsonObject[], test: JsonDocument): Submission {
  assertRecords(records, scodSchema);
  if (records.length === 0) {
    const hint = 'the official code ends with an error for an empty list; predict at least one box';
    throw new EgolensError('data.invalid', 'expected at least one record, found none', { try: hint });
  }
  const ids = imageIds(test);
  const seen = new Set<string>();
  const json = records.map((record, index) => {
    const name = recordId(record, index);
    const image = ids.get(name);
    if (image === undefined) throw unknownRecord(index, `image \`${name}\``, test);
    seen.add(name);
    const [x1, y1, x2, y2] = recordCorners(record, index);
    return {
      image_id: image,
      category_id: changeCategory,
      bbox: [x1, y1, x2 - x1, y2 - y1].map(float),
      score: recordFloat(record, index, 'score'),
    };
  });
  const without = ids.size - seen.size;
  const notes = without > 0 ? [`${without} of ${ids.size} images have no detection`] : [];
  if (!isCoco(test.value)) {
    notes.push(
      'image ids are the clips of the annotation file numbered from 1; a COCO file of the challenge may number them otherwise',
    );
  }
  return { json, counts: { images: ids.size, detections: json.length, imagesWithoutDetection: without }, notes };
}

function imageIds(test: JsonDocument): Map<string, ImageId> {
  const { value } = test;
  const form = 'give the COCO file of the challenge or `fho_scod_test_unannotated.json`';
  if (isCoco(value)) {
    const images = listAt(test, value['images'], () => '/images', form).map((item, i) => {
      const image = objectAt(test, item, () => pointer('images', i), form);
      return idAt(test, image['id'], () => pointer('images', i, 'id'));
    });
    return new Map(images.map((id) => [String(id), id]));
  }
  if (isScodAnnotations(value)) return new Map(imagesOf(test, value).map(({ id }) => [String(id), id]));
  throw fault(test, '', 'an object with `images` or `clips`', value, form);
}
