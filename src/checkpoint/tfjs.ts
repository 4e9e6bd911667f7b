/**
 * Graph models of TensorFlow.js: a JSON file with nodes and a list of weights, and shards of bytes beside it. Nothing of it is believed
 * before it is compared with the sizes of the shards. Source of the format: tensorflow/tfjs, tfjs-converter (model.json) and tfjs-core
 * io/types.ts (`weightsManifest`); attributes are those of tensorflow/core/framework/attr_value.proto as protobuf writes them in JSON.
 */
import { EgolensError } from '../errors.js';
import { shapeText, tensor } from '../tensor.js';
import type { ByteSource, Tensor } from '../types.js';
import { checkedSize, shortText, utf8 } from './bytes.js';
import { elementTypes, floatsOf, type StoredType } from './element-types.js';

/** Where an input of a node comes from. */
export interface TfjsInput {
  readonly node: string;
  /** Which of its outputs. */
  readonly output: number;
}

export interface TfjsNode {
  readonly name: string;
  readonly op: string;
  /** Without control inputs, which carry no values. */
  readonly inputs: readonly TfjsInput[];
  /** Not checked: `tfjsInts` and its like look at them. */
  readonly attrs: Readonly<Record<string, unknown>>;
}

interface TfjsWeight {
  readonly name: string;
  readonly shape: readonly number[];
  readonly type: StoredType;
  /** Values are stored ones times `scale` plus `min`. */
  readonly scale: number;
  readonly min: number;
  readonly bytes: number;
}

/** Weights that lie one after the other in the shards, taken together. */
interface TfjsGroup {
  readonly paths: readonly string[];
  readonly weights: readonly TfjsWeight[];
}

export interface TfjsModel {
  /** By name, in the order of the file. */
  readonly nodes: ReadonlyMap<string, TfjsNode>;
  /** Names of the shards: plain names of files beside the JSON file. */
  readonly shards: readonly string[];
  readonly groups: readonly TfjsGroup[];
}

/** More than any model of the public zoo has, by far. */
const [mostNodes, mostWeights, mostShards, mostInputs] = [50_000, 50_000, 1000, 1000];
const mostAxes = 8;
/** Of all weights together, as stored: they are in memory at once. */
const mostBytes = 2 ** 28;

/**
 * Reads the JSON file of a graph model.
 *
 * @param name what messages call it
 * @throws EgolensError checkpoint.format with the place of the first fault, limit.size
 */
export function parseTfjs(bytes: Uint8Array, name: string): TfjsModel {
  const file = new Checked(name);
  const text = utf8(bytes);
  if (text === null) throw file.fault('', 'UTF-8', 'other bytes');
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new EgolensError('checkpoint.format', `\`${name}\`: no JSON: ${(cause as Error).message}`, { cause });
  }
  const root = file.object(value, '');
  const { format } = root;
  if (format !== 'graph-model') {
    const what = typeof format === 'string' ? `\`${shortText(format)}\`` : 'none';
    throw new EgolensError('checkpoint.format', `\`${name}\`: format: expected \`graph-model\`, found ${what}`, {
      try: 'a graph model as tensorflowjs_converter writes it; a layers model has no graph',
    });
  }
  const topology = file.object(root['modelTopology'], '/modelTopology');
  const nodes = new Map<string, TfjsNode>();
  file.list(topology['node'], '/modelTopology/node', mostNodes).forEach((entry, i) => {
    const node = nodeOf(file, entry, `/modelTopology/node/${i}`);
    if (nodes.has(node.name)) throw file.fault(`/modelTopology/node/${i}/name`, 'a name of its own', node.name);
    nodes.set(node.name, node);
  });
  const groups = file
    .list(root['weightsManifest'], '/weightsManifest', mostShards)
    .map((entry, i) => groupOf(file, entry, `/weightsManifest/${i}`));
  const shards = groups.flatMap(({ paths }) => paths);
  const weights = groups.flatMap((group) => group.weights);
  const twice = firstTwice(shards) ?? firstTwice(weights.map((weight) => weight.name));
  if (twice !== undefined) throw file.fault('/weightsManifest', 'every name once', twice);
  if (shards.length > mostShards) throw tooMany(name, `${shards.length} shards`, mostShards);
  if (weights.length > mostWeights) throw tooMany(name, `${weights.length} weights`, mostWeights);
  const total = weights.reduce((sum, weight) => sum + weight.bytes, 0);
  if (!(total <= mostBytes)) throw tooMany(name, `${total} bytes of weights`, mostBytes);
  return { nodes, shards, groups };
}

/**
 * All weights as float32; integers convert exactly up to 2^24.
 *
 * @param shards the files by the names in `model.shards`
 * @throws EgolensError input.truncated, checkpoint.format where shards and list are of different sizes: seen before anything is read
 */
