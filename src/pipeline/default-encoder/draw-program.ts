import { open } from 'node:fs/promises';
import { parentPort, workerData } from 'node:worker_threads';
import { openRenderer } from '../../world/render.js';
import { makeScene, type ClipRequest, type Scene } from '../../world/scene.js';
import type { DrawMessage, DrawStart } from './pool.js';
import { drawWindow, recordLayout } from './windows.js';

/** The program of a drawing thread: its share of the windows, each at its place in the file. */
const { path, form, windows, part, parts } = workerData as DrawStart;
const layout = recordLayout(form);
const record = new Uint8Array(layout.bytes);
const renderer = await openRenderer({ width: form.size, height: form.size, fit: 'stretch' });
const handle = await open(path, 'r+');
try {
  let last: { readonly clip: ClipRequest; readonly scene: Scene } | undefined;
  for (let index = part; index < windows.length; index += parts) {
    const { clip, first, action } = windows[index]!; // below the length
    if (last?.clip.index !== clip.index) last = { clip, scene: makeScene(clip) };
    record.fill(0);
    drawWindow(renderer, form, { scene: last.scene, first, action }, record);
    await handle.write(record, 0, record.length, index * layout.bytes);
    parentPort?.postMessage({ done: 1 } satisfies DrawMessage);
  }
} finally {
  await handle.close();
}
