/** Drawn windows as batches of the training step, mirrored by chance. */
import { sampleRandom } from '../../train/order.js';
import { tensor } from '../../tensor.js';
import type { Tensor } from '../../types.js';
import type { TensorsByName } from '../../runtime/training-session.js';
import { tokenChannels } from '../../world/truth.js';
import { colours, nouns, verbs } from '../../world/vocabulary.js';
import type { Pool } from './pool.js';
import { slotNumbers, stages, type WindowForm } from './windows.js';

const channels = tokenChannels.length;
const handNumbers = 10;

export interface BatchOptions {
  readonly random?: { readonly seed: number; readonly epoch: number };
  readonly still?: boolean;
}

/** Inputs of the step, and the labels of each window: verb, noun, colour; -1 where it is about no action. */
export interface Batch {
  readonly inputs: TensorsByName;
  readonly labels: readonly (readonly number[])[];
}

/**
 * A batch of the step.
 *
 * @param options.random what decides about mirroring, by the record; absent: nothing is mirrored
 * @param options.still show the frame in the middle all the time: what a model sees that has no motion
 */
export async function loadBatch(
  pool: Pool,
  form: WindowForm,
  indices: readonly number[],
  { random, still = false }: BatchOptions = {},
): Promise<Batch> {
  const { frames, size, tubelet, grid } = form;
  const slots = frames / tubelet;
  const tokens = slots * grid * grid;
  const batch = indices.length;
  const pixels = new Uint8Array(batch * frames * size * size * 3);
  const shares = new Float32Array(batch * tokens * channels);
  const hands = new Float32Array(batch * slots * handNumbers);
  const handsSeen = new Float32Array(batch * slots * handNumbers);
  const stage = new Float32Array(batch * slots * stages.length);
  const slotVerb = new Float32Array(batch * slots * (1 + verbs.length));
  const verb = new Float32Array(batch * verbs.length);
  const noun = new Float32Array(batch * nouns.length);
  const colour = new Float32Array(batch * colours.length);
  const about = new Float32Array(batch);
  const labels: number[][] = [];
  const record = new Uint8Array(pool.layout.bytes);
  for (const [b, index] of indices.entries()) {
    await pool.read(index, record);
    const isMirrored = random !== undefined && sampleRandom(random.seed, random.epoch, index).uniform() < 0.5;
    const picture = record.subarray(0, frames * size * size * 3);
    if (still) freeze(picture, frames);
    const map = record.subarray(pool.layout.tokens, pool.layout.tokens + tokens * channels);
    if (isMirrored) {
      mirrorRows(picture, size, 3);
      mirrorRows(map, grid, channels);
      swapSides(map);
    }
    pixels.set(picture, b * picture.length);
    for (let i = 0; i < map.length; i++) shares[b * map.length + i] = map[i]! / 255;
    const numbers = new Float32Array(record.buffer, pool.layout.slots, slots * slotNumbers);
    for (let slot = 0; slot < slots; slot++) {
      const row = numbers.subarray(slot * slotNumbers, (slot + 1) * slotNumbers);
      const at = (b * slots + slot) * handNumbers;
      for (const side of [0, 1]) {
        const from = 5 * (isMirrored ? 1 - side : side);
        const sign = isMirrored ? -1 : 1;
        const isSeen = row[from + 4]!;
        hands.set([sign * row[from]!, row[from + 1]!, sign * row[from + 2]!, row[from + 3]!, isSeen], at + 5 * side);
        handsSeen.set([isSeen, isSeen, isSeen, isSeen, 1], at + 5 * side);
      }
      stage[(b * slots + slot) * stages.length + row[10]!] = 1;
      slotVerb[(b * slots + slot) * (1 + verbs.length) + row[11]!] = 1;
    }
    const [v = -1, n = -1, c = -1] = new Int32Array(record.buffer, pool.layout.labels, 3);
    labels.push([v, n, c]);
    about[b] = v < 0 ? 0 : 1;
    if (v >= 0) {
      verb[b * verbs.length + v] = 1;
      noun[b * nouns.length + n] = 1;
      colour[b * colours.length + c] = 1;
    }
  }
  const rows = (values: Float32Array<ArrayBuffer>, ...shape: number[]): Tensor<'float32'> =>
    tensor('float32', [batch, ...shape], values);
  const inputs = {
    frames: tensor('uint8', [batch, frames, size, size, 3], pixels),
    about: rows(about),
    verb: rows(verb, verbs.length),
    noun: rows(noun, nouns.length),
    colour: rows(colour, colours.length),
    tokens: rows(shares, tokens, channels),
    hands: rows(hands, slots, handNumbers),
    handsSeen: rows(handsSeen, slots, handNumbers),
    stage: rows(stage, slots, stages.length),
    slotVerb: rows(slotVerb, slots, 1 + verbs.length),
  };
  return { inputs, labels };
}

/** Every frame becomes the one in the middle. */
function freeze(picture: Uint8Array, frames: number): void {
  const length = picture.length / frames;
  const middle = picture.slice(Math.floor(frames / 2) * length, (Math.floor(frames / 2) + 1) * length);
  for (let i = 0; i < frames; i++) picture.set(middle, i * length);
}

/** Rows of `columns` cells from right to left. */
function mirrorRows(values: Uint8Array, columns: number, cell: number): void {
  const width = columns * cell;
  for (let row = 0; row < values.length; row += width) {
    for (let left = 0, right = width - cell; left < right; left += cell, right -= cell) {
      for (let i = 0; i < cell; i++) {
        const value = values[row + left + i]!;
        values[row + left + i] = values[row + right + i]!;
        values[row + right + i] = value;
      }
    }
  }
}

/** The left hand is the right one in a mirror. */
function swapSides(map: Uint8Array): void {
  for (let i = 0; i < map.length; i += channels) {
    const left = map[i]!;
    map[i] = map[i + 1]!;
    map[i + 1] = left;
  }
}