export async function readTfjsWeights(
  { groups }: TfjsModel,
  shards: ReadonlyMap<string, ByteSource>,
): Promise<ReadonlyMap<string, Tensor<'float32'>>> {
  const sources = groups.map(({ paths, weights }) => {
    const files = paths.map((path) => shards.get(path)!); // the caller opened all of them
    const wanted = weights.reduce((sum, { bytes }) => sum + bytes, 0);
    const there = files.reduce((sum, { size }) => sum + size, 0);
    const name = paths.map((path) => `\`${path}\``).join(', ');
    if (there < wanted) {
      throw new EgolensError(
        'input.truncated',
        `${name}: the list of weights announces ${wanted} bytes, found ${there}`,
      );
    }
    if (there > wanted) {
      throw new EgolensError('checkpoint.format', `${name}: ${there} bytes, expected the ${wanted} of its weights`);
    }
    return { files, weights, wanted };
  });
  const tensors = new Map<string, Tensor<'float32'>>();
  for (const { files, weights, wanted } of sources) {
    const all = new Uint8Array(wanted);
    let at = 0;
    for (const file of files) {
      all.set(await file.read(0, file.size), at);
      at += file.size;
    }
    let begin = 0;
    for (const { name, shape, type, scale, min, bytes } of weights) {
      const stored = floatsOf(type, all.slice(begin, begin + bytes));
      begin += bytes;
      const isPlain = scale === 1 && min === 0;
      tensors.set(name, tensor('float32', shape, isPlain ? stored : stored.map((one) => one * scale + min)));
    }
  }
  return tensors;
}

// ---- attributes ---------------------------------------------------------------------------------------------------

/** Whole numbers of a list attribute; undefined where the node has none. @throws EgolensError checkpoint.format */
export function tfjsInts(node: TfjsNode, name: string): readonly number[] | undefined {
  const list = memberOf(node.attrs[name], 'list');
  if (list === undefined) return undefined;
  const found = memberOf(list, 'i') ?? [];
  const numbers = Array.isArray(found) ? found.map(Number) : [NaN];
  return numbers.every(Number.isSafeInteger) ? numbers : attributeFault(node, name, 'whole numbers');
}

/** A text; undefined where the node has none. @throws EgolensError checkpoint.format */
export function tfjsText(node: TfjsNode, name: string): string | undefined {
  const found = memberOf(node.attrs[name], 's');
  if (found === undefined) return undefined;
  return typeof found === 'string' ? fromBase64(found) : attributeFault(node, name, 'a text');
}

/** Texts of a list attribute; none where the node has none. @throws EgolensError checkpoint.format */
export function tfjsTexts(node: TfjsNode, name: string): readonly string[] {
  const found = memberOf(memberOf(node.attrs[name], 'list'), 's') ?? [];
  const isTexts = Array.isArray(found) && found.every((one) => typeof one === 'string');
  return isTexts ? found.map(fromBase64) : attributeFault(node, name, 'texts');
}

/** A truth value; false where the node has none. */
export function tfjsBool(node: TfjsNode, name: string): boolean {
  return memberOf(node.attrs[name], 'b') === true;
}

/** An element type as TensorFlow names it, `DT_FLOAT`; undefined where the node has none. */
export function tfjsType(node: TfjsNode, name: string): string | undefined {
  const found = memberOf(node.attrs[name], 'type');
  return typeof found === 'string' ? found : undefined;
}

function memberOf(value: unknown, name: string): unknown {
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return undefined;
  return (value as Readonly<Record<string, unknown>>)[name]; // an object that has it
}

function fromBase64(text: string): string {
  return Buffer.from(text, 'base64').toString('latin1');
}

function attributeFault(node: TfjsNode, name: string, expected: string): never {
  throw new EgolensError(
    'checkpoint.format',
    `node \`${shortText(node.name)}\` (${shortText(node.op)}): attribute \`${name}\`: expected ${expected}, found ${foundText(node.attrs[name])}`,
  );
}

/** What stands in the place of something else; of what may be large or deep only its kind. */
function foundText(value: unknown): string {
  if (value === undefined) return 'none';
  if (typeof value !== 'object' || value === null) return shortText(JSON.stringify(value));
  if (!Array.isArray(value)) return 'an object';
  const isShort = value.length <= mostAxes && value.every((one) => typeof one !== 'object');
  return isShort ? shortText(JSON.stringify(value)) : `a list of ${value.length}`;
}

// ---- the parts of the file ----------------------------------------------------------------------------------------

/** Members of the file, checked one by one. */
class Checked {
  readonly #name: string;
  constructor(name: string) {
    this.#name = name;
  }

  fault(at: string, expected: string, found: unknown): EgolensError {
    const said = foundText(found);
    const where = at === '' ? 'the whole file' : at;
    return new EgolensError('checkpoint.format', `\`${this.#name}\`: ${where}: expected ${expected}, found ${said}`);
  }

