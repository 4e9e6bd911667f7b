import { EgolensError } from '../errors.js';
import { shapeText } from '../tensor.js';
import type { StateDict, StoredTensor } from '../types.js';
import { nameList, shortText } from './bytes.js';

/** How the tensors of a file and the parameters of a graph correspond. */
export interface KeyReport {
  /** Parameter -> tensor of the right shape. */
  readonly matched: ReadonlyMap<string, StoredTensor>;
  /** Parameters without a tensor. */
  readonly missing: readonly string[];
  /** Tensors of the file that no parameter takes and that are not among those allowed to be left. */
  readonly unused: readonly string[];
  /** Tensors that were left and may be. */
  readonly left: readonly string[];
  readonly misshapen: readonly {
    readonly parameter: string;
    readonly key: string;
    readonly expected: readonly number[];
    readonly found: readonly number[];
  }[];
  /** Parameters that more than one tensor of the file wants to fill. */
  readonly doubled: readonly { readonly parameter: string; readonly keys: readonly string[] }[];
}

/**
 * Lay the tensors of a file beside the parameters of a graph.
 *
 * @param wanted shape by parameter
 * @param rename name in the file -> parameter; null for a tensor that belongs to no parameter
 * @param allowedLeft names in the file that may stay behind, each by its full name: a set, or anything with `has`
 */
export function matchKeys(
  wanted: ReadonlyMap<string, readonly number[]>,
  found: StateDict,
  rename: (key: string) => string | null = (key) => key,
  allowedLeft: { has(key: string): boolean } = new Set<string>(),
): KeyReport {
  const keysByParameter = new Map<string, string[]>();
  const unused: string[] = [];
  const left: string[] = [];
  for (const key of found.keys()) {
    const parameter = rename(key);
    if (parameter !== null && wanted.has(parameter)) {
      keysByParameter.set(parameter, [...(keysByParameter.get(parameter) ?? []), key]);
    } else (allowedLeft.has(key) ? left : unused).push(key);
  }
  const matched = new Map<string, StoredTensor>();
  const missing: string[] = [];
  const misshapen: KeyReport['misshapen'][number][] = [];
  const doubled: KeyReport['doubled'][number][] = [];
  for (const [parameter, expected] of wanted) {
    const keys = keysByParameter.get(parameter) ?? [];
    const [key] = keys;
    const tensor = key === undefined ? undefined : found.get(key);
    if (key === undefined || tensor === undefined) missing.push(parameter);
    else if (keys.length > 1) doubled.push({ parameter, keys });
    else if (expected.length !== tensor.shape.length || expected.some((n, d) => n !== tensor.shape[d])) {
      misshapen.push({ parameter, key, expected, found: tensor.shape });
    } else matched.set(parameter, tensor);
  }
  return { matched, missing, unused, left, misshapen, doubled };
}

/**
 * The error of a report, null when every parameter has its tensor and nothing is left over.
 *
 * Names come first: `model.key_unmatched` lists both sides; `model.shape` is for files whose names all fit.
 */
export function keyReportError(report: KeyReport, input: string): EgolensError | null {
  const { missing, unused, misshapen, doubled } = report;
  const shapes = misshapen.map(
    ({ parameter, expected, found }) =>
      `${shortText(parameter)}: expected ${shapeText(expected)}, found ${shapeText(found)}`,
  );
  const shapeLines = [
    ...(shapes.length === 0
      ? []
      : [`${shapes.length} of another shape`, ...shapes.slice(0, listed).map((one) => `  ${one}`)]),
    ...(shapes.length > listed ? [`  and ${shapes.length - listed} more`] : []),
  ];
  if (missing.length + unused.length + doubled.length > 0) {
    const lines = [
      `\`${input}\`: ${missing.length} parameters of the graph have no tensor, ${unused.length} tensors of the file have no parameter`,
      ...(missing.length > 0 ? [`missing in the file: ${nameList(missing, listed)}`] : []),
      ...(unused.length > 0 ? [`not wanted by the graph: ${nameList(unused, listed)}`] : []),
      ...(doubled.length > 0 ? [`${doubled.length} parameters are wanted by more than one tensor`] : []),
      ...doubled.slice(0, listed).map(({ parameter, keys }) => `  \`${shortText(parameter)}\`: ${nameList(keys, 4)}`),
      ...shapeLines,
    ];
    return new EgolensError('model.key_unmatched', lines.join('\n'), {
      input,
      try: 'check that the architecture is that of the checkpoint (`egolens models inspect FILE` lists its tensors)',
    });
  }
  if (misshapen.length === 0) return null;
  return new EgolensError(
    'model.shape',
    [`\`${input}\`: tensors of the file do not fit the graph`, ...shapeLines].join('\n'),
    {
      input,
      try: 'choose the size of the architecture that the checkpoint was trained with',
    },
  );
}

/** Names of each side that a message shows; the counts are always whole. */
const listed = 20;
