/** Faults of the files of State Change Object Detection (ego4d.md 3.7, 5): COCO files, annotations, results. */
import { findingList, type FindingList } from '../../src/findings.js';
import type { DocumentKind, Finding, JsonDocument } from '../../src/types.js';
import { isObject, type JsonObject } from '../reading.js';
import {
  below,
  expectBox,
  expectInteger,
  expectList,
  expectNumber,
  expectObject,
  expectShare,
  expectText,
  wrongType,
  type Picture,
  type Place,
} from './box-checks.js';
import { isInteger, isNumber } from './box-reading.js';
import { checkIds, shown } from './checks.js';
import { changeCategory, isCoco, isScodAnnotations } from './scod-truth.js';

/** Detections of an image past this many are never looked at. */
const detectionLimit = 100;
const root: Place = () => '';
const frameNames = ['pre_frame', 'pnr_frame', 'post_frame'] as const;

/** What a truth says about results. */
interface Reference {
  readonly pictures: ReadonlyMap<string, Picture | undefined>;
  readonly categories: ReadonlySet<number>;
}

/** Every fault of a COCO truth or of annotations, or of results. */
export function checkScod(kind: DocumentKind, document: JsonDocument, against?: JsonDocument): Finding[] {
  const list = findingList(document);
  list.add(document.findings);
  const { value } = document;
  if (kind !== 'annotations') checkResults(list, value, against === undefined ? undefined : referenceOf(against.value));
  else if (isObject(value) && 'clips' in value) checkAnnotations(list, value);
  else checkCoco(list, value);
  return list.all();
}

function checkResults(list: FindingList, value: unknown, reference: Reference | undefined): void {
  if (!Array.isArray(value)) {
    wrongType(list, value, root, 'a list of detections', 'COCO results have no envelope');
    return;
  }
  if (value.length === 0) {
    list.error('list.empty', () => ({
      at: '',
      expected: 'at least one detection',
      found: 'an empty list',
      hint: 'the official evaluator ends with an error',
    }));
    return;
  }
  const perImage = new Map<string, number>();
  const firstAt: number[] = [];
  const fields = ['image_id', 'category_id', 'bbox', 'score'];
  value.forEach((detection: unknown, i) => {
    const at: Place = () => `/${i}`;
    if (!expectObject(list, detection, at, fields, ['segmentation', 'id', 'area', 'iscrowd'])) return;
    let picture: Picture | undefined;
    const image = detection['image_id'];
    if (image !== undefined && (typeof image === 'string' || expectInteger(list, image, below(at, 'image_id')))) {
      const id = String(image);
      picture = reference?.pictures.get(id);
      const before = perImage.get(id) ?? 0;
      perImage.set(id, before + 1);
      if (before === 0) firstAt.push(i);
      if (before === detectionLimit) warnCut(list, id, at);
    }
    checkCategory(list, detection['category_id'], below(at, 'category_id'), reference);
    if ('bbox' in detection) checkSides(list, detection['bbox'], below(at, 'bbox'), picture);
    const score = detection['score'];
    if (score !== undefined && expectNumber(list, score, below(at, 'score'))) {
      expectShare(list, Number(score), below(at, 'score'));
    }
  });
  if (reference === undefined) return;
  checkIds(list, new Set(reference.pictures.keys()), [...perImage.keys()], (i) => `/${firstAt[i]!}/image_id`, {
    what: 'image_id',
    within: '',
    missing: false, // an image without detections is allowed
    hint: 'the ids are those of the COCO file of the challenge; is this file of the same split?',
  });
}

function warnCut(list: FindingList, id: string, at: Place): void {
  list.warning('limit.cut', () => ({
    at: at(),
    expected: `at most ${detectionLimit} detections an image`,
    found: `more of image \`${id}\``,
    hint: `only the ${detectionLimit} best of an image are looked at`,
  }));
}

