import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { describe, expect, test } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));
const markdown = ['.', 'docs', 'fixtures', 'src', 'heads', 'benchmarks'].flatMap(markdownIn);

describe('doc comments', () => {
  const doors = ['src/index.ts', ...typescriptIn('heads'), ...typescriptIn('benchmarks')].filter((name) =>
    existsSync(join(root, name)),
  );
  const { config } = ts.readConfigFile(join(root, 'tsconfig.json'), (path) => ts.sys.readFile(path)) as {
    config: { compilerOptions: object };
  };
  const { options } = ts.convertCompilerOptionsFromJson(config.compilerOptions, root);
  const program = ts.createProgram({ rootNames: doors.map((name) => join(root, name)), options });
  const checker = program.getTypeChecker();

  test('every name that src/index.ts, heads/ and benchmarks/ export has a doc comment', () => {
    expect(doors.flatMap((name) => undocumented(name))).toEqual([]);
  });

  /** `NAME of FILE` for each exported name whose declaration has no doc comment, or an empty one. */
  function undocumented(name: string): string[] {
    const file = program.getSourceFile(join(root, name));
    const module = file && checker.getSymbolAtLocation(file);
    if (module === undefined) return [];
    return checker
      .getExportsOfModule(module)
      .map((symbol) => (symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol))
      .filter((symbol) => ts.displayPartsToString(symbol.getDocumentationComment(checker)).trim() === '')
      .map((symbol) => `${symbol.name} of ${name}`);
  }
});

describe('documents', () => {
  test('every relative link leads to a file', () => {
    const broken = markdown.flatMap((name) =>
      linksOf(readFileSync(join(root, name), 'utf8'))
        .filter((link) => !existsSync(resolve(root, dirname(name), link)))
        .map((link) => `${name}: ${link}`),
    );
    expect(broken).toEqual([]);
  });

  test('the change log has a section for what is not released yet', () => {
    expect(readFileSync(join(root, 'CHANGELOG.md'), 'utf8')).toMatch(/^## \[?Unreleased\]?$/m);
  });
});

/** Targets of `[text](target)` that mean a file of this repository, without `#fragment`; code is no link. */
function linksOf(text: string): string[] {
  const prose = text.replace(/^```[\s\S]*?^```/gm, '').replace(/`[^`\n]*`/g, '');
  return [...prose.matchAll(/\[[^\]]*\]\(<?([^)\s>]+)>?(?:\s+"[^"]*")?\)/g)]
    .map((match) => match[1] ?? '')
    .filter((target) => !/^([a-z]+:|#)/i.test(target))
    .map((target) => decodeURI(target.replace(/#.*$/, '')));
}

function markdownIn(folder: string): string[] {
  const isTop = folder === '.';
  return listed(folder, !isTop)
    .filter((name) => name.endsWith('.md'))
    .map((name) => (isTop ? name : `${folder}/${name}`));
}

function typescriptIn(folder: string): string[] {
  return listed(folder, true)
    .filter((name) => name.endsWith('.ts') && !name.endsWith('.test.ts') && !name.endsWith('.d.ts'))
    .map((name) => `${folder}/${name}`);
}

function listed(folder: string, recursive: boolean): string[] {
  if (!existsSync(join(root, folder))) return [];
  return readdirSync(join(root, folder), { recursive, encoding: 'utf8' }).map((name) => name.replaceAll('\\', '/'));
}
