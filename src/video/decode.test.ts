import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BufferPool } from '../runtime/buffers.js';
import type { PixelRecipe, Rational, SamplingRecipe, Span } from '../types.js';
import { decodeSamples, decodeTimes, decoderThreads, planPicture, type PassResult } from './decode.js';
import { makeResizer, pixelPlan } from './resize.js';
import { listPackets, openVideo, type VideoSource } from './probe.js';
import { findTools } from './tools.js';
import { denseStarts, readWindows, windowLayout, windowSamples, type WindowsReport } from './windows.js';

const { ffmpegPath, ffprobePath, ffprobeVersion, passthrough } = await findTools();
const isModern = passthrough[0] === '-fps_mode';
// The static ffprobe of 2023 in @ffprobe-installer dies on every transport stream.
const readsTs = !ffprobeVersion.startsWith('N-66595');
const noTs = readsTs ? '' : ' (skipped: this ffprobe crashes on .ts)';
const folder = mkdtempSync(join(tmpdir(), 'egolens-decode-'));
afterAll(() => {
  rmSync(folder, { recursive: true });
});

/** A clip made by ffmpeg's own sources; each frame is one grey level, 4 n + 20, so a pixel tells the frame. */
function make(name: string, frames: number, rate: string, ...more: string[]): string {
  const path = join(folder, name);
  const source = `color=black:size=64x48:rate=${rate},geq=lum='20+4*N':cb=128:cr=128,trim=end_frame=${frames}`;
  const codec = more.includes('-c:v') ? [] : ['-c:v', 'ffv1', '-pix_fmt', 'yuv420p'];
  execFileSync(ffmpegPath, [
    ...['-nostdin', '-v', 'error', '-y', '-f', 'lavfi', '-i', source, ...codec, ...more, `file:${path}`],
  ]);
  return path;
}

/** The frame number that a clip of `make` shows in its first pixel. */
function shownFrame(data: Uint8Array): number {
  const luma = (data[0]! * 219) / 255 + 16; // limited range
  return Math.max(0, Math.round((luma - 20) / 4));
}

const whole: PixelRecipe = { path: 'exact', resize: 'opencv-bilinear', to: 'stretch', size: 32, crop: 'none' };

async function pass(
  source: VideoSource,
  rate: Rational | 'source',
  options: { span?: Span; take?: number[] } = {},
): Promise<{ shown: number[]; frames: number[]; numbers: number[]; result: PassResult }> {
  const { picture } = planPicture(whole, source.width, source.height);
  const samples = decodeSamples(source, { rate, picture, ...options });
  const [shown, frames, numbers]: [number[], number[], number[]] = [[], [], []];
  for (;;) {
    const next = await samples.next();
    if (next.done === true) return { shown, frames, numbers, result: next.value };
    shown.push(shownFrame(next.value.data));
    frames.push(next.value.frame);
    numbers.push(next.value.number);
  }
}

/** The rule of files.md 2, as written there. */
function onDisplay(times: readonly number[], end: number, rate: number, start = 0, stop = Infinity): number[] {
  const shown: number[] = [];
  for (let k = 0; start + k / rate < Math.min(end, stop) - 0.001; k++) {
    shown.push(times.filter((time) => time <= start + k / rate + 0.001).length - 1);
  }
  return shown;
}

// 53 frames are what the grey levels can tell.
const clips: Record<string, () => string> = {
  'mkv, 30 fps, millisecond stamps': () => make('a.mkv', 50, '30'),
  'mp4, 30000/1001 fps': () => make('b.mp4', 50, '30000/1001', '-c:v', 'libx264', '-qp', '0'),
  'avi, 25 fps, a tick per frame': () => make('c.avi', 40, '25'),
  'mkv, variable rate': () => make('d.mkv', 30, '30', '-vf', "setpts='(N+floor(N*N/40))/30/TB'", ...passthrough),
  'mp4 with an edit list': () =>
    make('e.mp4', 30, '30', '-c:v', 'libx264', '-qp', '0', '-bf', '2', '-output_ts_offset', '0.7'),
  [`ts, late start${noTs}`]: () => make('f.ts', 30, '25', '-c:v', 'libx264', '-qp', '0', '-muxdelay', '3'),
};

