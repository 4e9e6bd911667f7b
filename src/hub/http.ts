/**
 * Requests for model files: http and https only, proxies of the environment, redirects looked at one by one, bounded retries.
 * Node's own `fetch` ignores proxy variables, so undici's is used with its `EnvHttpProxyAgent`.
 */
import { setTimeout as wait } from 'node:timers/promises';
import type { EnvHttpProxyAgent, Response as UndiciResponse } from 'undici';
import { EgolensError } from '../errors.js';

/** An answer whose body has not been read; one that is not read must be cancelled (`discard`). */
export type HttpResponse = UndiciResponse;

export interface HttpRequest {
  readonly method?: 'GET' | 'POST';
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly signal?: AbortSignal;
}

/** A client with its connections; dispose it to close them. */
export interface Http extends AsyncDisposable {
  /**
   * The answer to a request, redirects followed; any status below 500 but 429 counts as an answer. `authorization` goes to the
   * origin of the address alone.
   *
   * @throws EgolensError model.download when there is none after the last try, or a redirect leaves http; the signal's reason
   */
  send(url: string, request?: HttpRequest): Promise<HttpResponse>;
}

export interface HttpOptions {
  /** Tries of one request; 5 where absent. */
  readonly tries?: number;
  /** Wait before the second try in milliseconds, doubled each time; 250 where absent. */
  readonly backoffMs?: number;
}

const maxRedirects = 10;
/** The longest wait that a server may ask for with Retry-After. */
const maxRetryAfterMs = 20_000;
/** Silence after which a connection is given up. */
const stallMs = 60_000;

/** A client that honours `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` (lower case too). Throws `usage.flag` for a proxy that is no address. */
export async function openHttp({ tries = 5, backoffMs = 250 }: HttpOptions = {}): Promise<Http> {
  const { EnvHttpProxyAgent, fetch } = await import('undici');
  const dispatcher = agentOf(EnvHttpProxyAgent);
  const follow = async (url: string, request: HttpRequest): Promise<HttpResponse> => {
    let address = checkedUrl(url, undefined);
    let headers = request.headers ?? {};
    for (let hop = 0; hop <= maxRedirects; hop++) {
      const response = await fetch(address, {
        method: request.method ?? 'GET',
        headers: { 'user-agent': 'egolens', ...headers },
        redirect: 'manual',
        dispatcher,
        ...(request.body !== undefined && { body: request.body }),
        ...(request.signal !== undefined && { signal: request.signal }),
      });
      const location = response.headers.get('location');
      if (![301, 302, 303, 307, 308].includes(response.status) || location === null) return response;
      await discard(response);
      const next = checkedUrl(location, address);
      if (next.origin !== address.origin) headers = withoutAuthorization(headers);
      address = next;
    }
    throw new EgolensError('model.download', `\`${shown(url)}\`: more than ${maxRedirects} redirects`);
  };
  return {
    async send(url, request = {}) {
      for (let attempt = 1; ; attempt++) {
        request.signal?.throwIfAborted();
        let why: string;
        let delay = backoffMs * 2 ** (attempt - 1);
        let cause: unknown;
        try {
          const response = await follow(url, request);
          if (response.status < 500 && response.status !== 429) return response;
          await discard(response);
          why = `the server answers ${response.status}`;
          delay = retryAfterMs(response) ?? delay;
        } catch (error) {
          request.signal?.throwIfAborted();
          if (error instanceof EgolensError) throw error;
          why = networkReason(error);
          cause = error;
        }
        if (attempt >= tries) {
          throw new EgolensError('model.download', `\`${shown(url)}\`: ${why}, ${tries} times`, {
            try: 'again later, `HTTPS_PROXY` where a proxy is needed, or `--from DIR` with a copy of the file',
            retryable: true,
            cause,
          });
        }
        // Aborted, it rejects with an error of its own; the next round throws the signal's reason.
        await wait(delay, undefined, request.signal === undefined ? {} : { signal: request.signal }).catch(
          () => undefined,
        );
      }
    },
    // Not `close`, which would wait for bodies that nobody reads any more.
    [Symbol.asyncDispose]: () => dispatcher.destroy(),
  };
}

function agentOf(Agent: typeof EnvHttpProxyAgent): EnvHttpProxyAgent {
  try {
    return new Agent({
      headersTimeout: stallMs,
      bodyTimeout: stallMs,
      connect: { timeout: stallMs },
      // A proxy sees plain http requests as such; without this they would be tunnelled, which many proxies refuse.
      proxyTunnel: false,
    });
  } catch (cause) {
    // The value may hold a password.
    throw new EgolensError('usage.flag', '`HTTP_PROXY`, `HTTPS_PROXY`: expected an address such as http://proxy:3128', {
      cause,
    });
  }
}

/** Ends an answer whose body is not wanted, so that its connection can go. */
export async function discard(response: HttpResponse): Promise<void> {
  await response.body?.cancel().catch(() => undefined);
}

/** What a failed connection says: the innermost code (`ECONNREFUSED`, `UND_ERR_SOCKET`) or message. */
export function networkReason(error: unknown): string {
  for (let at = error; at instanceof Error; at = at.cause) {
    const { code } = at as NodeJS.ErrnoException;
    if (typeof code === 'string') return `no connection (${code})`;
    if (!(at.cause instanceof Error)) return `no connection (${at.message})`;
  }
  return 'no connection';
}

/** An address for messages: without credentials and query, which may hold a signature. */
export function shown(url: string): string {
  if (!URL.canParse(url)) return url;
  const { origin, pathname } = new URL(url);
  return `${origin === 'null' ? '' : origin}${pathname}`;
}

function checkedUrl(text: string, from: URL | undefined): URL {
  const where = from === undefined ? '' : `\`${shown(from.href)}\`: redirected to `;
  if (!URL.canParse(text, from?.href)) {
    throw new EgolensError('model.download', `${where}\`${text}\`: expected an http or https address`);
  }
  const url = new URL(text, from?.href);
  if (url.protocol !== 'https:' && url.protocol !== 'http:') {
    throw new EgolensError('model.download', `${where}\`${url.protocol}\`: expected http or https`);
  }
  if (from?.protocol === 'https:' && url.protocol === 'http:') {
    throw new EgolensError('model.download', `${where}\`${shown(url.href)}\`: an https address may not lead to http`);
  }
  return url;
}

function withoutAuthorization(headers: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => name.toLowerCase() !== 'authorization'));
}

function retryAfterMs(response: HttpResponse): number | undefined {
  const seconds = Number(response.headers.get('retry-after') ?? NaN);
  return Number.isFinite(seconds) && seconds >= 0 ? Math.min(seconds * 1000, maxRetryAfterMs) : undefined;
}
