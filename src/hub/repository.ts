/**
 * Files of Hugging Face repositories, in the cache that the Python client uses too: `models--ORG--NAME/` with `blobs/<sha256>`,
 * `snapshots/<commit>/FILE` as relative links to them, and `refs/<branch>` with a commit. Source: huggingface_hub, file_download.py.
 *
 * The library finds out what a revision is and what a file must hash to; fetching is ours, because the library neither continues
 * a part nor checks the digest, and prints on standard output (dependencies.md 6).
 */
import { copyFile, mkdir, readFile, rm, symlink } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { EgolensError } from '../errors.js';
import { cacheFolder, openFileSource, pathExists, sha256File, writeFileAtomic } from '../files.js';
import { download, type Downloaded, type DownloadOptions } from './download.js';
import { discard, type Http, type HttpResponse } from './http.js';

type Environment = Readonly<Record<string, string | undefined>>;

/** A file of a repository. */
export interface HubFile {
  /** `ORG/NAME` */
  readonly repository: string;
  /** Path in the repository. */
  readonly file: string;
  /** Commit of 40 digits, branch or tag. */
  readonly revision: string;
  /** SHA-256 that its bytes must have, null where only the hub says. */
  readonly sha256: string | null;
  readonly bytes: number | null;
}

/** A file of a repository in the cache. */
export interface HubFileThere extends Downloaded {
  readonly path: string;
  readonly commit: string;
  /** Whether the hub has stated the digest, and it was right. */
  readonly isConfirmed: boolean;
}

const commitPattern = /^[0-9a-f]{40}$/;
/** An answer of the hub's interface is a few kilobytes. */
const maxAnswerBytes = 4 * 2 ** 20;

/** The folder of the Python client's layout: `HF_HUB_CACHE`, else `hub` in `HF_HOME`, else `hub` in our cache. */
export function hubFolder(environment: Environment = process.env): string {
  const own = environment['HF_HUB_CACHE'];
  if (own !== undefined && own !== '') return own;
  const home = environment['HF_HOME'];
  return home === undefined || home === '' ? join(cacheFolder(environment), 'hub') : join(home, 'hub');
}

/** Address of the hub: `HF_ENDPOINT`, else the public one. */
export function hubEndpoint(environment: Environment = process.env): string {
  const own = environment['HF_ENDPOINT'];
  return own === undefined || own === '' ? 'https://huggingface.co' : own.replace(/\/+$/, '');
}

/** The file in the cache, with no request; undefined when it is not there. A branch is what its `refs` file says. */
export async function findHubFile(
  wanted: HubFile,
  environment: Environment = process.env,
): Promise<HubFileThere | undefined> {
  const folder = repositoryFolder(wanted.repository, environment);
  const ref = join(folder, 'refs', safePath(wanted.revision));
  const commit = commitPattern.test(wanted.revision)
    ? wanted.revision
    : (await readFile(ref, 'utf8').catch(() => '')).trim();
  if (!commitPattern.test(commit)) return undefined;
  const path = join(folder, 'snapshots', commit, safePath(wanted.file));
  if (!(await pathExists(path))) return undefined;
  return { path, commit, isConfirmed: false, ...(await checkedFile(path, wanted)) };
}

/**
 * The file, fetched into the cache where it is not there yet. A branch or tag is looked up first and its commit written to `refs/`.
 *
 * @throws EgolensError model.download (with `HF_TOKEN` as the way out of a refusal), model.digest, limit.*; usage.flag for an `HF_TOKEN`
 *   that is none
 */
export async function fetchHubFile(
  http: Http,
  wanted: HubFile,
  options: DownloadOptions = {},
  environment: Environment = process.env,
): Promise<HubFileThere> {
  for (const path of [wanted.repository, wanted.revision, wanted.file]) safePath(path);
  if (commitPattern.test(wanted.revision)) {
    const there = await findHubFile(wanted, environment);
    if (there !== undefined) return there;
  }
  const { modelInfo, pathsInfo } = await import('@huggingface/hub');
  const hubUrl = hubEndpoint(environment);
  const headers = authorization(environment);
  const refusal = (status: number): EgolensError | undefined => hubRefusal(wanted, status, hubUrl, environment);
  const fetch = apiFetch(http, headers, refusal, options.signal);
  const { repository: name, revision, file } = wanted;
  const api = async <T>(answer: Promise<T>): Promise<T> => {
    try {
      return await answer;
    } catch (error) {
      options.signal?.throwIfAborted();
      throw error instanceof EgolensError
        ? error
        : strange(wanted, `another form than expected (${String(error)})`, error);
    }
  };
  const commit = commitPattern.test(revision)
    ? revision
    : (await api(modelInfo({ name, revision, hubUrl, fetch, additionalFields: ['sha'] }))).sha;
  if (typeof commit !== 'string' || !commitPattern.test(commit)) throw strange(wanted, `no commit for \`${revision}\``);
  const [info] = await api(
    pathsInfo({ repo: { type: 'model', name }, paths: [file], revision: commit, hubUrl, fetch }),
  );
  if (info?.path !== file || info.type !== 'file') {
    throw new EgolensError('model.download', `\`${name}\` at ${commit}: no file \`${file}\``, {
      try: 'another revision as `NAME@REV`, or `--from` with a copy of the file',
    });
  }
  // What large-file storage calls a file is its SHA-256; a small file has git's own digest, which says nothing about it to us.
  const stated = info.lfs?.oid ?? null;
  const blob = stated ?? info.oid;
  if (blob === undefined || !/^[0-9a-f]{40,64}$/.test(blob)) throw strange(wanted, 'no digest of the file');
  if (stated !== null && wanted.sha256 !== null && stated !== wanted.sha256) {
    throw new EgolensError(
      'model.digest',
      `\`${name}\`: \`${file}\`: expected SHA-256 ${wanted.sha256}, the hub has ${stated}`,
      {
        try: '`egolens models show NAME` says how the digest is known',
      },
    );
  }

  const folder = repositoryFolder(name, environment);
  const target = join(folder, 'blobs', blob);
  const url = `${hubUrl}/${name}/resolve/${commit}/${file.split('/').map(encodeURIComponent).join('/')}`;
  const expected = { ...wanted, sha256: stated ?? wanted.sha256 };
  const arrived = (await pathExists(target))
    ? await checkedFile(target, expected)
    : await download(
        http,
        { url, headers, sha256: expected.sha256, bytes: info.lfs?.size ?? info.size, refusal, isContentNamed: true },
        target,
        { label: file, ...options },
      );
  const path = join(folder, 'snapshots', commit, safePath(file));
  await link(target, path);
  if (revision !== commit) await writeRef(join(folder, 'refs', safePath(revision)), commit);
  return { path, commit, isConfirmed: stated !== null, ...arrived };
}