describe('resampling', () => {
  test.each(Object.keys(clips))('shows the frame on display at k / rate: %s', async (name) => {
    if (name.includes('skipped')) return;
    const source = await openVideo(clips[name]!());
    const { result, shown } = await pass(source, 'source');
    expect(shown).toEqual(result.times.map((_, i) => i));
    for (const rate of [1, 7, 10, 12.5, 30, 60, 97]) {
      const again = await pass(source, { num: rate * 2, den: 2 });
      expect(again.frames, `${rate} fps`).toEqual(onDisplay(result.times, result.end, rate));
      expect(again.shown, `${rate} fps`).toEqual(again.frames);
      expect(again.result.sampleCount).toBe(again.frames.length);
    }
  });

  test.each(Object.keys(clips))('a whole clip has no decoding errors, whatever is picked of it: %s', async (name) => {
    if (name.includes('skipped')) return;
    const source = await openVideo(clips[name]!());
    const small = planPicture({ ...whole, size: 16 }, source.width, source.height).picture;
    expect(small.lattice).toBeDefined();
    const full = { width: source.width, height: source.height };
    for (const plan of [{ picture: small }, { picture: small, take: [1, 2, 9] }, { picture: full }]) {
      const samples = decodeSamples(source, { rate: 'source', ...plan });
      let next = await samples.next();
      while (next.done !== true) next = await samples.next();
      expect(next.value).toMatchObject({ decodeErrors: 0 });
    }
  });

  test('keeps the times of a variable rate', async () => {
    const { times } = await decodeTimes(await openVideo(join(folder, 'd.mkv')));
    times.forEach((time, n) => {
      expect(time).toBeCloseTo((n + Math.floor((n * n) / 40)) / 30, 2.9);
    });
  });

  test.each([
    [0, 0.5],
    [0.3, 1.1],
    [0.4005, 5],
    [1.2, 1.21],
    [1.65, 3],
  ])('a span from %d to %d s starts its grid at its start', async (start, stop) => {
    const source = await openVideo(join(folder, 'a.mkv'));
    const { times, end } = await decodeTimes(source);
    for (const rate of [10, 30, 60]) {
      const part = await pass(source, { num: rate, den: 1 }, { span: [start, stop] });
      expect(part.frames).toEqual(onDisplay(times, end, rate, start, stop));
      expect(part.shown).toEqual(part.frames);
    }
    const part = await pass(source, 'source', { span: [start, stop] });
    const inside = [...times.keys()].filter((n) => times[n]! >= start - 0.001 && times[n]! < stop - 0.001);
    expect(part.frames).toEqual(inside);
    expect(part.shown).toEqual(inside);
    expect(part.result.sampleCount).toBe(inside.length);
  });

  test.each(['source', { num: 60, den: 1 }] as const)(
    'takes the samples asked for and no others at %o',
    async (rate) => {
      const source = await openVideo(join(folder, 'a.mkv'));
      const all = await pass(source, rate);
      const take = [0, 3, 4, 17, all.frames.length - 1];
      const some = await pass(source, rate, { take });
      expect(some.numbers).toEqual(take);
      expect(some.frames).toEqual(take.map((n) => all.frames[n]!));
      expect(some.shown).toEqual(some.frames);
      expect(some.result.times).toEqual(all.result.times);
    },
  );
});

// ---- windows -----------------------------------------------------------------------------------------------------

const dense: SamplingRecipe = {
  plan: 'dense',
  frames: 4,
  step: 2,
  hop: 5,
  rate: 'source',
  tail: 'align',
  views: [1, 1],
};

async function windows(
  source: VideoSource,
  sampling: SamplingRecipe,
  pixels: PixelRecipe = whole,
  options: { batch?: number; span?: Span } = {},
): Promise<{ items: Uint8Array[]; report: WindowsReport; counts: number[] }> {
  const layout = windowLayout(source, sampling, pixels);
  const batch = options.batch ?? 3;
  const buffers = new BufferPool(2, batch * layout.bytes);
  const reader = readWindows(source, { sampling, pixels, batch, buffers, span: options.span });
  const [items, counts]: [Uint8Array[], number[]] = [[], []];
  for (;;) {
    const next = await reader.next();
    if (next.done === true) return { items, counts, report: next.value };
    const { buffer, count } = next.value;
    for (let i = 0; i < count; i++) items.push(new Uint8Array(buffer.slice(i * layout.bytes, (i + 1) * layout.bytes)));
    counts.push(count);
    // What is given back may be overwritten at once.
    new Uint8Array(buffer).fill(255);
    buffers.give(buffer);
  }
}

