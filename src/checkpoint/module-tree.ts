import { EgolensError } from '../errors.js';
import { isRecord, isSequence, type PickleRecord, type PickleValue } from './pickle-values.js';
import { isTensorRecord } from './torch-tensors.js';

/** Modules in modules; the deepest published model has some ten. */
const maxDepth = 64;
/** Members in total: parts may be shared, and sharing at every level would multiply. */
const maxMembers = 1_000_000;
/** Characters of a name with its dots. */
const maxName = 4096;

/**
 * Named values of a module that was pickled as an object, in file order: its tensors, and whatever else stands beside them.
 *
 * TorchScript: attributes are tensors and nested objects. `nn.Module`: parameters, buffers and submodules stand in three dicts.
 * Names are joined with dots, which gives the keys of `state_dict()`. Throws `limit.size` when the tree is too deep or contains itself.
 */
export function flattenModule(root: PickleRecord, fileName: string): Map<string, PickleValue> {
  const flat = new Map<string, PickleValue>();
  let members = 0;
  const visit = (module: PickleRecord, prefix: string, depth: number): void => {
    for (const [key, value] of membersOf(module)) {
      if (depth > maxDepth || ++members > maxMembers || prefix.length + key.length > maxName) {
        throw new EgolensError(
          'limit.size',
          `\`${fileName}\`: modules in modules, expected at most ${maxDepth} levels, ${maxMembers} members and names of ${maxName} characters`,
        );
      }
      if (isModule(value)) visit(value, `${prefix}${key}.`, depth + 1);
      else flat.set(`${prefix}${key}`, value);
    }
  };
  visit(root, '', 0);
  return flat;
}

/** Is it an object with attributes that is no tensor? */
export function isModule(value: PickleValue | undefined): value is PickleRecord {
  return isRecord(value) && !isTensorRecord(value) && stateOf(value) !== null;
}

/** Attributes; beside them may stand a second dict for slots, which modules do not have. */
function stateOf(value: PickleRecord): Map<PickleValue, PickleValue> | null {
  const state = isSequence(value.state) ? value.state[0] : value.state;
  return state instanceof Map ? state : null;
}

function* membersOf(module: PickleRecord): Generator<[string, PickleValue]> {
  const state = stateOf(module);
  if (state === null) return;
  const isPlainModule = state.get('_modules') instanceof Map;
  for (const [key, value] of state) {
    if (typeof key !== 'string') continue;
    if (!isPlainModule) yield [key, value];
    else if (['_parameters', '_buffers', '_modules'].includes(key) && value instanceof Map) {
      for (const [name, member] of value) {
        if (typeof name === 'string' && member !== null) yield [name, member];
      }
    }
  }
}
