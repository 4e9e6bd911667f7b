/**
 * The truth of State Change Object Detection: a COCO file, or the one that follows from the annotations.
 *
 * Source: cocodataset/cocoapi PythonAPI/pycocotools/coco.py, createIndex; numbering of the images: ego4d.md 3.7.
 */
import type { JsonDocument } from '../../src/types.js';
import { fault, isObject, listAt, numberAt, objectAt, textAt, type JsonObject } from '../reading.js';
import { isInteger, isNumber, putBox } from './box-reading.js';
import { pointer } from './checks.js';

/** Id of the only category of the challenge. */
export const changeCategory = 1;
const changeType = 'object_of_change';

/** A COCO image id: a number in official files, text in some of the users' own. */
export type ImageId = number | string;

/** One image of the truth: a PNR frame. */
export interface ScodImage {
  readonly id: ImageId;
  readonly fileName: string;
}

/** One annotated box of an image, in full-scale pixels. */
export interface ScodTruthBox {
  readonly id: number;
  readonly image: ImageId;
  readonly category: number;
  /** x, y, width, height */
  readonly box: Float64Array;
  readonly area: number;
  readonly isCrowd: boolean;
}

/** What the evaluator needs of a COCO file. */
export interface ScodTruth {
  /** Each once, by rising id. */
  readonly images: readonly ScodImage[];
  readonly categories: readonly { readonly id: number; readonly name: string }[];
  /** Those of known images and categories, image by image, in file order. */
  readonly boxes: readonly ScodTruthBox[];
  readonly notes: readonly string[];
}

/** Is this a COCO file with images and categories? */
export function isCoco(value: unknown): value is JsonObject {
  return isObject(value) && Array.isArray(value['images']);
}

/** Is this a file of the form of `fho_scod_val.json`? */
export function isScodAnnotations(value: unknown): value is JsonObject {
  return isObject(value) && Array.isArray(value['clips']);
}

/** Truth of either file. */
export function readScodTruth(document: JsonDocument): ScodTruth {
  if (isCoco(document.value)) return readCoco(document, document.value);
  if (isScodAnnotations(document.value)) return fromAnnotations(document, document.value);
  const hint = 'this should be the COCO file of the challenge (`coco_gt.json`) or `fho_scod_val.json`';
  throw fault(document, '', 'an object with `images` or `clips`', document.value, hint);
}

const cocoForm =
  'a COCO file is {images: [{id}], annotations: [{id, image_id, category_id, iscrowd, bbox, area}], categories: [{id}]}';

/**
 * @quirk of annotations with the same id the last one stands for all of them; annotations of images or categories that are not listed
 *        are left out
 */
function readCoco(document: JsonDocument, value: JsonObject): ScodTruth {
  const images = new Map<ImageId, ScodImage>();
  listAt(document, value['images'], () => '/images', cocoForm).forEach((item, i) => {
    const image = objectAt(document, item, () => pointer('images', i), cocoForm);
    const id = idAt(document, image['id'], () => pointer('images', i, 'id'));
    images.set(id, { id, fileName: typeof image['file_name'] === 'string' ? image['file_name'] : String(id) });
  });
  const categories = new Map<number, string>();
  listAt(document, value['categories'], () => '/categories', cocoForm).forEach((item, i) => {
    const category = objectAt(document, item, () => pointer('categories', i), cocoForm);
    const id = numberAt(document, category['id'], () => pointer('categories', i, 'id'), cocoForm);
    categories.set(id, typeof category['name'] === 'string' ? category['name'] : String(id));
  });
  const lastWith = new Map<number, { readonly annotation: JsonObject; readonly index: number }>();
  const idsOf = new Map<ImageId, number[]>();
  listAt(document, value['annotations'], () => '/annotations', cocoForm).forEach((item, index) => {
    const annotation = objectAt(document, item, () => pointer('annotations', index), cocoForm);
    const image = idAt(document, annotation['image_id'], () => pointer('annotations', index, 'image_id'));
    const id = numberAt(document, annotation['id'], () => pointer('annotations', index, 'id'), cocoForm);
    const at = (): string => pointer('annotations', index, 'category_id');
    const category = numberAt(document, annotation['category_id'], at, cocoForm);
    lastWith.set(id, { annotation, index });
    if (!categories.has(category)) return;
    const ids = idsOf.get(image);
    if (ids === undefined) idsOf.set(image, [id]);
    else ids.push(id);
  });
  const sorted = [...images.values()].sort((a, b) => (a.id < b.id ? -1 : a.id > b.id ? 1 : 0));
  const boxes = sorted.flatMap(({ id }) =>
    (idsOf.get(id) ?? []).map((boxId) => {
      const { annotation, index } = lastWith.get(boxId)!; // every listed id is there
      return truthBox(document, annotation, index);
    }),
  );
  return {
    images: sorted,
    categories: [...categories].sort(([a], [b]) => a - b).map(([id, name]) => ({ id, name })),
    boxes,
    notes: [],
  };
}

