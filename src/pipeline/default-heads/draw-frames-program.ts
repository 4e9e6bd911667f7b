import { parentPort } from 'node:worker_threads';
import { openRenderer, type Renderer } from '../../world/render.js';
import { makeScene, type ClipRequest } from '../../world/scene.js';

/** What a drawing thread is asked for. */
export interface DrawFrames {
  readonly id: number;
  readonly clip: ClipRequest;
  readonly frames: readonly number[];
  /** Rows and columns of the picture. */
  readonly size: number;
}

/** Frames of one clip: uint8 [frames, size, size, 3]. */
export interface DrawnFrames {
  readonly id: number;
  readonly pixels: ArrayBuffer;
}

/** The program of a drawing thread: frames of clips on demand, one clip after the other. */
let opened: { readonly size: number; readonly renderer: Promise<Renderer> } | undefined;
let last = Promise.resolve();
parentPort!.on('message', ({ id, clip, frames, size }: DrawFrames) => {
  last = last.then(async () => {
    if (opened?.size !== size) opened = { size, renderer: openRenderer({ width: size, height: size, fit: 'stretch' }) };
    const renderer = await opened.renderer;
    const scene = makeScene(clip);
    const pixels = new Uint8Array(frames.length * size * size * 3);
    frames.forEach((frame, i) => {
      renderer.rgb(scene, frame, pixels, i * size * size * 3);
    });
    parentPort!.postMessage({ id, pixels: pixels.buffer } satisfies DrawnFrames, [pixels.buffer]);
  });
});
