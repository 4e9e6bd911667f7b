/**
 * Values from outside against our JSON Schemas. The validators are compiled by `bin/build-schemas.js`; each is loaded when it is
 * first asked for.
 */
import { EgolensError, type ErrorCode } from './errors.js';
import { schemas, type SchemaFault, type SchemaModule, type SchemaName } from './generated/index.js';
import { moreFindings, withLine } from './findings.js';
import type { Finding, JsonDocument } from './types.js';

export type { SchemaName } from './generated/index.js';

/** A compiled schema. */
export interface Validator extends SchemaModule {
  readonly name: SchemaName;
}

/** Names of all schemas, in alphabetical order: `egolens.meta/1`, … */
export const schemaNames = Object.keys(schemas) as readonly SchemaName[]; // the keys are typed by the generated index

/** The compiled schema of that name. */
export async function loadValidator(name: SchemaName): Promise<Validator> {
  return { name, ...(await schemas[name]()) };
}

/** Is this text the name of a schema? */
export function isSchemaName(name: string): name is SchemaName {
  return Object.hasOwn(schemas, name);
}

/** What breaks the schema, in the order of the schema; [] = valid. A value with thousands of faults gives the first `limit`. */
export function findings(validator: Validator, value: unknown, limit = 1000): Finding[] {
  if (validator.validate(value)) return [];
  const found: Finding[] = [];
  for (const fault of validator.validate.errors ?? []) {
    if (found.length === limit) break;
    // `if` and `propertyNames` only repeat that something inside them failed, and that stands in a fault of its own.
    if (fault === undefined || fault.keyword === 'if' || fault.keyword === 'propertyNames') continue;
    found.push({ level: 'error', code: 'data.invalid', ...describe(fault) });
  }
  return found;
}

/**
 * What of a document breaks a schema, with lines. `limit` findings are kept at most; where there are more, the last one says so
 * (`MoreFindings`). Works for documents that were read with `literals` too: their integers count as numbers here.
 */
export async function schemaFindings(
  name: SchemaName,
  document: Pick<JsonDocument, 'value' | 'line'>,
  { limit = 100 }: { readonly limit?: number } = {},
): Promise<Finding[]> {
  const found = findings(await loadValidator(name), withoutBigints(document.value));
  const kept = found.slice(0, limit).map((finding) => withLine(finding, document));
  // The validator itself stops at about a thousand faults.
  if (found.length > limit)
    kept.push(moreFindings('error', 'data.invalid', found.length - limit, found.length >= 1000));
  return kept;
}

/** The value with plain numbers in place of bigints; parts without any are not copied. */
export function withoutBigints(value: unknown): unknown {
  if (typeof value === 'bigint') return Number(value);
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) {
    const items = value as readonly unknown[];
    let copy: unknown[] | undefined;
    for (let i = 0; i < items.length; i++) {
      const item = withoutBigints(items[i]);
      if (item !== items[i]) copy ??= items.slice(0, i);
      copy?.push(item);
    }
    return copy ?? value;
  }
  const object = value as Readonly<Record<string, unknown>>;
  let copy: Record<string, unknown> | undefined;
  for (const key of Object.keys(object)) {
    const member = withoutBigints(object[key]);
    if (Object.is(member, object[key])) continue;
    copy ??= { ...object };
    Object.defineProperty(copy, key, { value: member, enumerable: true, configurable: true, writable: true });
  }
  return copy ?? value;
}

/** Throws `code` with the first fault and the count of the others (of a thousand at most); `where` names the value, normally its path. */
export async function assertValid(
  name: SchemaName,
  value: unknown,
  where: string,
  code: ErrorCode = 'data.invalid',
): Promise<void> {
  const faults = findings(await loadValidator(name), value);
  const first = faults[0];
  if (first === undefined) return;
  const rest = faults.length === 1 ? '' : ` (and ${faults.length - 1} more faults)`;
  throw new EgolensError(
    code,
    `\`${where}\`: ${first.at === '' ? 'the whole value' : first.at}: expected ${first.expected}, found ${first.found}${rest}`,
    { try: `\`egolens schema ${name}\` prints the form that is expected` },
  );
}

function describe(fault: SchemaFault): Pick<Finding, 'at' | 'expected' | 'found'> {
  const { params, instancePath } = fault;
  const member = params['missingProperty'] ?? params['additionalProperty'];
  if (typeof member === 'string') {
    const at = `${instancePath}/${member.replaceAll('~', '~0').replaceAll('/', '~1')}`;
    return fault.keyword === 'required'
      ? { at, expected: `a member \`${member}\``, found: 'none' }
      : { at, expected: 'no member of that name', found: 'one' };
  }
  return { at: instancePath, expected: expectation(fault), found: valueText(fault.data) };
}

const typeWords: Readonly<Record<string, string>> = {
  string: 'text',
  number: 'a number',
  integer: 'a whole number',
  boolean: 'true or false',
  object: 'an object',
  array: 'a list',
  null: 'null',
};

function expectation({ keyword, params, parentSchema, message }: SchemaFault): string {
  switch (keyword) {
    case 'const':
      return `\`${String(params['allowedValue'])}\``;
    case 'enum':
      return `one of ${(params['allowedValues'] as readonly unknown[]).map((value) => `\`${String(value)}\``).join(', ')}`; // ajv's own list
    case 'minItems':
      return `at least ${String(params['limit'])} items`;
    case 'minProperties':
      return `at least ${String(params['limit'])} members`;
    case 'maxItems':
    case 'items':
      return `at most ${String(params['limit'])} items`;
    default:
  }
  const description = (parentSchema as { description?: unknown } | undefined)?.description;
  if (typeof description === 'string') return description;
  switch (keyword) {
    case 'type':
      return [params['type']]
        .flat()
        .map((type) => typeWords[String(type)] ?? String(type))
        .join(' or ');
    case 'minimum':
    case 'maximum':
    case 'exclusiveMinimum':
    case 'exclusiveMaximum':
      return `a number ${String(params['comparison'])} ${String(params['limit'])}`;
    case 'pattern':
      return `text that matches \`${String(params['pattern'])}\``;
    case 'format':
      return `a ${String(params['format'])}`;
    default:
      return message?.replace(/^must be /, '') ?? keyword;
  }
}

/** A short name for a value found: scalars as they are, cut after 60 characters; lists and objects by their size. */
function valueText(value: unknown): string {
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (typeof value === 'object' && value !== null) return `an object of ${Object.keys(value).length} members`;
  const text = typeof value === 'string' ? JSON.stringify(value) : String(value);
  return `\`${text.length > 60 ? `${text.slice(0, 57)}…` : text}\``;
}
