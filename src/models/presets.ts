import { readFileSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { EgolensError } from '../errors.js';
import { rational, rationalText } from '../time.js';
import type { JsonValue } from '../json.js';
import type { Preset, Rational } from '../types.js';

const folder = new URL('./presets/', import.meta.url);
const labelFolder = new URL('./labels/', import.meta.url);

/** The class lists that come with the program: name -> path. Which checkpoint has which order: docs/models.md. */
export function labelLists(): ReadonlyMap<string, string> {
  const files = readdirSync(labelFolder)
    .filter((file) => file.endsWith('.json'))
    .sort();
  return new Map(files.map((file) => [file.slice(0, -'.json'.length), fileURLToPath(new URL(file, labelFolder))]));
}

/** Names of the presets that come with the program, sorted. */
export function presetNames(): readonly string[] {
  return readdirSync(folder)
    .flatMap((file) => (file.endsWith('.json') ? [file.slice(0, -'.json'.length)] : []))
    .sort();
}

/** A preset that comes with the program, by name or `name@version`. Throws `usage.flag` with the names there are. */
export function readPreset(nameAndVersion: string): Preset {
  const [name, version] = nameAndVersion.split('@');
  if (name === undefined || !presetNames().includes(name)) {
    throw new EgolensError('usage.flag', `no preset \`${nameAndVersion}\`; there are ${presetNames().join(', ')}`, {
      try: '`egolens presets list`, or the path of a preset file',
    });
  }
  const preset = parsePreset(JSON.parse(readFileSync(new URL(`${name}.json`, folder), 'utf8')));
  if (version !== undefined && String(preset.version) !== version) {
    throw new EgolensError('usage.flag', `preset \`${name}\` has version ${preset.version}, not ${version}`);
  }
  return preset;
}

/** A preset file as it stands (checked against `egolens.preset/1` by the caller): its rate becomes exact. */
export function parsePreset(json: unknown): Preset {
  const file = json as Omit<Preset, 'sampling'> & { sampling: Omit<Preset['sampling'], 'rate'> & { rate: string } };
  const { name, version, sampling, pixels, mean, std, feature, source } = file;
  return {
    name,
    version,
    sampling: { ...sampling, rate: parseRate(sampling.rate) },
    pixels,
    mean,
    std,
    feature,
    source,
  };
}

function parseRate(text: string): Rational | 'source' {
  if (text === 'source') return 'source';
  const [num, den] = text.split('/').map(Number);
  return rational(num ?? NaN, den ?? 1);
}

/** The preset as its file says it. */
export function presetJson(preset: Preset): JsonValue {
  const { name, version, sampling, pixels, mean, std, feature, source } = preset;
  return {
    schema: 'egolens.preset/1',
    name,
    version,
    sampling: {
      plan: sampling.plan,
      frames: sampling.frames,
      step: sampling.step,
      ...(sampling.extent !== undefined && { extent: sampling.extent }),
      hop: sampling.hop,
      rate: sampling.rate === 'source' ? 'source' : rationalText(sampling.rate),
      tail: sampling.tail,
      views: [...sampling.views],
      fusion: sampling.fusion,
    },
    pixels: { ...pixels },
    mean: [...mean],
    std: [...std],
    feature,
    source,
  };
}
