/** Which place of the grid is to find which box, for training a detector (heads.md 4). */
import { tensor } from '../src/tensor.js';
import type { BoxCorners } from '../src/models/forecasts.js';
import type { Tensor } from '../src/types.js';

/** A box to be found. */
export interface ObjectTruth {
  /** Pixels of the frame. */
  readonly box: BoxCorners;
  /** From 0. */
  readonly label: number;
}

/** A frame with its boxes. */
export interface ObjectFrame {
  readonly size: readonly [width: number, height: number];
  readonly truths: readonly ObjectTruth[];
}

/** Places of a detector, and which of them are asked about a box. */
export interface DetectorGrid {
  /** Places of the detector: [h, w]. */
  readonly grid: readonly [h: number, w: number];
  readonly classes: number;
  /** Places within so many grid steps of a box's centre find it. */
  readonly radius: number;
}

/** What the loss compares with; places are in rows. */
export interface DetectorTargets {
  /** [frames, places, classes] */
  readonly class: Tensor<'float32'>;
  /** [frames, places, 4]: left, top, right, bottom from the middle of the place in grid steps; ones where nothing is found. */
  readonly distances: Tensor<'float32'>;
  /** [frames, places]: 1 in the middle of a box, falling to its edges; 0 where nothing is found. */
  readonly centreness: Tensor<'float32'>;
  /** [frames, places]: 1 where a box is found. */
  readonly positive: Tensor<'float32'>;
}

/** Least distance to an edge, in grid steps: that of a box smaller than a place. */
const leastDistance = 0.05;

/**
 * A place finds the smallest box that it lies in and whose centre is near; a box that no place lies in is found by the place that its
 * centre lies in.
 *
 * Paper: Tian et al., "FCOS", 2019, with centre sampling.
 */
export function detectorTargets(
  frames: readonly ObjectFrame[],
  { grid, classes, radius }: DetectorGrid,
): DetectorTargets {
  const [h, w] = grid;
  const places = h * w;
  const count = frames.length * places;
  const labels = new Float32Array(count * classes);
  const distances = new Float32Array(count * 4).fill(1);
  const [centreness, positive] = [new Float32Array(count), new Float32Array(count)];
  frames.forEach(({ size, truths }, frame) => {
    const finder = finders(truths, { grid, size, radius });
    for (let place = 0; place < places; place++) {
      const found = finder[place];
      if (found === undefined) continue;
      const at = frame * places + place;
      const edges = edgesFrom(place, w, inSteps(found.box, { grid, size }));
      positive[at] = 1;
      labels[at * classes + found.label] = 1;
      distances.set(edges, 4 * at);
      const [left, top, right, bottom] = edges;
      const along = (a: number, b: number): number => Math.min(a, b) / Math.max(a, b);
      centreness[at] = Math.sqrt(along(left, right) * along(top, bottom));
    }
  });
  const shape = [frames.length, places];
  return {
    class: tensor('float32', [...shape, classes], labels),
    distances: tensor('float32', [...shape, 4], distances),
    centreness: tensor('float32', shape, centreness),
    positive: tensor('float32', shape, positive),
  };
}

/** By place, the box that it is to find. */
function finders(
  truths: readonly ObjectTruth[],
  { grid, size, radius }: Pick<DetectorGrid, 'grid' | 'radius'> & Pick<ObjectFrame, 'size'>,
): (ObjectTruth | undefined)[] {
  const [h, w] = grid;
  const finder: (ObjectTruth | undefined)[] = Array.from({ length: h * w }, () => undefined);
  const area = ({ box }: ObjectTruth): number => (box[2] - box[0]) * (box[3] - box[1]);
  // The largest first: smaller ones then take their places from them.
  for (const truth of [...truths].sort((a, b) => area(b) - area(a))) {
    const [x1, y1, x2, y2] = inSteps(truth.box, { grid, size });
    const [cx, cy] = [(x1 + x2) / 2, (y1 + y2) / 2];
    let isFound = false;
    for (let row = 0; row < h; row++) {
      for (let column = 0; column < w; column++) {
        const [x, y] = [column + 0.5, row + 0.5];
        const isInside = x > x1 && x < x2 && y > y1 && y < y2;
        if (!isInside || Math.abs(x - cx) > radius || Math.abs(y - cy) > radius) continue;
        finder[row * w + column] = truth;
        isFound = true;
      }
    }
    if (isFound || !(cx >= 0 && cx <= w && cy >= 0 && cy <= h)) continue;
    finder[Math.min(Math.floor(cy), h - 1) * w + Math.min(Math.floor(cx), w - 1)] = truth;
  }
  return finder;
}

/** A box in grid steps. */
function inSteps(
  [x1, y1, x2, y2]: BoxCorners,
  { grid: [h, w], size: [width, height] }: Pick<DetectorGrid, 'grid'> & Pick<ObjectFrame, 'size'>,
): BoxCorners {
  return [(x1 * w) / width, (y1 * h) / height, (x2 * w) / width, (y2 * h) / height];
}

function edgesFrom(place: number, w: number, [x1, y1, x2, y2]: BoxCorners): [number, number, number, number] {
  const [x, y] = [(place % w) + 0.5, Math.floor(place / w) + 0.5];
  const least = (distance: number): number => Math.max(leastDistance, distance);
  return [least(x - x1), least(y - y1), least(x2 - x), least(y2 - y)];
}
