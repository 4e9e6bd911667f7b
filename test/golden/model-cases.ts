import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, extname, join } from 'node:path';
import { readNpy, writeNpy } from '../../src/checkpoint/npy.js';
import { openFileSource } from '../../src/files.js';
import { openModelFolder, type ModelFolder } from '../../src/models/folder.js';
import { familyOf } from '../../src/models/index.js';
import { interpolatedTable } from '../../src/models/videomae.js';
import { encodeArrays } from '../../src/pipeline/encode.js';
import { importModel } from '../../src/pipeline/import-model.js';
import { chooseProvider } from '../../src/runtime/providers.js';
import { sizeOf, tensor } from '../../src/tensor.js';
import type { AnyTensor, Normalisation } from '../../src/types.js';
import { normalise } from '../../src/video/resize.js';
import { readWeights, writeWeights } from '../cli/models.js';
import { maxAbs, type Comparison, type Runner } from './results.js';

interface GoldenOutput {
  readonly file?: string;
  readonly value?: number;
  readonly tolerance: { readonly fp32_max_abs: number };
}

interface ModelCase {
  readonly family: string;
  readonly checkpoint: { readonly file?: string; readonly files?: Readonly<Record<string, string>> };
  readonly files: Readonly<Record<string, { readonly role: string; readonly shape: readonly number[] }>>;
  readonly outputs: Readonly<Record<string, GoldenOutput>>;
  readonly config: Readonly<Record<string, unknown>>;
}

/** A case and where it lies. */
interface Golden extends ModelCase {
  readonly path: string;
  /** Names of the parts of its family. */
  readonly parts: readonly string[];
}

export async function readArray(path: string): Promise<AnyTensor> {
  await using source = await openFileSource(path);
  return (await readNpy(source)).tensor;
}

export const numbers = (value: AnyTensor): number[] => Array.from(value.data as ArrayLike<number | bigint>, Number);

export async function readJson<T>(path: string): Promise<T> {
  return JSON.parse(await readFile(path, 'utf8')) as T;
}

/**
 * A model case, end to end as a user goes: import the checkpoint with the case file as configuration, encode the arrays, compare every
 * output. The other graphs over the same weights (separate attention, normalised input) are held to the same numbers.
 */
export const runModel: Runner = async (path) => {
  const golden = await readCase(path);
  const work = await mkdtemp(join(tmpdir(), 'egolens-golden-'));
  try {
    const { main, parts } = checkpoints(golden);
    const model = join(work, 'model');
    const config = join(path, 'case.json');
    await importModel(main, { arch: golden.family, config, with: parts, output: model });
    return [
      ...(await compareForms(golden, model, work)),
      ...(await compareWithoutGates(golden, work)),
      ...(await compareAlone(golden, work)),
      ...(await comparePositions(golden, model)),
    ];
  } finally {
    await rm(work, { recursive: true, force: true });
  }
};

async function readCase(path: string): Promise<Golden> {
  const golden = await readJson<ModelCase>(join(path, 'case.json'));
  return { ...golden, path, parts: Object.keys(familyOf(golden.family).family.parts ?? {}) };
}

/** The checkpoint of the case, and those of its parts, which bear their names. */
function checkpoints({ checkpoint, path, parts }: Golden): { main: string; parts: Record<string, string> } {
  const files = checkpoint.file === undefined ? Object.keys(checkpoint.files ?? {}) : [checkpoint.file];
  const stem = (file: string): string => basename(file, extname(file));
  const main = files.find((file) => !parts.includes(stem(file)));
  if (main === undefined) throw new Error(`${path}: no checkpoint but those of ${parts.join(', ')}`);
  return {
    main: join(path, main),
    parts: Object.fromEntries(
      files.filter((file) => parts.includes(stem(file))).map((file) => [stem(file), join(path, file)]),
    ),
  };
}

/** Paths of what `encode` takes. */
interface Inputs {
  readonly frames: string;
  readonly arrays: Readonly<Record<string, string>>;
  readonly tokens?: string;
}

/** The arrays of a case: `frames.npy`, or `frames_<stream>.npy` where there are several streams; tokens and masks by their names. */
function inputsOf({ files, path }: Golden, { spec }: ModelFolder): Inputs {
  const there = Object.keys(files).filter((file) => files[file]!.role === 'input' && existsSync(join(path, file)));
  const arrays: Record<string, string> = {};
  for (const name of Object.keys(spec.arrays)) {
    const file = there.find((one) => one === `${name}.npy` || one === `frames_${name}.npy`);
    if (file !== undefined) arrays[name] = join(path, file);
  }
  const taken = Object.values(arrays);
  const frames = there.find((file) => /^frames/.test(file) && !taken.includes(join(path, file)));
  if (frames === undefined) throw new Error(`${path}: no array of frames`);
  return {
    frames: join(path, frames),
    arrays,
    ...(there.includes('tokens.npy') && { tokens: join(path, 'tokens.npy') }),
  };
}

