import { dirname } from 'node:path';
import { EgolensError, asEgolensError, exitCodeOf, exitCodes } from '../errors.js';
import { makeFolder, pathExists, sha256 } from '../files.js';
import { openLedger, readLedger, type Ledger } from '../features/ledger.js';
import { removeDeadTemporaries, tryLock } from '../features/locks.js';
import {
  completeMeta,
  featureKey,
  ledgerFiles,
  openFeatureWriter,
  planNames,
  readMeta,
  videoIdentity,
  type FeatureMeta,
  type FeatureStream,
  type FeatureTarget,
  type FeatureType,
  type ItemNames,
  type TimeBase,
  type VideoIdentity,
} from '../features/store.js';
import { findModel } from '../hub/cache.js';
import { canonicalText, type JsonValue } from '../json.js';
import { openModelFolder, type ModelFolder } from '../models/folder.js';
import { presetJson } from '../models/presets.js';
import { chooseProvider } from '../runtime/providers.js';
import type { Session } from '../runtime/session.js';
import { windowExtent } from '../time.js';
import type { Preset, Progress } from '../types.js';
import { openVideo, type StreamChoice } from '../video/probe.js';
import { findTools } from '../video/tools.js';
import { anchorRate } from '../video/anchored-windows.js';
import { pixelDType } from '../video/resize.js';
import { isDense } from '../video/windows.js';
import { anchorKey, anchorsOf, type AnchorRequest } from './anchors.js';
import { presetDetail, sessionDetail, sourceDetail, stagesDetail } from './detail.js';
import { encodeVideo, type EncodedVideo } from './encode-video.js';
import { shardOf, type InputItem, type Shard } from './inputs.js';
import { openModelSession } from './probe.js';
import { errorRecord, timeBaseOf, type ErrorRecord } from './records.js';
import { resolveSpan, spanKey, spanOf, type SpanRequest } from './span.js';
import { programVersion, runtimeVersion } from './versions.js';

/** How much damage a video may have: none, so many error messages, any. */
export type DecodeErrorPolicy = 'ignore' | 'fail' | { readonly limit: number };

/** Everything that decides a run of `extract`. */
export interface ExtractOptions {
  /** Name or folder; the masked stream where there are two. */
  readonly model: string;
  /** Name or folder of the encoder of the multimodal stream. */
  readonly multimodal?: string;
  /** Which streams are computed; where absent that of `model`, under plain names. `both`: each on the masked stream's windows. */
  readonly streamSet?: FeatureStream | 'both';
  /** Output folder. */
  readonly output: string;
  /** Replaces the model's own preset; it has to fit the model. */
  readonly preset?: Preset;
  /** Last changes to the preset: `--stride`, `--pixels`, … */
  readonly adjust?: (preset: Preset) => Preset;
  /** `mean`: the preset's feature, one vector a row. `tokens`: the model's tokens. */
  readonly pool: 'mean' | 'tokens';
  /** `clip`: one row a window. `frame`: the same of an image model, one row a frame. `video`: the mean of all rows, one row. */
  readonly level: 'clip' | 'frame' | 'video';
  readonly type: FeatureType;
  readonly template?: string;
  readonly stream: StreamChoice;
  readonly span?: SpanRequest;
  /** Windows that end at these times, in place of those of the preset's plan; an item's own come before them. */
  readonly at?: AnchorRequest;
  readonly device: string;
  readonly threads?: number;
  /** Windows in one run; where absent 1 on the cpu, 8 elsewhere. */
  readonly batch?: number;
  /** Videos at once. */
  readonly jobs: number;
  readonly force: boolean;
  readonly retryFailed: boolean;
  readonly onError: 'skip' | 'stop';
  readonly decodeErrors: DecodeErrorPolicy;
  /** Fewer frames than the header claims are a failure too. */
  readonly strict: boolean;
  readonly timeoutMs?: number;
  readonly stallTimeoutMs?: number;
  readonly identity: 'ends' | 'content';
  readonly shard?: Shard;
  readonly argv: readonly string[];
  readonly signal: AbortSignal;
  readonly progress: Progress;
}

