import { EgolensError } from '../../src/errors.js';
import type { ModelFolder } from '../../src/models/folder.js';
import type { SequenceFile } from '../../src/pipeline/feature-rows.js';
import type { Session } from '../../src/runtime/session.js';
import { tensor } from '../../src/tensor.js';
import { rationalNumber, rowSpan } from '../../src/time.js';
import type { FeatureClock, RowTime, Seconds, Tensor } from '../../src/types.js';
import { denseStarts, windowSamples } from '../../src/video/windows.js';
import { openRenderer } from '../../src/world/render.js';
import { makeScene } from '../../src/world/scene.js';

/** A clip of Tabletop in memory, as an encoder sees it at its preset and as heads do. */
export interface DrawnFeatures {
  readonly seconds: Seconds;
  /** uint8 [1, frames, size, size, 3] */
  readonly windows: readonly Tensor<'uint8'>[];
  /** [windows, width], and what would be known of their file. */
  readonly rows: Tensor<'float32'>;
  readonly file: SequenceFile;
  /** [windows, tokens, width] */
  readonly tokens: Tensor<'float32'>;
}

/**
 * Draws a clip and computes its features.
 *
 * @throws EgolensError model.config for a model whose preset has no rate, or that gives no tokens
 */
export async function drawnFeatures(
  model: ModelFolder,
  encoder: Session,
  seconds: Seconds,
  signal?: AbortSignal,
): Promise<DrawnFeatures> {
  const { spec, preset, id } = model;
  const { sampling, feature } = preset;
  const { tokenOutput } = spec;
  if (sampling.rate === 'source') {
    throw new EgolensError('model.config', `${id}: expected a preset with windows at a fixed rate`);
  }
  const fps = rationalNumber(sampling.rate);
  const scene = makeScene({ seed: 7, split: 'val', index: 0, seconds, fps, difficulty: 2 });
  const starts = denseStarts(scene.frames, sampling);
  const samples = starts.map((start) => windowSamples(start, scene.frames, sampling));
  const length = spec.size * spec.size * 3;
  const renderer = await openRenderer({ width: spec.size, height: spec.size, fit: 'stretch' });
  const drawn = new Map<number, Uint8Array>();
  for (const frame of new Set(samples.flat())) {
    const pixels = new Uint8Array(length);
    renderer.rgb(scene, frame, pixels);
    drawn.set(frame, pixels);
  }
  const windows = samples.map((frames) => {
    const data = new Uint8Array(frames.length * length);
    frames.forEach((frame, i) => {
      data.set(drawn.get(frame)!, i * length); // all were drawn
    });
    return tensor('uint8', [1, frames.length, spec.size, spec.size, 3], data);
  });
  const [rows, tokens]: [Tensor<'float32'>[], Tensor<'float32'>[]] = [[], []];
  for (const frames of windows) {
    signal?.throwIfAborted();
    const outputs = await encoder.run({ frames }, [feature, tokenOutput]);
    rows.push(outputs[feature]!); // both were asked for
    tokens.push(outputs[tokenOutput]!);
  }
  const { rate, hop, frames, step, extent, tail } = sampling;
  const clock: FeatureClock = {
    ...{ rate, hop, frames, step, tail, rows: starts.length },
    ...(extent !== undefined && { extent }),
  };
  const all = joined(rows);
  return {
    seconds,
    windows,
    rows: all,
    tokens: joined(tokens),
    file: {
      form: {
        ...{ path: 'drawn', width: all.shape[1]!, clock, model: id }, // two axes
        ...{ output: feature, preset: `${preset.name}@${preset.version}` },
      },
      rows: starts.length,
      tokens: null,
      times: starts.map((start, index): RowTime => {
        const [from, to] = rowSpan(clock, 0);
        const [first, last] = [start / fps, start / fps + to - from];
        const shown = samples[index]!; // one for each start
        return { index, firstFrame: start, lastFrame: shown.at(-1)!, start: first, end: Math.min(last, seconds) };
      }),
      meta: undefined,
    },
  };
}

/** Tensors of one row each, one below the other. */
function joined(parts: readonly Tensor<'float32'>[]): Tensor<'float32'> {
  const [, ...rest] = parts[0]?.shape ?? [];
  const data = new Float32Array(parts.reduce((sum, part) => sum + part.data.length, 0));
  let at = 0;
  for (const part of parts) {
    data.set(part.data, at);
    at += part.data.length;
  }
  return tensor('float32', [parts.length, ...rest], data);
}
