/**
 * Files at the level of the data set: `manifest.csv`, `ego4d.json`, `narration.json` (ego4d.md 1), and the two clocks of Ego4D.
 *
 * Seconds of a canonical clip and of a canonical video are different types: one is never taken for the other unseen. The official
 * files give both, and they do not always differ by the clip's start: where a file states the time that is wanted, take that.
 */
import { schemaFindings } from '../check.js';
import { EgolensError } from '../errors.js';
import type { Finding, JsonDocument, Seconds } from '../types.js';

declare const clock: unique symbol;
/** Seconds after the start of a canonical clip. */
export type ClipSeconds = Seconds & { readonly [clock]: 'clip' };
/** Seconds after the start of a canonical video. */
export type VideoSeconds = Seconds & { readonly [clock]: 'video' };

/** A number that is known to be seconds of a clip. */
export function clipSeconds(seconds: number): ClipSeconds {
  return seconds as ClipSeconds; // the brand exists in types only
}

/** A number that is known to be seconds of a video. */
export function videoSeconds(seconds: number): VideoSeconds {
  return seconds as VideoSeconds; // the brand exists in types only
}

/** Where a clip lies in its video. */
export interface ClipPlace {
  readonly clipUid: string;
  readonly videoUid: string;
  readonly start: VideoSeconds;
  readonly end: VideoSeconds;
}

/** The time in the clip's video. */
export function toVideo(place: Pick<ClipPlace, 'start'>, seconds: ClipSeconds): VideoSeconds {
  return videoSeconds(place.start + seconds);
}

/** The time in the clip; before 0 or after its end for what lies outside. */
export function toClip(place: Pick<ClipPlace, 'start'>, seconds: VideoSeconds): ClipSeconds {
  return clipSeconds(seconds - place.start);
}

export interface VideoEntry {
  readonly videoUid: string;
  readonly duration: VideoSeconds;
  readonly scenarios: readonly string[];
  readonly splits: { readonly em: string | null; readonly av: string | null; readonly fho: string | null };
  /** Two images side by side. */
  readonly isStereo: boolean;
  /** As it stands in the file, unknown members kept. */
  readonly official: Readonly<Record<string, unknown>>;
}

/** `ego4d.json`. */
export interface DataSet {
  readonly version: string;
  readonly videos: ReadonlyMap<string, VideoEntry>;
  /** The clip -> video map; empty where the file has none. */
  readonly clips: ReadonlyMap<string, ClipPlace>;
}

/** Reads `ego4d.json`. Throws `data.invalid` with the first fault; `findings` of `schemaFindings` tells all. */
export async function readDataSet(document: JsonDocument): Promise<DataSet> {
  refuse(document.name, await schemaFindings('ego4d.metadata/1', document, { limit: 2 }));
  const file = document.value as OfficialDataSet; // the schema was obeyed
  return {
    version: String(file.version ?? ''),
    videos: new Map(file.videos.map((video) => [video.video_uid, videoEntry(video)])),
    clips: new Map(
      (file.clips ?? []).map((clip) => [
        clip.clip_uid,
        {
          clipUid: clip.clip_uid,
          videoUid: clip.video_uid,
          start: videoSeconds(clip.video_start_sec),
          end: videoSeconds(clip.video_end_sec),
        },
      ]),
    ),
  };
}

interface OfficialDataSet {
  readonly version?: string | number;
  readonly videos: readonly OfficialVideo[];
  readonly clips?:
    | readonly {
        readonly clip_uid: string;
        readonly video_uid: string;
        readonly video_start_sec: number;
        readonly video_end_sec: number;
      }[]
    | null;
}

type OfficialVideo = Readonly<Record<string, unknown>> & {
  readonly video_uid: string;
  readonly duration_sec: number;
  readonly scenarios?: readonly string[] | null;
  readonly split_em?: string | null;
  readonly split_av?: string | null;
  readonly split_fho?: string | null;
  readonly is_stereo?: boolean | null;
};

function videoEntry(video: OfficialVideo): VideoEntry {
  return {
    videoUid: video.video_uid,
    duration: videoSeconds(video.duration_sec),
    scenarios: video.scenarios ?? [],
    splits: { em: video.split_em ?? null, av: video.split_av ?? null, fho: video.split_fho ?? null },
    isStereo: video.is_stereo === true,
    official: video,
  };
}

function refuse(name: string, [first, ...rest]: readonly Finding[]): void {
  if (first === undefined) return;
  const line = first.line === undefined ? '' : ` (line ${first.line})`;
  throw new EgolensError(
    'data.invalid',
    `\`${name}\`: ${first.at === '' ? 'the whole file' : first.at}${line}: expected ${first.expected}, found ${first.found}${rest.length > 0 ? ', and more' : ''}`,
    { input: name },
  );
}

/** One narrated moment of a video. */
export interface Narration {
  readonly pass: 1 | 2;
  readonly time: VideoSeconds;
  /** The wearer is `#C C`, others `#O`, doubt `#unsure`. */
  readonly text: string;
}

/** Reads `narration.json`: narrations by video uid, by pass, in file order; a pass may be missing. */
export async function readNarrations(document: JsonDocument): Promise<ReadonlyMap<string, readonly Narration[]>> {
  refuse(document.name, await schemaFindings('ego4d.narrations/1', document, { limit: 2 }));
  const file = document.value as OfficialNarrations | { readonly videos: OfficialNarrations }; // the schema was obeyed
  const videos = 'videos' in file ? (file.videos as OfficialNarrations) : file;
  return new Map(
    Object.entries(videos).map(([uid, passes]) => [
      uid,
      [passes.narration_pass_1, passes.narration_pass_2].flatMap((pass, index) =>
        (pass?.narrations ?? []).map((narration): Narration => ({
          pass: index === 0 ? 1 : 2,
          time: videoSeconds(narration.timestamp_sec),
          text: narration.narration_text,
        })),
      ),
    ]),
  );
}

