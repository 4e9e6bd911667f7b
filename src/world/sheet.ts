/** A contact sheet: one row an action, six moments of it. */
import { openRenderer } from './render.js';
import type { Action, Scene } from './scene.js';

/** An action of a scene. */
export interface SheetRow {
  readonly scene: Scene;
  readonly action: Action;
}

/** PNG with a row for each action: its start, the way there, contact, PNR, release, the last frame. Each picture is `width` pixels wide. */
export async function contactSheet(rows: readonly SheetRow[], width = 240): Promise<Uint8Array> {
  const { createCanvas } = await import('@napi-rs/canvas');
  const height = Math.round((width * 3) / 4);
  const head = 16;
  const sheet = createCanvas(6 * width, Math.max(1, rows.length) * (height + head));
  const context = sheet.getContext('2d');
  context.fillStyle = '#222';
  context.fillRect(0, 0, sheet.width, sheet.height);
  const renderer = await openRenderer({ width, height });
  rows.forEach(({ scene, action }, row) => {
    momentsOf(action).forEach(([name, f], column) => {
      const image = context.createImageData(width, height);
      image.data.set(renderer.rgba(scene, f));
      context.putImageData(image, column * width, row * (height + head) + head);
      context.fillStyle = '#fff';
      context.font = '11px sans-serif';
      const label = column === 0 ? `${nameOf(scene, action)}: ` : '';
      context.fillText(`${label}${name} ${f}`, column * width + 4, row * (height + head) + 12);
    });
  });
  return await sheet.encode('png');
}

function nameOf({ objects }: Scene, { verb, object }: Action): string {
  const { colour, noun } = objects[object]!; // the number of an object
  return `${verb} ${colour} ${noun}`;
}

function momentsOf({ start, contact, pnr, release, end }: Action): readonly (readonly [name: string, f: number])[] {
  const middle = pnr ?? Math.round((contact + release) / 2);
  return [
    ['start', start],
    contact === start
      ? ['carry', Math.round((start + middle) / 2)]
      : ['reach', Math.round(start + 0.7 * (contact - start))],
    ['contact', contact],
    [pnr === null ? 'middle' : 'PNR', middle],
    release === end ? ['leave', Math.round((middle + end) / 2)] : ['acting', Math.round((middle + release) / 2)],
    ['late', Math.min(end - 1, Math.round(release + 0.35 * (end - release)))],
  ];
}