/** `egolens.features/1` */
export type FeatureRecord = {
  readonly schema: 'egolens.features/1';
  readonly input: string;
  readonly id: string;
  readonly model: string;
  readonly of: TimeBase;
  readonly path: string;
  readonly shape: readonly number[];
  readonly rows: number;
  readonly clock: JsonValue;
  readonly key: string;
};

/** What became of one video. */
export type ExtractEvent =
  /** `kept`: it was complete already. */
  | { readonly kind: 'done' | 'kept'; readonly record: FeatureRecord }
  | { readonly kind: 'failed'; readonly error: ErrorRecord }
  /** Failed in an earlier run, or another process works on it now. */
  | { readonly kind: 'skipped'; readonly input: string; readonly why: 'failed-before' | 'locked' };

/** Counts of a run, and where its time went. */
export interface ExtractSummary {
  readonly done: number;
  readonly kept: number;
  readonly failed: number;
  readonly failedBefore: number;
  readonly locked: number;
  readonly rows: number;
  /** Seconds by stage, summed over videos. */
  readonly seconds: Readonly<Record<string, number>>;
  readonly exit: number;
}

/** One encoder over the videos of a run. */
interface Stream {
  /** Absent for a run of one stream without a name. */
  readonly name?: FeatureStream;
  readonly model: ModelFolder;
  readonly preset: Preset;
  readonly output: string;
}

/** What all videos of a run share. */
interface Run {
  readonly options: ExtractOptions;
  readonly streams: readonly Stream[];
  readonly ledger: Ledger;
  /** Item -> the attempt (`attemptOf`) that failed in an earlier run. */
  readonly failedBefore: ReadonlyMap<string, string>;
  readonly versions: { readonly program: string; readonly runtime: string; readonly ffmpeg: string };
  /** Opened when the first video needs it. */
  session(stream: Stream): Promise<Session>;
}

/**
 * Features of many videos: a bad one is reported and the others go on; a second start does what is missing. Events come as the videos
 * end (in list order for one job); the return value is the summary.
 *
 * @throws EgolensError usage.*, model.*, device.*, tool.ffmpeg_missing before anything is written; run.interrupted
 */
