/** `models pull`: a public checkpoint from the catalogue, fetched, checked, imported. */
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { EgolensError } from '../errors.js';
import { tryLock } from '../features/locks.js';
import { cacheFolder, makeFolder, pathExists, sha256, sha256File, writeFileAtomic } from '../files.js';
import { installedModels, modelsFolder } from '../hub/cache.js';
import {
  catalogueEntry,
  fileNameOf,
  tokenizerFiles,
  type CatalogueEntry,
  type CatalogueSource,
  type HubSource,
  type UrlSource,
} from '../hub/catalogue.js';
import { download } from '../hub/download.js';
import { openHttp, type Http } from '../hub/http.js';
import { fetchHubFile, findHubFile, hubFolder, type HubFile } from '../hub/repository.js';
import { jsonText } from '../json.js';
import { openModelFolder, type ModelFolder } from '../models/folder.js';
import type { Progress } from '../types.js';
import { importModel, presetOf } from './import-model.js';

/** How a checkpoint is fetched and where it goes. */
export interface PullOptions {
  /** Folder with the files, or address below which they are, instead of what the catalogue says. */
  readonly from?: string;
  /** `commercial`: only weights that may be used commercially, by their own statement. */
  readonly licences: 'any' | 'commercial';
  /** No request at all: what is not in the cache is an error. */
  readonly offline: boolean;
  readonly force: boolean;
  /** Name of the installed model; the entry's where absent. */
  readonly name?: string;
  /** The model folder; in the models folder where absent. */
  readonly output?: string;
  readonly signal: AbortSignal;
  readonly progress: Progress;
}

/** `egolens.pulled/1` */
export type PulledRecord = {
  readonly schema: 'egolens.pulled/1';
  readonly name: string;
  readonly model: string;
  readonly family: string;
  readonly file: string;
  readonly revision: string | null;
  readonly bytes: number;
  readonly sha256: string;
  readonly checked: 'catalogue' | 'hub' | 'earlier' | 'first-use' | 'installed';
  readonly labels: string | null;
  readonly licence: { readonly code: string; readonly weights: string };
  readonly commercial: boolean | null;
  readonly isNew: boolean;
  readonly output: string;
};

/** A file of an entry on this machine. */
interface Fetched {
  readonly path: string;
  readonly sha256: string;
  readonly bytes: number;
  readonly revision: string | null;
  /** The hub itself stated this digest. */
  readonly isConfirmed: boolean;
}

/** Where files of an entry come from. */
interface Origin {
  readonly from: string | undefined;
  readonly revision: string | undefined;
  readonly offline: boolean;
  readonly signal: AbortSignal;
  readonly progress: Progress;
  /** Opened with the first request. */
  http(): Promise<Http>;
}

/**
 * Fetches what `NAME` or `NAME@REV` of the catalogue stands for and imports it: with its architecture, configuration, labels, preset,
 * tokenizer and licence. A model of that name that is there already is kept, unless `force`.
 *
 * @throws EgolensError model.not_found (no such entry; offline and not in the cache; handed out by people), model.licence before any
 *   request, model.download, model.digest, limit.*, and what `importModel` throws
 */
export async function pullModel(nameAndRevision: string, options: PullOptions): Promise<PulledRecord> {
  const { progress, signal } = options;
  const at = nameAndRevision.indexOf('@');
  const entry = await catalogueEntry(at < 0 ? nameAndRevision : nameAndRevision.slice(0, at));
  const revision = at < 0 ? undefined : checkedRevision(nameAndRevision.slice(at + 1), entry);
  checkLicence(entry, options.licences);
  const name = options.name ?? entry.name;
  const there = revision === undefined ? await findInstalled(name, options) : undefined;
  if (there !== undefined) {
    progress.note(`${there.id} is installed already; --force imports it again`);
    return installedRecord(entry, there);
  }
  sayWhatIsKnown(entry, progress);

  let opened: Http | undefined;
  const http = async (): Promise<Http> => (opened ??= await openHttp());
  const origin: Origin = {
    from: options.from,
    revision,
    offline: options.offline,
    signal,
    progress,
    http,
  };
  try {
    const checkpoint = await fetchSource(entry.source, origin, entry);
    const trust = await vouch(entry, revision, checkpoint, progress);
    const tokenizer = entry.tokenizer === null ? undefined : await fetchTokenizer(entry.tokenizer, origin, entry);
    await opened?.[Symbol.asyncDispose]();
    opened = undefined; // the import takes minutes and needs no connection
    const { manifest, folder } = await importEntry(entry, name, checkpoint.path, tokenizer?.path, options);
    await trust.remember();
    return {
      schema: 'egolens.pulled/1',
      name: entry.name,
      model: `${manifest.name}@${manifest.digest.slice(0, 12)}`,
      family: manifest.family,
      file: fileNameOf(entry.source),
      revision: checkpoint.revision,
      bytes: checkpoint.bytes,
      sha256: checkpoint.sha256,
      checked: trust.checked,
      labels: entry.labels,
      licence: entry.licence,
      commercial: entry.commercial,
      isNew: true,
      output: folder,
    };
  } finally {
    await opened?.[Symbol.asyncDispose]();
  }
}