/** Both forms of attention, each over bytes and over normalised floats. */
async function compareForms(golden: Golden, folder: string, work: string): Promise<Comparison[]> {
  const model = await openModelFolder(folder);
  const bytes = inputsOf(golden, model);
  const floats = await normalisedInputs(golden, bytes, model, work);
  const cpu = await chooseProvider('cpu');
  const comparisons: Comparison[] = [];
  for (const attention of ['fused', 'separate'] as const) {
    for (const inputs of [bytes, floats]) {
      const output = join(work, 'out');
      await rm(output, { recursive: true, force: true });
      await encode(folder, inputs, output, { ...cpu, attention });
      const from = `${basename(inputs.frames)}${attention === 'fused' ? '' : ', separate attention'}`;
      for (const [name, expected] of Object.entries(golden.outputs)) {
        if (!Object.hasOwn(model.manifest.outputs, name)) continue;
        comparisons.push(await compareOutput(golden, { name, expected, found: join(output, `${name}.npy`), from }));
      }
      comparisons.push(...(await compareTargets(golden, output, from)));
    }
  }
  const strange = Object.keys(golden.outputs).filter((name) => !Object.hasOwn(model.manifest.outputs, name));
  if (strange.length > 0) throw new Error(`${golden.path}: the model has no output ${strange.join(', ')}`);
  return comparisons;
}

async function encode(
  model: string,
  { frames, arrays, tokens }: Inputs,
  output: string,
  device: Parameters<typeof encodeArrays>[1]['device'],
): Promise<void> {
  const options = { model, output, arrays, device, ...(tokens !== undefined && { tokens }) };
  for await (const { folder } of encodeArrays([frames], options)) if (folder !== output) throw new Error(folder);
}

/** The case's own `input.npy`, or the frames normalised as the model's configuration says; so each further stream of frames. */
async function normalisedInputs(golden: Golden, bytes: Inputs, model: ModelFolder, work: string): Promise<Inputs> {
  const { spec } = model;
  const own = join(golden.path, 'input.npy');
  const frames = existsSync(own) ? own : await normalisedFile(bytes.frames, spec.preset, work, spec.isImage ?? false);
  const arrays: Record<string, string> = {};
  for (const [name, file] of Object.entries(bytes.arrays)) {
    const statistics = spec.config[name] as unknown as Normalisation | undefined;
    const isFrames = basename(file).startsWith('frames');
    arrays[name] = isFrames && statistics ? await normalisedFile(file, statistics, work) : file;
  }
  return { ...bytes, frames, arrays };
}

/** uint8 [b, t, h, w, 3] -> float32 [b, 3, t, h, w]; of images without t. */
async function normalisedFile(file: string, statistics: Normalisation, work: string, isImage = false): Promise<string> {
  const { shape, data } = await readArray(file);
  const clip = shape.slice(isImage ? -3 : -4, -1); // [t, h, w], or [h, w]
  const length = 3 * sizeOf(clip);
  const batch = sizeOf(shape) / length;
  const floats = new Float32Array(sizeOf(shape));
  for (let i = 0; i < batch; i++) {
    floats.set(normalise((data as Uint8Array).subarray(i * length, (i + 1) * length), statistics), i * length);
  }
  const path = join(work, `normalised-${basename(file)}`);
  await writeFile(path, writeNpy(tensor('float32', [batch, 3, ...clip], floats)));
  return path;
}

async function compareOutput(
  { path, files }: Golden,
  {
    name,
    expected: { file, value, tolerance },
    found,
    from,
  }: { name: string; expected: GoldenOutput; found: string; from: string },
): Promise<Comparison> {
  const expected = file === undefined ? [value!] : numbers(await readArray(join(path, file)));
  const array = await readArray(found);
  if (file !== undefined) {
    const { shape } = files[file]!;
    if (array.shape.join() !== shape.join())
      throw new Error(`${name}: shape ${array.shape.join()}, expected ${shape.join()}`);
  }
  return { what: `${name} from ${from}`, error: maxAbs(numbers(array), expected), tolerance: tolerance.fp32_max_abs };
}

