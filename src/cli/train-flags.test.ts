import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { BaseCommand } from './base-command.js';
import { endOf, parseResume, stepOutput, trainFlags, withConfig } from './train-flags.js';
import { jsonText } from '../json.js';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'egolens-flags-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const command = {
  flags: { ...trainFlags, name: {}, output: {}, 'skip-missing': {} },
  baseFlags: BaseCommand.baseFlags,
};

const withFile = async (value: unknown, ...argv: string[]): Promise<string[]> => {
  const path = join(folder, 'c.json');
  await writeFile(path, typeof value === 'string' ? value : JSON.stringify(value));
  return (await withConfig(['--config', path, ...argv], command)).filter(
    (word) => word !== '--config' && word !== path,
  );
};

test('the file says flags that the command line does not', async () => {
  const config = { epochs: 7, lr: 0.01, deterministic: true, 'skip-missing': false, output: 'a', name: null };
  expect(await withFile(config, '--lr=1', '-o', 'b')).toEqual(['--epochs=7', '--deterministic', '--lr=1', '-o', 'b']);
  expect(await withConfig(['--lr', '2'], command)).toEqual(['--lr', '2']);
});

test.each([
  ['no object', [1], /expected an object of flags/],
  ['no JSON', '{', /no JSON/],
  ['a name that ends the options', { '': true }, /c\.json`: expected names of flags .*, found ""/],
  ['a name with an underscore', { weight_decay: 1 }, /as `weight-decay`, found "weight_decay"/],
  ['a flag that the command has not', { epoch: 5 }, /c\.json`: `epoch`: expected a flag of this command/],
  ['a list as a value', { lr: [1] }, /`lr`: expected a number, a text, true or false/],
])('%s is refused', async (_, value, message) => {
  await expect(withFile(value)).rejects.toThrow(message);
});

test('--early-stop has a patience of its own', () => {
  expect(endOf({})).toEqual({});
  expect(endOf({ 'early-stop': 'top1' })).toEqual({ metric: 'top1', patience: 10 });
  expect(endOf({ patience: 3, 'max-time': '2m' })).toEqual({ patience: 3, maxSeconds: 120 });
});

test('--resume takes a word or a step', () => {
  expect([parseResume(), parseResume('no'), parseResume('120')]).toEqual(['auto', 'no', 120]);
  expect(() => parseResume('-1')).toThrow(/expected auto, no, or the step/);
});

test('floats of a step keep their point, what is not finite its name', () => {
  const record = { schema: 'egolens.step/1', step: 2, epoch: 1, loss: 1, lr: 0, grad_norm: 2 } as const;
  expect(jsonText(stepOutput({ ...record, metrics: { top1: 1, val_loss: 'NaN' } }))).toBe(
    '{"schema":"egolens.step/1","step":2,"epoch":1,"loss":1.0,"lr":0.0,"grad_norm":2.0,"metrics":{"top1":1.0,"val_loss":"NaN"}}',
  );
});