// ---- before any request ------------------------------------------------------------------------------------------

function checkedRevision(revision: string, { name, source }: CatalogueEntry): string {
  if (source.kind !== 'hub') {
    throw new EgolensError('usage.flag', `\`${name}\` comes from no repository: it has no revisions`);
  }
  if (/^[\w./-]+$/.test(revision)) return revision;
  throw new EgolensError('usage.flag', `\`${name}@${revision}\`: expected a commit, branch or tag behind \`@\``);
}

function checkLicence({ name, licence, commercial }: CatalogueEntry, allowed: 'any' | 'commercial'): void {
  if (allowed === 'any' || commercial === true) return;
  const why = commercial === false ? 'forbids commercial use' : 'does not settle commercial use';
  throw new EgolensError(
    'model.licence',
    `\`${name}\`: the licence of the weights ${why}: ${licence.weights}; --allow-license commercial admits none such`,
    { try: '`egolens models list --available --json` shows `commercial` of every entry' },
  );
}

async function findInstalled(name: string, options: PullOptions): Promise<ModelFolder | undefined> {
  if (options.output !== undefined) {
    if (!options.force && (await pathExists(options.output))) {
      throw new EgolensError('output.exists', `\`${options.output}\`: exists already`, {
        try: '`--force` replaces it',
      });
    }
    return undefined;
  }
  if (options.force) return undefined;
  for (const folder of await installedModels()) {
    const model = await openModelFolder(folder).catch(() => undefined);
    if (model?.manifest.name === name) return model;
  }
  return undefined;
}

function installedRecord(entry: CatalogueEntry, { id, manifest, folder }: ModelFolder): PulledRecord {
  const { source, family, licence } = manifest;
  return {
    schema: 'egolens.pulled/1',
    name: entry.name,
    model: id,
    family,
    file: source.name,
    revision: null,
    bytes: source.bytes,
    sha256: source.sha256,
    checked: 'installed',
    labels: entry.labels,
    licence: { code: licence.code, weights: licence.weights },
    commercial: entry.commercial,
    isNew: false,
    output: folder,
  };
}

function sayWhatIsKnown({ name, licence, commercial, unverified, parity }: CatalogueEntry, progress: Progress): void {
  const use = { true: '', false: ': no commercial use', null: ': commercial use is not settled' }[String(commercial)];
  progress.note(`${name}: licence of the code ${licence.code}, of the weights ${licence.weights}${use ?? ''}`);
  if (parity === 'no parity data')
    progress.note(`${name}: no output of the official code to compare this architecture with`);
  for (const what of unverified) progress.note(`not verified: ${what}`);
}

// ---- fetching ----------------------------------------------------------------------------------------------------