/** Every frame of the recipe's crops, each decoded by itself. */
async function framesOf(source: VideoSource, pixels: PixelRecipe, rate: Rational | 'source'): Promise<Uint8Array[][]> {
  const plan = planPicture(pixels, source.width, source.height);
  const frames: Uint8Array[][] = [];
  const samples = decodeSamples(source, { rate, picture: plan.picture });
  for await (const { data } of samples) {
    frames.push(
      plan.resizers.map((resizer) => {
        const out = new Uint8Array(plan.cropWidth * plan.cropHeight * 3);
        resizer.apply(data, plan.region, out);
        return out;
      }),
    );
  }
  return frames;
}

describe('dense windows', () => {
  const counts: [SamplingRecipe['tail'], number, number[]][] = [
    ['align', 0, []],
    ['align', 3, [0]],
    ['align', 7, [0]],
    ['align', 8, [0, 1]],
    ['align', 12, [0, 5]],
    ['align', 50, [0, 5, 10, 15, 20, 25, 30, 35, 40, 43]],
    ['pad', 6, [0]],
    ['pad', 12, [0, 5]],
    ['pad', 13, [0, 5, 10]],
    ['drop', 6, []],
    ['drop', 13, [0, 5]],
  ];
  test.each(counts)('tail %s over %d samples starts at %j', (tail, count, starts) => {
    expect(denseStarts(count, { ...dense, tail })).toEqual(starts);
  });

  test("has the row counts of Ego4D's own rule", () => {
    const sampling = { ...dense, frames: 32, step: 1, hop: 16 };
    for (let n = 1; n < 200; n++) {
      const rows = n < 32 ? 1 : Math.floor((n - 32) / 16) + 1 + ((n - 32) % 16 === 0 ? 0 : 1);
      expect(denseStarts(n, sampling)).toHaveLength(rows);
    }
  });

  test('a padded hop longer than the window adds no row behind the end', () => {
    expect(denseStarts(12, { ...dense, tail: 'pad', hop: 20 })).toEqual([0]);
  });

  const recipes: [string, Partial<SamplingRecipe>, PixelRecipe][] = [
    ['align', {}, whole],
    ['pad', { tail: 'pad' }, whole],
    ['drop', { tail: 'drop' }, whole],
    ['hop 1', { hop: 1, frames: 6, step: 3 }, whole],
    ['a hop longer than the window', { hop: 20, tail: 'pad' }, whole],
    ['longer than the video', { frames: 64, step: 1 }, whole],
    ['three crops', {}, { ...whole, to: 'short-side', crop: 'three' }],
    ['three crops, fast', {}, { ...whole, to: 'short-side', crop: 'three', path: 'fast' }],
    ['a fixed rate', { rate: { num: 12, den: 1 }, tail: 'pad' }, whole],
  ];
  test.each(recipes)('are the frames put together one by one: %s', async (_, change, pixels) => {
    const source = await openVideo(join(folder, 'a.mkv'));
    const sampling = { ...dense, ...change };
    const frames = await framesOf(source, pixels, sampling.rate);
    const { items, report, counts: batches } = await windows(source, sampling, pixels);
    const crops = frames[0]!.length;
    const expected = denseStarts(frames.length, sampling).flatMap((start) =>
      Array.from({ length: crops }, (__, crop) =>
        Buffer.concat(windowSamples(start, frames.length, sampling).map((n) => frames[n]![crop]!)),
      ),
    );
    expect(items).toHaveLength(expected.length);
    items.forEach((item, i) => {
      expect(Buffer.compare(item, expected[i]!), `window ${i}`).toBe(0);
    });
    expect(batches.slice(0, -1).every((count) => count === 3)).toBe(true);
    expect(report.rows).toHaveLength(items.length);
    expect(report.clock?.rows).toBe(items.length / crops);
    expect(report.decodedFrames).toBe(50);
  });

  test('rows tell source frames and times', async () => {
    const source = await openVideo(join(folder, 'a.mkv'));
    const atSource = await windows(source, dense);
    expect(atSource.report.rows[1]).toEqual({ index: 1, firstFrame: 5, lastFrame: 11, start: 0.167, end: 0.4 });
    expect(atSource.report.rows.at(-1)).toMatchObject({ index: 9, firstFrame: 43, lastFrame: 49, start: 1.433 });
    expect(atSource.report.rows.at(-1)!.end).toBeCloseTo(50 / 30, 2.5);
    const fixed = await windows(source, { ...dense, rate: { num: 10, den: 1 }, tail: 'pad' }, whole, {
      span: [0.5, 9],
    });
    // 12 samples from 0.5 s on: rows at 0, 5 and nothing behind them
    expect(fixed.report.rows.map(({ start, end }) => [start, end])).toEqual([
      [0.5, 1.2],
      [1, 1.7],
    ]);
    expect(fixed.report.rows.map(({ firstFrame, lastFrame }) => [firstFrame, lastFrame])).toEqual([
      [15, 33],
      [30, 48],
    ]);
    expect(fixed.report.origin).toBe(0.5);
  });

  test('`drop` refuses a video shorter than a window, with both counts', async () => {
    const source = await openVideo(join(folder, 'a.mkv'));
    await expect(windows(source, { ...dense, frames: 64, tail: 'drop' })).rejects.toMatchObject({
      code: 'input.too_short',
      message: expect.stringContaining('50 frames; expected at least 127') as string,
    });
  });
});

