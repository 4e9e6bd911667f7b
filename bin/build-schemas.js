/**
 * JSON Schemas -> standalone ES modules in `src/generated/`, before TypeScript runs; `copyGenerated` carries them into `dist`.
 *
 * A validator compiled here loads in under a millisecond; compiling it at run time takes sixty. Same schemas, same bytes.
 * `node bin/build-schemas.js` does the first step alone.
 */
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import addFormats from 'ajv-formats';
import Ajv from 'ajv/dist/2020.js';
import standaloneCode from 'ajv/dist/standalone/index.js';

/** Folders with one schema a file. `common.json` in them holds definitions that several schemas share. */
const schemaFolders = ['src/schemas', 'benchmarks/ego4d/schemas'];
const generatedFolder = 'src/generated';
const commonFile = 'common.json';
const schemaName = /^[a-z0-9]+(?:[.-][a-z0-9]+)*\/[1-9][0-9]*$/;

/** A validator keeps at most about this many faults: a hostile file of 500 MB can hold millions. */
const faultLimit = 1000;

/** Compile every schema of the project. Throws when one of them is wrong. Files that stay the same are not touched. */
export function buildSchemas(root) {
  const schemas = schemaFolders.flatMap((folder) => readSchemas(join(root, folder)));
  schemas.sort((a, b) => (a.$id < b.$id ? -1 : 1));
  const files = new Map(schemas.map((schema) => [moduleName(schema.$id), validatorModule(schema)]));
  if (files.size !== schemas.length) throw new Error('two schemas have the same $id');
  files.set('index.js', indexModule(schemas));
  files.set('index.d.ts', indexTypes(schemas));

  const target = join(root, generatedFolder);
  mkdirSync(target, { recursive: true });
  for (const name of readdirSync(target)) if (!files.has(name)) rmSync(join(target, name), { recursive: true });
  for (const [name, text] of files) {
    const path = join(target, name);
    if (!existsSync(path) || readFileSync(path, 'utf8') !== text) writeFileSync(path, text);
  }
}

/** Copy the generated modules beside the compiled program: the compiler itself takes no `.js` along. */
export function copyGenerated(root) {
  const target = join(root, 'dist', generatedFolder);
  rmSync(target, { recursive: true, force: true });
  mkdirSync(target, { recursive: true });
  for (const name of readdirSync(join(root, generatedFolder))) {
    copyFileSync(join(root, generatedFolder, name), join(target, name));
  }
}

function readSchemas(folder) {
  if (!existsSync(folder)) return [];
  const read = (name) => JSON.parse(readFileSync(join(folder, name), 'utf8'));
  const names = readdirSync(folder).filter((name) => name.endsWith('.json') && name !== commonFile);
  const common = existsSync(join(folder, commonFile)) ? read(commonFile).$defs : {};
  return names.map((name) => {
    const schema = read(name);
    if (!schemaName.test(schema.$id)) {
      throw new Error(`${join(folder, name)}: $id is \`${schema.$id}\`, expected a name such as \`egolens.meta/1\``);
    }
    return withCommon(schema, common);
  });
}

/** The schema with the shared definitions it uses inside it, so that what `egolens schema NAME` prints stands alone. */
function withCommon(schema, common) {
  const prefix = `${commonFile}#/$defs/`;
  const used = {};
  const resolved = (value) => {
    if (Array.isArray(value)) return value.map(resolved);
    if (value === null || typeof value !== 'object') return value;
    return Object.fromEntries(
      Object.entries(value).map(([key, member]) => {
        if (key !== '$ref' || typeof member !== 'string' || !member.startsWith(prefix)) return [key, resolved(member)];
        const name = member.slice(prefix.length);
        if (common[name] === undefined) throw new Error(`${schema.$id}: no \`${name}\` in ${commonFile}`);
        if (!(name in used)) {
          used[name] = true; // before the descent: definitions may refer to each other
          used[name] = resolved(common[name]);
        }
        return [key, `#/$defs/${name}`];
      }),
    );
  };
  const own = resolved(schema);
  return Object.keys(used).length === 0 ? own : { ...own, $defs: { ...own.$defs, ...used } };
}

/** `egolens.meta/1` -> `egolens.meta-1.js` */
function moduleName(id) {
  return `${id.replace('/', '-')}.js`;
}

function validatorModule(schema) {
  const ajv = new Ajv({
    allErrors: true,
    strict: true,
    strictRequired: false,
    allowUnionTypes: true,
    // Faults carry the schema they broke, whose description says in words what was expected.
    verbose: true,
    code: { source: true, esm: true },
  });
  addFormats(ajv);
  const code = bounded(standaloneCode(ajv, ajv.compile(schema)));
  return [
    `// Made by bin/build-schemas.js from the schema ${schema.$id}.`,
    // ajv writes `require` for its run-time helpers even in an ES module.
    ...(code.includes('require(')
      ? [`import { createRequire } from 'node:module';`, `const require = createRequire(import.meta.url);`]
      : []),
    code,
    `export const schema = ${JSON.stringify(schema)};`,
    '',
  ].join('\n');
}

/**
 * The code with a limit on the faults it collects. What is valid stays so: a function that holds `faultLimit` faults has
 * counted them, and only the details of further ones are left out.
 */
function bounded(code) {
  const text = code
    .replaceAll('vErrors.push(', `vErrors.length < ${faultLimit} && vErrors.push(`)
    .replaceAll(
      /vErrors\.concat\(([\w.]+)\)/g,
      (_, more) => `(vErrors.length < ${faultLimit} ? vErrors.concat(${more}) : vErrors)`,
    );
  const places = (pattern) => text.match(pattern)?.length ?? 0;
  if (places(/vErrors\.(?:push|concat)\(/g) !== places(/vErrors\.length < \d+ (?:&&|\?) vErrors\.(?:push|concat)\(/g)) {
    throw new Error('ajv writes other code than bin/build-schemas.js expects: faults would be unbounded');
  }
  return text;
}

function indexModule(schemas) {
  const rows = schemas.map(({ $id }) => `  '${$id}': () => import('./${moduleName($id)}'),`);
  return `// Made by bin/build-schemas.js.\nexport const schemas = {\n${rows.join('\n')}\n};\n`;
}

function indexTypes(schemas) {
  const names = schemas.map(({ $id }) => `\n  | '${$id}'`);
  return `// Made by bin/build-schemas.js.
/** One fault as ajv reports it. */
export interface SchemaFault {
  readonly instancePath: string;
  readonly keyword: string;
  readonly params: Readonly<Record<string, unknown>>;
  readonly message?: string;
  /** The object of the schema that holds the keyword. */
  readonly parentSchema?: unknown;
  /** The value at fault. */
  readonly data?: unknown;
}
/** True when the value obeys the schema; else the faults stand in \`errors\` until the next call. */
export interface ValidateFunction {
  (value: unknown): boolean;
  errors?: readonly (SchemaFault | undefined)[] | null;
}
export interface SchemaModule {
  readonly validate: ValidateFunction;
  /** The schema itself, self-contained. */
  readonly schema: Readonly<Record<string, unknown>>;
}
export type SchemaName =${names.length === 0 ? ' never' : names.join('')};
/** Every schema by name; the module is loaded when its function is called. */
export declare const schemas: { readonly [N in SchemaName]: () => Promise<SchemaModule> };
`;
}

if (process.argv[1] !== undefined && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  buildSchemas(fileURLToPath(new URL('..', import.meta.url)));
}
