/**
 * A reader for Python pickles of strangers, protocols 0 to 5. It builds data and executes nothing: a name is a record, a call is a
 * record, and only the containers of pickle-construct.ts become containers.
 *
 * Why not a package: pickleparser 0.2.1 reads -2^40 as 280375465082880, throws for integers above 64 bits (the magic number of every
 * legacy checkpoint is one) and calls what is registered. Source of the opcodes: CPython Lib/pickletools.py.
 */
import { latin1, utf8 } from './bytes.js';
import { callOf, globalOf } from './pickle-construct.js';
import {
  byte,
  charge,
  objectUnits,
  damaged,
  decimalInteger,
  float64,
  get,
  int32,
  integer,
  line,
  mark,
  need,
  pickleLimits,
  pop,
  popMark,
  push,
  put,
  take,
  text,
  tooLarge,
  top,
  tuple,
  uint16,
  uint32,
  uint64,
  type Machine,
  type PickleLimits,
} from './pickle-machine.js';
import { describe, isRecord, isTuple, type PickleRecord, type PickleValue } from './pickle-values.js';

export interface PickleOptions {
  /** What messages call the file. */
  readonly name: string;
  /** Called for each persistent id, with its data; what it gives stands in the result. Where absent a persistent id is an error. */
  readonly persistent?: (id: PickleValue) => PickleValue;
  readonly limits?: Partial<PickleLimits>;
}

export interface Unpickled {
  readonly value: PickleValue;
  /** Offset after the STOP: legacy checkpoints are five pickles in a row. */
  readonly end: number;
  /** Names outside torch, numpy and plain containers that the pickle mentions, such as `os.system`. None was called. */
  readonly foreignNames: ReadonlySet<string>;
}

/**
 * Read one pickle that starts at `start`.
 *
 * @throws EgolensError checkpoint.pickle where the pickle is damaged, input.truncated where it ends early, limit.size where it asks for too much
 */
export function unpickle(bytes: Uint8Array, options: PickleOptions, start = 0): Unpickled {
  const m: Machine = {
    name: options.name,
    bytes,
    view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength),
    limits: { ...pickleLimits, ...options.limits },
    persistent:
      options.persistent ??
      (() => {
        throw damaged(m, 'a persistent id, expected none here');
      }),
    stack: [],
    marks: [],
    memo: new Map(),
    tupleDepth: new WeakMap(),
    foreignNames: new Set(),
    at: start,
    work: 0,
  };
  for (;;) {
    const code = byte(m);
    if (code === stop) return { value: pop(m), end: m.at, foreignNames: m.foreignNames };
    const operation = operations.get(code);
    if (operation === undefined) {
      m.at--;
      const what = neverDone.get(code) ?? 'no opcode of protocols 0 to 5';
      throw damaged(m, `opcode 0x${code.toString(16).padStart(2, '0')}: ${what}`);
    }
    operation(m);
  }
}

const stop = 0x2e;
const nameBytes = 1024;

/** Opcodes that exist and have no place in a file that stands alone. */
const neverDone: ReadonlyMap<number, string> = new Map([
  [0x82, 'extension registry of the writing process'],
  [0x83, 'extension registry of the writing process'],
  [0x84, 'extension registry of the writing process'],
  [0x97, 'buffer outside the pickle'],
  [0x98, 'buffer outside the pickle'],
]);

type Operation = (m: Machine) => void;