export async function* extract(
  items: readonly InputItem[],
  options: ExtractOptions,
): AsyncGenerator<ExtractEvent, ExtractSummary> {
  const { names, streams } = await prepare(items, options);
  const mine = shardOf(names, options.shard);
  const tools = await findTools();
  const choice = await chooseProvider(options.device, options.signal);
  const models = streams.map(({ model }) => `${model.id} (${model.manifest.trained})`).join(', ');
  options.progress.note(`${models} on ${choice.device}${choice.why === '' ? '' : `: ${choice.why}`}`);
  for (const { preset } of streams) options.progress.detail?.(presetDetail(preset));
  await makeFolder(options.output);
  const settings = streams.map(({ model, output, preset }) => ({
    model: model.manifest.digest,
    output,
    preset: presetJson(preset),
    pool: options.pool,
    level: options.level,
  }));
  const state = await readLedger(options.output);
  const failedBefore = new Map(
    [...state.items].flatMap(([id, item]) =>
      item.state === 'failed' && !item.retryable && item.key !== undefined ? [[id, item.key] as const] : [],
    ),
  );
  await using ledger = await openLedger(options.output, {
    version: programVersion(),
    argv: options.argv,
    config: sha256(canonicalText(settings.length === 1 ? settings[0] : settings)),
  });
  const folders = new Set(mine.map((item) => dirname(item.targets[0]!.array)));
  for (const folder of folders) await removeDeadTemporaries(folder);
  const opened = new Map<Stream, Promise<Session>>();
  const run: Run = {
    options,
    streams,
    ledger,
    failedBefore,
    versions: { program: programVersion(), runtime: runtimeVersion(), ffmpeg: tools.version },
    session(stream) {
      const { model, preset } = stream;
      const session = opened.get(stream) ?? openModelSession(model, { ...options, device: choice }, inputOf(preset));
      opened.set(stream, session);
      return session;
    },
  };
  const counts = { done: 0, kept: 0, failed: 0, failedBefore: 0, locked: 0, rows: 0 };
  const seconds: Record<string, number> = {};
  let exit: number = exitCodes.internal;
  let isStopped = false;
  const results = inParallel(mine, {
    jobs: options.jobs,
    work: (item) => extractOne(item, run),
    isStopped: () => isStopped,
  });
  try {
    for await (const { events, stages } of results) {
      for (const [stage, value] of Object.entries(stages)) seconds[stage] = (seconds[stage] ?? 0) + value;
      // A video is counted once, however many streams it has: as done when one of them was.
      const counted = events.find(({ kind }) => kind === 'done') ?? events[0]!;
      if (counted.kind === 'skipped') counts[counted.why === 'locked' ? 'locked' : 'failedBefore']++;
      else counts[counted.kind]++;
      if (counted.kind === 'failed' && options.onError === 'stop') isStopped = true;
      for (const event of events) {
        if (event.kind === 'done' || event.kind === 'kept') counts.rows += event.record.rows;
        yield event;
      }
    }
    exit = exitOf(counts);
  } catch (error) {
    exit = exitCodeOf(asEgolensError(error).code);
    throw error;
  } finally {
    for (const session of opened.values()) await (await session.catch(() => undefined))?.[Symbol.asyncDispose]();
    await ledger.end(counts, exit);
  }
  return { ...counts, seconds, exit };
}

/** What would be done, without touching anything. */
export interface PlannedVideo {
  readonly input: string;
  readonly id: string;
  readonly path: string;
  readonly state: 'missing' | 'complete' | 'failed';
  readonly frames: number | null;
  readonly seconds: number | null;
  /** Seconds of work, judged by videos of the same model and preset in the ledger; null where there is none, and for a part of a video. */
  readonly estimate: number | null;
  readonly error: string | null;
}

/** The plan of `--dry-run`: names, states, claimed lengths. */
export async function* planExtract(items: readonly InputItem[], options: ExtractOptions): AsyncGenerator<PlannedVideo> {
  const { names, streams } = await prepare(items, options);
  const pace = await paceOf(names, streams, options);
  for (const item of shardOf(names, options.shard)) {
    options.signal.throwIfAborted();
    const base = { input: item.input.input, id: item.id, path: item.targets[0]!.array };
    const unknown = { frames: null, seconds: null, estimate: null };
    try {
      if (item.input.error) throw item.input.error;
      const video = await videoIdentity(item.input.path, options.identity);
      const source = await openVideo(item.input.path, { stream: options.stream, signal: options.signal });
      const keys = streams.map((stream) => keyOf(item.input, video, stream, options));
      const metas = await Promise.all(item.targets.map((target, i) => completeMeta(target, keys[i]!)));
      const isComplete = !options.force && metas.every((meta) => meta !== undefined);
      const { frames, duration } = source.claimed;
      const isWhole = (spanOf(item.input, options.span) ?? item.input.at ?? options.at) === undefined;
      const estimate = isComplete ? 0 : frames === null || pace === undefined || !isWhole ? null : frames * pace;
      yield { ...base, state: isComplete ? 'complete' : 'missing', frames, seconds: duration, estimate, error: null };
    } catch (error) {
      yield { ...base, ...unknown, state: 'failed', error: asEgolensError(error).code };
    }
  }
}