/** The checkpoint: from the folder or address of `--from`, else the cache, else where the catalogue says. */
async function fetchSource(source: CatalogueSource, origin: Origin, entry: CatalogueEntry): Promise<Fetched> {
  const { from } = origin;
  if (from !== undefined && !/^[a-z][a-z0-9+.-]+:\/\//i.test(from)) return await fromFolder(source, from, origin);
  if (from !== undefined) return await fromUrl(mirrored(source, from), origin, entry);
  switch (source.kind) {
    case 'hub':
      return await fromHub(source, origin, entry);
    case 'url':
      return await fromUrl(source, origin, entry);
    case 'manual':
      throw byHand(entry, source);
  }
}

/** The tokenizer has an address of its own; a folder of `--from` may hold it. */
async function fetchTokenizer(
  name: keyof typeof tokenizerFiles,
  origin: Origin,
  entry: CatalogueEntry,
): Promise<Fetched> {
  const source = tokenizerFiles[name];
  const { from } = origin;
  if (from !== undefined && (await pathExists(join(from, fileNameOf(source)))))
    return await fromFolder(source, from, origin);
  return await fromUrl(source, origin, entry);
}

async function fromFolder(source: CatalogueSource, folder: string, { progress }: Origin): Promise<Fetched> {
  const name = fileNameOf(source);
  const candidates = source.kind === 'hub' ? [join(source.repository, source.file), source.file, name] : [name];
  for (const candidate of candidates) {
    const path = join(folder, candidate);
    const info = await stat(path).catch(() => undefined);
    if (info?.isFile() !== true) continue;
    progress.note(`${path}: SHA-256`);
    return await checkedLocal(path, info.size, source);
  }
  throw new EgolensError('input.not_found', `\`${folder}\`: no \`${[...new Set(candidates)].join('` or `')}\` in it`, {
    try: `put the file there under the name \`${name}\``,
  });
}

async function checkedLocal(
  path: string,
  bytes: number,
  source: Pick<UrlSource, 'sha256' | 'bytes'>,
): Promise<Fetched> {
  const found = await sha256File(path);
  if (source.sha256 !== null && found !== source.sha256) {
    throw new EgolensError('model.digest', `\`${path}\`: expected SHA-256 ${source.sha256}, found ${found}`, {
      try: 'another copy of the file; `egolens models show NAME` says how the digest is known',
    });
  }
  return { path, sha256: found, bytes, revision: null, isConfirmed: false };
}

/** A file server that holds the files under their own names. */
function mirrored(source: CatalogueSource, base: string): UrlSource {
  const name = fileNameOf(source);
  const url = base.endsWith(`/${name}`) ? base : `${base.replace(/\/+$/, '')}/${encodeURIComponent(name)}`;
  return { kind: 'url', url, sha256: source.sha256, bytes: source.bytes, megabytes: null };
}

async function fromUrl(source: UrlSource, origin: Origin, entry: CatalogueEntry): Promise<Fetched> {
  const { url } = source;
  if (!/^https?:$/.test(URL.canParse(url) ? new URL(url).protocol : '')) {
    throw new EgolensError('usage.flag', `\`${url}\`: expected a folder, or an http or https address`);
  }
  // One folder an address, and in it one an expected digest: what was fetched is never taken for what is wanted now.
  const key = sha256(`${url}\n${source.sha256 ?? ''}`).slice(0, 16);
  const target = join(cacheFolder(), 'downloads', key, fileNameOf(source));
  return await locked(key, async () => {
    const info = await stat(target).catch(() => undefined);
    if (info !== undefined) return await checkedLocal(target, info.size, source);
    if (origin.offline) throw notCached(entry, target);
    const http = await origin.http();
    const { signal, progress } = origin;
    const arrived = await download(http, { ...source, url }, target, { signal, progress });
    return { path: target, ...arrived, revision: null, isConfirmed: false };
  });
}

async function fromHub(source: HubSource, origin: Origin, entry: CatalogueEntry): Promise<Fetched> {
  const { signal, progress } = origin;
  // Digest and size are those of the revision in the catalogue; another one has bytes of its own.
  const isOther = origin.revision !== undefined && origin.revision !== source.revision;
  const wanted: HubFile = {
    repository: source.repository,
    file: source.file,
    revision: origin.revision ?? source.revision ?? 'main',
    sha256: isOther ? null : source.sha256,
    bytes: isOther ? null : source.bytes,
  };
  return await locked(sha256(`${wanted.repository}\n${wanted.file}`).slice(0, 16), async () => {
    if (origin.offline) {
      const there = await findHubFile(wanted);
      if (there === undefined) throw notCached(entry, placeInHub(wanted));
      return { ...there, revision: there.commit };
    }
    const http = await origin.http();
    const { commit, ...there } = await fetchHubFile(http, wanted, { signal, progress });
    if (commit !== wanted.revision) progress.note(`${wanted.repository}: ${wanted.revision} is commit ${commit}`);
    return { ...there, revision: commit };
  });
}

/** Where a copied file would be found; undefined for a branch, which leads nowhere before a `refs` file names its commit. */
function placeInHub({ repository, revision, file }: HubFile): string | undefined {
  if (!/^[0-9a-f]{40}$/.test(revision)) return undefined;
  return join(hubFolder(), `models--${repository.replace('/', '--')}`, 'snapshots', revision, file);
}

/** Two processes that fetch the same file would write into each other's part. */
async function locked<T>(key: string, work: () => Promise<T>): Promise<T> {
  const folder = join(cacheFolder(), 'downloads');
  await makeFolder(folder);
  await using lock = await tryLock(join(folder, `${key}.lock`));
  if (lock === undefined) {
    throw new EgolensError('store.locked', 'another process fetches this file', { retryable: true });
  }
  return await work();
}

function notCached({ name }: CatalogueEntry, place: string | undefined): EgolensError {
  return new EgolensError(
    'model.not_found',
    `\`${name}\`: not in the cache, and --offline (or EGOLENS_OFFLINE) forbids to fetch it`,
    {
      try: `${place === undefined ? '' : `copy the file to \`${place}\`, or `}name the folder of a copy with \`--from DIR\``,
    },
  );
}