describe('plans over a count', () => {
  test.each(['source', { num: 12, den: 1 }] as const)(
    'views at rate %o hold the frames of the sampler',
    async (rate) => {
      const source = await openVideo(join(folder, 'a.mkv'));
      const pixels: PixelRecipe = { ...whole, to: 'short-side', crop: 'three' };
      const sampling: SamplingRecipe = { ...dense, plan: 'segments', frames: 5, rate, views: [2, 3] };
      const frames = await framesOf(source, pixels, rate);
      const { items, report } = await windows(source, sampling, pixels);
      const n = frames.length;
      const views = [0.25, 0.75].map((at) => [0, 1, 2, 3, 4].map((i) => Math.floor(((i + at) * n) / 5)));
      const expected = views.flatMap((view) =>
        [0, 1, 2].map((crop) => Buffer.concat(view.map((k) => frames[k]![crop]!))),
      );
      expect(items.map((item) => Buffer.from(item))).toEqual(expected);
      expect(report.clock).toBeNull();
      expect(report.rows.map((row) => row.index)).toEqual([0, 1, 2, 3, 4, 5]);
    },
  );

  test('are made anew when another number of frames is decoded than packets were listed', async () => {
    const path = make('holes.mp4', 50, '30', '-c:v', 'libx264', '-qp', '0', '-g', '50', '-bf', '0');
    // Two packets in the middle get an impossible length: listed, but not decoded.
    const bytes = readFileSync(path);
    const source = await openVideo(path);
    const at = packetPositions(path).slice(20, 22);
    for (const position of at) bytes.fill(255, position, position + 4);
    writeFileSync(path, bytes);
    const listed = (await listPackets(source)).times.length;
    const decoded = (await decodeTimes(source)).times.length;
    expect([listed, decoded]).toEqual([50, 48]);
    const { report, items } = await windows(source, { ...dense, plan: 'segments', frames: 5 });
    expect(items).toHaveLength(1);
    expect(report.decodedFrames).toBe(decoded);
    expect(report.decodeErrors).toBeGreaterThan(0);
    expect(report.rows[0]!.lastFrame).toBe(Math.floor((4.5 * decoded) / 5));
    expect(report.warnings.map((warning) => warning.code)).toContain('decode.count');
  });
});

function packetPositions(path: string): number[] {
  const args = ['-v', 'error', '-show_entries', 'packet=pos', '-of', 'csv=p=0', `file:${path}`];
  return execFileSync(ffprobePath, args, { encoding: 'utf8' })
    .trim()
    .split('\n')
    .map((line) => parseInt(line, 10));
}

// ---- odd inputs --------------------------------------------------------------------------------------------------

