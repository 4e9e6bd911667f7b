/** Writes head folders (files.md 4), out of a checkpoint as out of a training run. */
import {
  modelDigest,
  type FeatureSource,
  type HeadInfo,
  type ModelManifest,
  type StoredModel,
} from '../models/folder.js';
import { headGraph, type Head } from '../models/head.js';
import { seededRandom } from '../random.js';
import type { StateDict, StoredTensor, Tensor } from '../types.js';
import { writeModelFolder, type FolderTarget } from './folder-writer.js';
import type { LabelList } from './label-lists.js';

/** What a head folder is made of. */
export interface HeadContent {
  readonly name: string;
  readonly head: Head;
  /** Parameter -> tensor, all of them. */
  readonly tensors: StateDict;
  /** Class names by kind; kinds without a list go by numbers. */
  readonly labels: Readonly<Record<string, LabelList>>;
  /** Streams of features; absent: nothing is known but their widths. */
  readonly features?: readonly FeatureSource[];
  readonly clock: HeadInfo['clock'];
  /** Where vectors of words come from; absent: the head takes none, or nothing is known. */
  readonly text?: HeadInfo['text'];
  readonly options: HeadInfo['options'];
  readonly trained: string;
  readonly licence: ModelManifest['licence'];
  readonly source: ModelManifest['source'];
}

/**
 * Writes a head folder beside its name and renames it, its probe included.
 *
 * @throws EgolensError as `writeModelFolder`
 */
export async function writeHeadFolder(content: HeadContent, target: FolderTarget): Promise<StoredModel> {
  const { head, name, tensors, labels } = content;
  return await writeModelFolder(
    {
      ...{ name, tensors, labels },
      graph: headGraph(head),
      describe: (files) => describeHead(files, content),
      probe: head.probe(seededRandom(0, 'probe')),
    },
    target,
  );
}

function describeHead(files: ModelManifest['files'], content: HeadContent): ModelManifest {
  const { name, head, clock, options, trained, licence, source } = content;
  return {
    schema: 'egolens.model/1',
    name,
    kind: 'head',
    family: head.family,
    config: head.config,
    inputs: head.inputs,
    outputs: head.outputs,
    precision: 'fp32',
    trained,
    licence,
    source,
    files,
    digest: modelDigest(files),
    head: {
      task: head.task,
      features: content.features ?? head.widths.map((width) => ({ model: null, output: null, width })),
      clock,
      text: content.text ?? null,
      options,
      postprocess: head.postprocess,
    },
  };
}

/** Tensors in memory as a state dict, for writers that stream. */
export function stateDictOf(values: ReadonlyMap<string, Tensor<'float32'>>): StateDict {
  return new Map(
    [...values].map(([name, { shape, data }]): [string, StoredTensor] => [
      name,
      {
        name,
        storedType: 'float32',
        shape,
        async *chunks() {
          yield await Promise.resolve(data);
        },
      },
    ]),
  );
}
