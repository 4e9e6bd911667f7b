/** Sessions over the graphs of model folders. */
import { join } from 'node:path';
import { EgolensError } from '../errors.js';
import { verifyFiles, type StoredModel } from '../models/folder.js';
import { openSession, type Session, type SessionOptions } from '../runtime/session.js';

/**
 * Opens a graph of a model folder. Digests are not looked at before, for hashing gigabytes at every start would cost more than most runs:
 * a graph that does not open is the time to see whether its files are whole.
 *
 * @param options with files of the folder as graphs
 * @throws EgolensError as `openSession`; model.digest naming the file that is another than model.json says
 */
export async function openStoredSession(
  model: StoredModel,
  { graph, fallbackGraph, ...options }: SessionOptions,
): Promise<Session> {
  try {
    return await openSession({
      graph: join(model.folder, graph),
      ...(fallbackGraph !== undefined && { fallbackGraph: join(model.folder, fallbackGraph) }),
      ...options,
    });
  } catch (error) {
    if (error instanceof EgolensError && error.code === 'device.failed') await verifyFiles(model);
    throw error;
  }
}