/** Opcode -> what it does, in the order and with the names of pickletools. */
const operations: ReadonlyMap<number, Operation> = new Map<number, Operation>([
  // integers
  [op('I'), (m) => push(m, integerLine(m))],
  [op('J'), (m) => push(m, int32(m))],
  [op('K'), (m) => push(m, byte(m))],
  [op('M'), (m) => push(m, uint16(m))],
  [op('L'), (m) => push(m, longLine(m))],
  [0x8a, (m) => push(m, integer(m, byte(m)))],
  [0x8b, (m) => push(m, integer(m, uint32(m)))],
  // strings and bytes
  [op('S'), (m) => push(m, quotedLine(m), objectUnits.text)],
  [op('T'), (m) => push(m, oldText(take(m, uint32(m))), objectUnits.text)],
  [op('U'), (m) => push(m, oldText(take(m, byte(m))), objectUnits.text)],
  [op('B'), (m) => push(m, new Uint8Array(take(m, uint32(m))), objectUnits.bytes)],
  [op('C'), (m) => push(m, new Uint8Array(take(m, byte(m))), objectUnits.bytes)],
  [0x8e, (m) => push(m, new Uint8Array(take(m, uint64(m))), objectUnits.bytes)],
  [0x96, (m) => push(m, new Uint8Array(take(m, uint64(m))), objectUnits.bytes)],
  [op('V'), (m) => push(m, unicodeLine(m), objectUnits.text)],
  [0x8c, (m) => push(m, text(m, byte(m)), objectUnits.text)],
  [op('X'), (m) => push(m, text(m, uint32(m)), objectUnits.text)],
  [0x8d, (m) => push(m, text(m, uint64(m)), objectUnits.text)],
  // constants and floats
  [op('N'), (m) => push(m, null)],
  [0x88, (m) => push(m, true)],
  [0x89, (m) => push(m, false)],
  [op('F'), (m) => push(m, floatLine(m))],
  [op('G'), (m) => push(m, float64(m))],
  // lists and tuples
  [op(']'), (m) => push(m, [], objectUnits.sequence)],
  [op('a'), (m) => append(m, [pop(m)])],
  [op('e'), (m) => append(m, popMark(m))],
  [op('l'), (m) => push(m, popMark(m), objectUnits.sequence)],
  [op(')'), (m) => push(m, tuple(m, []))],
  [op('t'), (m) => push(m, tuple(m, popMark(m)))],
  [0x85, (m) => push(m, tuple(m, popMany(m, 1)))],
  [0x86, (m) => push(m, tuple(m, popMany(m, 2)))],
  [0x87, (m) => push(m, tuple(m, popMany(m, 3)))],
  // dicts and sets
  [op('}'), (m) => push(m, new Map(), objectUnits.map)],
  [op('d'), (m) => push(m, pairsInto(m, new Map(), popMark(m)), objectUnits.map)],
  [op('s'), (m) => setItems(m, popMany(m, 2))],
  [op('u'), (m) => setItems(m, popMark(m))],
  [0x8f, (m) => push(m, new Set(), objectUnits.map)],
  [0x90, (m) => addItems(m, popMark(m))],
  [0x91, (m) => push(m, new Set(popMark(m)), objectUnits.map)],
  // stack and memo
  [op('0'), popOrMark],
  [op('2'), (m) => push(m, top(m))],
  [op('('), mark],
  [op('1'), (m) => void popMark(m)],
  [op('g'), (m) => push(m, get(m, indexLine(m)))],
  [op('h'), (m) => push(m, get(m, byte(m)))],
  [op('j'), (m) => push(m, get(m, uint32(m)))],
  [op('p'), (m) => put(m, indexLine(m))],
  [op('q'), (m) => put(m, byte(m))],
  [op('r'), (m) => put(m, uint32(m))],
  [0x94, (m) => put(m, m.memo.size)],
  // names and calls, as data
  [op('c'), (m) => push(m, globalOf(m, nameLine(m), nameLine(m)))],
  [0x93, stackGlobal],
  [op('R'), reduce],
  [op('b'), build],
  [op('i'), (m) => push(m, callOf(m, globalOf(m, nameLine(m), nameLine(m)), tuple(m, popMark(m))))],
  [op('o'), classAndArguments],
  [0x81, reduce],
  [0x92, newObjectWithKeywords],
  [op('P'), (m) => push(m, m.persistent(latin1(line(m, nameBytes))))],
  [op('Q'), (m) => push(m, m.persistent(pop(m)))],
  // protocol and frames
  [0x80, protocol],
  [0x95, (m) => need(m, uint64(m))],
]);

function op(character: string): number {
  return character.charCodeAt(0);
}

function protocol(m: Machine): void {
  const found = byte(m);
  if (found > 5) throw damaged(m, `protocol ${found}, expected 0 to 5`);
}

// ---- text forms of protocols 0 and 1 -----------------------------------------------------------------------------

function integerLine(m: Machine): number | bigint | boolean {
  const digits = line(m, m.limits.integerBytes);
  const value = latin1(digits);
  if (value === '00') return false;
  if (value === '01') return true;
  return decimalInteger(m, digits);
}

function longLine(m: Machine): number | bigint {
  const digits = line(m, m.limits.integerBytes);
  return decimalInteger(m, digits.at(-1) === op('L') ? digits.subarray(0, -1) : digits);
}

function indexLine(m: Machine): number {
  const value = latin1(line(m, 10));
  if (!/^\d+$/.test(value)) throw damaged(m, 'expected the number of a remembered value');
  return Number(value);
}

function floatLine(m: Machine): number {
  const value = latin1(line(m, 64));
  if (/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(value)) return Number(value);
  const special = new Map([
    ['inf', Infinity],
    ['-inf', -Infinity],
    ['nan', NaN],
  ]).get(value);
  if (special === undefined) throw damaged(m, 'expected a decimal number');
  return special;
}

function nameLine(m: Machine): string {
  const value = utf8(line(m, nameBytes));
  if (value === null) throw damaged(m, 'expected a name in UTF-8');
  return value;
}

/** `str` of Python 2: text in most files, bytes in some. */
function oldText(bytes: Uint8Array): string {
  return utf8(bytes) ?? latin1(bytes);
}

function quotedLine(m: Machine): string {
  const quoted = latin1(line(m, m.limits.stringBytes));
  const quote = quoted.at(0);
  if (quoted.length < 2 || (quote !== "'" && quote !== '"') || quoted.at(-1) !== quote) {
    throw damaged(m, 'expected text in quotes');
  }
  const plain = new Map([
    ['n', '\n'],
    ['r', '\r'],
    ['t', '\t'],
  ]);
  return quoted.slice(1, -1).replace(/\\(?:x([0-9a-fA-F]{2})|([\s\S]))/g, (_, hex?: string, other?: string) => {
    if (hex !== undefined) return String.fromCharCode(Number.parseInt(hex, 16));
    return other === undefined ? '' : (plain.get(other) ?? other);
  });
}