describe('odd inputs', () => {
  beforeAll(() => {
    make('plain.mp4', 20, '20', '-c:v', 'libx264');
  });

  test.each(['-dash.mp4', 'a:b.mp4', 'n%03d.mp4', 'line\nbreak.mp4', `q'u"o[t]e, ;.mp4`, 'täst ✓.mp4', '@x.mp4'])(
    'a file named %j decodes',
    async (name) => {
      const path = join(folder, name);
      writeFileSync(path, readFileSync(join(folder, 'plain.mp4')));
      expect((await decodeTimes(await openVideo(path))).times).toHaveLength(20);
    },
  );

  const bad: [string, string, () => string | undefined][] = [
    ['missing', 'input.not_found', () => undefined],
    ['a folder', 'input.not_a_file', () => ''],
    ['empty', 'input.empty', () => ''],
    ['text named .mp4', 'input.not_a_video', () => 'hello world\n'.repeat(200)],
    ['text named .txt', 'input.not_a_video', () => 'hello world\n'.repeat(200)],
    [
      'noise',
      'input.not_a_video',
      () => Array.from({ length: 4000 }, (_, i) => String.fromCharCode((i * i * 7919) % 127)).join(''),
    ],
  ];
  test.each(bad)('%s is %s', async (kind, code, content) => {
    const path = join(folder, `bad-${kind.replace(/\W/g, '-')}.${kind.endsWith('.txt') ? 'txt' : 'mp4'}`);
    const text = content();
    if (kind === 'a folder') mkdirSync(path);
    else if (text !== undefined) writeFileSync(path, text);
    const message = expect.stringMatching(kind === 'missing' ? /no such file/ : /: expected .*, found /) as unknown;
    await expect(openVideo(path)).rejects.toMatchObject({ code, message });
  });

  test('an mp4 cut before its index is decode.truncated, and says what is missing', async () => {
    const path = join(folder, 'no-index.mp4');
    const bytes = readFileSync(join(folder, 'plain.mp4'));
    writeFileSync(path, bytes.subarray(0, bytes.indexOf('moov') - 4));
    const message = expect.stringMatching(
      /^`no-index.mp4`: expected a whole file, found .*without its index; .*moov atom not found$/,
    ) as unknown;
    await expect(openVideo(path)).rejects.toMatchObject({ code: 'decode.truncated', message });
  });

  const silent = isModern ? '' : ' (skipped: this build says nothing about it)';
  test.skipIf(!isModern)(
    `a Matroska file cut in the middle gives its frames and the warning decode.truncated${silent}`,
    async () => {
      const path = make('half.mkv', 50, '25', '-c:v', 'libx264', '-g', '10');
      truncateSync(path, Math.floor(statSync(path).size * 0.6));
      const { report } = await windows(await openVideo(path), dense);
      expect(report.decodedFrames).toBeGreaterThan(5);
      expect(report.decodedFrames).toBeLessThan(50);
      expect(report.warnings.map((warning) => warning.code)).toContain('decode.truncated');
    },
  );

  test('sound alone is decode.no_video_stream, and so is a cover picture', async () => {
    const sound = join(folder, 'sound.m4a');
    const lavfi = ['-nostdin', '-v', 'error', '-y', '-f', 'lavfi'];
    execFileSync(ffmpegPath, [...lavfi, '-i', 'sine=d=1', sound]);
    await expect(openVideo(sound)).rejects.toMatchObject({ code: 'decode.no_video_stream' });
    const cover = join(folder, 'cover.mp3');
    const picture = ['-f', 'lavfi', '-i', 'color=red:s=32x32:d=0.04'];
    const options = ['-map', '0', '-map', '1', '-c:v', 'mjpeg', '-disposition:v', 'attached_pic', '-frames:v', '1'];
    execFileSync(ffmpegPath, [...lavfi, '-i', 'sine=d=1', ...picture, ...options, cover]);
    await expect(openVideo(cover)).rejects.toMatchObject({ code: 'decode.no_video_stream' });
  });

  test('an encrypted stream is decode.encrypted', async () => {
    const key = '76a6c65c5ea762046bd749a2e632ccbb';
    const scheme = ['-encryption_scheme', 'cenc-aes-ctr', '-encryption_key', key, '-encryption_kid', key];
    const path = make('secret.mp4', 20, '20', '-c:v', 'libx264', ...scheme);
    await expect(decodeTimes(await openVideo(path))).rejects.toMatchObject({ code: 'decode.encrypted' });
  });

  test.skipIf(!readsTs)(`a stream that changes its size keeps the first size${noTs}`, async () => {
    const parts = [64, 96].map((side) => {
      const path = join(folder, `part-${side}.ts`);
      const source = `color=gray:size=${side}x48:rate=25:d=0.4`;
      execFileSync(ffmpegPath, [
        '-nostdin',
        '-v',
        'error',
        '-y',
        '-f',
        'lavfi',
        '-i',
        source,
        '-c:v',
        'mpeg2video',
        path,
      ]);
      return readFileSync(path);
    });
    const path = join(folder, 'sizes.ts');
    writeFileSync(path, Buffer.concat(parts));
    const source = await openVideo(path);
    const { picture } = planPicture(whole, source.width, source.height);
    let count = 0;
    for await (const { data, frame } of decodeSamples(source, { rate: 'source', picture })) {
      expect(frame).toBe(count++);
      expect(Math.abs(data[data.length - 1]! - 128)).toBeLessThan(4);
    }
    // The decoder itself drops the last picture before the change.
    expect(count).toBe(19);
  });

  test('pixels that are not square are made square before any resize', async () => {
    const path = make('wide.mkv', 3, '25', '-vf', 'setsar=2/1');
    const source = await openVideo(path);
    expect([source.width, source.height]).toEqual([128, 48]);
    expect(await framesOf(source, { ...whole, to: 'short-side', crop: 'center' }, 'source')).toHaveLength(3);
  });

  test('a single picture is a video of one frame at any rate', async () => {
    const path = join(folder, 'still.png');
    execFileSync(ffmpegPath, [
      '-nostdin',
      '-v',
      'error',
      '-y',
      '-i',
      join(folder, 'plain.mp4'),
      '-frames:v',
      '1',
      path,
    ]);
    const source = await openVideo(path);
    expect((await pass(source, 'source')).frames).toEqual([0]);
    expect((await pass(source, { num: 30, den: 1 })).frames).toContain(0);
  });
});