/** Seconds of work a frame, over the listed videos that an earlier run has done with these models and presets. */
async function paceOf(
  names: readonly Named[],
  streams: readonly Stream[],
  { output }: ExtractOptions,
): Promise<number | undefined> {
  const { items } = await readLedger(output);
  let [seconds, frames] = [0, 0];
  for (const { id, targets } of names) {
    const state = items.get(id);
    if (state?.state !== 'done' || state.seconds === undefined) continue;
    const metas = await Promise.all(targets.map(({ meta }) => readMeta(meta).catch(() => undefined)));
    const isAlike = streams.every(({ model, preset }, i) => {
      const meta = metas[i];
      return meta?.model.digest === model.manifest.digest && meta.preset === `${preset.name}@${preset.version}`;
    });
    if (!isAlike) continue;
    seconds += state.seconds;
    frames += metas[0]!.frames.decoded; // alike: it is there
  }
  return frames === 0 ? undefined : seconds / frames;
}

/** An input with its names. */
interface Named extends Omit<ItemNames, 'input'> {
  readonly input: InputItem;
}

async function prepare(
  items: readonly InputItem[],
  options: ExtractOptions,
): Promise<{ names: readonly Named[]; streams: readonly Stream[] }> {
  const { type, template, streamSet } = options;
  const planned = planNames(items, {
    out: options.output,
    type,
    ...(template !== undefined && { template }),
    ...(streamSet !== undefined && { streamSet }),
  });
  const names = planned.map((item, i): Named => ({ ...item, input: items[i]! }));
  const streams = await openStreams(options);
  for (const { preset } of streams) {
    anchorsOf({}, options.at, preset.sampling);
    if (items.some(({ at }) => at !== undefined)) anchorRate(preset.sampling);
  }
  return { names, streams };
}

/** The encoders that are asked for, in the order of the targets of `planNames`. */
async function openStreams(options: ExtractOptions): Promise<readonly Stream[]> {
  const { streamSet, multimodal } = options;
  if (streamSet === undefined || streamSet === 'masked') return [await openStream(options.model, options, streamSet)];
  if (multimodal === undefined) {
    throw new EgolensError(
      'usage.flag',
      `--stream-set ${streamSet}: expected --multimodal with the model of that stream`,
      {
        try: '`egolens models list` shows the models there are; families internvideo-mm, viclip, clip and uniformerv2 make that stream',
      },
    );
  }
  if (streamSet === 'multimodal') return [await openStream(multimodal, options, streamSet)];
  const masked = await openStream(options.model, options, 'masked');
  const model = await openModelFolder(await findModel(multimodal));
  const preset = fitted(onWindowsOf(masked, model), model);
  return [masked, { name: 'multimodal', model, preset, output: outputOf(model, preset, options) }];
}

async function openStream(name: string, options: ExtractOptions, stream: FeatureStream | undefined): Promise<Stream> {
  const model = await openModelFolder(await findModel(name));
  const base = options.preset ?? model.preset;
  const preset = fitted(options.adjust?.(base) ?? base, model);
  const output = outputOf(model, preset, options);
  return { model, preset, output, ...(stream !== undefined && { name: stream }) };
}

/** The recipe of a second model on the windows of the first: its own pixels and number of frames, spread over each window. */
function onWindowsOf({ model: first, preset: { name, version, sampling } }: Stream, model: ModelFolder): Preset {
  const own = model.preset;
  const extent = windowExtent(sampling);
  const { frames } = model.spec;
  if (!isDense(sampling)) {
    throw new EgolensError(
      'usage.conflict',
      `preset ${name}: --stream-set both needs sliding windows, found plan ${sampling.plan}`,
      {
        try: 'a preset with plan `dense`, such as ego4d-mq, or one stream at a time',
      },
    );
  }
  if (frames > extent) {
    throw new EgolensError(
      'model.config',
      `${model.id} takes ${frames} frames, the windows of ${first.id} span ${extent}`,
      { try: '`--window` makes them longer' },
    );
  }
  return {
    ...own,
    name: `${own.name}-on-${name}`,
    sampling: { ...sampling, fusion: own.sampling.fusion, frames, step: Math.floor(extent / frames), extent },
    source: `pixels of preset ${own.name}@${own.version}, windows of ${name}@${version}`,
  };
}

