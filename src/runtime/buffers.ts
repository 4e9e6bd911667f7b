import { assert, EgolensError } from '../errors.js';

interface Waiting {
  readonly resolve: (buffer: ArrayBuffer) => void;
  readonly reject: (reason: unknown) => void;
}

/**
 * A fixed number of window buffers that travel reader -> worker -> reader. A reader that takes faster than the device gives back
 * waits here, and through the pipe ffmpeg waits too: the bound on memory is the number of buffers (performance.md 6).
 */
export class BufferPool implements Disposable {
  readonly #free: ArrayBuffer[];
  readonly #waiting: Waiting[] = [];
  readonly #signal: AbortSignal | undefined;
  readonly #onAbort: () => void;
  #ended: { readonly reason: unknown } | undefined;

  /** `count` buffers of `byteLength` zero bytes; 2 or 3 are enough. An aborted signal refuses all waiters with its reason. */
  constructor(
    count: number,
    readonly byteLength: number,
    signal?: AbortSignal,
  ) {
    this.#free = Array.from({ length: count }, () => new ArrayBuffer(byteLength));
    this.#signal = signal;
    this.#onAbort = () => {
      this.#end(signal?.reason);
    };
    if (signal?.aborted) this.#onAbort();
    else signal?.addEventListener('abort', this.#onAbort, { once: true });
  }

  /** A buffer for the caller alone, with what was in it; waits, first come first served, until one is free. Rejects with the signal's reason. */
  async take(): Promise<ArrayBuffer> {
    if (this.#ended) throw this.#ended.reason;
    const buffer = this.#free.pop();
    if (buffer) return buffer;
    return await new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
    });
  }

  /** Returns a buffer that `take` gave, or the one that came back for it from another thread. */
  give(buffer: ArrayBuffer): void {
    assert(
      buffer.byteLength === this.byteLength,
      `BufferPool: expected a buffer of ${this.byteLength} bytes, found ${buffer.byteLength}`,
    );
    const next = this.#waiting.shift();
    if (next) next.resolve(buffer);
    else if (!this.#ended) this.#free.push(buffer);
  }

  /** Waiters and later takers are refused; buffers that still come back are dropped. */
  [Symbol.dispose](): void {
    this.#end(new EgolensError('run.interrupted', 'the buffer pool was disposed'));
  }

  #end(reason: unknown): void {
    if (this.#ended) return;
    this.#ended = { reason };
    this.#signal?.removeEventListener('abort', this.#onAbort);
    this.#free.length = 0;
    for (const { reject } of this.#waiting.splice(0)) reject(reason);
  }
}