test('the number of decoder threads follows from the picture alone', () => {
  expect([decoderThreads(64, 48), decoderThreads(1280, 720), decoderThreads(7680, 4320)]).toEqual([1, 4, 4]);
});

describe('pixels picked out by ffmpeg', () => {
  const clips = ['demo.mp4', 'rotated.mp4', 'anamorphic.mp4', 'vfr.mp4'];
  const recipes: readonly PixelRecipe[] = [
    { path: 'exact', resize: 'opencv-bilinear', to: 'short-side', size: 32, crop: 'center' },
    { path: 'exact', resize: 'opencv-bilinear', to: 'short-side', size: 24, crop: 'three' },
    { path: 'exact', resize: 'torch-bilinear', to: 'stretch', size: 32, crop: 'none' },
    { path: 'exact', resize: 'torch-bicubic', to: 'stretch', size: 16, crop: 'none' },
  ];
  test.each(clips)('give what the resize of full frames gives: %s', async (clip) => {
    const source = await openVideo(join('fixtures', 'videos', clip));
    const { width, height } = source;
    for (const rate of ['source', { num: 7, den: 1 }] as const) {
      for (const recipe of recipes) {
        const plan = planPicture(recipe, width, height);
        expect(plan.picture.lattice, `${recipe.resize} ${width}x${height}`).toBeDefined();
        const { resizedWidth, resizedHeight, crops } = pixelPlan(recipe, width, height);
        const to = { width: resizedWidth, height: resizedHeight };
        const full = crops.map((crop) => makeResizer(recipe.resize, { width, height }, to, crop));
        const whole = decodeSamples(source, { rate, picture: { width, height } });
        for await (const { data, frame } of decodeSamples(source, { rate, picture: plan.picture })) {
          const other = await whole.next();
          if (other.done === true) throw new Error('the full pass ended early');
          expect(other.value.frame).toBe(frame);
          plan.resizers.forEach((resizer, i) => {
            const length = plan.cropWidth * plan.cropHeight * 3;
            const [got, expected] = [new Float32Array(length), new Float32Array(length)];
            resizer.apply(data, plan.region, got);
            full[i]!.apply(other.value.data, { x: 0, y: 0, width, height }, expected);
            expect(Buffer.compare(Buffer.from(got.buffer), Buffer.from(expected.buffer))).toBe(0);
          });
        }
        expect((await whole.next()).done).toBe(true);
      }
    }
  });
});

test('takes hundreds of frames, more than builds of ffmpeg let an expression nest', async () => {
  const source = await openVideo(make('hundreds.mkv', 400, '30'));
  const take = Array.from({ length: 300 }, (_, i) => i + Math.floor(i / 3));
  const { numbers, frames } = await pass(source, 'source', { take });
  expect([numbers, frames]).toEqual([take, take]);
});
