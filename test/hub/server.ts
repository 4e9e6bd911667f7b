import { createHash } from 'node:crypto';
import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo } from 'node:net';
import { onTestFinished } from 'vitest';

/** A file server on loopback that can fail in the ways that real ones do, and looks like a Hugging Face hub where it is told to. */

/** What goes wrong with the next answer that carries a file. */
export type Fault =
  | { readonly status: number }
  /** The connection breaks after so many bytes of the body; `before` runs in between. */
  | { readonly cutAfter: number; readonly before?: () => void }
  /** The body stops there and the connection stays. */
  | { readonly hangAfter: number }
  | { readonly redirect: string };

export interface Seen {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
}

export interface FakeRepository {
  readonly commit: string;
  readonly files: Readonly<Record<string, Buffer>>;
  /** A token without which files are refused. */
  readonly token?: string;
  /** What the interface says of a file's SHA-256 instead of the truth. */
  readonly statedSha256?: string;
}

export class FakeServer {
  readonly seen: Seen[] = [];
  readonly faults: Fault[] = [];
  /** Path -> content, for plain addresses. */
  readonly files = new Map<string, Buffer>();
  readonly repositories = new Map<string, FakeRepository>();
  /** ETag of every file; null sends none. */
  etag: string | null | undefined;
  hasRanges = true;
  hasLength = true;
  /** Content-Length of whole files instead of the truth. */
  statedLength: number | undefined;
  readonly #server: Server;
  #port = 0;

  constructor() {
    this.#server = createServer((request, response) => {
      void this.#answer(request, response);
    });
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** Requests that asked for the bytes of a file. */
  get gets(): readonly Seen[] {
    return this.seen.filter(({ method, path }) => method === 'GET' && !path.startsWith('/api/'));
  }

  async start(): Promise<this> {
    await new Promise<void>((done) => this.#server.listen(0, '127.0.0.1', done));
    this.#port = (this.#server.address() as AddressInfo).port; // it listens on a port
    return this;
  }

  stop(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    // A proxy gets the whole address.
    const { pathname } = new URL(request.url ?? '/', this.url);
    const path = decodeURIComponent(pathname);
    this.seen.push({ method: request.method ?? '', path: request.url ?? '', headers: request.headers });
    const api = /^\/api\/models\/([^/]+\/[^/]+)\/(revision|paths-info)\/(.+)$/.exec(path);
    const resolve = /^\/([^/]+\/[^/]+)\/resolve\/([^/]+)\/(.+)$/.exec(path);
    if (api !== null)
      await this.#interface(request, response, api[1]!, api[2]!, api[3]!); // groups of a match
    else if (resolve !== null) this.#resolve(request, response, resolve[1]!, resolve[2]!, resolve[3]!);
    else this.#file(request, response, this.files.get(path));
  }

  async #interface(request: IncomingMessage, response: ServerResponse, name: string, what: string, revision: string) {
    let body = '';
    for await (const piece of request) body += String(piece);
    const repository = this.repositories.get(name);
    if (repository === undefined || (revision !== 'main' && revision !== repository.commit)) {
      response.writeHead(404, { 'content-type': 'application/json' }).end('{"error":"not found"}');
      return;
    }
    const json = (value: unknown): void =>
      void response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(value));
    if (what === 'revision') {
      json({
        _id: '1',
        id: name,
        sha: repository.commit,
        private: false,
        gated: false,
        likes: 0,
        downloads: 0,
        lastModified: '2024-01-01T00:00:00.000Z',
      });
      return;
    }
    const { paths } = JSON.parse(body) as { paths: string[] };
    json(
      paths.flatMap((path) => {
        const bytes = repository.files[path];
        if (bytes === undefined) return [];
        const oid = repository.statedSha256 ?? sha256Of(bytes);
        return [
          {
            type: 'file',
            path,
            size: bytes.length,
            oid: 'f'.repeat(40),
            lfs: { oid, size: bytes.length, pointerSize: 134 },
          },
        ];
      }),
    );
  }

  #resolve(request: IncomingMessage, response: ServerResponse, name: string, revision: string, file: string): void {
    const repository = this.repositories.get(name);
    const bytes = repository?.files[file];
    if (repository === undefined || bytes === undefined || revision !== repository.commit) {
      response.writeHead(404).end();
    } else if (repository.token !== undefined && request.headers.authorization !== `Bearer ${repository.token}`) {
      response.writeHead(401).end();
    } else {
      this.#file(request, response, bytes);
    }
  }

  #file(request: IncomingMessage, response: ServerResponse, bytes: Buffer | undefined): void {
    const fault = this.faults.shift();
    if (fault !== undefined && 'status' in fault) {
      response.writeHead(fault.status).end();
      return;
    }
    if (fault !== undefined && 'redirect' in fault) {
      response.writeHead(302, { location: fault.redirect }).end();
      return;
    }
    if (bytes === undefined) {
      response.writeHead(404).end();
      return;
    }
    const etag = this.etag === undefined ? `"${sha256Of(bytes)}"` : this.etag;
    const range = /^bytes=(\d+)-$/.exec(request.headers.range ?? '');
    const condition = request.headers['if-range'];
    const isPart = this.hasRanges && range !== null && (condition === undefined || condition === etag);
    const from = isPart ? Number(range[1]) : 0;
    const body = bytes.subarray(from);
    response.writeHead(isPart ? 206 : 200, {
      ...(etag !== null && { etag }),
      ...(this.hasLength && { 'content-length': this.statedLength ?? body.length }),
      ...(isPart && { 'content-range': `bytes ${from}-${bytes.length - 1}/${bytes.length}` }),
    });
    if (fault === undefined) {
      response.end(body);
      return;
    }
    const isCut = 'cutAfter' in fault;
    response.write(body.subarray(0, isCut ? fault.cutAfter : fault.hangAfter), () => {
      // The bytes must have left before the connection breaks.
      if (!isCut) return;
      setTimeout(() => {
        fault.before?.();
        response.destroy();
      }, 20);
    });
  }
}

/** A server for one test. */
export async function fakeServer(): Promise<FakeServer> {
  const server = await new FakeServer().start();
  onTestFinished(() => {
    server.stop();
  });
  return server;
}

export function sha256Of(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
