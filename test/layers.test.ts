import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { dirname, join, posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { expect, test } from 'vitest';

/**
 * Who may import whom. A room is a folder, or a file that stands alone; a file imports from lower levels and from its own room.
 * The longest matching name counts. `base` is one room: its files know each other. Heads and challenges meet in `Prediction` only.
 */
const rooms: Readonly<Record<string, { readonly room: string; readonly level: number }>> = {
  'src/types.ts': { room: 'base', level: 1 },
  'src/errors.ts': { room: 'base', level: 1 },
  'src/tensor.ts': { room: 'base', level: 1 },
  'src/time.ts': { room: 'base', level: 1 },
  'src/random.ts': { room: 'base', level: 1 },
  'src/json.ts': { room: 'base', level: 1 },
  'src/json-text.ts': { room: 'base', level: 1 },
  'src/json-lines.ts': { room: 'base', level: 1 },
  'src/json-reader.ts': { room: 'base', level: 1 },
  'src/json-pieces.ts': { room: 'base', level: 1 },
  'src/findings.ts': { room: 'base', level: 1 },
  'src/check.ts': { room: 'base', level: 1 },
  'src/generated/': { room: 'base', level: 1 },
  'src/schemas/': { room: 'base', level: 1 },
  'src/files.ts': { room: 'src/files.ts', level: 2 },
  'src/graph/': { room: 'src/graph', level: 2 },
  'src/metrics/': { room: 'src/metrics', level: 2 },
  'src/checkpoint/': { room: 'src/checkpoint', level: 2 },
  'src/text/': { room: 'src/text', level: 2 },
  'src/ego4d/': { room: 'src/ego4d', level: 3 },
  'src/video/': { room: 'src/video', level: 3 },
  'src/features/': { room: 'src/features', level: 3 },
  'src/search/': { room: 'src/search', level: 3 },
  'src/runtime/': { room: 'src/runtime', level: 3 },
  'src/hub/': { room: 'src/hub', level: 3 },
  'src/report/': { room: 'src/report', level: 4 },
  'src/models/': { room: 'src/models', level: 4 },
  'src/train/': { room: 'src/train', level: 4 },
  'src/world/': { room: 'src/world', level: 4 },
  'src/pipeline/': { room: 'src/pipeline', level: 5 },
  'heads/': { room: 'heads', level: 5 },
  'benchmarks/': { room: 'benchmarks', level: 5 },
  'src/cli/': { room: 'src/cli', level: 6 },
  'src/index.ts': { room: 'src/index.ts', level: 6 },
  'benchmarks/speed/': { room: 'benchmarks/speed', level: 6 },
  'commands/': { room: 'commands', level: 7 },
};

/** One place knows a package; replacing it touches that place. */
const doors: Readonly<Record<string, readonly string[]>> = {
  'fluent-ffmpeg': ['src/video/ffmpeg.ts'],
  'onnxruntime-node': ['src/runtime/'],
  'onnxruntime-common': ['src/runtime/'],
  '@oclif/core': ['commands/', 'src/cli/'],
  '@huggingface/tokenizers': ['src/text/tokenizer.ts'],
  '@huggingface/hub': ['src/hub/'],
  undici: ['src/hub/'],
  '@napi-rs/canvas': ['src/world/', 'src/report/png.ts'],
};

/** Slow to load (dependencies.md): reached by `await import()` when they are needed, so that `--help` stays quick. */
const slowToLoad = [
  'onnxruntime-node',
  'fluent-ffmpeg',
  'ajv',
  'ajv-formats',
  'cli-progress',
  '@huggingface/hub',
  'undici',
  '@napi-rs/canvas',
];

/** What the pure floor may take from Node: functions from values to values. */
const pureBuiltins = ['node:assert', 'node:buffer', 'node:crypto', 'node:path', 'node:util', 'node:zlib'];

interface Import {
  /** A file of ours by its name below the root, else the specifier as it stands. */
  readonly target: string;
  readonly from: 'us' | 'node' | 'package';
  readonly kind: 'value' | 'type' | 'dynamic';
}

interface Source {
  readonly name: string;
  readonly tree: ts.SourceFile;
  readonly imports: readonly Import[];
}

const root = fileURLToPath(new URL('..', import.meta.url));
const sources = ['src', 'commands', 'heads', 'benchmarks'].flatMap(filesIn).map(readSource);
const sourceByName = new Map(sources.map((source) => [source.name, source]));

test('there are sources to look at', () => {
  expect(sources.length).toBeGreaterThan(5);
});

test('every source file lies in a room with a level', () => {
  expect(sources.map((source) => source.name).filter((name) => roomOf(name) === undefined)).toEqual([]);
});

test('a file imports from lower levels and from its own room only', () => {
  const wrong = sources.flatMap((source) =>
    source.imports.filter((i) => i.from === 'us' && !mayImport(source.name, i.target)).map((i) => pair(source, i)),
  );
  expect(wrong).toEqual([]);
});

test('a package is imported through its door only', () => {
  const wrong = sources.flatMap((source) =>
    source.imports
      .filter((i) => i.from === 'package' && doors[packageOf(i.target)]?.every((door) => !source.name.startsWith(door)))
      .map((i) => pair(source, i)),
  );
  expect(wrong).toEqual([]);
});

test('the program imports its run-time dependencies only', () => {
  const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { dependencies: object };
  const known = Object.keys(manifest.dependencies);
  const wrong = sources.flatMap((source) =>
    source.imports
      .filter((i) => i.from === 'package' && i.kind !== 'type' && !known.includes(packageOf(i.target)))
      .map((i) => pair(source, i)),
  );
  expect(wrong).toEqual([]);
});

test('a command loads nothing slow before it runs', () => {
  const wrong = sources
    .filter((source) => source.name.startsWith('commands/'))
    .flatMap((command) => {
      const reached = loadedWith(command);
      return slowToLoad.filter((name) => reached.has(name)).map((name) => `${command.name} loads ${name}`);
    });
  expect(wrong).toEqual([]);
});

test('the pure floor imports no file, process or clock', () => {
  const wrong = sources
    .filter((source) => isPure(source.name))
    .flatMap((source) =>
      source.imports.filter((i) => i.from === 'node' && !pureBuiltins.includes(i.target)).map((i) => pair(source, i)),
    );
  expect(wrong).toEqual([]);
});

test('the pure floor uses no environment, clock or global randomness', () => {
  const wrong = sources.filter((source) => isPure(source.name)).flatMap((source) => impureUses(source.tree));
  expect(wrong).toEqual([]);
});

/** Levels 1 and 2 but `files.ts`, the heads, the challenges: tested without set-up, the same bytes everywhere. */
function isPure(name: string): boolean {
  const place = roomOf(name);
  if (place === undefined || place.room === 'src/files.ts') return false;
  return place.level <= 2 || place.room === 'heads' || place.room === 'benchmarks';
}

function impureUses(tree: ts.SourceFile): string[] {
  const found: string[] = [];
  const visit = (node: ts.Node): void => {
    const text =
      ts.isPropertyAccessExpression(node) || ts.isElementAccessExpression(node)
        ? node.getText(tree).replace(/^globalThis\./, '')
        : ts.isNewExpression(node) && node.expression.getText(tree) === 'Date' && !node.arguments?.length
          ? 'new Date()'
          : '';
    if (
      /^(process[.[]|Date\.now$|new Date\(\)$|performance\.now$|Math\.random$|crypto\.(random|getRandom))/.test(text)
    ) {
      const { line } = tree.getLineAndCharacterOfPosition(node.getStart(tree));
      found.push(`${tree.fileName}:${line + 1} uses ${text}`);
    }
    ts.forEachChild(node, visit);
  };
  visit(tree);
  return found;
}

function mayImport(from: string, to: string): boolean {
  const importer = roomOf(from);
  const imported = roomOf(to);
  if (importer === undefined || imported === undefined) return false;
  return imported.room === importer.room || imported.level < importer.level;
}

function roomOf(name: string): { readonly room: string; readonly level: number } | undefined {
  const matches = Object.keys(rooms).filter((key) => (key.endsWith('/') ? name.startsWith(key) : name === key));
  const longest = matches.sort((a, b) => b.length - a.length)[0];
  return longest === undefined ? undefined : rooms[longest];
}

/** Names of all packages that loading this file loads: through static imports of values, ours followed. */
function loadedWith(start: Source): Set<string> {
  const reached = new Set<string>();
  const visit = (source: Source): void => {
    for (const { target, from, kind } of source.imports) {
      if (kind !== 'value' || reached.has(target)) continue;
      reached.add(from === 'package' ? packageOf(target) : target);
      const next = sourceByName.get(target);
      if (next !== undefined) visit(next);
    }
  };
  visit(start);
  return reached;
}

function pair(source: Source, { target }: Import): string {
  const place = (name: string): string => {
    const level = roomOf(name)?.level;
    return level === undefined ? name : `${name} (level ${level})`;
  };
  return `${place(source.name)} imports ${place(target)}`;
}

/** `@oclif/core/ux` -> `@oclif/core`, `ajv/dist/2020.js` -> `ajv`. */
function packageOf(target: string): string {
  return target
    .split('/')
    .slice(0, target.startsWith('@') ? 2 : 1)
    .join('/');
}

function filesIn(folder: string): string[] {
  if (!existsSync(join(root, folder))) return [];
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .map((name) => `${folder}/${name.replaceAll('\\', '/')}`)
    .filter((name) => name.endsWith('.ts') && !name.endsWith('.test.ts') && !name.endsWith('.d.ts'));
}

function readSource(name: string): Source {
  const tree = ts.createSourceFile(name, readFileSync(join(root, name), 'utf8'), ts.ScriptTarget.Latest, true);
  const imports: Import[] = [];
  const add = (specifier: ts.Node | undefined, kind: Import['kind']): void => {
    if (specifier === undefined || !ts.isStringLiteralLike(specifier)) return;
    const from = /^\.\.?\//.test(specifier.text) ? 'us' : specifier.text.startsWith('node:') ? 'node' : 'package';
    imports.push({ target: from === 'us' ? targetOf(name, specifier.text) : specifier.text, from, kind });
  };
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node)) {
      add(node.moduleSpecifier, node.importClause?.phaseModifier === ts.SyntaxKind.TypeKeyword ? 'type' : 'value');
    } else if (ts.isExportDeclaration(node)) {
      add(node.moduleSpecifier, node.isTypeOnly ? 'type' : 'value');
    } else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) {
      add(node.argument.literal, 'type');
    } else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      add(node.arguments[0], 'dynamic');
    }
    ts.forEachChild(node, visit);
  };
  visit(tree);
  return { name, tree, imports };
}

/** A relative import as a name below the root, with the extension of the source. */
function targetOf(importer: string, specifier: string): string {
  const target = posix.join(dirname(importer), specifier);
  return target.startsWith('src/generated/') ? target : target.replace(/\.js$/, '.ts');
}
