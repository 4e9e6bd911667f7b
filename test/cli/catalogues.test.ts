import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { schemaNames } from '../../src/check.js';
import { showLabels } from '../../src/pipeline/catalogues.js';
import { labelLists, presetNames } from '../../src/models/presets.js';
import { egolens, temporaryFolder } from './command.js';
import { records } from './program.js';

const folder = temporaryFolder();

test('presets list gives every preset as its file has it', async () => {
  const { code, stdout, stderr } = await egolens(['presets', 'list']);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  expect((await records(stdout)).map(({ name }) => name)).toEqual(presetNames());
});

test('presets show prints a file that presets show reads again; on one line with --ndjson', async () => {
  const shown = await egolens(['presets', 'show', 'ego4d-mq@1']);
  expect(shown).toMatchObject({ code: 0, stderr: '' });
  const path = join(folder, 'mine.json');
  writeFileSync(path, shown.stdout);
  expect(await records((await egolens(['presets', 'show', path, '--ndjson'])).stdout)).toEqual([
    JSON.parse(shown.stdout),
  ]);
});

test('labels list and labels show agree on the number of classes', async () => {
  const lists = await records((await egolens(['labels', 'list'])).stdout);
  expect(lists.map(({ name }) => name)).toEqual([...labelLists().keys()]);
  const classes = await records((await egolens(['labels', 'show', 'ssv2'])).stdout);
  expect(classes).toHaveLength(Number(lists.find(({ name }) => name === 'ssv2')!['classes']));
  expect(classes.map(({ index }) => index)).toEqual(classes.map((_, i) => i));
});

test('a label list or schema that is not there is said with the names there are', async () => {
  await expect(showLabels('nope')).rejects.toMatchObject({
    code: 'input.not_found',
    message: expect.stringContaining('k400') as unknown,
  });
  const schema = await egolens(['schema', 'nope']);
  expect(schema).toMatchObject({ code: 2, stdout: '' });
  expect(schema.stderr).toMatch(/^error usage\.flag: .*`nope`\ntry: `egolens schema --list`\n/);
});

test('schema --list names every schema; schema prints one, found by the middle of its name', async () => {
  const { stdout } = await egolens(['schema', '--list']);
  expect((await records(stdout)).map(({ name }) => name)).toEqual(schemaNames);
  const probe = await egolens(['schema', 'probe']);
  expect(JSON.parse(probe.stdout)).toMatchObject({ $id: 'egolens.probe/1' });
  expect(probe.stdout).not.toContain('common.json');
});

test('doctor looks at everything and ends with 7 only when something needed is missing', async () => {
  const whole = await egolens(['doctor', '--models']);
  const checks = await records(whole.stdout);
  expect(checks.map(({ name }) => name)).toEqual(expect.arrayContaining(['Node', 'ffmpeg', 'provider cpu', 'memory']));
  expect(checks.some(({ name, status }) => String(name).startsWith('model ') && status === 'ok')).toBe(true);
  expect(whole.code).toBe(checks.some(({ status }) => status === 'fail') ? 7 : 0);
  const without = await egolens(['doctor'], { env: { EGOLENS_FFMPEG: join(folder, 'no-ffmpeg') } });
  expect(without.code).toBe(7);
  const ffmpeg = (await records(without.stdout)).find(({ name }) => name === 'ffmpeg');
  expect(ffmpeg).toMatchObject({ status: 'fail' });
  expect(ffmpeg!['remedy']).not.toBeNull();
});

test('a listing as csv has a header and one line a record', async () => {
  const { stdout } = await egolens(['labels', 'show', 'hmdb51', '--format', 'csv']);
  const lines = stdout.trimEnd().split('\n');
  const file = JSON.parse(readFileSync(labelLists().get('hmdb51')!, 'utf8')) as { labels: string[] };
  expect(lines).toHaveLength(file.labels.length + 1);
  expect(lines.slice(0, 2)).toEqual(['index,label', `0,${file.labels[0]!}`]);
});