  object(value: unknown, at: string): Readonly<Record<string, unknown>> {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) throw this.fault(at, 'an object', value);
    return value as Readonly<Record<string, unknown>>; // seen above
  }

  list(value: unknown, at: string, most: number): readonly unknown[] {
    if (!Array.isArray(value)) throw this.fault(at, 'a list', value);
    if (value.length > most) throw tooMany(this.#name, `${at}: ${value.length} entries`, most);
    return value;
  }

  text(value: unknown, at: string): string {
    if (typeof value !== 'string' || value === '') throw this.fault(at, 'a text', value);
    return value;
  }
}

function tooMany(name: string, found: string, most: number): EgolensError {
  return new EgolensError('limit.size', `\`${name}\`: ${found}, expected at most ${most}`);
}

function firstTwice(names: readonly string[]): string | undefined {
  const seen = new Set<string>();
  return names.find((name) => seen.size === seen.add(name).size);
}

function nodeOf(file: Checked, value: unknown, at: string): TfjsNode {
  const entry = file.object(value, at);
  const inputs = entry['input'] === undefined ? [] : file.list(entry['input'], `${at}/input`, mostInputs);
  return {
    name: file.text(entry['name'], `${at}/name`),
    op: file.text(entry['op'], `${at}/op`),
    inputs: inputs.flatMap((input, i) => {
      const text = file.text(input, `${at}/input/${i}`);
      // Order without a value: running a graph of values has no use for it.
      if (text.startsWith('^')) return [];
      const parts = /^(.+):(\d{1,6})$/s.exec(text);
      return [{ node: parts?.[1] ?? text, output: Number(parts?.[2] ?? 0) }];
    }),
    attrs: entry['attr'] === undefined ? {} : file.object(entry['attr'], `${at}/attr`),
  };
}

function groupOf(file: Checked, value: unknown, at: string): TfjsGroup {
  const entry = file.object(value, at);
  const paths = file.list(entry['paths'], `${at}/paths`, mostShards).map((path, i) => {
    const name = file.text(path, `${at}/paths/${i}`);
    // A file beside this one: a list of weights names no other place on a disk, and nothing is fetched.
    const isPlain = /^[^/\\:\p{C}]{1,255}$/u.test(name) && !name.startsWith('.');
    if (!isPlain) throw file.fault(`${at}/paths/${i}`, 'the plain name of a file beside it', name);
    return name;
  });
  const weights = file
    .list(entry['weights'], `${at}/weights`, mostWeights)
    .map((weight, i) => weightOf(file, weight, `${at}/weights/${i}`));
  return { paths, weights };
}

const plainTypes: ReadonlyMap<unknown, StoredType> = new Map<string, StoredType>([
  ['float32', 'float32'],
  ['int32', 'int32'],
  ['uint8', 'uint8'],
  ['bool', 'bool'],
]);
const quantisedTypes: ReadonlyMap<unknown, StoredType> = new Map<string, StoredType>([
  ['float16', 'float16'],
  ['uint8', 'uint8'],
  ['uint16', 'uint16'],
]);

function weightOf(file: Checked, value: unknown, at: string): TfjsWeight {
  const entry = file.object(value, at);
  const shape = file.list(entry['shape'], `${at}/shape`, mostAxes);
  const isShape = (sizes: readonly unknown[]): sizes is readonly number[] =>
    sizes.every((size) => Number.isSafeInteger(size) && (size as number) >= 1); // a whole number
  if (!isShape(shape)) throw file.fault(`${at}/shape`, 'whole numbers from 1 on', shape);
  const plain = plainTypes.get(entry['dtype']);
  if (plain === undefined)
    throw file.fault(`${at}/dtype`, `one of ${[...plainTypes.keys()].join(', ')}`, entry['dtype']);
  const form =
    entry['quantization'] === undefined ? undefined : file.object(entry['quantization'], `${at}/quantization`);
  const type = form === undefined ? plain : quantisedTypes.get(form['dtype']);
  if (type === undefined) {
    throw file.fault(`${at}/quantization/dtype`, `one of ${[...quantisedTypes.keys()].join(', ')}`, form?.['dtype']);
  }
  const number = (member: string, usual: number): number => {
    const found = form === undefined || type === 'float16' ? usual : form[member];
    if (typeof found !== 'number' || !Number.isFinite(found))
      throw file.fault(`${at}/quantization/${member}`, 'a number', found);
    return found;
  };
  const size = checkedSize(shape);
  if (size === null || size > mostBytes) {
    throw file.fault(`${at}/shape`, `at most ${mostBytes} values`, shapeText(shape));
  }
  return {
    ...{ name: file.text(entry['name'], `${at}/name`), shape, type },
    ...{ scale: number('scale', 1), min: number('min', 0), bytes: size * elementTypes[type].size },
  };
}
