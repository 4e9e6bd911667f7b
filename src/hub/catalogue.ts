/**
 * The catalogue of public checkpoints: where a file is, what it must hash to, what it is licensed under, and how it is imported.
 * `catalogue.json` is data written by hand; what could not be checked stands in each entry's `unverified`.
 */
import { readFile } from 'node:fs/promises';
import { assertValid } from '../check.js';
import { EgolensError } from '../errors.js';
import { readSmallFile } from '../files.js';
import type { JsonValue } from '../json.js';

type Known = {
  /** SHA-256 of the file in lower-case hex; null where nobody has published one. */
  readonly sha256: string | null;
  readonly bytes: number | null;
  /** As a page shows it, where the exact size is not known. */
  readonly megabytes: number | null;
};

/** A file of a Hugging Face repository. `revision` null: the newest commit, looked up when it is pulled. */
export type HubSource = Known & {
  readonly kind: 'hub';
  readonly repository: string;
  readonly file: string;
  readonly revision: string | null;
};

/** A file at an address of its own. */
export type UrlSource = Known & {
  readonly kind: 'url';
  readonly url: string;
};

/** A file that people hand out: behind a form, a drive, a request. */
export type ManualSource = Known & {
  readonly kind: 'manual';
  readonly page: string;
  readonly file: string;
  readonly why: string;
};

export type CatalogueSource = HubSource | UrlSource | ManualSource;

/** A public checkpoint: `egolens.catalogue-entry/1` without `schema` and `installed`. */
export type CatalogueEntry = {
  readonly name: string;
  readonly summary: string;
  readonly kind: 'encoder' | 'two-tower';
  /** What it serves without training. */
  readonly tasks: readonly string[];
  /** Family or known size, as `models import --arch` takes it. */
  readonly arch: string;
  /** Members of the configuration that the file does not tell. */
  readonly config: Readonly<Record<string, JsonValue>>;
  readonly source: CatalogueSource;
  readonly gated: boolean | null;
  readonly licence: { readonly code: string; readonly weights: string };
  /** May the weights be used commercially; null: nobody has said so. */
  readonly commercial: boolean | null;
  /** Label list in the order of the file. */
  readonly labels: string | null;
  readonly preset: string | null;
  readonly tokenizer: 'clip-bpe' | null;
  readonly reported: readonly {
    readonly metric: string;
    readonly value: number;
    readonly dataset: string;
    readonly source: string;
  }[];
  readonly parity: 'golden' | 'no parity data';
  readonly unverified: readonly string[];
};

/**
 * CLIP's merges, part of the openai/CLIP repository (MIT). The branch may move, the bytes are pinned by the digest.
 */
export const tokenizerFiles = {
  'clip-bpe': {
    kind: 'url',
    url: 'https://raw.githubusercontent.com/openai/CLIP/main/clip/bpe_simple_vocab_16e6.txt.gz',
    sha256: '924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a',
    bytes: 1_356_917,
    megabytes: null,
  },
} as const satisfies Readonly<Record<'clip-bpe', UrlSource>>;

/** A catalogue of one's own is a file of some kilobytes. */
const maxCatalogueBytes = 16 * 2 ** 20;

/**
 * All entries, in the order of the files. The file that `EGOLENS_CATALOGUE` names comes first, and its entries hide ours of the same
 * name.
 *
 * @throws EgolensError input.*, data.invalid for a file of the user's that is no list of entries
 */
export async function readCatalogue(
  environment: Readonly<Record<string, string | undefined>> = process.env,
): Promise<readonly CatalogueEntry[]> {
  const path = environment['EGOLENS_CATALOGUE'];
  const own = path === undefined || path === '' ? [] : await readEntries(path);
  const names = new Set(own.map(({ name }) => name));
  return [...own, ...(await ourEntries()).filter(({ name }) => !names.has(name))];
}

/**
 * The entry of that name.
 *
 * @throws EgolensError model.not_found with names that are like it
 */
export async function catalogueEntry(
  name: string,
  environment: Readonly<Record<string, string | undefined>> = process.env,
): Promise<CatalogueEntry> {
  const entries = await readCatalogue(environment);
  const found = entries.find((entry) => entry.name === name);
  if (found !== undefined) return found;
  const alike = entries
    .filter((entry) => entry.name.startsWith(name.split('-')[0]!))
    .map((entry) => `\`${entry.name}\``); // a split gives one part at least
  throw new EgolensError(
    'model.not_found',
    `the catalogue has no \`${name}\`${alike.length === 0 ? '' : `; there are ${alike.slice(0, 12).join(', ')}`}`,
    { try: '`egolens models list --available`' },
  );
}

/** Name of the checkpoint's file, as the source has it. */
export function fileNameOf(source: CatalogueSource): string {
  const path = source.kind === 'url' ? decodeURIComponent(new URL(source.url).pathname) : source.file;
  return path.slice(path.lastIndexOf('/') + 1);
}

async function ourEntries(): Promise<CatalogueEntry[]> {
  const text = await readFile(new URL('./catalogue.json', import.meta.url), 'utf8');
  return JSON.parse(text) as CatalogueEntry[]; // ours, tested against its schema
}

async function readEntries(path: string): Promise<CatalogueEntry[]> {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder().decode(await readSmallFile(path, maxCatalogueBytes)));
  } catch (cause) {
    if (cause instanceof EgolensError) throw cause;
    throw new EgolensError('data.invalid', `\`${path}\`: no JSON: ${(cause as Error).message}`, { cause });
  }
  if (!Array.isArray(value)) {
    throw new EgolensError('data.invalid', `\`${path}\`: expected a list of egolens.catalogue-entry/1`);
  }
  const entries: CatalogueEntry[] = [];
  for (const [index, item] of (value as unknown[]).entries()) {
    await assertValid('egolens.catalogue-entry/1', item, `${path}[${index}]`);
    entries.push(item as CatalogueEntry); // just checked
  }
  return entries;
}
