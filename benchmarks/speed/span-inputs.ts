/**
 * Inputs of the size of a validation split for the challenges about spans and actions, from a seed: what `bench evaluate` times. The
 * files are in the official formats; nothing in them is Ego4D data.
 */
import { float, jsonText, type JsonValue } from '../../src/json.js';
import { seededRandom, type Random } from '../../src/random.js';
import type { EvaluateInputs } from './evaluate-inputs.js';

/** Seconds of a clip. */
const clipLength = 480;

/** Moment Queries: 200 detections a clip, a third of them near a truth; scores of six digits. */
export function mqInputs(seed: number, detectionCount = 120_000): EvaluateInputs {
  const random = seededRandom(seed, 'mq');
  const labels = Array.from({ length: 110 }, (_, i) => `label_${i}_/_of_a_moment`);
  const videos: JsonValue[] = [];
  const lists: Record<string, JsonValue> = {};
  for (let c = 0; c < Math.ceil(detectionCount / 200); c++) {
    const uid = uidOf(c, 'clip');
    const moments = Array.from({ length: 5 + random.integer(15) }, () => ({
      label: labels[Math.min(random.integer(labels.length), random.integer(labels.length))]!,
      span: spanIn(random, 60),
    }));
    videos.push({
      video_uid: uidOf(c, 'video'),
      split: 'val',
      clips: [
        {
          clip_uid: uid,
          ...clipTimes(),
          annotations: [
            {
              annotator_uid: uidOf(c, 'annotator'),
              labels: moments.map(({ label, span: [start, end] }) => ({
                start_time: start,
                end_time: end,
                label,
                video_start_time: start,
                video_end_time: end,
                video_start_frame: Math.round(start * 30),
                video_end_frame: Math.round(end * 30),
                primary: true,
              })),
            },
          ],
        },
      ],
    });
    const items = Array.from({ length: 200 }, () => {
      const near = moments[random.integer(moments.length)]!; // five moments at least
      const isNear = random.uniform() < 0.33;
      const [start, end] = isNear ? near.span.map((time) => time + 2 * random.normal()) : spanIn(random, 60);
      return {
        label: isNear ? near.label : labels[random.integer(labels.length)]!,
        score: rounded(random.uniform() ** (isNear ? 1 : 2), 6),
        segment: [rounded(start!, 1), rounded(Math.max(end!, start! + 0.1), 1)],
      };
    });
    items.sort((a, b) => b.score - a.score);
    lists[uid] = items.map(({ label, score, segment }) => ({
      label,
      score: float(score),
      segment: segment.map(float),
    }));
  }
  return {
    truth: { 'moments_val.json': annotationText(videos) },
    predictions: {
      'submission.json': jsonText({
        version: '1.0',
        challenge: 'ego4d_moment_queries',
        detect_results: lists,
        retrieve_results: lists,
      }),
    },
  };
}

/** Natural Language Queries: five windows a query. */
export function nlqInputs(seed: number, queryCount = 4_500): EvaluateInputs {
  const random = seededRandom(seed, 'nlq');
  const videos: JsonValue[] = [];
  const results: JsonValue[] = [];
  for (let c = 0, left = queryCount; left > 0; c++) {
    const queries = Array.from({ length: Math.min(left, 11) }, () => spanIn(random, 20));
    left -= queries.length;
    const [clip, annotation] = [uidOf(c, 'clip'), uidOf(c, 'annotation')];
    videos.push({
      video_uid: uidOf(c, 'video'),
      split: 'val',
      clips: [
        {
          clip_uid: clip,
          ...clipTimes(),
          annotations: [
            {
              annotation_uid: annotation,
              language_queries: queries.map(([start, end], i) => ({
                clip_start_sec: start,
                clip_end_sec: end,
                video_start_sec: start,
                video_end_sec: end,
                query: `where was object ${i} before I took the other one?`,
                template: 'Objects: Where is object X before / after event Y?',
                slot_x: `object ${i}`,
                verb_x: '[verb_not_applicable]',
                raw_tags: ['Objects: Where is object X before / after event Y?', `object ${i}`],
              })),
            },
          ],
        },
      ],
    });
    queries.forEach((span, i) => {
      results.push({
        clip_uid: clip,
        annotation_uid: annotation,
        query_idx: i,
        predicted_times: Array.from({ length: 5 }, () =>
          (random.uniform() < 0.2 ? span.map((time) => time + 3 * random.normal()) : spanIn(random, 20)).map((time) =>
            float(rounded(time, 4)),
          ),
        ),
      });
    });
  }
  return {
    truth: { 'nlq_val.json': annotationText(videos) },
    predictions: { 'predictions.json': jsonText({ version: '1.0', challenge: 'ego4d_nlq_challenge', results }) },
  };
}

