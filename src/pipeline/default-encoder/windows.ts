/**
 * What the default encoder learns from: short windows of Tabletop clips, drawn frame by frame, with the world's truth about them. Nothing is
 * encoded or decoded on the way, and everything follows from the numbers of a window.
 */
import { seededRandom } from '../../random.js';
import type { Renderer } from '../../world/render.js';
import { makeScene, type Action, type ClipRequest, type Scene } from '../../world/scene.js';
import { frameTruth, tokenChannels, tokenTruth, type FrameTruth } from '../../world/truth.js';
import { colours, nouns, verbs } from '../../world/vocabulary.js';

/** Sizes of a window and of what is asked about it. */
export interface WindowForm {
  readonly frames: number;
  /** From one frame of the window to the next, in frames of the clip. */
  readonly step: number;
  /** Rows and columns of the picture. */
  readonly size: number;
  /** Frames of a time slot. */
  readonly tubelet: number;
  /** Rows and columns of tokens. */
  readonly grid: number;
}

/** A window of a clip. */
export interface Window {
  readonly clip: ClipRequest;
  /** First frame; may lie outside the clip, where the scene stands still. */
  readonly first: number;
  /** Number of the action that the window is about; null for one that is about none. */
  readonly action: number | null;
}

/** Numbers of a time slot in `Sample.slots`: of the left hand and of the right hand x, y, vx, vy, is it seen; then stage and verb. */
export const slotNumbers = 12;
export const stages = ['none', 'approach', 'before-change', 'change', 'retreat'] as const;

/** Offsets and lengths of a record: one window, as it lies in a file. */
export interface RecordLayout {
  readonly frames: number;
  readonly tokens: number;
  readonly slots: number;
  readonly labels: number;
  readonly bytes: number;
}

/** Frames as bytes, shares of tokens as bytes (255: all of it), numbers of slots as float32, three labels as int32. */
export function recordLayout({ frames, size, tubelet, grid }: WindowForm): RecordLayout {
  const times = frames / tubelet;
  const lengths = [
    frames * size * size * 3,
    times * grid * grid * tokenChannels.length,
    times * slotNumbers * 4,
    3 * 4,
  ];
  const [a, b, c, d] = lengths.map((length) => Math.ceil(length / 4) * 4) as [number, number, number, number];
  return { frames: 0, tokens: a, slots: a + b, labels: a + b + c, bytes: a + b + c + d };
}

/** Seconds of the clips that windows are taken from: some actions each, so that objects have a past. */
const clipSeconds = 20;

/**
 * The windows of a run: around every action of so many clips one, with jitter; now and then one that is about nothing.
 *
 * @param options.jitter frames that the middle may lie off the action's; 0 for what is scored
 * @param options.keep which clips are taken, by their number; default all
 */
export function chooseWindows(
  form: WindowForm,
  options: {
    readonly count: number;
    readonly seed: number;
    readonly split: ClipRequest['split'];
    readonly difficulties: readonly ClipRequest['difficulty'][];
    readonly jitter: number;
    readonly idleShare: number;
    readonly keep?: (index: number) => boolean;
  },
): Window[] {
  const windows: Window[] = [];
  const extent = (form.frames - 1) * form.step;
  for (let index = 0; windows.length < options.count; index++) {
    if (options.keep && !options.keep(index)) continue;
    const random = seededRandom(options.seed, `windows ${options.split} ${index}`);
    const difficulty = options.difficulties[index % options.difficulties.length]!;
    const clip: ClipRequest = {
      seed: options.seed,
      split: options.split,
      index,
      seconds: clipSeconds,
      fps: 30,
      difficulty,
    };
    const scene = makeScene(clip);
    for (const [number, action] of scene.actions.entries()) {
      const middle = middleOf(action) + Math.round(options.jitter * (2 * random.uniform() - 1));
      windows.push({ clip, first: middle - Math.round(extent / 2), action: number });
      if (random.uniform() < options.idleShare) {
        const first = Math.floor(random.uniform() * (clipSeconds * 30 - extent));
        windows.push({
          clip,
          first,
          action: idleAt(scene, first + extent / 2) ? null : actionNear(scene, first + extent / 2),
        });
      }
    }
  }
  return windows.slice(0, options.count);
}

/** Between touch and release: where an action is itself. */
const middleOf = ({ contact, release }: Action): number => Math.round((contact + release) / 2);

/** How far from the touched stretch of an action, in frames, a window may be centred and still be about it. */
const margin = 8;

const isAbout = ({ contact, release }: Action, f: number): boolean => f >= contact - margin && f <= release + margin;

function idleAt(scene: Scene, f: number): boolean {
  return !scene.actions.some((action) => isAbout(action, f));
}

function actionNear(scene: Scene, f: number): number {
  return scene.actions.findIndex((action) => isAbout(action, f));
}

/** Draws a window and writes its record. */
export function drawWindow(
  renderer: Renderer,
  form: WindowForm,
  { scene, first, action }: { readonly scene: Scene; readonly first: number; readonly action: number | null },
  record: Uint8Array<ArrayBuffer>,
): void {
  const { frames, step, size, tubelet, grid } = form;
  const layout = recordLayout(form);
  const slots = new Float32Array(record.buffer, record.byteOffset + layout.slots, (frames / tubelet) * slotNumbers);
  const labels = new Int32Array(record.buffer, record.byteOffset + layout.labels, 3);
  const perSlot = grid * grid * tokenChannels.length;
  for (let i = 0; i < frames; i++) {
    const at = clamped(scene, first + i * step);
    renderer.rgb(scene, at, record, layout.frames + i * size * size * 3);
  }
  for (let slot = 0; slot < frames / tubelet; slot++) {
    const at = clamped(scene, first + (slot * tubelet + (tubelet - 1) / 2) * step);
    const truth = frameTruth(scene, at, renderer.view);
    const shares = tokenTruth(truth, grid, grid);
    for (let i = 0; i < perSlot; i++) record[layout.tokens + slot * perSlot + i] = Math.round(255 * shares[i]!);
    slots.set(slotOf(truth, size), slot * slotNumbers);
  }
  const about = action === null ? undefined : scene.actions[action]!; // a number of an action
  const object = about && scene.objects[about.object]!;
  labels[0] = about ? verbs.indexOf(about.verb) : -1;
  labels[1] = object ? nouns.indexOf(object.noun) : -1;
  labels[2] = object ? colours.indexOf(object.colour) : -1;
}

const clamped = (scene: Scene, f: number): number =>
  Math.min(Math.max(0, f), scene.request.seconds * scene.request.fps - 1);

/** Positions as shares of the picture, about its middle; velocities in pictures a second. */
function slotOf({ hands, action }: FrameTruth, size: number): number[] {
  const hand = ({ x, y, vx, vy, isVisible }: FrameTruth['hands']['left']): number[] => [
    x / size - 0.5,
    y / size - 0.5,
    vx / size,
    vy / size,
    Number(isVisible),
  ];
  const stage = action === null ? 0 : stages.indexOf(action.stage);
  return [...hand(hands.left), ...hand(hands.right), stage, action === null ? 0 : 1 + action.verbLabel];
}
