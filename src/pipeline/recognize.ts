import { asEgolensError, exitCodes } from '../errors.js';
import { sha256 } from '../files.js';
import { planNames, videoIdentity, type TimeBase, type VideoIdentity } from '../features/store.js';
import { findModel } from '../hub/cache.js';
import { canonicalText, float, type Float } from '../json.js';
import { doubtOf, openModelFolder, type ModelFolder } from '../models/folder.js';
import { chooseProvider } from '../runtime/providers.js';
import type { Session } from '../runtime/session.js';
import { rationalNumber } from '../time.js';
import type { Preset, Progress, Rational, RowTime, Seconds, Tensor } from '../types.js';
import { openVideo, type StreamChoice, type VideoSource } from '../video/probe.js';
import { findTools } from '../video/tools.js';
import { windowLayout } from '../video/windows.js';
import { classNames } from './class-names.js';
import {
  cosineLogits,
  FrameMean,
  mergeLabels,
  topClasses,
  ViewFusion,
  type ClassScores,
  type ScoredLabel,
} from './class-scores.js';
import { presetDetail, sessionDetail, sourceDetail, stagesDetail } from './detail.js';
import { encodeVideo, type EncodedVideo } from './encode-video.js';
import { checkDamage, concernsRun, inParallel, inputOf, type DecodeErrorPolicy } from './extract.js';
import { shardOf, type InputItem } from './inputs.js';
import { openModelSession } from './probe.js';
import { keptRecords, refuseForeign, writeRecords, type RecordFacts, type RecordTarget } from './record-files.js';
import { recognitionPreset, type RecipeOptions } from './recognize-recipe.js';
import { errorRecord, timeBaseOf, type ErrorRecord } from './records.js';
import { resolveSpan, spanKey, spanOf, type SpanRequest } from './span.js';
import { classVectors, textTowerOf } from './text-encoder.js';
import { programVersion, runtimeVersion } from './versions.js';

/** What there is to be recognised. */
export type ClassList =
  /** The classes of a classifier: the model's own list, one by name or path, or numbers only (`none`). */
  | { readonly kind: 'trained'; readonly labels?: string }
  /** Texts, each set into every template. */
  | { readonly kind: 'zero-shot'; readonly names: readonly string[]; readonly templates: readonly string[] };

/** Everything that decides a run of `recognize`. */
export interface RecognizeOptions extends RecipeOptions {
  /** Name or folder. */
  readonly model: string;
  readonly classes: ClassList;
  /** Most labels of a video or window. */
  readonly top: number;
  /** Labels below this score are left out; from 0 to 1. */
  readonly minScore: number;
  /** Neighbouring windows with the same first label become one. */
  readonly merge: boolean;
  /** A file a video; records come back in any case. */
  readonly output?: RecognizeOutput;
  readonly stream: StreamChoice;
  readonly span?: SpanRequest;
  readonly device: string;
  readonly threads?: number;
  /** Windows in one run; where absent 1 on the cpu, 8 elsewhere. */
  readonly batch?: number;
  /** Videos at once. */
  readonly jobs: number;
  readonly onError: 'skip' | 'stop';
  readonly decodeErrors: DecodeErrorPolicy;
  /** Fewer frames than the header claims are a failure too. */
  readonly strict: boolean;
  readonly timeoutMs?: number;
  readonly stallTimeoutMs?: number;
  readonly shard?: { readonly index: number; readonly of: number };
  readonly signal: AbortSignal;
  readonly progress: Progress;
}

/** Where the records of each video go. */
export interface RecognizeOutput {
  /** A folder for `{relpath}/{stem}.recognition.{ending}`, or the file itself for one video. */
  readonly path: string;
  readonly isFile: boolean;
  /** Without the dot: `ndjson`, `srt`, … */
  readonly ending: string;
  /** Replaces the default; ends with `.{ext}`. */
  readonly template?: string;
  readonly force: boolean;
  /** The content of the file. */
  readonly render: (video: RecognizedVideo) => Promise<string>;
}

