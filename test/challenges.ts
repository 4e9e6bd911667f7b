/** Material for the tests of the challenges: documents out of values, single mutations, small files of moments and queries. */
import type { JsonDocument } from '../src/types.js';
import { parseJson } from '../src/json-reader.js';

/** A value as the reader would give it. */
export function documentOf(name: string, value: unknown): JsonDocument {
  return parseJson(name, JSON.stringify(value));
}

type Container = Record<string, unknown>;

/** A deep copy with the value at a JSON pointer replaced; `undefined` removes the member or item. */
export function changed(value: unknown, at: string, to: unknown): unknown {
  const copy = structuredClone(value);
  const parts = at.split('/').slice(1);
  const last = parts.pop();
  if (last === undefined) return to;
  let holder = copy as Container;
  for (const part of parts) holder = holder[part] as Container; // the tests name places that exist
  if (to !== undefined) holder[last] = to;
  else if (Array.isArray(holder)) holder.splice(Number(last), 1);
  else Reflect.deleteProperty(holder, last);
  return copy;
}

export interface MomentLabel {
  readonly label: string;
  readonly start: number;
  readonly end: number;
}

/** `moments_*.json` with one video a clip; clips begin 100 s into their video and last 60 s. */
export function momentsFile(clips: Readonly<Record<string, readonly MomentLabel[]>>, split = 'val'): unknown {
  return {
    version: '1',
    date: '220216',
    description: 'Moments Annotations',
    manifest: 'manifest.csv',
    videos: Object.entries(clips).map(([clip, labels]) => ({
      video_uid: `video-of-${clip}`,
      split,
      clips: [
        {
          clip_uid: clip,
          video_start_sec: 100,
          video_end_sec: 160,
          video_start_frame: 3000,
          video_end_frame: 4800,
          clip_start_sec: 0,
          clip_end_sec: 60,
          clip_start_frame: 0,
          clip_end_frame: 1800,
          source_clip_uid: `source-${clip}`,
          ...(split === 'test'
            ? {}
            : {
                annotations: [
                  {
                    annotator_uid: 'annotator',
                    labels: labels.map(({ label, start, end }) => ({
                      start_time: start,
                      end_time: end,
                      label,
                      video_start_time: start + 100,
                      video_end_time: end + 100,
                      video_start_frame: Math.round((start + 100) * 30),
                      video_end_frame: Math.round((end + 100) * 30),
                      primary: true,
                    })),
                  },
                ],
              }),
        },
      ],
    })),
  };
}

/** `nlq_*.json`: one video, clip and annotation for each list of windows; without times for testing. */
export function queriesFile(
  clips: Readonly<Record<string, readonly (readonly [number, number])[]>>,
  isTest = false,
): unknown {
  return {
    version: isTest ? '1' : '2.0',
    date: '230105',
    description: 'NLQ Annotations',
    metadata: 'ego4d.json',
    videos: Object.entries(clips).map(([clip, windows]) => ({
      video_uid: `video-of-${clip}`,
      split: isTest ? 'test' : 'val',
      clips: [
        {
          clip_uid: clip,
          video_start_sec: 100,
          video_end_sec: 160,
          clip_start_sec: 0,
          clip_end_sec: 60,
          source_clip_uid: `source-${clip}`,
          annotations: [
            {
              annotation_uid: `annotation-of-${clip}`,
              language_queries: windows.map(([start, end], i) => ({
                query: `where was thing ${i}?`,
                ...(isTest ? {} : { clip_start_sec: start, clip_end_sec: end, template: 'Objects: Where is X?' }),
              })),
            },
          ],
        },
      ],
    })),
  };
}
