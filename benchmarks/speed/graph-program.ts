/** A process that opens one graph on the cpu and says how long that took: `graph-program.js GRAPH [THREADS]`. */
import { openSession } from '../../src/runtime/session.js';

/** What it prints. */
export interface GraphOpening {
  readonly milliseconds: number;
}

const [path, threads] = process.argv.slice(2);
const start = performance.now();
const session = await openSession({
  graph: path!, // the benchmark gives it
  device: 'cpu',
  ...(threads !== undefined && { threads: Number(threads) }),
});
const opening: GraphOpening = { milliseconds: performance.now() - start };
await session[Symbol.asyncDispose]();
process.stdout.write(JSON.stringify(opening));
