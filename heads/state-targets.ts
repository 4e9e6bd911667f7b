/** Targets of the point of no return and of the change of state (heads.md 8). */
import { tensor } from '../src/tensor.js';
import type { Tensor } from '../src/types.js';

/** What is known of a clip. */
export interface StateTruth {
  readonly stateChange: boolean;
  /** Where the point of no return lies, counted in rows (the middle of row i is i); null where it is not annotated. */
  readonly row: number | null;
  /** Rows before the padding; absent: all. */
  readonly count?: number;
}

/** What the loss compares with. */
export interface StateTargets {
  /** [clips, rows]: a bell around the point of no return, sum 1; even where there is none. */
  readonly pnr: Tensor<'float32'>;
  /** [clips]: 1 where `pnr` counts. */
  readonly counted: Tensor<'float32'>;
  /** [clips]: 1 for a change. */
  readonly state: Tensor<'float32'>;
}

/** Targets of a batch; `sigma` is the width of the bell in rows. */
export function stateTargets(
  clips: readonly StateTruth[],
  { rows, sigma = 1 }: { readonly rows: number; readonly sigma?: number },
): StateTargets {
  const pnr = new Float32Array(clips.length * rows).fill(1 / rows);
  clips.forEach(({ row: middle, count = rows }, clip) => {
    if (middle === null) return;
    const place = Math.min(Math.max(middle, 0), count - 1);
    const bell = Array.from({ length: count }, (_, row) => Math.exp(-(((row - place) / sigma) ** 2) / 2));
    const total = bell.reduce((a, b) => a + b, 0);
    pnr.fill(0, clip * rows, (clip + 1) * rows);
    pnr.set(
      bell.map((share) => share / total),
      clip * rows,
    );
  });
  return {
    pnr: tensor('float32', [clips.length, rows], pnr),
    counted: tensor(
      'float32',
      [clips.length],
      Float32Array.from(clips, ({ row }) => (row === null ? 0 : 1)),
    ),
    state: tensor(
      'float32',
      [clips.length],
      Float32Array.from(clips, ({ stateChange }) => (stateChange ? 1 : 0)),
    ),
  };
}
