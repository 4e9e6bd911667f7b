import { describe as group, expect, test } from 'vitest';
import { EgolensError } from '../errors.js';
import { isTuple, type PickleValue } from './pickle-values.js';
import { unpickle, type PickleOptions } from './pickle.js';

/** Opcodes written as Latin-1 text: `K\x05.` is the number 5. */
function read(opcodes: string, options: Partial<PickleOptions> = {}): PickleValue {
  return unpickle(Buffer.from(opcodes, 'latin1'), { name: 'test.pkl', ...options }).value;
}

function codeOf(opcodes: string, options: Partial<PickleOptions> = {}): string {
  try {
    read(opcodes, options);
  } catch (error) {
    return error instanceof EgolensError ? error.code : String(error);
  }
  return 'no error';
}

group('numbers', () => {
  test.each([
    ['K\xff.', 255],
    ['M\x00\x01.', 256],
    ['J\xff\xff\xff\xff.', -1],
    ['\x8a\x00.', 0],
    ['\x8a\x01\xff.', -1],
    ['\x8a\x02\xff\x00.', 255],
    ['\x8a\x06\x00\x00\x00\x00\x00\xff.', -(2 ** 40)],
    ['\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f.', 2n ** 63n - 1n],
    ['\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.', 0x1950a86a20f9469cfc6cn],
    ['\x8b\x02\x00\x00\x00\x00\x80.', -32768],
    ['I-12\n.', -12],
    ['I01\n.', true],
    ['L123456789012345678901L\n.', 123456789012345678901n],
    ['F-1.5e3\n.', -1500],
    ['Finf\n.', Infinity],
    ['G\x3f\xf8\x00\x00\x00\x00\x00\x00.', 1.5],
    ['N.', null],
    ['\x88.', true],
    ['\x89.', false],
  ])('%j is %s', (opcodes, expected) => {
    expect(read(opcodes)).toBe(expected);
  });

  test.each(['Ix\n.', 'L1e9L\n.', 'F0x10\n.', 'I\n.', 'F1_0\n.'])('%j is no number', (opcodes) => {
    expect(codeOf(opcodes)).toBe('checkpoint.pickle');
  });
});

group('texts and bytes', () => {
  test.each([
    ['X\x03\x00\x00\x00\xe2\x82\xac.', '€'],
    ['\x8c\x02hi.', 'hi'],
    ['\x8d\x02\x00\x00\x00\x00\x00\x00\x00hi.', 'hi'],
    ['X\x04\x00\x00\x00\xef\xbb\xbfa.', '\ufeffa'],
    ['U\x01\xe9.', 'é'],
    ["S'a\\n\\x41\\''\n.", "a\nA'"],
    ['Va\\u20ac\xe9\n.', 'a€é'],
  ])('%j is the text %j', (opcodes, expected) => {
    expect(read(opcodes)).toBe(expected);
  });

  test('bytes of every length form are copied out of the file', () => {
    for (const opcodes of [
      'C\x02ab.',
      'B\x02\x00\x00\x00ab.',
      '\x8e\x02\0\0\0\0\0\0\0ab.',
      '\x96\x02\0\0\0\0\0\0\0ab.',
    ]) {
      expect(read(opcodes)).toEqual(new Uint8Array([97, 98]));
    }
  });

  test('_codecs.encode with latin1 is how protocol 2 writes bytes', () => {
    expect(read('c_codecs\nencode\nX\x03\x00\x00\x00\xc3\xbfaX\x06\x00\x00\x00latin1\x86R.')).toEqual(
      new Uint8Array([255, 97]),
    );
  });

  test('text that is no UTF-8 is refused', () => {
    expect(codeOf('X\x01\x00\x00\x00\xff.')).toBe('checkpoint.pickle');
  });
});