/** `egolens.label/1` */
export type LabelRecord = {
  readonly schema: 'egolens.label/1';
  readonly input: string;
  readonly id: string;
  readonly model: string;
  readonly of: TimeBase;
  readonly start: Float;
  readonly end: Float;
  /** Which of the kinds of classes of a head; absent where there is one. */
  readonly kind?: 'verb' | 'noun';
  readonly label: string;
  readonly label_id: number;
  readonly score: Float;
  readonly logit: Float;
};

/** The labels of one video, and what players and editors need to know of it. */
export interface RecognizedVideo {
  readonly input: string;
  /** First time stamp of the stream minus the container's start. */
  readonly startOffset: Seconds;
  /** Frames a second as the header says; null where it says none that can be. */
  readonly rate: Rational | null;
  /** By time, within a stretch by falling score. */
  readonly records: readonly LabelRecord[];
}

/** What became of one video. */
export type RecognizeEvent =
  /** `path` where a file was written. */
  | { readonly kind: 'done'; readonly video: RecognizedVideo; readonly path?: string }
  /** The file was complete already. */
  | { readonly kind: 'kept'; readonly input: string; readonly path: string }
  | { readonly kind: 'failed'; readonly error: ErrorRecord };

/** Counts of a run, and where its time went. */
export interface RecognizeSummary {
  readonly done: number;
  readonly kept: number;
  readonly failed: number;
  readonly failedBefore: 0;
  readonly locked: 0;
  /** Windows and views that went through the model. */
  readonly rows: number;
  readonly records: number;
  /** Seconds by stage, summed over videos. */
  readonly seconds: Readonly<Record<string, number>>;
  readonly exit: number;
}

/** What all videos of a run share. */
interface Run {
  readonly options: RecognizeOptions;
  readonly model: ModelFolder;
  readonly preset: Preset;
  readonly classes: Classes;
  readonly versions: { readonly program: string; readonly runtime: string; readonly ffmpeg: string };
  /** Opened when the first video needs it. */
  session(): Promise<Session>;
}

/** The classes of a run, and how a row of the model becomes logits. */
interface Classes {
  readonly names: readonly string[];
  /** Output of the picture graph. */
  readonly output: string;
  readonly fusion: Preset['sampling']['fusion'];
  logitsOf(row: ArrayLike<number>): ArrayLike<number>;
  /** What else decides the scores, for keys. */
  readonly key: unknown;
}

/**
 * Labels of many videos: a bad one is reported and the others go on. Events come as the videos end (in list order for one job); the
 * return value is the summary.
 *
 * @throws EgolensError usage.*, model.*, data.*, device.*, tool.ffmpeg_missing, output.* before any video is read; run.interrupted
 */
export async function* recognize(
  items: readonly InputItem[],
  options: RecognizeOptions,
): AsyncGenerator<RecognizeEvent, RecognizeSummary> {
  const model = await openModelFolder(await findModel(options.model));
  const named = shardOf(nameVideos(items, options.output), options.shard);
  const listed = options.classes.kind === 'trained' ? await classNames(model, options.classes.labels) : undefined;
  if (listed === undefined) textTowerOf(model);
  const preset = recognitionPreset(model, options);
  const tools = await findTools();
  const choice = await chooseProvider(options.device, options.signal);
  const { trained } = model.manifest;
  options.progress.note(`${model.id} (${trained}) on ${choice.device}${choice.why === '' ? '' : `: ${choice.why}`}`);
  options.progress.detail?.(presetDetail(preset));
  const doubt = doubtOf(model);
  if (doubt) options.progress.warn(doubt.code, doubt.text);
  const classes: Classes =
    options.classes.kind === 'trained'
      ? { names: listed!, output: 'logits', fusion: preset.sampling.fusion, logitsOf: (row) => row, key: listed }
      : await textClasses(model, options.classes, { ...options, device: choice });
  let opened: Promise<Session> | undefined;
  const run: Run = {
    options,
    model,
    preset,
    classes,
    versions: { program: programVersion(), runtime: runtimeVersion(), ffmpeg: tools.version },
    session: () => (opened ??= openModelSession(model, { ...options, device: choice }, inputOf(preset))),
  };
  const counts = { done: 0, kept: 0, failed: 0 };
  let [rows, records] = [0, 0];
  const seconds: Record<string, number> = {};
  let isStopped = false;
  const results = inParallel(named, {
    jobs: options.jobs,
    work: (item) => recognizeOne(item, run),
    isStopped: () => isStopped,
  });
  try {
    for await (const { event, ...outcome } of results) {
      for (const [stage, value] of Object.entries(outcome.seconds)) seconds[stage] = (seconds[stage] ?? 0) + value;
      counts[event.kind]++;
      rows += outcome.rows;
      if (event.kind === 'done') records += event.video.records.length;
      if (event.kind === 'failed' && options.onError === 'stop') isStopped = true;
      yield event;
    }
  } finally {
    await (await opened?.catch(() => undefined))?.[Symbol.asyncDispose]();
  }
  const exit =
    counts.failed === 0 ? exitCodes.done : counts.done + counts.kept === 0 ? exitCodes.noneDone : exitCodes.someFailed;
  return { ...counts, failedBefore: 0, locked: 0, rows, records, seconds, exit };
}