/** Long-Term Anticipation: five sequences of 20 verbs and nouns an instance, clips of 21 to 120 actions. */
export function ltaInputs(seed: number, instanceCount = 17_000): EvaluateInputs {
  const random = seededRandom(seed, 'lta');
  const [verbs, nouns] = [117, 521];
  const clips: JsonValue[] = [];
  const results: Record<string, JsonValue> = {};
  for (let c = 0, left = instanceCount; left > 0; c++) {
    const uid = uidOf(c, 'clip');
    const actions = Array.from({ length: 23 + random.integer(98) }, () => ({
      verb: Math.min(random.integer(verbs), random.integer(verbs)),
      noun: Math.min(random.integer(nouns), random.integer(nouns)),
    }));
    actions.forEach(({ verb, noun }, i) => {
      clips.push({
        video_uid: uidOf(c, 'video'),
        clip_uid: uid,
        clip_id: c,
        action_idx: i,
        action_clip_start_sec: 2 * i,
        action_clip_end_sec: 2 * i + 2,
        verb: `verb ${verb}`,
        noun: `noun ${noun}`,
        verb_label: verb,
        noun_label: noun,
      });
    });
    for (let last = 1; last < actions.length - 20 && left > 0; last++, left--) {
      const next = actions.slice(last + 1, last + 21);
      const guess = (kind: 'verb' | 'noun', count: number): number[][] =>
        Array.from({ length: 5 }, () =>
          next.map((action) => (random.uniform() < 0.3 ? action[kind] : random.integer(count))),
        );
      results[`${uid}_${last}`] = { verb: guess('verb', verbs), noun: guess('noun', nouns) };
    }
  }
  return {
    truth: {
      'fho_lta_val.json': jsonText({
        version: '2.0',
        date: '230105',
        description: 'LTA annotations (val)',
        split: 'val',
        clips,
      }),
    },
    predictions: { 'predictions.json': jsonText(results) },
  };
}

function annotationText(videos: readonly JsonValue[]): string {
  return jsonText({
    version: '2.0',
    date: '230105',
    description: 'annotations (val)',
    manifest: 'manifest.csv',
    videos,
  });
}

function clipTimes(): Readonly<Record<string, JsonValue>> {
  return {
    video_start_sec: 0,
    video_end_sec: clipLength,
    video_start_frame: 0,
    video_end_frame: 30 * clipLength,
    clip_start_sec: 0,
    clip_end_sec: clipLength,
    clip_start_frame: 0,
    clip_end_frame: 30 * clipLength,
    source_clip_uid: 'source',
  };
}

/** A span inside a clip, a tenth of a second to `longest` seconds, short ones oftener. */
function spanIn(random: Random, longest: number): [number, number] {
  const length = 0.1 + longest * random.uniform() ** 3;
  const start = random.uniform() * (clipLength - length);
  return [rounded(start, 4), rounded(start + length, 4)];
}

/** As long as the real ones, which are UUIDs. */
function uidOf(index: number, what: string): string {
  return `${index.toString(16).padStart(8, '0')}-0000-4000-8000-${what.padEnd(12, '0').slice(0, 12)}`;
}

function rounded(value: number, digits: number): number {
  return Math.round(value * 10 ** digits) / 10 ** digits;
}