/** The output that a stream writes. Throws `model.config` where it has no row of fixed size per window. */
function outputOf(model: ModelFolder, preset: Preset, options: ExtractOptions): string {
  if (options.level === 'frame' && !model.spec.isImage) {
    throw new EgolensError(
      'model.config',
      `${model.id}: --level frame needs an image model, this one takes ${model.spec.frames} frames`,
      {
        try: 'family clip encodes frame by frame; `--level clip` gives a row a window',
      },
    );
  }
  const output = options.pool === 'tokens' ? model.spec.tokenOutput : preset.feature;
  const shape = model.spec.outputs[output]?.shape;
  if (
    shape?.[0] !== 'batch' ||
    shape.slice(1).some((dim) => typeof dim !== 'number') ||
    (Object.keys(model.spec.arrays).length > 0 && model.spec.companions === undefined)
  ) {
    throw new EgolensError('model.config', `${model.id}: output \`${output}\` gives no row of fixed size per window`, {
      try: 'take a model with a pooled output, such as family videomae-classifier',
    });
  }
  return output;
}

/** A preset made for other frames or another size cannot feed this model. */
export function fitted(preset: Preset, { spec, id }: ModelFolder): Preset {
  if (preset.sampling.frames !== spec.frames || preset.pixels.size !== spec.size) {
    throw new EgolensError(
      'model.config',
      `preset ${preset.name}: ${preset.sampling.frames} frames at ${preset.pixels.size} pixels; ${id} takes ${spec.frames} frames at ${spec.size} pixels`,
      { try: '`egolens presets list` shows frames and sizes' },
    );
  }
  if (preset.pixels.crop === 'none' && preset.pixels.to === 'short-side') {
    throw new EgolensError(
      'model.config',
      `preset ${preset.name}: without a crop the pictures must be stretched to the model's square`,
    );
  }
  const least = windowExtent({ frames: preset.sampling.frames, step: preset.sampling.step });
  if (windowExtent(preset.sampling) < least) {
    throw new EgolensError(
      'model.config',
      `preset ${preset.name}: extent ${preset.sampling.extent}; its frames and step span ${least}`,
    );
  }
  const { mean, std } = preset;
  if (spec.companions && pixelDType(preset.pixels) === 'float32') {
    throw new EgolensError(
      'model.config',
      `preset ${preset.name}: resize ${preset.pixels.resize} gives floats; both streams of ${id} are fed from bytes`,
      { try: 'a preset with resize `opencv-bilinear`' },
    );
  }
  const own = spec.preset;
  if (pixelDType(preset.pixels) === 'uint8' && (mean.join() !== own.mean.join() || std.join() !== own.std.join())) {
    throw new EgolensError(
      'model.config',
      `preset ${preset.name}: mean ${mean.join(', ')} and std ${std.join(', ')}; the graph of ${id} normalises with ${own.mean.join(', ')} and ${own.std.join(', ')}`,
      { try: 'import the checkpoint again with `--preset`' },
    );
  }
  return preset;
}

export function inputOf(preset: Preset): 'frames' | 'normalised' {
  return pixelDType(preset.pixels) === 'float32' ? 'normalised' : 'frames';
}

function exitOf(counts: { done: number; kept: number; failed: number; failedBefore: number }): number {
  if (counts.failed + counts.failedBefore === 0) return exitCodes.done;
  return counts.done + counts.kept === 0 ? exitCodes.noneDone : exitCodes.someFailed;
}