function checkCategory(list: FindingList, id: unknown, at: Place, reference: Reference | undefined): void {
  if (id === undefined || !expectInteger(list, id, at)) return;
  const known = reference === undefined ? Number(id) === changeCategory : reference.categories.has(Number(id));
  if (known) return;
  list.error('category.unknown', () => ({
    at: at(),
    expected: reference === undefined ? `\`${changeCategory}\`` : 'a category of the truth',
    found: shown(id),
    hint: 'results of other categories are dropped without a word',
  }));
}

const outsideHint =
  'these are the corners of x, y, width, height in pixels of the full-scale frame: is the form x1, y1, x2, y2, or the frame scaled?';

/** [x, y, width, height], finite, with a width and a height. */
function checkSides(list: FindingList, value: unknown, at: Place, picture: Picture | undefined): void {
  if (!expectList(list, value, at, 4) || value.length !== 4) return;
  if (!value.map((side, i) => expectNumber(list, side, below(at, i))).every(Boolean)) return;
  const [x, y, width, height] = value.map(Number) as [number, number, number, number]; // four, checked above
  checkSize(list, x, y, width, height, at, picture);
}

function checkSize(
  list: FindingList,
  x: number,
  y: number,
  width: number,
  height: number,
  at: Place,
  picture: Picture | undefined,
): void {
  if (width > 0 && height > 0) {
    expectBox(list, [x, y, x + width, y + height], at, picture, 'error', outsideHint);
    return;
  }
  list.error('box.inverted', () => ({
    at: at(),
    expected: 'a width and a height above 0',
    found: `\`[${[x, y, width, height].join(', ')}]\``,
    hint: 'the form is x, y, width, height, not x1, y1, x2, y2',
  }));
}

function checkCoco(list: FindingList, value: unknown): void {
  if (!expectObject(list, value, root, ['images', 'annotations', 'categories'])) return;
  const images = idsOf(list, value, 'images');
  const categories = idsOf(list, value, 'categories');
  const { pictures } = referenceOf(value);
  const annotations = value['annotations'];
  if (annotations === undefined || !expectList(list, annotations, below(root, 'annotations'))) return;
  idsOf(list, value, 'annotations');
  annotations.forEach((annotation, i) => {
    const at = below(root, 'annotations', i);
    const fields = ['id', 'image_id', 'category_id', 'iscrowd', 'bbox', 'area'];
    if (!expectObject(list, annotation, at, fields)) return;
    const { id, iscrowd, area } = annotation;
    if (isNumber(id) && Number(id) === 0) {
      list.error('id.zero', () => ({
        at: below(at, 'id')(),
        expected: 'ids from 1',
        found: '`0`',
        hint: 'the official evaluator can never match a truth with id 0',
      }));
    }
    const image = annotation['image_id'];
    for (const [field, known] of [
      ['image_id', images],
      ['category_id', categories],
    ] as const) {
      const found = annotation[field];
      if (found === undefined || ((typeof found === 'string' || isNumber(found)) && known.has(String(found)))) continue;
      list.error('ids.unknown', () => ({
        at: below(at, field)(),
        expected: `an id of \`${field === 'image_id' ? 'images' : 'categories'}\``,
        found: shown(found),
      }));
    }
    if ('bbox' in annotation) checkSides(list, annotation['bbox'], below(at, 'bbox'), pictures.get(String(image)));
    if (area !== undefined && expectNumber(list, area, below(at, 'area')) && Number(area) < 0) {
      list.error('area.range', () => ({
        at: below(at, 'area')(),
        expected: 'an area of 0 or more',
        found: shown(area),
      }));
    }
    if (
      iscrowd !== undefined &&
      typeof iscrowd !== 'boolean' &&
      !(isInteger(iscrowd) && [0, 1].includes(Number(iscrowd)))
    ) {
      list.error('value.type', () => ({ at: below(at, 'iscrowd')(), expected: '0 or 1', found: shown(iscrowd) }));
    }
  });
}

