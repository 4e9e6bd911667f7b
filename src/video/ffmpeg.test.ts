import { execFileSync, spawn } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { decodeSamples, decodeTimes, planPicture } from './decode.js';
import { runFfprobe, adjustCommand } from './ffmpeg.js';
import { classifyMessages, parseLogLine } from './messages.js';
import { openVideo } from './probe.js';
import { findTools, lifelineScript, type Tools } from './tools.js';

const { ffmpegPath } = await findTools();
const folder = mkdtempSync(join(tmpdir(), 'egolens-run-'));
const clip = join(folder, `clip-${process.pid}.mp4`);
const isLinux = process.platform === 'linux';
const onLinux = isLinux ? '' : ' (skipped: reads /proc)';

beforeAll(() => {
  const source = ['-f', 'lavfi', '-i', 'testsrc2=size=320x240:rate=25:duration=20'];
  execFileSync(ffmpegPath, [
    '-nostdin',
    '-v',
    'error',
    '-y',
    ...source,
    '-c:v',
    'libx264',
    '-preset',
    'ultrafast',
    clip,
  ]);
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

function script(name: string, body: string): string {
  const path = join(folder, name);
  writeFileSync(path, `#!/bin/sh\n${body}\n`);
  chmodSync(path, 0o755);
  return path;
}
const real = async (): Promise<Tools> => await findTools();

/** Processes whose command line holds `text`: ours and our children's children. */
function processesWith(text: string): number[] {
  return readdirSync('/proc').flatMap((pid) => {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) return [];
    try {
      const isZombie = readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z ');
      return !isZombie && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(text) ? [Number(pid)] : [];
    } catch {
      return []; // gone meanwhile
    }
  });
}

// ---- finding -----------------------------------------------------------------------------------------------------

describe('finding ffmpeg', () => {
  test('reads the version once and chooses the spelling of passthrough', async () => {
    const tools = await real();
    expect(tools.version).toMatch(/\d/);
    expect(tools.passthrough[1]).toBe('passthrough');
    expect(await findTools()).toBe(tools);
  });

  test.each([
    ['5.1.9-0+deb12u1', '-fps_mode'],
    ['n7.1', '-fps_mode'],
    ['9.0.2', '-fps_mode'],
    ['5.0.1', '-vsync'],
    ['4.4.2-0ubuntu0', '-vsync'],
    ['N-47683-g0e8eb07980-static', '-vsync'],
  ])('version %s takes %s', async (version, option) => {
    const fake = script(`version-${version}`, `echo "ffmpeg version ${version} Copyright"`);
    const { ffprobePath } = await real();
    const tools = await findTools({ EGOLENS_FFMPEG: fake, EGOLENS_FFPROBE: ffprobePath, EGOLENS_CACHE_DIR: folder });
    expect([tools.version, tools.passthrough[0]]).toEqual([version, option]);
    expect(tools.notes.some((note) => note.includes('older than 5.1'))).toBe(option === '-vsync');
  });

  test('none at all is tool.ffmpeg_missing with a way to get one', async () => {
    const hint = expect.stringMatching(/install.*@ffmpeg-installer\/ffmpeg @ffprobe-installer\/ffprobe/) as string;
    await expect(findTools({ PATH: folder, EGOLENS_CACHE_DIR: folder })).rejects.toMatchObject({
      code: 'tool.ffmpeg_missing',
      details: { try: hint },
    });
    await expect(findTools({ EGOLENS_FFMPEG: '/nowhere/ffmpeg' })).rejects.toMatchObject({
      code: 'tool.ffmpeg_missing',
      message: expect.stringContaining('EGOLENS_FFMPEG is `/nowhere/ffmpeg`') as string,
    });
  });

  test('a program that cannot run is tool.failed', async () => {
    const { ffprobePath } = await real();
    await expect(
      findTools({ EGOLENS_FFMPEG: script('broken', 'exit 3'), EGOLENS_FFPROBE: ffprobePath }),
    ).rejects.toMatchObject({ code: 'tool.failed' });
  });

  test('ffprobe is looked for beside ffmpeg', async () => {
    const { ffmpegPath, ffprobePath } = await real();
    const side = join(folder, 'side');
    mkdirSync(side);
    symlinkSync(ffmpegPath, join(side, 'ffmpeg'));
    symlinkSync(ffprobePath, join(side, 'ffprobe'));
    const tools = await findTools({ FFMPEG_PATH: join(side, 'ffmpeg'), EGOLENS_CACHE_DIR: folder });
    expect(tools.ffprobePath).toBe(join(side, 'ffprobe'));
  });

  test('the scripts are named without the program and quote its path', async () => {
    const tools = await real();
    if (tools.lifeline !== 'none') expect(basename(tools.ffmpeg)).not.toContain('ffmpeg');
    expect(lifelineScript('stdin', `/a'b/ffmpeg`)).toContain(`exec '/a'\\''b/ffmpeg' "$@"`);
  });

  test('a cache folder that cannot be written is replaced by the temporary folder', async () => {
    const { ffmpegPath, ffprobePath } = await real();
    const blocked = join(folder, 'blocked');
    writeFileSync(blocked, 'a file, no folder');
    const tools = await findTools({
      EGOLENS_FFMPEG: ffmpegPath,
      EGOLENS_FFPROBE: ffprobePath,
      EGOLENS_CACHE_DIR: blocked,
    });
    expect(tools.ffmpeg.startsWith(blocked)).toBe(false);
  });
});

// ---- messages ----------------------------------------------------------------------------------------------------

test.each([
  ['[mov,mp4,m4a,3gp,3g2,mj2] moov atom not found', 'decode.truncated'],
  ['a.mp4: Invalid data found when processing input', 'input.not_a_video'],
  ['[in#0] Error opening input: Invalid data found when processing input', 'input.not_a_video'],
  ["Stream map '0:v:0' matches no streams.", 'decode.no_video_stream'],
  ['Output file #0 does not contain any stream', 'decode.no_video_stream'],
  ['[out#0/rawvideo] Output file does not contain any stream', 'decode.no_video_stream'],
  ['Decoder (codec vvc) not found for input stream #0:0', 'decode.unsupported_codec'],
  ['Decoding requested, but no decoder found for: vvc', 'decode.unsupported_codec'],
  ['[vist#0:0/vvc] Decoding requested, but no decoder found for: vvc', 'decode.unsupported_codec'],
  ['Error while filtering: Cannot allocate memory', 'limit.memory'],
  ['something new', 'decode.failed'],
])('%s is %s', (line, code) => {
  expect(classifyMessages(['a warning before it', line]).code).toBe(code);
});

test('log lines lose their addresses and tell their level', () => {
  expect(parseLogLine('[mov,mp4 @ 0x55d] [error] moov atom not found')).toEqual({
    level: 'error',
    text: '[mov,mp4] moov atom not found',
  });
  expect(parseLogLine('[info] frame=1')).toEqual({ level: 'info', text: 'frame=1' });
});

test('the private names of fluent-ffmpeg that are replaced still exist', async () => {
  const { default: ffmpeg } = await import('fluent-ffmpeg');
  const prototype = ffmpeg.prototype as Record<string, unknown>;
  expect(typeof prototype['_checkCapabilities']).toBe('function');
  expect(typeof prototype['availableEncoders']).toBe('function');
  expect(typeof prototype['_spawnFfmpeg']).toBe('function');
  // `lavfi` is refused by the check with ffmpeg 7.1 and later; without it the command starts.
  const command = ffmpeg('testsrc2=size=16x16:duration=0.1').inputFormat('lavfi');
  adjustCommand(command);
  command.setFfmpegPath((await real()).ffmpegPath);
  await new Promise<void>((done, fail) => {
    command.on('end', () => {
      done();
    });
    command.on('error', fail);
    command.outputOptions(['-f', 'null']).output('-').run();
  });
});

// ---- ending ------------------------------------------------------------------------------------------------------

/** ffmpeg that decodes in real time, so that it lives long enough to be ended. */
const slowFfmpeg = async (): Promise<string> =>
  script(
    'slow',
    `case "$1" in -version) exec '${(await real()).ffmpegPath}' -version;; esac\nexec '${(await real()).ffmpegPath}' -re "$@"`,
  );

describe.skipIf(!isLinux)(`ending a run${onLinux}`, () => {
  test('an abort kills ffmpeg before the promise settles', async () => {
    const tools = await findTools({ ...process.env, EGOLENS_FFMPEG: await slowFfmpeg() });
    const source = await openVideo(clip, { tools });
    const abort = new AbortController();
    const { picture } = planPicture(
      { path: 'fast', resize: 'opencv-bilinear', to: 'stretch', size: 32, crop: 'none' },
      source.width,
      source.height,
    );
    const samples = decodeSamples(source, { rate: 'source', picture }, { signal: abort.signal });
    await samples.next();
    expect(processesWith(clip)).toHaveLength(1);
    abort.abort(new Error('enough'));
    await expect(samples.next()).rejects.toMatchObject({ code: 'run.interrupted' });
    expect(processesWith(clip)).toEqual([]);
  });

  test('an aborted signal starts nothing that lasts', async () => {
    const source = await openVideo(clip);
    await expect(decodeTimes(source, { signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'run.interrupted',
    });
    await expect(openVideo(clip, { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'run.interrupted' });
    expect(processesWith(clip)).toEqual([]);
  });

  test('a reader that leaves ends ffmpeg', async () => {
    const source = await openVideo(clip);
    const { picture } = planPicture(
      { path: 'exact', resize: 'opencv-bilinear', to: 'stretch', size: 32, crop: 'none' },
      source.width,
      source.height,
    );
    for await (const sample of decodeSamples(source, { rate: 'source', picture })) {
      expect(sample.frame).toBe(0);
      break;
    }
    expect(processesWith(clip)).toEqual([]);
  });

  test('a child that gives nothing is decode.stalled, and killed', async () => {
    const silent = script('silent', 'case "$1" in -version) echo "ffmpeg version 6.0"; exit;; esac\nexec sleep 30.25');
    const tools = await findTools({ EGOLENS_FFMPEG: silent, EGOLENS_FFPROBE: silent, EGOLENS_CACHE_DIR: folder });
    const source = { ...(await openVideo(clip)), tools };
    const stalled = { code: 'decode.stalled', details: { retryable: true } };
    await expect(decodeTimes(source, { stallTimeoutMs: 200 })).rejects.toMatchObject(stalled);
    await expect(openVideo(clip, { tools, stallTimeoutMs: 200 })).rejects.toMatchObject(stalled);
    expect(processesWith('30.25')).toEqual([]);
  });

  test('a slow consumer is no stall', async () => {
    const source = await openVideo(clip);
    const { picture } = planPicture(
      { path: 'exact', resize: 'opencv-bilinear', to: 'stretch', size: 32, crop: 'none' },
      source.width,
      source.height,
    );
    let count = 0;
    // Long enough for ffmpeg's own start on a machine that has other work.
    const options = { stallTimeoutMs: 800 };
    for await (const sample of decodeSamples(source, { rate: 'source', picture, span: [0, 1] }, options)) {
      expect(sample.number).toBe(count++);
      // Back-pressure of ours, twice the limit.
      if (count === 3) await new Promise((done) => setTimeout(done, 1600));
    }
    expect(count).toBe(25);
  });

  test('the whole run has a limit of its own', async () => {
    const tools = await findTools({ ...process.env, EGOLENS_FFMPEG: await slowFfmpeg() });
    const source = await openVideo(clip, { tools });
    await expect(decodeTimes(source, { timeoutMs: 300 })).rejects.toMatchObject({ code: 'limit.time' });
    expect(processesWith(clip)).toEqual([]);
  });

  test('ffmpeg killed from outside is a failure, not a short video', async () => {
    const tools = await findTools({ ...process.env, EGOLENS_FFMPEG: await slowFfmpeg() });
    const source = await openVideo(clip, { tools });
    const times = decodeTimes(source, {
      onProgress: (frames) => {
        if (frames === 3) processesWith(clip).forEach((pid) => process.kill(pid, 'SIGKILL'));
      },
    });
    await expect(times).rejects.toMatchObject({ code: 'decode.failed', details: { retryable: true } });
  });

  test('a program that is gone is tool.failed', async () => {
    const tools = { ...(await real()), ffmpeg: join(folder, 'gone'), ffprobe: join(folder, 'gone') };
    await expect(openVideo(clip, { tools })).rejects.toMatchObject({ code: 'tool.failed' });
    await expect(decodeTimes({ ...(await openVideo(clip)), tools })).rejects.toMatchObject({ code: 'tool.failed' });
  });

  test('lines of any length and number are read from ffprobe', async () => {
    let lines = 0;
    const show = ['-show_entries', 'packet=pts', '-of', 'csv=p=0'];
    await runFfprobe(await real(), clip, show, () => lines++);
    expect(lines).toBe(500);
  });
});

// ---- no orphans --------------------------------------------------------------------------------------------------

/** The body of a small program that decodes until it is killed from outside. */
const modes: Record<string, string> = {
  'reading frames': `for await (const s of decodeSamples(source, { rate: 'source', picture })) if (s.number === 2) console.log('ready');`,
  'not reading': `const it = decodeSamples(source, { rate: 'source', picture }); await it.next(); console.log('ready'); setInterval(() => {}, 1000);`,
  'nothing to write': `const it = decodeSamples(source, { rate: 'source', span: [900, 901], picture }, { onProgress: (n) => n === 3 && console.log('ready') }); await it.next();`,
  'only times': `await decodeTimes(source, { onProgress: (n) => n === 3 && console.log('ready') });`,
};

describe.skipIf(!isLinux)(`SIGKILL to ourselves leaves no child${onLinux}`, () => {
  const lifelines = ['pdeathsig', 'stdin'] as const;
  const cases = lifelines.flatMap((lifeline) => Object.keys(modes).map((mode) => [lifeline, mode] as const));

  test.each(cases)('lifeline %s, %s', async (lifeline, mode) => {
    const { ffprobePath } = await real();
    // Without setpriv on PATH the second form is taken.
    const path = lifeline === 'stdin' ? folder : process.env['PATH'];
    const program = join(folder, `${lifeline}-${mode.replaceAll(' ', '-')}.mts`);
    const here = (name: string): string => JSON.stringify(pathToFileURL(join(import.meta.dirname, name)).href);
    writeFileSync(
      program,
      `import { decodeSamples, decodeTimes, planPicture } from ${here('decode.ts')};
      import { openVideo } from ${here('open.ts')};
      import { findTools } from ${here('tools.ts')};
      const tools = await findTools();
      const source = await openVideo(${JSON.stringify(clip)}, { tools });
      const { picture } = planPicture({ path: 'fast', resize: 'opencv-bilinear', to: 'stretch', size: 32, crop: 'none' }, 320, 240);
      console.log(tools.lifeline);
      ${modes[mode]!}`,
    );
    const tsx = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href;
    const child = spawn(process.execPath, ['--import', tsx, program], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: {
        PATH: path,
        HOME: folder,
        EGOLENS_CACHE_DIR: folder,
        EGOLENS_FFMPEG: await slowFfmpeg(),
        EGOLENS_FFPROBE: ffprobePath,
      },
    });
    let output = '';
    await new Promise<void>((done, fail) => {
      child.once('exit', () => {
        fail(new Error(`ended early: ${output}`));
      });
      child.stdout.on('data', (data: Buffer) => {
        output += data.toString();
        if (output.includes('ready')) done();
      });
    });
    expect(processesWith(clip).length).toBeGreaterThan(0);
    const hasSetpriv = (process.env['PATH'] ?? '').split(':').some((at) => existsSync(join(at, 'setpriv')));
    expect(output.split('\n')[0]).toBe(hasSetpriv ? lifeline : 'stdin');
    child.removeAllListeners('exit');
    child.kill('SIGKILL');
    await vi.waitFor(
      () => {
        expect(processesWith(clip)).toEqual([]);
      },
      { timeout: 1500, interval: 50 },
    );
  });
});