/** Digest of everything that decides the values of a feature file. */
function keyOf(
  item: InputItem,
  video: VideoIdentity,
  { model, preset, output }: Stream,
  options: ExtractOptions,
): string {
  const span = spanOf(item, options.span);
  const at = anchorsOf(item, options.at, preset.sampling);
  return featureKey({
    video,
    preset,
    // `decode/1` stands for the rule by which the decoder's threads follow from the video (video/decode.ts).
    settings: {
      decoder: 'decode/1',
      stream: options.stream,
      span: spanKey(span),
      // Not where there is none: what was computed before there were any stays valid.
      ...(at !== undefined && { at: anchorKey(at, preset.sampling) }),
      // It stands in the meta file.
      ...(item.of !== undefined && { of: { ...item.of } }),
      pool: options.pool,
      level: levelOf(options),
    },
    modelDigest: model.manifest.digest,
    output,
    precision: model.manifest.precision,
  });
}

/** For an image model a window is a frame. */
function levelOf({ level }: ExtractOptions): 'clip' | 'video' {
  return level === 'frame' ? 'clip' : level;
}

/** What has to change before a video that failed is tried again unasked: itself, the recipe, or how much damage it may have. */
function attemptOf(key: string, { decodeErrors, strict }: ExtractOptions): string {
  return sha256(canonicalText({ key, decodeErrors, strict }));
}

interface Outcome {
  /** One, or one a stream. */
  readonly events: readonly ExtractEvent[];
  readonly stages: Readonly<Record<string, number>>;
}

async function extractOne(item: Named, run: Run): Promise<Outcome> {
  const { options, ledger } = run;
  const { input, targets } = item;
  let attempt: string | undefined;
  let isStarted = false;
  let lost: AbortSignal | undefined;
  try {
    options.signal.throwIfAborted();
    if (input.error) throw input.error;
    const video = await videoIdentity(input.path, options.identity);
    const keys = run.streams.map((stream) => keyOf(input, video, stream, options));
    attempt = attemptOf(keys.join(' '), options);
    const kept = await keptOf(item, keys, run);
    if (kept.every((event) => event !== undefined)) {
      await dropDeadLock(item);
      return { events: kept, stages: {} };
    }
    if (run.failedBefore.get(item.id) === attempt && !options.retryFailed && !options.force) {
      await dropDeadLock(item);
      return skipped(item, 'failed-before');
    }
    const outputs = targets.flatMap(({ array, times, meta }) => [array, times, meta]);
    await using lock = await tryLock(item.lock, { outputs });
    if (!lock) return skipped(item, 'locked');
    lost = lock.lost;
    // Whoever held the lock before may have finished it.
    const finished = await keptOf(item, keys, run);
    if (finished.every((event) => event !== undefined)) return { events: finished, stages: {} };
    await ledger.start(item.id);
    isStarted = true;
    const signal = AbortSignal.any([options.signal, lost]);
    const events: ExtractEvent[] = [];
    const files: Record<string, string> = {};
    const stages: Record<string, number> = {};
    for (const [i, stream] of run.streams.entries()) {
      const [target, there] = [targets[i]!, finished[i]];
      if (there !== undefined) {
        events.push(there);
        continue;
      }
      const { meta, seconds } = await extractVideo(item, { run, stream, key: keys[i]!, video, target, signal });
      Object.assign(files, ledgerFiles(options.output, target, meta));
      for (const [stage, value] of Object.entries(seconds)) stages[stage] = (stages[stage] ?? 0) + value;
      events.push({ kind: 'done', record: recordOf(item, stream, target, meta) });
    }
    await ledger.done(item.id, files, stages);
    return { events, stages };
  } catch (thrown) {
    if (options.signal.aborted) throw options.signal.reason;
    if (lost?.aborted === true) return skipped(item, 'locked');
    const error = asEgolensError(thrown, input.input);
    if (concernsRun(error)) throw error;
    if (!isStarted) await ledger.start(item.id);
    await ledger.failed(item.id, error, attempt);
    return { events: [{ kind: 'failed', error: errorRecord(error, input.input) }], stages: {} };
  }
}

