/** `models import --arch tfjs-graph`: the graph model of a detector becomes a model folder. */
import { basename, dirname, join } from 'node:path';
import { parseTfjs, readTfjsWeights } from '../checkpoint/tfjs.js';
import { EgolensError } from '../errors.js';
import { openFileSource, readSmallFile, sha256File, type FileSource } from '../files.js';
import { centernetConfig, centernetGraph, centernetJson } from '../models/centernet.js';
import { tfjsFamily } from '../models/detector-folder.js';
import { modelDigest, type CheckpointSource, type ModelManifest } from '../models/folder.js';
import { seededRandom } from '../random.js';
import { tensor } from '../tensor.js';
import type { Tensor } from '../types.js';
import { writeModelFolder } from './folder-writer.js';
import { stateDictOf } from './head-writer.js';
import { readConfig } from './import-config.js';
import { refuseOptions } from './import-head.js';
import type { ImportOptions, ImportReport } from './import-model.js';
import { labelList, type LabelList } from './label-lists.js';
import { checkedName, defaultName } from './model-folders.js';

export { tfjsFamily } from '../models/detector-folder.js';

/** Classes of the graph that is meant where no configuration says otherwise. */
const usualLabels = 'coco80';

/**
 * Imports the detector of a graph model: everything that its two maps need is built of operations that are known, or nothing is written.
 *
 * @param file model.json; the shards that it names lie beside it
 * @throws EgolensError checkpoint.*, input.not_found for a shard that is not there, input.truncated, limit.size, model.*, usage.conflict for
 *   what detectors do not take, output.exists
 */
export async function importDetector(file: string, options: ImportOptions): Promise<ImportReport> {
  refuseOptions(options, ['with', 'tokenizer', 'preset', 'map'], `${tfjsFamily} is a detector`);
  const { signal, progress, force } = options;
  const given = options.config === undefined ? {} : (await readConfig(options.config)).config;
  const config = centernetConfig(given, options.config === undefined ? tfjsFamily : `\`${options.config}\``);
  const model = parseTfjs(await readSmallFile(file), file);
  const weights = await shardWeights(file, model);
  const { graph, parameters, used, classes } = centernetGraph(model, weights, config);
  // Another graph may have other classes of the same number: nothing is guessed there.
  const named = options.labels ?? (options.config === undefined ? usualLabels : undefined);
  const labels: Record<string, LabelList> = named === undefined ? {} : { noun: await labelList(named) };
  if (labels['noun'] !== undefined && labels['noun'].labels.length !== classes) {
    throw new EgolensError(
      'model.config',
      `\`${named ?? ''}\`: ${labels['noun'].labels.length} labels; the detector has ${classes} classes`,
      { try: '`--labels FILE` with the list that it was trained with' },
    );
  }
  const left = [...weights.keys()].flatMap((key) =>
    used.has(key) ? [] : [{ key, why: 'not on the way to the two maps' }],
  );
  const name = options.name === undefined ? defaultName(file) : checkedName(options.name);
  const { size } = config;
  const source = { ...(await fileRecord(file, tfjsFamily)), left, with: await shardRecords(file, model.shards) };
  const describe = (files: ModelManifest['files']): ModelManifest => ({
    ...{ schema: 'egolens.model/1', name, kind: 'detector', family: tfjsFamily, config: centernetJson(config) },
    inputs: {
      frames: { dtype: 'uint8', shape: [1, size, size, 3], meaning: 'rgb pixels of a frame, stretched, 0 to 255' },
    },
    outputs: {
      classes: { dtype: 'float32', shape: shapeOf('classes'), meaning: 'scores of classes by row and column' },
      edges: {
        ...{ dtype: 'float32', shape: shapeOf('edges') },
        meaning: 'pixels of the picture from the place to the left, upper, right and lower edge',
      },
    },
    precision: 'fp32',
    trained: options.trained ?? 'official',
    licence: options.licence ?? { code: 'unknown', weights: 'unknown' },
    ...{ source, files, digest: modelDigest(files) },
  });
  const shapeOf = (output: string): readonly (number | string)[] => graph.outputs.get(output)?.shape ?? [];
  const { folder, manifest } = await writeModelFolder(
    { ...{ name, graph, labels, describe }, tensors: stateDictOf(parameters), probe: { frames: noise(size) } },
    {
      ...(options.output !== undefined && { output: options.output }),
      ...(force !== undefined && { force }),
      ...(signal && { signal }),
      ...(progress && { progress }),
    },
  );
  return { folder, manifest, matched: used.size, left };
}

async function shardWeights(
  file: string,
  model: ReturnType<typeof parseTfjs>,
): Promise<ReadonlyMap<string, Tensor<'float32'>>> {
  const shards = new Map<string, FileSource>();
  try {
    for (const name of model.shards) shards.set(name, await openFileSource(join(dirname(file), name)));
    return await readTfjsWeights(model, shards);
  } finally {
    for (const shard of shards.values()) await shard[Symbol.asyncDispose]();
  }
}

async function shardRecords(file: string, names: readonly string[]): Promise<Record<string, CheckpointSource>> {
  const records: Record<string, CheckpointSource> = {};
  for (const name of names) records[name] = await fileRecord(join(dirname(file), name), 'tfjs-shard');
  return records;
}

async function fileRecord(path: string, container: string): Promise<CheckpointSource> {
  await using source = await openFileSource(path);
  const place = { container, weightsKey: null, prefix: null };
  return { name: basename(path), bytes: source.size, sha256: await sha256File(path), ...place };
}

function noise(size: number): Tensor<'uint8'> {
  const random = seededRandom(0, 'probe');
  return tensor(
    'uint8',
    [1, size, size, 3],
    Uint8Array.from({ length: 3 * size ** 2 }, () => random.integer(256)),
  );
}