interface NamedVideo {
  readonly input: InputItem;
  /** `<relpath>/<stem>` (files.md 7). */
  readonly id: string;
  readonly target?: RecordTarget;
}

/** @throws EgolensError usage.conflict where two videos would be written to one file */
function nameVideos(items: readonly InputItem[], output: RecognizeOutput | undefined): readonly NamedVideo[] {
  const ids = idsOf(items);
  if (output === undefined) return items.map((input, i) => ({ input, id: ids[i]! }));
  const paths = output.isFile ? [output.path] : pathsOf(items, output);
  return items.map((input, i) => {
    const path = paths[i]!; // a file is for one video
    return { input, id: ids[i]!, target: { path, meta: `${path}.meta.json` } };
  });
}

function pathsOf(items: readonly InputItem[], { path, ending, template }: RecognizeOutput): readonly string[] {
  const type = template === undefined ? `recognition.${ending}` : ending;
  const names = planNames(items, { out: path, type, ...(template !== undefined && { template }) });
  return names.map(({ targets }) => targets[0]!.array); // one a stream, and there is one
}

/** Where two inputs want one name, all are called as the user gave them: records need no names of files. */
function idsOf(items: readonly InputItem[]): readonly string[] {
  try {
    return planNames(items, { out: '.', type: 'ndjson' }).map(({ id }) => id);
  } catch (error) {
    if (asEgolensError(error).code !== 'usage.conflict') throw error;
    return items.map(({ name, input }) => name ?? input);
  }
}

/** Zero-shot: the class vectors are computed once a list, or come from the cache. */
async function textClasses(
  model: ModelFolder,
  { names, templates }: ClassList & { readonly kind: 'zero-shot' },
  options: Parameters<typeof openModelSession>[1] & Pick<RecognizeOptions, 'progress'>,
): Promise<Classes> {
  const { against } = textTowerOf(model);
  const { vectors, scale } = await classVectors(model, { ...options, classes: names, templates });
  return {
    names,
    output: against,
    // Several clips: probabilities are averaged (foundation.md 3.1), whatever the preset's rule for classifiers is.
    fusion: 'softmax-mean',
    logitsOf: (row) => cosineLogits(row, vectors, scale),
    key: { names, templates },
  };
}

interface Outcome {
  readonly event: RecognizeEvent;
  readonly rows: number;
  readonly seconds: Readonly<Record<string, number>>;
}

const nothing = { rows: 0, seconds: {} };

