import { expect, test } from 'vitest';
import { announceRun, onToolRun } from './trace.js';

test('a listener hears command lines as a shell takes them, until it is disposed', () => {
  const heard: string[] = [];
  const listener = onToolRun((line) => heard.push(line));
  announceRun('ffprobe', ['-of', 'json', "file:/a b/it's.mp4", '']);
  listener[Symbol.dispose]();
  announceRun('ffprobe', ['late']);
  expect(heard).toEqual([String.raw`ffprobe -of json 'file:/a b/it'\''s.mp4' ''`]);
});
