/** The annotations of some videos of a file. */
import type { JsonDocument } from '../types.js';

/** The lists of an annotation file whose items each belong to a video. */
const listNames = ['videos', 'clips', 'annotations'] as const;

/**
 * An annotation file of any task as if it were about `videos` alone: items in their order, everything else as it was. A file that has
 * been checked: what is no list, and items that name no video, stay.
 */
export function partOf(document: JsonDocument, videos: ReadonlySet<string>): JsonDocument {
  const whole = document.value;
  if (typeof whole !== 'object' || whole === null || Array.isArray(whole)) return document;
  const members = Object.entries(whole).map(([key, member]: readonly [string, unknown]): [string, unknown] => {
    const isList = (listNames as readonly string[]).includes(key) && Array.isArray(member);
    return [key, isList ? member.filter((item) => isAbout(item, videos)) : member];
  });
  // Places in this value are none of the text.
  return { ...document, value: Object.fromEntries(members), line: () => undefined };
}

function isAbout(item: unknown, videos: ReadonlySet<string>): boolean {
  if (typeof item !== 'object' || item === null) return true;
  const { video_uid: uid, video_id: id } = item as { readonly video_uid?: unknown; readonly video_id?: unknown };
  const video = uid ?? id;
  return typeof video !== 'string' || videos.has(video);
}