async function recognizeOne({ input, id, target }: NamedVideo, run: Run): Promise<Outcome> {
  const { signal, output } = run.options;
  try {
    signal.throwIfAborted();
    if (input.error) throw input.error;
    if (target === undefined || output === undefined) {
      const { video, rows, seconds } = await recognizeVideo(input, id, run);
      return { event: { kind: 'done', video }, rows, seconds };
    }
    const identity = await videoIdentity(input.path);
    const key = keyOf(input, identity, run);
    if (!output.force) {
      const kept = await keptRecords(target, key);
      if (kept) {
        checkDamage({ decodeErrors: kept.decodeErrors, ...kept.frames }, input, run.options);
        run.options.progress.detail?.(`kept \`${target.path}\``);
        return { event: { kind: 'kept', input: input.input, path: target.path }, ...nothing };
      }
      await refuseForeign(target);
    }
    const { video, facts, rows, seconds } = await recognizeVideo(input, id, run);
    const begun = performance.now();
    const text = await output.render(video);
    await writeRecords(target, text, { ...facts(identity), key, records: video.records.length });
    const write = (performance.now() - begun) / 1000;
    return { event: { kind: 'done', video, path: target.path }, rows, seconds: { ...seconds, write } };
  } catch (thrown) {
    if (signal.aborted) throw signal.reason;
    const error = asEgolensError(thrown, input.input);
    // In a folder a file in the way is in the way of this video alone.
    const isInTheWay = error.code === 'output.exists' && output?.isFile === false;
    if (concernsRun(error) && !isInTheWay) throw error;
    return { event: { kind: 'failed', error: errorRecord(error, input.input) }, ...nothing };
  }
}

/** Digest of everything that decides the file of a video. */
function keyOf(item: InputItem, video: VideoIdentity, { options, model, preset, classes }: Run): string {
  const { per, top, minScore, merge, stream, output } = options;
  const span = spanOf(item, options.span);
  return sha256(
    canonicalText({
      version: 1,
      // Both stand in the file.
      input: item.input,
      video: { bytes: video.bytes, identity: video.identity },
      preset: { ...preset, source: undefined },
      model: model.manifest.digest,
      output: classes.output,
      classes: sha256(canonicalText(classes.key)),
      settings: { decoder: 'decode/1', stream, per, top, minScore, merge, ending: output?.ending },
      span: spanKey(span),
      ...(item.of !== undefined && { of: { ...item.of } }),
    }),
  );
}

async function recognizeVideo(
  item: InputItem,
  id: string,
  run: Run,
): Promise<{
  readonly video: RecognizedVideo;
  readonly facts: (identity: VideoIdentity) => Omit<RecordFacts, 'key' | 'records'>;
  readonly rows: number;
  readonly seconds: Readonly<Record<string, number>>;
}> {
  const { options, model, preset, classes } = run;
  const limits = {
    signal: options.signal,
    ...(options.timeoutMs !== undefined && { timeoutMs: options.timeoutMs }),
    ...(options.stallTimeoutMs !== undefined && { stallTimeoutMs: options.stallTimeoutMs }),
  };
  const started = performance.now();
  const source = await openVideo(item.path, { stream: options.stream, ...limits });
  options.progress.detail?.(sourceDetail(item.input, source));
  const probed = performance.now();
  const session = await run.session();
  const batch = options.batch ?? (session.provider === 'cpu' ? 1 : 8);
  const { provider } = session;
  options.progress.detail?.(sessionDetail(item.input, { provider, batch, threads: options.threads }));
  const bar = options.progress.start(item.input, source.claimed.frames ?? undefined);
  const { crops } = windowLayout(source, preset.sampling, preset.pixels);
  const labeller = new Labeller(run, crops);
  let encoded: EncodedVideo;
  try {
    const span = await resolveSpan(spanOf(item, options.span), source, limits);
    encoded = await encodeVideo(source, {
      session,
      preset,
      output: classes.output,
      ...(model.spec.companions && { companions: model.spec.companions.bind(model.spec) }),
      ...(model.spec.isImage === true && { framesApart: true }),
      level: 'clip',
      batch,
      write(rows) {
        labeller.add(rows);
        return Promise.resolve();
      },
      limits,
      onFrames: (frames) => bar.advance(frames),
      ...(span !== undefined && { span }),
    });
  } finally {
    bar.stop();
  }
  const { decodeErrors, decodedFrames: decoded, warnings, startOffset } = encoded;
  checkDamage({ decodeErrors, decoded, claimed: source.claimed.frames }, item, options);
  for (const { code, message } of warnings) options.progress.warn(code, `\`${item.input}\`: ${message}`);
  const found = labeller.labels(encoded.rows);
  const isWhole = options.per === 'video';
  const records = found.map((one): LabelRecord => {
    return {
      schema: 'egolens.label/1',
      input: item.input,
      id: isWhole ? id : `${id}#${one.index}`,
      model: model.id,
      of: timeBaseOf(item),
      start: float(one.start),
      end: float(one.end),
      label: classes.names[one.label]!, // as many names as classes
      label_id: one.label,
      score: float(one.score),
      logit: float(one.logit),
    };
  });
  const facts = (identity: VideoIdentity) => ({
    input: { name: nameOf(item), bytes: identity.bytes, identity: identity.identity },
    stream: source.streamNumber,
    startOffset,
    frames: { claimed: source.claimed.frames, decoded },
    decodeErrors,
    warnings,
    of: timeBaseOf(item),
    preset: `${preset.name}@${preset.version}`,
    pixels: preset.pixels.path,
    model: { name: model.manifest.name, digest: model.manifest.digest },
    output: classes.output,
    precision: model.manifest.precision,
    provider: session.provider === 'stand-in' ? 'cpu' : session.provider,
    versions: run.versions,
  });
  const { decode, encode } = encoded.seconds;
  const total = (performance.now() - started) / 1000;
  const seconds = { probe: (probed - started) / 1000, decode, encode, total };
  options.progress.detail?.(stagesDetail(item.input, seconds));
  return {
    video: { input: item.input, startOffset, rate: plausibleRate(source), records },
    facts,
    rows: encoded.rows.length,
    seconds,
  };
}