group('containers', () => {
  test('dicts are maps and __proto__ is a key like any other', () => {
    const value = read('}(X\x09\x00\x00\x00__proto__K\x01K\x02K\x03u.');
    expect(value).toEqual(
      new Map<PickleValue, PickleValue>([
        ['__proto__', 1],
        [2, 3],
      ]),
    );
    expect(Object.prototype).not.toHaveProperty('0');
  });

  test('tuples are frozen and lists are not', () => {
    const [list, tuple] = read(']K\x01aK\x02\x85\x86.') as readonly PickleValue[];
    expect([isTuple(list), isTuple(tuple)]).toEqual([false, true]);
    expect([list, tuple]).toEqual([[1], [2]]);
  });

  test('a remembered list is the same list, even inside itself', () => {
    const value = read(']q\x00h\x00a.') as readonly PickleValue[];
    expect(value[0]).toBe(value);
  });

  test('sets, old-style lists and dicts are read', () => {
    expect(read('\x8f(K\x01K\x02\x90.')).toEqual(new Set([1, 2]));
    expect(read('(K\x01K\x02\x91.')).toEqual(new Set([1, 2]));
    expect(read('(K\x01K\x02l.')).toEqual([1, 2]);
    expect(read('(K\x01K\x02d.')).toEqual(new Map([[1, 2]]));
  });

  test('an OrderedDict is a map, and the attributes that state_dict() gives it are dropped', () => {
    const opcodes = 'ccollections\nOrderedDict\n)R(K\x01K\x02u}X\x09\x00\x00\x00_metadataNsb.';
    expect(read(opcodes)).toEqual(new Map([[1, 2]]));
  });

  test.each([
    ['an element appended to a tuple', '(K\x01tK\x02a.'],
    ['a pair set on a list', ']K\x01K\x02s.'],
    ['an odd number of keys and values', '}(K\x01u.'],
    ['an element added to a list', ']K\x01(K\x02\x90.'],
    ['a value asked for that was never remembered', 'h\x07.'],
    ['a pop from an empty stack', '0.'],
    ['a value taken from below the last mark', 'K\x01(a.'],
    ['a mark asked for that is not open', 'K\x01t.'],
    ['attributes on a number', 'K\x01}b.'],
    ['a stop with nothing read', '.'],
    ['an unknown opcode', '\xff.'],
    ['a protocol of the future', '\x80\x06N.'],
    ['an extension code', '\x82\x01.'],
    ['a buffer outside the pickle', '\x97.'],
    ['a persistent id where none is expected', 'K\x01Q.'],
    ['a call of a number', 'K\x01)R.'],
    ['a call with a list', 'cos\nsystem\n]R.'],
    ['a name made of numbers', 'K\x01K\x02\x93.'],
    ['a character beyond Unicode', 'V\\U00110000\n.'],
  ])('%s is damage', (_, opcodes) => {
    expect(codeOf(opcodes)).toBe('checkpoint.pickle');
  });
});

group('names and calls', () => {
  test('a call is a record of the call', () => {
    const value = read('cos\nsystem\nX\x02\x00\x00\x00ls\x85R.');
    expect(value).toMatchObject({ kind: 'record', module: 'os', name: 'system', args: ['ls'] });
  });

  test('calls in calls are records in records', () => {
    const value = read('cbuiltins\ngetattr\ncos\nsystem\n)RX\x03\x00\x00\x00run\x86R.');
    expect(value).toMatchObject({ name: 'getattr', args: [{ module: 'os', name: 'system', args: [] }, 'run'] });
  });

  test('calling what a call gave is a record of that name with the new arguments', () => {
    expect(read('cbuiltins\ngetattr\nN\x85RK\x01\x85R.')).toMatchObject({ name: 'getattr', args: [1] });
  });

  test('names that are neither torch nor plain containers are reported', () => {
    const opcodes = '(cos\nsystem\nctorch\nFloatStorage\nccollections\nOrderedDict\ncnumpy\ndtype\ncbuiltins\neval\nt.';
    expect([...unpickle(Buffer.from(opcodes, 'latin1'), { name: 'x' }).foreignNames]).toEqual([
      'os.system',
      'builtins.eval',
    ]);
  });

  test('an object keeps its attributes, elements and pairs', () => {
    expect(read('cargparse\nNamespace\n)\x81}X\x02\x00\x00\x00lrK\x01sb.')).toMatchObject({
      state: new Map([['lr', 1]]),
    });
    expect(read('cm\nList\n)\x81(K\x01K\x02e.')).toMatchObject({ items: [1, 2] });
    expect(read('cm\nDict\n)\x81(K\x01K\x02u.')).toMatchObject({ entries: new Map([[1, 2]]) });
    expect(read('cm\nC\n)}K\x01K\x02s\x92.')).toMatchObject({ args: [new Map([[1, 2]])] });
    expect(read('(K\x01im\nC\n.')).toMatchObject({ module: 'm', name: 'C', args: [1] });
    expect(read('(cm\nC\nK\x01o.')).toMatchObject({ module: 'm', name: 'C', args: [1] });
  });

  test('objects of protocol 0 and 1 are named by their class', () => {
    const opcodes = 'ccopy_reg\n_reconstructor\n(cargparse\nNamespace\nc__builtin__\nobject\nNtR.';
    expect(read(opcodes)).toMatchObject({ module: 'argparse', name: 'Namespace' });
  });

  test('persistent ids go to the callback', () => {
    const ids: PickleValue[] = [];
    const persistent = (id: PickleValue) => ids.push(id);
    expect(read('K\x07QPkey\n\x86.', { persistent })).toEqual([1, 2]);
    expect(ids).toEqual([7, 'key']);
  });
});

