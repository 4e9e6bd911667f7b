/** Label pictures: what lies on top at each pixel, without a canvas, so that truth of any size costs little. */
import type { Polygon } from './geometry.js';

/** Calls `paint` for the pixels whose middles lie inside (even-odd rule): row, first pixel, pixel behind the last. */
export function scan(
  points: Polygon,
  width: number,
  height: number,
  paint: (y: number, from: number, to: number) => void,
): void {
  let [top, bottom] = [Infinity, -Infinity];
  for (let i = 1; i < points.length; i += 2) {
    const y = points[i]!; // below the length
    if (y < top) top = y;
    if (y > bottom) bottom = y;
  }
  const last = Math.min(height - 1, Math.ceil(bottom - 0.5));
  const crossings: number[] = [];
  for (let row = Math.max(0, Math.floor(top - 0.5)); row <= last; row++) {
    const y = row + 0.5;
    crossings.length = 0;
    for (let i = 0, j = points.length - 2; i < points.length; j = i, i += 2) {
      const [x0, y0, x1, y1] = [points[j]!, points[j + 1]!, points[i]!, points[i + 1]!]; // pairs
      if (y0 <= y === y1 <= y) continue;
      crossings.push(x0 + ((y - y0) / (y1 - y0)) * (x1 - x0));
    }
    crossings.sort((a, b) => a - b);
    for (let k = 0; k + 1 < crossings.length; k += 2) {
      const from = Math.max(0, Math.ceil(crossings[k]! - 0.5)); // k + 1 is below the length
      const to = Math.min(width, Math.ceil(crossings[k + 1]! - 0.5));
      if (from < to) paint(row, from, to);
    }
  }
}

/** Pixels of a label picture that `wanted` holds for, by square of `rows` x `columns`: shares in [0, 1]. */
export function shares(
  labels: Uint8Array,
  width: number,
  height: number,
  rows: number,
  columns: number,
  wanted: (label: number) => boolean,
  target: Float32Array = new Float32Array(rows * columns),
  offset = 0,
  step = 1,
): Float32Array {
  for (let row = 0; row < rows; row++) {
    const [y0, y1] = [Math.floor((row * height) / rows), Math.floor(((row + 1) * height) / rows)];
    for (let column = 0; column < columns; column++) {
      const [x0, x1] = [Math.floor((column * width) / columns), Math.floor(((column + 1) * width) / columns)];
      let count = 0;
      for (let y = y0; y < y1; y++) {
        for (let x = x0; x < x1; x++) if (wanted(labels[y * width + x]!)) count++; // inside the picture
      }
      target[offset + (row * columns + column) * step] = count / Math.max(1, (y1 - y0) * (x1 - x0));
    }
  }
  return target;
}