/** Ids of a list of objects, each once. */
function idsOf(list: FindingList, value: JsonObject, field: string): Set<string> {
  const items = value[field];
  const at = below(root, field);
  const ids: string[] = [];
  const places: number[] = [];
  if (items === undefined || !expectList(list, items, at)) return new Set();
  items.forEach((item, i) => {
    if (field !== 'annotations' && !expectObject(list, item, below(at, i), ['id'])) return;
    const id = isObject(item) ? item['id'] : undefined;
    if (id === undefined || !(typeof id === 'string' || expectInteger(list, id, below(at, i, 'id')))) return;
    ids.push(String(id));
    places.push(i);
  });
  checkIds(list, new Set(ids), ids, (i) => below(at, places[i]!, 'id')(), { what: 'id', within: at() });
  return new Set(ids);
}

function checkAnnotations(list: FindingList, value: JsonObject): void {
  const { clips } = value;
  if (!expectList(list, clips, below(root, 'clips'))) return;
  clips.forEach((clip, i) => {
    const at = below(root, 'clips', i);
    if (!expectObject(list, clip, at, ['video_uid', 'clip_uid', 'pnr_frame'])) return;
    for (const field of ['video_uid', 'clip_uid']) {
      if (field in clip) expectText(list, clip[field], below(at, field));
    }
    for (const name of frameNames) {
      if (name in clip) checkFrame(list, clip[name], below(at, name));
    }
  });
}

function checkFrame(list: FindingList, frame: unknown, at: Place): void {
  if (!expectObject(list, frame, at, ['frame_number', 'width', 'height'])) return;
  for (const field of ['frame_number', 'width', 'height']) {
    if (field in frame) expectInteger(list, frame[field], below(at, field));
  }
  const boxes = frame['bbox']; // a test file has none
  if (boxes === undefined || !expectList(list, boxes, below(at, 'bbox'))) return;
  const picture = pictureOf(frame);
  boxes.forEach((object, k) => {
    const place = below(at, 'bbox', k);
    if (!expectObject(list, object, place, ['object_type', 'bbox'])) return;
    if ('object_type' in object) expectText(list, object['object_type'], below(place, 'object_type'));
    const box = object['bbox'];
    const sides = ['x', 'y', 'width', 'height'];
    if (box === undefined || !expectObject(list, box, below(place, 'bbox'), sides)) return;
    const values = sides.map((side) => box[side]);
    const isFinite = values.every(
      (side, s) => side !== undefined && expectNumber(list, side, below(place, 'bbox', sides[s]!)),
    );
    if (!isFinite) return;
    const [x, y, width, height] = values.map(Number) as [number, number, number, number]; // four sides
    checkSize(list, x, y, width, height, below(place, 'bbox'), picture);
  });
}

function referenceOf(value: unknown): Reference {
  if (isCoco(value)) {
    const pictures = new Map<string, Picture | undefined>();
    for (const image of itemsOf(value, 'images'))
      if (isObject(image)) pictures.set(String(image['id']), pictureOf(image));
    const ids = itemsOf(value, 'categories').flatMap((category) =>
      isObject(category) && isNumber(category['id']) ? [Number(category['id'])] : [],
    );
    return { pictures, categories: new Set(ids) };
  }
  const clips = isScodAnnotations(value) ? itemsOf(value, 'clips') : [];
  const pictures = clips.map((clip, i): [string, Picture | undefined] => {
    const frame = isObject(clip) ? clip['pnr_frame'] : undefined;
    return [String(i + 1), isObject(frame) ? pictureOf(frame) : undefined];
  });
  return { pictures: new Map(pictures), categories: new Set([changeCategory]) };
}

function itemsOf(holder: JsonObject, field: string): readonly unknown[] {
  const value = holder[field];
  return Array.isArray(value) ? (value as readonly unknown[]) : [];
}

function pictureOf(frame: JsonObject): Picture | undefined {
  const { width, height } = frame;
  return isNumber(width) && isNumber(height) ? { width: Number(width), height: Number(height) } : undefined;
}
