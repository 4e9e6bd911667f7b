import { execFileSync } from 'node:child_process';
import { describe, expect, test } from 'vitest';
import { cueFormats, cueText, type Cue, type CueVideo } from './subtitles.js';

const video: CueVideo = { path: 'in/lunch.mp4', offset: 0, rate: { num: 30, den: 1 } };
const cue = (start: number, end: number, name: string, ...more: string[]): Cue => {
  return { start, end, name, lines: [name, ...more] };
};

test('srt numbers its cues from 1, with a comma in the times', () => {
  expect(cueText('srt', [cue(0, 1.5, 'cut', 'second'), cue(3661.0004, 3662.25, 'wash')], video)).toBe(
    '1\n00:00:00,000 --> 00:00:01,500\ncut\nsecond\n\n2\n01:01:01,000 --> 01:01:02,250\nwash\n',
  );
});

test('vtt begins with its name', () => {
  expect(cueText('vtt', [cue(0, 1.5, 'cut'), cue(2, 3, 'wash')], video)).toBe(
    'WEBVTT\n\n00:00:00.000 --> 00:00:01.500\ncut\n\n00:00:02.000 --> 00:00:03.000\nwash\n',
  );
});

test('edl lays the cuts one after the other and counts frames at the rate it states', () => {
  expect(cueText('edl', [cue(1, 2.5, 'cut'), cue(61, 62, 'wash')], video)).toBe(
    [
      'TITLE: lunch.mp4',
      'FCM: NON-DROP FRAME',
      '* FRAME RATE: 30/1',
      '',
      '001  AX       V     C        00:00:01:00 00:00:02:15 00:00:00:00 00:00:01:15',
      '* FROM CLIP NAME: lunch.mp4',
      '* COMMENT: cut',
      '002  AX       V     C        00:01:01:00 00:01:02:00 00:00:01:15 00:00:02:15',
      '* FROM CLIP NAME: lunch.mp4',
      '* COMMENT: wash',
      '',
    ].join('\n'),
  );
});

test('edl counts 29.97 frames a second as 30 to the second of time code, and takes 30 where nothing tells the rate', () => {
  const ntsc = { ...video, rate: { num: 30000, den: 1001 } };
  // 1001 seconds are exactly 30000 frames: 16 minutes and 40 seconds of time code.
  expect(cueText('edl', [cue(1001, 1002, 'cut')], ntsc)).toContain(' 00:16:40:00 ');
  expect(cueText('edl', [], { ...video, rate: null })).toContain('* FRAME RATE: 30/1\n');
  expect(cueText('edl', [cue(1, 1.001, 'short')], video)).toContain('00:00:01:00 00:00:01:01 00:00:00:00 00:00:00:01');
});

test('every form adds the offset of the stream, and none begins before the container does', () => {
  const late = { ...video, offset: 0.5 };
  expect(cueText('srt', [cue(1, 2, 'a')], late)).toContain('00:00:01,500 --> 00:00:02,500');
  expect(cueText('vtt', [cue(1, 2, 'a')], late)).toContain('00:00:01.500 --> 00:00:02.500');
  expect(cueText('edl', [cue(1, 2, 'a')], late)).toContain(' 00:00:01:15 00:00:02:15 00:00:00:00 00:00:01:00');
  expect(cueText('ffcut', [cue(1, 2, 'a')], late)).toContain(' -ss 1.500 -i ');
  const early = { ...video, offset: -0.5 };
  expect(cueText('srt', [cue(0, 2, 'a')], early)).toContain('00:00:00,000 --> 00:00:01,500');
  expect(cueText('ffcut', [cue(0, 2, 'a')], early)).toMatch(/ -ss 0\.000 .* -t 1\.500 /);
});

test('a cue lasts at least a millisecond: players drop those of no length', () => {
  expect(cueText('srt', [cue(1, 1.0001, 'a')], video)).toContain('00:00:01,000 --> 00:00:01,001');
});

describe('labels from strangers', () => {
  const evil = 'a\n\n9\n00:00:00,000 --> 00:00:09,000\r\nb\u2028<i>&\u0007';

  test.each(cueFormats)('%s: a label cannot end its cue or begin another', (format) => {
    const harmless = cueText(format, [cue(0, 1, 'x')], video);
    const text = cueText(format, [cue(0, 1, evil)], video);
    expect(text.split('\n')).toHaveLength(harmless.split('\n').length);
    expect(Array.from(text).filter((c) => (c < ' ' && c !== '\n') || c === '\u007f' || c === '\u2028')).toEqual([]);
    if (format === 'srt' || format === 'vtt') expect(text.match(/-->/g)).toHaveLength(1);
  });

  test('vtt writes &, < and > as entities', () => {
    expect(cueText('vtt', [cue(0, 1, 'a <i> & b --> c')], video)).toContain('\na &lt;i&gt; &amp; b --&gt; c\n');
  });
});

describe('ffcut', () => {
  test('names pieces by the video, a number and the letters of the label, and copies nothing', () => {
    expect(cueText('ffcut', [cue(0, 1, 'cut vegetables/now', 'other')], video)).toBe(
      "#!/bin/sh\nffmpeg -nostdin -v error -n -ss 0.000 -i 'file:in/lunch.mp4' -t 1.000 'file:lunch.001.cut-vegetables-now.mp4'\n",
    );
    expect(cueText('ffcut', [cue(0, 1, '…/..')], video)).toContain("'file:lunch.001.mp4'");
    expect(cueText('ffcut', [cue(0, 1, '切る ö')], video)).toContain("'file:lunch.001.切る-ö.mp4'");
  });

  test
    .skipIf(process.platform === 'win32')
    .each([
      'it\'s $(touch hacked) `touch hacked` "x".mp4',
      '-y;touch hacked.mp4',
      'http:touch hacked.mp4',
      'a\nb & c.mp4',
      "'; touch hacked; '.mp4",
    ])('sh gives ffmpeg the name %j as it is', (path) => {
    const script = cueText('ffcut', [cue(0, 1, "it's; $(touch hacked)")], { ...video, path });
    // A function in place of ffmpeg prints its arguments, NUL behind each.
    const shim = `ffmpeg() { printf '%s\\0' "$@"; }\n${script}`;
    const words = execFileSync('/bin/sh', ['-c', shim], { encoding: 'utf8' }).split('\0').slice(0, -1);
    expect(words).toHaveLength(11);
    expect(words[7]).toBe(`file:${path}`);
    expect(words[10]).toMatch(/^file:[^/]*\.001\.it-s-touch-hacked\.mp4$/);
  });
});