/** What a person has to do where no program can. */
function byHand(entry: CatalogueEntry, { page, file, why }: { page: string; file: string; why: string }): EgolensError {
  const { name, arch, labels, preset, config, licence } = entry;
  const flags = [
    ...[`--arch ${arch}`, `--name ${name}`],
    ...(labels === null ? [] : [`--labels ${labels}`]),
    ...(preset === null ? [] : [`--preset ${preset}`]),
    ...(Object.keys(config).length === 0 ? [] : ['--config C.json']),
    ...[`--license-code '${licence.code}'`, `--license-weights '${licence.weights}'`],
  ];
  const more = Object.keys(config).length === 0 ? '' : ` with \`${jsonText(config)}\` in C.json`;
  return new EgolensError('model.not_found', `\`${name}\`: ${why}; ${page} leads to it (${file})`, {
    try: `download it there, then \`egolens models import FILE ${flags.join(' ')}\`${more}`,
  });
}

// ---- trust -------------------------------------------------------------------------------------------------------

interface Trust {
  readonly checked: PulledRecord['checked'];
  /** To be called when the file has proved to be the model: a wrong one must not stand in the way of the right one. */
  remember(): Promise<void>;
}

/**
 * Who vouches for the bytes. Where nobody does, the digest of the first pull is kept in the models folder, and a later pull of the same
 * entry must bring the same bytes.
 */
async function vouch(
  entry: CatalogueEntry,
  revision: string | undefined,
  file: Fetched,
  progress: Progress,
): Promise<Trust> {
  const known = (checked: PulledRecord['checked']): Trust => ({ checked, remember: () => Promise.resolve() });
  if (file.sha256 === entry.source.sha256) return known('catalogue');
  if (file.isConfirmed) {
    progress.note(`SHA-256 ${file.sha256}, as the hub states it`);
    return known('hub');
  }
  const path = join(modelsFolder(), 'first-use.json');
  const key = revision === undefined ? entry.name : `${entry.name}@${revision}`;
  const before = (await readTrusted(path)).get(key);
  if (before === undefined) {
    return {
      checked: 'first-use',
      async remember() {
        progress.note(`SHA-256 ${file.sha256}: nobody vouches for it; kept in ${path} for the next time`);
        await makeFolder(modelsFolder());
        const digests = (await readTrusted(path)).set(key, file.sha256);
        await writeFileAtomic(path, `${jsonText(Object.fromEntries([...digests].sort()), 2)}\n`);
      },
    };
  }
  if (before === file.sha256) return known('earlier');
  throw new EgolensError(
    'model.digest',
    `\`${entry.name}\`: expected SHA-256 ${before} as at the first pull, found ${file.sha256}`,
    { try: `if the change is meant, take \`${key}\` out of \`${path}\`` },
  );
}

async function readTrusted(path: string): Promise<Map<string, string>> {
  const text = (await pathExists(path)) ? await readFile(path, 'utf8') : '{}';
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    value = undefined;
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new EgolensError('data.invalid', `\`${path}\`: expected an object of names and SHA-256 digests`, {
      try: 'repair or remove the file',
    });
  }
  const entries = Object.entries(value).filter((pair): pair is [string, string] => typeof pair[1] === 'string');
  return new Map(entries);
}

// ---- import ------------------------------------------------------------------------------------------------------

async function importEntry(
  entry: CatalogueEntry,
  name: string,
  file: string,
  tokenizer: string | undefined,
  { force, output, signal, progress }: PullOptions,
): ReturnType<typeof importModel> {
  const work = await mkdtemp(join(tmpdir(), 'egolens-pull-'));
  try {
    const config = join(work, 'config.json');
    await writeFile(config, jsonText({ config: entry.config }));
    return await importModel(file, {
      arch: entry.arch,
      config,
      name,
      force,
      licence: entry.licence,
      signal,
      progress,
      ...(entry.labels !== null && { labels: entry.labels }),
      ...(entry.preset !== null && { preset: await presetOf(entry.preset) }),
      ...(tokenizer !== undefined && { tokenizer }),
      ...(output !== undefined && { output: resolve(output) }),
    });
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