/** A device that fails, a folder that cannot be written, a full disk: no fault of this video, and the next one would meet it too. */
export function concernsRun({ code }: EgolensError): boolean {
  return code === 'limit.disk' || ['device', 'model', 'tool', 'output'].includes(code.split('.')[0]!);
}

function skipped({ input }: Named, why: 'failed-before' | 'locked'): Outcome {
  return { events: [{ kind: 'skipped', input: input.input, why }], stages: {} };
}

/** Of each stream the features that are there already; what they say of damage is held to the rules of this run. */
async function keptOf(
  item: Named,
  keys: readonly string[],
  { streams, options }: Run,
): Promise<(ExtractEvent | undefined)[]> {
  const events: (ExtractEvent | undefined)[] = [];
  for (const [i, stream] of streams.entries()) {
    const target = item.targets[i]!;
    const meta = options.force ? undefined : await completeMeta(target, keys[i]!);
    if (meta) checkDamage({ decodeErrors: meta.decodeErrors, ...meta.frames }, item.input, options);
    events.push(meta && { kind: 'kept', record: recordOf(item, stream, target, meta) });
  }
  return events;
}

/** A process that was killed after its last file was in place leaves its lock. */
async function dropDeadLock({ lock }: Named): Promise<void> {
  const dead = (await pathExists(lock)) ? await tryLock(lock) : undefined;
  await dead?.[Symbol.asyncDispose]();
}

function recordOf(item: Named, { model }: Stream, target: FeatureTarget, meta: FeatureMeta): FeatureRecord {
  return {
    schema: 'egolens.features/1',
    input: item.input.input,
    id: item.id,
    model: model.id,
    of: timeBaseOf(item.input),
    path: target.array,
    shape: meta.array.shape,
    rows: meta.array.shape[0]!,
    clock: meta.clock === null ? null : { ...meta.clock },
    key: meta.key,
  };
}

interface VideoWork {
  readonly run: Run;
  readonly stream: Stream;
  readonly key: string;
  readonly video: VideoIdentity;
  readonly target: FeatureTarget;
  readonly signal: AbortSignal;
}