/** Rows of the model, as they come, into the labels of a video or of its windows. */
class Labeller {
  readonly #fusion: ViewFusion;
  readonly #frames: FrameMean | undefined;
  readonly #found: (readonly Omit<ScoredLabel, 'index' | 'start' | 'end'>[])[] = [];
  #views = 0;

  constructor(
    private readonly run: Run,
    /** Rows of one window. */
    private readonly crops: number,
  ) {
    this.#fusion = new ViewFusion(run.classes.fusion);
    this.#frames = run.model.spec.isImage === true ? new FrameMean(run.preset.sampling.frames) : undefined;
  }

  add({ shape, data }: Tensor<'float32'>): void {
    const width = data.length / shape[0]!; // [n, width]
    for (let first = 0; first < data.length; first += width) {
      const row = data.subarray(first, first + width);
      const vector = this.#frames === undefined ? row : this.#frames.add(row);
      if (vector === undefined) continue;
      this.#fusion.add(this.run.classes.logitsOf(vector));
      this.#views++;
      if (this.run.options.per === 'window' && this.#views % this.crops === 0) this.#take();
    }
  }

  /** The labels with their times; all rows were added. */
  labels(times: readonly RowTime[]): ScoredLabel[] {
    if (this.run.options.per === 'video') {
      this.#take();
      const start = Math.min(...times.map((row) => row.start));
      const end = Math.max(...times.map((row) => row.end));
      return this.#found[0]!.map((one) => ({ index: 0, start, end, ...one })); // taken just now
    }
    const found = this.#found.flatMap((labels, index) => {
      const { start, end } = times[index * this.crops]!; // a row of times for each row of the model
      return labels.map((one) => ({ index, start, end, ...one }));
    });
    return this.run.options.merge ? mergeLabels(found) : found;
  }

  #take(): void {
    const { scores, logits }: ClassScores = this.#fusion.take();
    const { top, minScore } = this.run.options;
    const best = topClasses(scores, top, minScore);
    this.#found.push(best.map((label) => ({ label, score: scores[label]!, logit: logits[label]! })));
  }
}

/** Name below the folder that was given. */
function nameOf({ input, path, relpath }: InputItem): string {
  const name = input === 'video:-' ? 'stdin' : path.split(/[/\\]/).at(-1)!;
  return relpath === '' ? name : `${relpath}/${name}`;
}

/** Containers in circulation claim 1000 frames a second for 30. */
function plausibleRate({ claimed: { rate } }: VideoSource): Rational | null {
  return rate !== null && rationalNumber(rate) >= 1 && rationalNumber(rate) <= 240 ? rate : null;
}