/** `targets.npy` of a pre-training case, which states no tolerance for it. */
async function compareTargets({ path }: Golden, output: string, from: string): Promise<Comparison[]> {
  if (!existsSync(join(path, 'targets.npy'))) return [];
  const expected = numbers(await readArray(join(path, 'targets.npy')));
  const found = numbers(await readArray(join(output, 'targets.npy')));
  return [{ what: `targets from ${from}`, error: maxAbs(found, expected), tolerance: 1e-4 }];
}

/** Arrays of other runs than that of the model itself: the output of that run each is compared with, and which run. */
interface Further {
  readonly name: string;
  readonly of: string;
  /** The part that runs alone; absent: the whole model with its gates shut. */
  readonly part?: string;
}

/** What the case has as files beside its outputs; they state no tolerance, so that of the output they are made like holds. */
function furtherOutputs({ files, outputs, parts }: Golden): Further[] {
  return Object.entries(files).flatMap(([file, { role }]): Further[] => {
    const name = basename(file, '.npy');
    if (role !== 'outputs' || Object.hasOwn(outputs, name)) return [];
    const [, gated] = /^(.+)_gates_zero$/.exec(name) ?? [];
    if (gated !== undefined) return [{ name, of: gated }];
    const part = parts.find((one) => name.endsWith(`_${one}_alone`));
    return part === undefined ? [] : [{ name, of: name.slice(0, -`_${part}_alone`.length), part }];
  });
}

/** Cross-model attention with every gate and the fusion weight at zero. */
async function compareWithoutGates(golden: Golden, work: string): Promise<Comparison[]> {
  const wanted = furtherOutputs(golden).filter(({ part }) => part === undefined);
  if (wanted.length === 0) return [];
  const { main, parts } = checkpoints(golden);
  const weights = await readWeights(main);
  for (const [name, { shape, data }] of weights) {
    if (/(^|\.)(gate_\w+|alpha)$/.test(name)) weights.set(name, { shape, data: new Float32Array(data.length) });
  }
  const file = await writeWeights(join(work, 'gates-zero.safetensors'), weights);
  const model = join(work, 'gates-zero');
  const config = join(golden.path, 'case.json');
  await importModel(file, { arch: golden.family, config, with: parts, output: model });
  const output = join(work, 'gates-zero-out');
  await encode(model, inputsOf(golden, await openModelFolder(model)), output, 'cpu');
  return await compareFurther(golden, wanted, output);
}

/** Each part imported as the family that it is, over its own frames. */
async function compareAlone(golden: Golden, work: string): Promise<Comparison[]> {
  const comparisons: Comparison[] = [];
  for (const part of golden.parts) {
    const wanted = furtherOutputs(golden).filter((further) => further.part === part);
    if (wanted.length === 0) continue;
    const config = join(work, `${part}.json`);
    await writeFile(config, JSON.stringify({ config: golden.config[part] }));
    const model = join(work, part);
    const arch = familyOf(golden.family).family.parts![part]!.name; // one of the family's own parts
    await importModel(checkpoints(golden).parts[part]!, { arch, config, output: model });
    const output = join(work, `${part}-out`);
    await encode(model, { frames: join(golden.path, `frames_${part}.npy`), arrays: {} }, output, 'cpu');
    comparisons.push(...(await compareFurther(golden, wanted, output)));
  }
  return comparisons;
}

async function compareFurther(golden: Golden, wanted: readonly Further[], output: string): Promise<Comparison[]> {
  return await Promise.all(
    wanted.map(({ name, of }) =>
      compareOutput(golden, {
        name,
        expected: { file: `${name}.npy`, tolerance: golden.outputs[of]!.tolerance },
        found: join(output, `${of}.npy`),
        from: 'a run of its own',
      }),
    ),
  );
}

/** `pos_embed.npy`: the positional table after interpolation. */
async function comparePositions({ path, config: given }: Golden, folder: string): Promise<Comparison[]> {
  const file = join(path, 'pos_embed.npy');
  if (!existsSync(file)) return [];
  const { config } = (await openModelFolder(folder)).manifest as unknown as { config: Record<string, number> };
  const geometry = {
    frames: config['all_frames']!,
    size: config['img_size']!,
    patch: config['patch_size']!,
    tubelet: config['tubelet_size']!,
  };
  const table = interpolatedTable({ ...geometry, mean: [0, 0, 0], std: [1, 1, 1] }, Number(given['embed_dim']));
  // The case states no tolerance for it; that of all fp32 outputs is at least 2e-5 of the scale, here 1.
  return [{ what: 'pos_embed', error: maxAbs(table.data, numbers(await readArray(file))), tolerance: 2e-5 }];
}