async function extractVideo(
  item: Named,
  { run, stream, key, video, target, signal }: VideoWork,
): Promise<{ meta: FeatureMeta; seconds: Record<string, number> }> {
  const { options } = run;
  const { model, preset, output } = stream;
  const limits = {
    signal,
    ...(options.timeoutMs !== undefined && { timeoutMs: options.timeoutMs }),
    ...(options.stallTimeoutMs !== undefined && { stallTimeoutMs: options.stallTimeoutMs }),
  };
  const started = performance.now();
  const source = await openVideo(item.input.path, { stream: options.stream, ...limits });
  options.progress.detail?.(sourceDetail(item.input.input, source));
  const probed = performance.now();
  const session = await run.session(stream);
  const batch = options.batch ?? (session.provider === 'cpu' ? 1 : 8);
  const { provider } = session;
  options.progress.detail?.(sessionDetail(item.input.input, { provider, batch, threads: options.threads }));
  const rowShape = model.spec.outputs[output]!.shape.slice(1) as number[]; // fixed sizes: `prepare` checked
  await using writer = await openFeatureWriter(target, rowShape);
  const bar = options.progress.start(item.input.input, source.claimed.frames ?? undefined);
  let encoded: EncodedVideo;
  try {
    const span = await resolveSpan(spanOf(item.input, options.span), source, limits);
    const at = anchorsOf(item.input, options.at, preset.sampling);
    encoded = await encodeVideo(source, {
      session,
      preset,
      output,
      ...(model.spec.companions && { companions: model.spec.companions.bind(model.spec) }),
      level: levelOf(options),
      batch,
      write: (rows) => writer.append(rows),
      limits,
      onFrames: (frames) => bar.advance(frames),
      ...(span !== undefined && { span }),
      ...(at !== undefined && { at }),
    });
  } finally {
    bar.stop();
  }
  const damage = { decodeErrors: encoded.decodeErrors, decoded: encoded.decodedFrames };
  checkDamage({ ...damage, claimed: source.claimed.frames }, item.input, options);
  for (const { code, message } of encoded.warnings) options.progress.warn(code, `\`${item.input.input}\`: ${message}`);
  const folder = item.input.relpath === '' ? '' : `${item.input.relpath}/`;
  const name = item.input.input === 'video:-' ? 'stdin' : item.input.path.split(/[/\\]/).at(-1)!;
  const meta = await writer.finish(
    {
      input: { name: folder + name, bytes: video.bytes, identity: video.identity },
      stream: source.streamNumber,
      startOffset: encoded.startOffset,
      frames: { claimed: source.claimed.frames, decoded: encoded.decodedFrames },
      decodeErrors: encoded.decodeErrors,
      warnings: encoded.warnings,
      picture: { width: source.width, height: source.height },
      clock: encoded.clock,
      of: timeBaseOf(item.input),
      preset: `${preset.name}@${preset.version}`,
      pixels: preset.pixels.path,
      model: { name: model.manifest.name, digest: model.manifest.digest },
      output,
      precision: model.manifest.precision,
      provider: session.provider === 'stand-in' ? 'cpu' : session.provider,
      versions: run.versions,
      key,
    },
    encoded.rows,
  );
  const ended = performance.now();
  const { decode, encode, write } = encoded.seconds;
  const total = { probe: (probed - started) / 1000, decode, encode, write, total: (ended - started) / 1000 };
  options.progress.detail?.(stagesDetail(item.input.input, total));
  return { meta, seconds: total };
}

/** A damaged file that yields frames is done, unless the user wants it otherwise. */
export function checkDamage(
  found: { readonly decodeErrors: number; readonly decoded: number; readonly claimed: number | null },
  item: InputItem,
  { decodeErrors: policy, strict, span, at }: Pick<ExtractOptions, 'decodeErrors' | 'strict' | 'span' | 'at'>,
): void {
  const { decodeErrors, decoded, claimed } = found;
  const most = policy === 'ignore' ? Infinity : policy === 'fail' ? 0 : policy.limit;
  if (decodeErrors > most) {
    throw new EgolensError('decode.damaged', `${decodeErrors} decoding errors, at most ${most} are allowed`, {
      frame: decoded,
      try: '`--decode-errors ignore` takes what can be decoded',
    });
  }
  const isWhole = (spanOf(item, span) ?? item.at ?? at) === undefined;
  if (strict && isWhole && claimed !== null && decoded < claimed) {
    throw new EgolensError('decode.truncated', `${decoded} frames decoded, the header claims ${claimed}`, {
      frame: decoded,
      try: 'without `--strict-decode` the frames that are there are used',
    });
  }
}

export interface Parallel<T, R> {
  /** At most so many at once. */
  readonly jobs: number;
  readonly work: (item: T) => Promise<R>;
  /** Asked before each start; what runs is finished. */
  readonly isStopped: () => boolean;
}

/** Results of `work` over `items` as they come; an error ends it when the others are done. */
export async function* inParallel<T, R>(
  items: readonly T[],
  { jobs, work, isStopped }: Parallel<T, R>,
): AsyncGenerator<R> {
  const running = new Map<number, Promise<{ index: number; result: R }>>();
  let next = 0;
  try {
    for (;;) {
      while (next < items.length && running.size < jobs && !isStopped()) {
        const index = next++;
        running.set(
          index,
          work(items[index]!).then((result) => ({ index, result })),
        );
      }
      if (running.size === 0) return;
      const { index, result } = await Promise.race(running.values());
      running.delete(index);
      yield result;
    }
  } finally {
    await Promise.allSettled(running.values());
  }
}