interface OfficialPass {
  readonly narrations?: readonly { readonly timestamp_sec: number; readonly narration_text: string }[];
}
type OfficialNarrations = Readonly<
  Record<string, { readonly narration_pass_1?: OfficialPass | null; readonly narration_pass_2?: OfficialPass | null }>
>;

/** One row of a `manifest.csv`. */
export interface ManifestRow {
  readonly uid: string;
  readonly kind: 'video' | 'file';
  /** Where the official downloader finds it; empty where the row does not say. */
  readonly location: string;
  /** Lower case; undefined where the manifest has no such column or the row does not match its form. */
  readonly benchmarks: readonly string[] | undefined;
  /** Every column by its header, as it stands. */
  readonly columns: Readonly<Record<string, string>>;
}

/**
 * Reads a `manifest.csv`: columns vary, quoted fields and a byte order mark are taken. Rows without an id and rows of another
 * length become findings and are left out.
 */
export function readManifest(name: string, text: string): { rows: ManifestRow[]; findings: Finding[] } {
  const [header, ...records] = csvRecords(name, text.replace(/^\ufeff/, ''));
  if (header === undefined) throw new EgolensError('data.invalid', `\`${name}\`: expected a header, found no line`);
  const names = header.fields.map((field) => field.trim());
  if (!names.includes('video_uid') && !names.includes('file_uid')) {
    throw new EgolensError(
      'data.invalid',
      `\`${name}\`: line 1: expected a column \`video_uid\` or \`file_uid\`, found \`${names.join(',').slice(0, 100)}\``,
      { input: name },
    );
  }
  const rows: ManifestRow[] = [];
  const findings: Finding[] = [];
  records.forEach(({ fields, line }, index) => {
    const at = `/${index}`;
    if (fields.length !== names.length) {
      const [expected, found] = [`${names.length} fields`, String(fields.length)];
      findings.push({ level: 'error', code: 'data.invalid', at, line, expected, found });
      return;
    }
    const columns: Readonly<Record<string, string>> = Object.fromEntries(
      names.map((column, field) => [column, fields[field] ?? '']),
    );
    const kind = kindOfRow(columns);
    const uid = (kind === 'file' ? columns['file_uid'] : columns['video_uid'])?.trim() ?? '';
    if (uid === '') {
      findings.push({ level: 'error', code: 'data.invalid', at, line, expected: `a \`${kind}_uid\``, found: 'none' });
      return;
    }
    const stated = columns['benchmarks'];
    const benchmarks = stated === undefined ? undefined : benchmarksOf(stated);
    if (stated !== undefined && benchmarks === undefined) {
      findings.push({
        level: 'warning',
        code: 'data.invalid',
        at: `${at}/benchmarks`,
        line,
        expected: 'a list such as `[em|fho]`',
        found: `\`${stated.slice(0, 60)}\``,
        hint: 'a filter by benchmark drops this row',
      });
    }
    const location = columns['canonical_s3_location'] ?? columns['s3_path'] ?? '';
    rows.push({ uid, kind, location, benchmarks, columns });
  });
  return { rows, findings };
}

/** `type` decides where it says something; else a row with a `file_uid` is a plain file. */
function kindOfRow(columns: Readonly<Record<string, string>>): ManifestRow['kind'] {
  const type = columns['type']?.trim().toLowerCase();
  if (type === 'mp4' || type === 'video') return 'video';
  if (type === 'file' || type === 'json') return 'file';
  return (columns['file_uid'] ?? '').trim() === '' ? 'video' : 'file';
}

function benchmarksOf(text: string): string[] | undefined {
  const inner = /^\[([^[\]]*)\]$/.exec(text.replaceAll(' ', '').toLowerCase())?.[1];
  return inner?.split('|').filter((benchmark) => benchmark !== '');
}

/** Records of a CSV text with the line each begins in; empty lines are skipped. */
function csvRecords(name: string, text: string): { fields: string[]; line: number }[] {
  const records: { fields: string[]; line: number }[] = [];
  let [at, line] = [0, 1];
  while (at < text.length) {
    const begin = line;
    const fields: string[] = [];
    for (;;) {
      let field = '';
      if (text[at] === '"') {
        const opened = line;
        for (;;) {
          const quote = text.indexOf('"', at + 1);
          if (quote < 0) {
            throw new EgolensError('data.invalid', `\`${name}\`: line ${opened}: the quoted field does not end`, {
              input: name,
            });
          }
          const piece = text.slice(at + 1, quote);
          field += piece;
          line += piece.split('\n').length - 1;
          at = quote + 1;
          if (text[at] !== '"') break;
          field += '"'; // a doubled quote stands for one
        }
      }
      const stop = /[,\r\n]/g;
      stop.lastIndex = at;
      const end = stop.exec(text)?.index ?? text.length;
      fields.push(field + text.slice(at, end));
      at = end;
      if (text[at] !== ',') break;
      at++;
    }
    if (text[at] === '\r') at++;
    if (text[at] === '\n') at++;
    line++;
    if (fields.length > 1 || fields[0] !== '') records.push({ fields, line: begin });
  }
  return records;
}
