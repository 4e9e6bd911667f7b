/** The graph that scores a block of an index. */
import { GraphBuilder, type Graph } from '../graph/builder.js';
import { cast, matMul } from '../graph/layers.js';

/**
 * `rows` float16 [rows, width] times `query` float32 [width, queries] -> `scores` float32 [rows, queries]. Run it over a few thousand rows
 * at a time: the widened ones of 8192 x 512 are 16 MiB, which stay in the cache until the product has read them.
 */
export function scoreGraph(width: number): Graph {
  const g = new GraphBuilder(`scores-${width}`);
  const rows = g.input('rows', 'float16', ['rows', width]);
  const query = g.input('query', 'float32', [width, 'queries']);
  g.output('scores', matMul(g, cast(g, rows, 'float32'), query));
  return g.finish();
}
