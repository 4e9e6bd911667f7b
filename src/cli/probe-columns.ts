import { Float, type JsonValue } from '../json.js';
import { column, type Column, type OutputRecord } from './output.js';

/** A member of an object inside the record. */
function inside(record: OutputRecord, key: string, member: string): JsonValue | undefined {
  const value = record[key];
  if (typeof value !== 'object' || value === null || Array.isArray(value) || value instanceof Float) return undefined;
  return (value as OutputRecord)[member]; // no list and no number: an object
}

/** A text or number as text. */
function word(value: JsonValue | undefined): string {
  return typeof value === 'string' || typeof value === 'number' ? String(value) : '';
}

/** `30000/1001` as 29.97. */
function rateOf(value: JsonValue | undefined): JsonValue | undefined {
  const [num, den] = typeof value === 'string' ? value.split('/').map(Number) : [];
  return num === undefined || den === undefined ? undefined : Number((num / den).toFixed(3));
}

/** What is out of the ordinary, in words. */
function flagsOf(record: OutputRecord): string {
  const videos = (record['streams'] as readonly OutputRecord[]).filter(
    ({ kind, isPicture }) => kind === 'video' && isPicture === false, // streams are a list of objects in egolens.probe/1
  );
  const rotation = record['rotation'];
  const warned = (code: string): boolean =>
    (record['warnings'] as readonly OutputRecord[]).some((warning) => warning['code'] === code); // as above
  const found: readonly (readonly [flag: string, is: boolean])[] = [
    ['vfr', inside(record, 'measured', 'isVariableRate') === true],
    ['hdr', record['hdr'] === true],
    ['rotated', rotation instanceof Float && rotation.value !== 0],
    ['anamorphic', record['pixelAspect'] !== '1/1'],
    ['interlaced', record['interlaced'] === true],
    ['encrypted', record['encrypted'] === true],
    ['truncated', warned('decode.truncated')],
    [`stream ${word(record['stream'])} of ${videos.length}`, videos.length > 1],
  ];
  return found.flatMap(([flag, is]) => (is ? [flag] : [])).join(', ');
}

/** `egolens.probe/1` for people: claimed beside measured. */
export const probeColumns: readonly Column[] = [
  column('input'),
  { header: 'container', cell: ({ container }) => word(container).split(',')[0] },
  column('codec'),
  { header: 'size', cell: ({ width, height }) => `${word(width)}x${word(height)}` },
  { header: 'claimed_rate', cell: (record) => rateOf(inside(record, 'claimed', 'rate')), align: 'right' },
  { header: 'rate', cell: (record) => inside(record, 'measured', 'rate'), align: 'right' },
  { header: 'duration', cell: (record) => inside(record, 'measured', 'duration'), align: 'right' },
  { header: 'claimed_frames', cell: (record) => inside(record, 'claimed', 'frames'), align: 'right' },
  { header: 'frames', cell: (record) => record['frames'] ?? inside(record, 'measured', 'frames'), align: 'right' },
  column('errors', 'right'),
  { header: 'flags', cell: flagsOf },
];

/** `egolens.frame/1` for people. */
export const frameColumns: readonly Column[] = [
  column('input'),
  column('frame', 'right'),
  column('pts', 'right'),
  column('time', 'right'),
  column('key'),
  column('type'),
];