function truthBox(document: JsonDocument, annotation: JsonObject, index: number): ScodTruthBox {
  const at = (field: string): string => pointer('annotations', index, field);
  const box = new Float64Array(4);
  putBox(document, annotation['bbox'], box, 0, () => at('bbox'), '[x, y, width, height]');
  const crowd = annotation['iscrowd'];
  const hint = 'every truth needs `iscrowd` (0 or 1) and `area`';
  const isCrowd = typeof crowd === 'boolean' ? crowd : numberAt(document, crowd, () => at('iscrowd'), hint) !== 0;
  // The library never looks at the area of a crowd.
  const area = isCrowd ? 0 : numberAt(document, annotation['area'], () => at('area'), hint);
  return {
    id: Number(annotation['id']),
    image: idAt(document, annotation['image_id'], () => at('image_id')),
    category: Number(annotation['category_id']),
    box,
    area,
    isCrowd,
  };
}

/** An image id: a number or text. */
export function idAt(document: JsonDocument, value: unknown, at: () => string): ImageId {
  if (typeof value === 'string') return value;
  if (isInteger(value)) return Number(value);
  throw fault(document, at(), 'an id (a whole number or text)', value, cocoForm);
}

/** Images of annotations: the PNR frame of each clip, numbered from 1 in the order of the file. */
export function imagesOf(
  document: JsonDocument,
  value: JsonObject,
): (ScodImage & { readonly frame: JsonObject | undefined })[] {
  const form = 'this should be `fho_scod_val.json` or a file of its form';
  return listAt(document, value['clips'], () => '/clips', form).map((item, i) => {
    const clip = objectAt(document, item, () => pointer('clips', i), form);
    const frame = isObject(clip['pnr_frame']) ? clip['pnr_frame'] : undefined;
    const video = textAt(document, clip['video_uid'], () => pointer('clips', i, 'video_uid'), form);
    const number = frame?.['frame_number'];
    return { id: i + 1, fileName: `${video}/${isNumber(number) ? String(number) : 'unknown'}.jpg`, frame };
  });
}

function fromAnnotations(document: JsonDocument, value: JsonObject): ScodTruth {
  const images = imagesOf(document, value);
  const boxes: ScodTruthBox[] = [];
  images.forEach(({ id, frame }, i) => {
    const listed = frame?.['bbox'];
    if (listed === undefined || listed === null) return;
    const at = pointer('clips', i, 'pnr_frame', 'bbox');
    const form = 'an object in a frame is {object_type, bbox: {x, y, width, height}}';
    listAt(document, listed, () => at, form).forEach((item, k) => {
      const object = objectAt(document, item, () => `${at}/${k}`, form);
      if (object['object_type'] !== changeType) return;
      const sides = objectAt(document, object['bbox'], () => `${at}/${k}/bbox`, form);
      const box = Float64Array.from(['x', 'y', 'width', 'height'], (side) =>
        numberAt(document, sides[side], () => `${at}/${k}/bbox/${side}`, form),
      );
      const area = box[2]! * box[3]!;
      boxes.push({ id: boxes.length + 1, image: id, category: changeCategory, box, area, isCrowd: false });
    });
  });
  return {
    images: images.map(({ id, fileName }) => ({ id, fileName })),
    categories: [{ id: changeCategory, name: changeType }],
    boxes,
    notes: [
      `the COCO truth is made from \`${document.name}\`: images are the PNR frames, numbered from 1 in the order of the clips`,
    ],
  };
}