group('hostile sizes', () => {
  test.each([
    ['a text of 2^60 bytes', '\x8d\x00\x00\x00\x00\x00\x00\x00\x10.'],
    ['bytes of 2^64 - 1', '\x8e\xff\xff\xff\xff\xff\xff\xff\xff.'],
    ['an integer of 2^32 - 1 bytes', '\x8b\xff\xff\xff\xff\x01.'],
    ['a frame of 2^63 bytes', '\x95\x00\x00\x00\x00\x00\x00\x00\x80N.'],
    ['a line without an end', 'cos'],
    ['a pickle without a stop', 'K\x01'],
    ['no bytes', ''],
  ])('%s ends as a truncated file', (_, opcodes) => {
    expect(codeOf(opcodes)).toBe('input.truncated');
  });

  test.each([
    ['an integer of 2,000 bytes', `\x8b\xd0\x07\x00\x00${'\x01'.repeat(2000)}.`],
    ['marks in marks', '('.repeat(2000) + '.'],
    ['tuples in tuples', 'N' + '\x85'.repeat(2000) + '.'],
    ['a stack of two million values', 'N'.repeat(2_000_000) + '.'],
    [
      'a short pickle that copies one long list again and again',
      longList(100_000) + 'ccollections\nCounter\nh\x00\x85R0'.repeat(200) + 'N.',
    ],
    [
      'a short pickle that copies one long text again and again',
      longText(100_000) + `c_codecs\nencode\nh\x00X\x06\x00\x00\x00latin1\x86R0`.repeat(200) + 'N.',
    ],
  ])('%s is refused', (_, opcodes) => {
    expect(codeOf(opcodes)).toBe('limit.size');
  });

  test('a text above the limit is refused before it is decoded', () => {
    expect(codeOf(`X\x0a\x00\x00\x00${'a'.repeat(10)}.`, { limits: { stringBytes: 9 } })).toBe('limit.size');
  });

  test('a name line of a megabyte is damage', () => {
    expect(codeOf(`c${'a'.repeat(2 ** 20)}\nb\n.`)).toBe('checkpoint.pickle');
  });

  test('a memo index of 2^32 - 1 takes no more room than index 0', () => {
    expect(read('K\x05r\xff\xff\xff\xff0j\xff\xff\xff\xff.')).toBe(5);
  });

  test('the memo has a limit', () => {
    expect(codeOf('N' + '\x94'.repeat(20) + '.', { limits: { memo: 10 } })).toBe('limit.size');
  });
});

/** A list of `n` pairs, remembered as 0. */
function longList(n: number): string {
  return '](' + 'NN\x86'.repeat(n) + 'eq\x00';
}

function longText(n: number): string {
  const length = Buffer.alloc(4);
  length.writeUInt32LE(n);
  return `X${length.toString('latin1')}${'a'.repeat(n)}q\x00`;
}

test('the end of one pickle is the start of the next', () => {
  const two = Buffer.from('K\x01.K\x02.', 'latin1');
  const first = unpickle(two, { name: 'x' });
  expect([first.value, first.end]).toEqual([1, 3]);
  expect(unpickle(two, { name: 'x' }, first.end).value).toBe(2);
});

test('a message names the file and the place', () => {
  expect(() => read('K\x01\xfe.')).toThrow(
    '`test.pkl`, byte 2 of the pickle: opcode 0xfe: no opcode of protocols 0 to 5',
  );
});