function repositoryFolder(repository: string, environment: Environment): string {
  return join(hubFolder(environment), `models--${safePath(repository).replaceAll('/', '--')}`);
}

/** A path of the catalogue or the command line as one below a folder. */
function safePath(path: string): string {
  const parts = path.split('/');
  if (/[\\:\0]/.test(path) || parts.some((part) => part === '' || part === '.' || part === '..')) {
    throw new EgolensError('usage.flag', `\`${path}\`: expected a path inside a repository`);
  }
  return path;
}

/** A file that is there already, hashed: what lies in a cache may have been damaged or replaced since. */
async function checkedFile(path: string, wanted: HubFile): Promise<Downloaded> {
  await using source = await openFileSource(path);
  const found = await sha256File(path);
  if (wanted.sha256 !== null && found !== wanted.sha256) {
    throw new EgolensError('model.digest', `\`${path}\`: expected SHA-256 ${wanted.sha256}, found ${found}`, {
      try: 'remove the file and pull again',
    });
  }
  return { sha256: found, bytes: source.size };
}

/** `snapshots/…` -> `blobs/…`, relative, so that the cache can be moved; a copy where the system allows no links. */
async function link(blob: string, path: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await rm(path, { force: true });
  try {
    await symlink(relative(dirname(path), blob), path);
  } catch {
    await copyFile(blob, path);
  }
}

async function writeRef(path: string, commit: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeFileAtomic(path, commit);
}

function authorization(environment: Environment): Readonly<Record<string, string>> {
  const token = environment['HF_TOKEN']?.trim();
  if (token === undefined || token === '') return {};
  // Refused here: the client would say so with the header in its message.
  if (!/^[\x21-\x7e]+$/.test(token)) {
    throw new EgolensError('usage.flag', '`HF_TOKEN`: expected a token, found blanks or characters that no token has');
  }
  return { authorization: `Bearer ${token}` };
}

function hubRefusal(
  { repository, file }: HubFile,
  status: number,
  hubUrl: string,
  environment: Environment,
): EgolensError | undefined {
  if (status === 401 || status === 403) {
    const why =
      authorization(environment)['authorization'] === undefined ? 'without a token' : 'with the token of HF_TOKEN';
    return new EgolensError(
      'model.download',
      `\`${repository}\`: the hub answers ${status} ${why}: gated, private or not there`,
      {
        try: `accept the terms on ${hubUrl}/${repository}, then set \`HF_TOKEN\` to a token of yours`,
      },
    );
  }
  if (status === 404) {
    return new EgolensError(
      'model.download',
      `\`${repository}\`: the hub has no such repository, revision or file \`${file}\``,
      {
        try: 'another revision as `NAME@REV`, or `--from` with a copy of the file',
      },
    );
  }
  return undefined;
}

function strange({ repository }: HubFile, what: string, cause?: unknown): EgolensError {
  return new EgolensError('model.download', `\`${repository}\`: the hub's answer has ${what}`, {
    try: 'is `HF_ENDPOINT` the address of a hub?',
    cause,
  });
}

/** `fetch` for the library: our client below it, refusals as our errors, answers of bounded size. */
function apiFetch(
  http: Http,
  headers: Readonly<Record<string, string>>,
  refusal: (status: number) => EgolensError | undefined,
  signal: AbortSignal | undefined,
): typeof globalThis.fetch {
  return async (input, init) => {
    const url = input instanceof Request ? input.url : String(input);
    const given = Object.fromEntries(new Headers(init?.headers));
    const response = await http.send(url, {
      method: init?.method === 'POST' ? 'POST' : 'GET',
      headers: { ...given, ...headers },
      ...(typeof init?.body === 'string' && { body: init.body }),
      ...(signal !== undefined && { signal }),
    });
    if (!response.ok) {
      await discard(response);
      throw (
        refusal(response.status) ??
        new EgolensError('model.download', `\`${hubName(url)}\`: the hub answers ${response.status}`)
      );
    }
    return new Response(await smallBody(response, url), {
      status: 200,
      headers: { 'content-type': 'application/json' },
    });
  };
}

function hubName(url: string): string {
  return new URL(url).host;
}

async function smallBody(response: HttpResponse, url: string): Promise<string> {
  const pieces: Uint8Array[] = [];
  let size = 0;
  for await (const piece of (response.body ?? []) as AsyncIterable<Uint8Array>) {
    size += piece.length;
    if (size > maxAnswerBytes)
      throw new EgolensError('limit.size', `\`${hubName(url)}\`: an answer over ${maxAnswerBytes} bytes`);
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString('utf8');
}