/** Python's raw-unicode-escape: Latin-1 with `\uXXXX` and `\UXXXXXXXX`. */
function unicodeLine(m: Machine): string {
  return latin1(line(m, m.limits.stringBytes)).replace(
    /\\u([0-9a-fA-F]{4})|\\U([0-9a-fA-F]{8})/g,
    (_, short?: string, long?: string) => {
      const code = Number.parseInt(short ?? long ?? '', 16);
      if (code > 0x10ffff) throw damaged(m, `character ${code.toString(16)}, expected at most 10ffff`);
      return String.fromCodePoint(code);
    },
  );
}

// ---- containers --------------------------------------------------------------------------------------------------

function popMany(m: Machine, count: number): PickleValue[] {
  const values: PickleValue[] = [];
  for (let i = 0; i < count; i++) values.unshift(pop(m));
  return values;
}

/** POP takes a MARK away where one is on top. */
function popOrMark(m: Machine): void {
  if (m.marks.length > 0 && m.marks.at(-1) === m.stack.length) m.marks.pop();
  else pop(m);
}

function append(m: Machine, items: readonly PickleValue[]): void {
  const target = top(m);
  charge(m, items.length);
  if (isRecord(target) && target.args !== null) {
    target.items ??= [];
    for (const item of items) target.items.push(item);
  } else if (isGrowing(target)) {
    for (const item of items) target.push(item);
  } else throw damaged(m, `elements are appended to ${describe(target)}, expected a list`);
}

/** A list, which this machine made and may still fill; tuples are frozen. */
function isGrowing(value: PickleValue): value is PickleValue[] {
  return Array.isArray(value) && !Object.isFrozen(value);
}

function setItems(m: Machine, flat: readonly PickleValue[]): void {
  const target = top(m);
  if (target instanceof Map) pairsInto(m, target, flat);
  else if (isRecord(target) && target.args !== null) {
    charge(m, objectUnits.map);
    target.entries ??= new Map();
    pairsInto(m, target.entries, flat);
  } else throw damaged(m, `pairs are set on ${describe(target)}, expected a dictionary`);
}

function pairsInto(
  m: Machine,
  target: Map<PickleValue, PickleValue>,
  flat: readonly PickleValue[],
): Map<PickleValue, PickleValue> {
  if (flat.length % 2 !== 0) throw damaged(m, `${flat.length} keys and values, expected an even number`);
  charge(m, flat.length);
  for (let i = 0; i < flat.length; i += 2) target.set(flat[i]!, flat[i + 1]!);
  return target;
}

function addItems(m: Machine, items: readonly PickleValue[]): void {
  const target = top(m);
  if (!(target instanceof Set)) throw damaged(m, `elements are added to ${describe(target)}, expected a set`);
  charge(m, items.length);
  for (const item of items) target.add(item);
}

// ---- names and calls, as data ------------------------------------------------------------------------------------

function stackGlobal(m: Machine): void {
  const [module, name] = popMany(m, 2);
  if (typeof module !== 'string' || typeof name !== 'string') {
    throw damaged(m, `a name made of ${describe(module)} and ${describe(name)}, expected two texts`);
  }
  if (module.length > nameBytes || name.length > nameBytes) {
    throw tooLarge(m, 'characters in a name', Math.max(module.length, name.length), nameBytes);
  }
  push(m, globalOf(m, module, name));
}

function asCallee(m: Machine, value: PickleValue | undefined): PickleRecord {
  if (!isRecord(value)) throw damaged(m, `a call of ${describe(value)}, expected a name`);
  return value;
}

/** REDUCE and NEWOBJ: (callee, arguments) -> what the call would have made. */
function reduce(m: Machine): void {
  const [callee, args] = popMany(m, 2);
  if (!isTuple(args)) throw damaged(m, `a call with ${describe(args)}, expected a tuple`);
  push(m, callOf(m, asCallee(m, callee), args));
}

function newObjectWithKeywords(m: Machine): void {
  const [callee, args, keywords] = popMany(m, 3);
  if (!isTuple(args)) throw damaged(m, `a call with ${describe(args)}, expected a tuple`);
  if (!(keywords instanceof Map)) throw damaged(m, `keywords in ${describe(keywords)}, expected a dictionary`);
  push(m, callOf(m, asCallee(m, callee), keywords.size === 0 ? args : tuple(m, [...args, keywords])));
}

function classAndArguments(m: Machine): void {
  const [callee, ...args] = popMark(m);
  push(m, callOf(m, asCallee(m, callee), tuple(m, args)));
}

function build(m: Machine): void {
  const state = pop(m);
  const target = top(m);
  if (isRecord(target)) target.state = state;
  // state_dict() gives an OrderedDict with an attribute `_metadata` (versions of the layers), which nothing here needs.
  else if (!(target instanceof Map)) throw damaged(m, `attributes are set on ${describe(target)}, expected an object`);
}
