/**
 * The child process of `models import`: runs the probe input of a model folder on cpu and stores the outputs beside it.
 * Usage: node probe-process.js MODEL_FOLDER; status 0, or 1 with the reason on standard error.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeNpy } from '../checkpoint/npy.js';
import { openModelFolder } from '../models/folder.js';
import { openModelSession, runProbe } from './probe.js';

// Whoever waits for us holds the other end: with it gone, nobody does.
process.stdin.once('end', () => process.kill(process.pid, 'SIGKILL'));
process.stdin.resume();
process.stdin.unref();
try {
  const model = await openModelFolder(process.argv[2] ?? '');
  await using session = await openModelSession(model, { device: 'cpu' });
  for (const [name, value] of Object.entries(await runProbe(model, session))) {
    await writeFile(join(model.folder, 'probe', `${name}.npy`), writeNpy(value));
  }
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
