import { join } from 'node:path';
import { actionFormerFeeds } from '../../heads/actionformer-feeds.js';
import { headOf } from '../../heads/index.js';
import { interactionFeeds } from '../../heads/interaction-feeds.js';
import { actionFeeds } from '../../heads/lta-method.js';
import { questionFeeds } from '../../heads/nlq/feeds.js';
import { EgolensError } from '../../src/errors.js';
import { findModel } from '../../src/hub/cache.js';
import type { CandidateBox } from '../../src/models/forecasts.js';
import { checkFeatures, openHeadFolder, type HeadFolder } from '../../src/models/head-folder.js';
import type { Head, HeadTask } from '../../src/models/head.js';
import { numbered } from '../../src/pipeline/answer-task.js';
import { openDetector, unitSize, type Detector } from '../../src/pipeline/detector.js';
import { handFeeds, looksAtTokens } from '../../src/pipeline/hand-task.js';
import { candidates, headCategories, usualTop } from '../../src/pipeline/interaction-task.js';
import { mapsForm, pickRows } from '../../src/pipeline/object-maps.js';
import { objectFeeds } from '../../src/pipeline/object-task.js';
import { ownFrames } from '../../src/pipeline/own-frames.js';
import { rowsOf, rowsOfHead } from '../../src/pipeline/placed-clips.js';
import { classNames, oneByOne, predictAsks, type PredictionTask } from '../../src/pipeline/predict.js';
import { openQuestionWords } from '../../src/pipeline/question-words.js';
import { featureBatch } from '../../src/pipeline/recognition-split.js';
import { openHead } from '../../src/pipeline/recognize-head.js';
import { stateFeeds } from '../../src/pipeline/state-task.js';
import { ownWindows } from '../../src/pipeline/state-windows.js';
import { asksAtOnce } from '../../src/pipeline/head-runs.js';
import { seededRandom } from '../../src/random.js';
import { openSession } from '../../src/runtime/session.js';
import type { Progress, Seconds, Tensor } from '../../src/types.js';
import type { DrawnFeatures } from './drawn-minute.js';
import type { BenchContext } from './harness.js';

/** A head that is open, and one pass of it over drawn features. Dispose it. */
export interface HeadPass extends AsyncDisposable {
  /** Name and digest. */
  readonly id: string;
  readonly task: HeadTask;
  /** Does it look at one frame only, as a detector of candidate boxes does? */
  readonly isDetector: boolean;
  /** Windows, frames or questions of a pass. */
  readonly asks: number;
  /** Inputs, runs and decoding of all asks. */
  run(): Promise<void>;
}

/** What a head is asked: inputs come out of the rows of each ask. */
interface Asks {
  readonly rows: readonly Tensor<'float32'>[];
  readonly task: Pick<PredictionTask, 'feeds' | 'options'>;
}

/** From one asked frame to the next, and the size of the frames. */
const everySecond: Seconds = 1;
const frameSize = [320, 240] as const;
/** Candidate boxes of a frame for a head that names no detector: as many as it would look at. */
const seededBoxes = 20;
/** Windows of one run of a recognition head, as `recognize` has them. */
const windowsAtOnce = 64;
const question = 'where did I put the red cup?';

const quiet: Progress = {
  start: () => ({ advance: () => undefined, stop: () => undefined }),
  note: () => undefined,
  warn: () => undefined,
};

/**
 * Opens a head on one thread of the cpu.
 *
 * @param name of a head, or a folder
 * @throws EgolensError as `openHead` and `checkFeatures`; model.config for a head of a task that asks nothing of a video
 */
export async function openPass(name: string, drawn: DrawnFeatures, context: BenchContext): Promise<HeadPass> {
  const { info } = await openHeadFolder(await findModel(name));
  const { folder, head } = await openHead(name, headOf, info.task);
  const { form } = drawn.file;
  const isGrid = info.clock !== null;
  checkFeatures(folder, { name: form.path, ...form, clock: isGrid ? form.clock : undefined });
  // Without the signal: many sessions are open at once, and the caller looks at it between passes.
  const place = { device: 'cpu', threads: 1 };
  const labels = await classNames({ folder, head });
  const detectorName = info.task === 'sta' ? info.options['detector'] : undefined;
  const detector =
    typeof detectorName === 'string' ? await openDetector(detectorName, { ...place, headOf }) : undefined;
  try {
    const { rows, task } = await asksOf({ folder, head, detector }, drawn, context);
    const session = await openSession({ graph: join(folder.folder, 'graph.onnx'), ...place });
    const stretch = { file: drawn.file, duration: drawn.seconds };
    return {
      id: folder.id,
      task: info.task,
      isDetector: info.task === 'scod' && mapsForm(head).frames === 1,
      asks: rows.length,
      async run() {
        for (let first = 0; first < rows.length; first += asksAtOnce) {
          const asks = rows.slice(first, first + asksAtOnce).map((own) => ({ rows: own, query: undefined }));
          await predictAsks({ stretch, asks }, task, { session, labels, run: { folder, head } });
        }
      },
      async [Symbol.asyncDispose]() {
        await session[Symbol.asyncDispose]();
        await detector?.[Symbol.asyncDispose]();
      },
    };
  } catch (error) {
    await detector?.[Symbol.asyncDispose]();
    throw error;
  }
}

interface Opened {
  readonly folder: HeadFolder;
  readonly head: Head;
  readonly detector: Detector | undefined;
}

/** What the commands would ask of a video of one's own. */
async function asksOf(opened: Opened, drawn: DrawnFeatures, context: BenchContext): Promise<Asks> {
  const { head, folder } = opened;
  const { rows, file, tokens, seconds } = drawn;
  switch (folder.info.task) {
    case 'mq':
      return { rows: [rows], task: { options: {}, feeds: oneByOne((own, shown) => actionFormerFeeds(own, [shown])) } };
    case 'nlq':
      return await questionAsks(opened, drawn, context);
    case 'lta': {
      const options = { items: [`at ${seconds}`] };
      return { rows: [rows], task: { options, feeds: oneByOne(actionFeeds) } };
    }
    case 'pnr':
    case 'oscc': {
      const most = rowsOfHead(head.config, head.family);
      return {
        rows: ownWindows(file, [0, seconds]).map((window) => rowsOf(rows, window.rows)),
        task: { options: {}, feeds: oneByOne((_, shown) => stateFeeds([shown], most)) },
      };
    }
    case 'recognition': {
      const [count = 0, width = 0] = rows.shape;
      const groups = Array.from({ length: Math.ceil(count / windowsAtOnce) }, (_, i) =>
        rowsOf(rows, [i * windowsAtOnce, Math.min(count, (i + 1) * windowsAtOnce)]),
      );
      const vectors = ({ data, shape: [own = 0] }: Tensor<'float32'>): Float32Array[] =>
        Array.from({ length: own }, (_, row) => data.slice(row * width, (row + 1) * width));
      return {
        rows: groups,
        task: { options: {}, feeds: oneByOne((_, shown) => featureBatch(vectors(shown), width)) },
      };
    }
    case 'fhp': {
      const shown = looksAtTokens(head) ? tokens : rows;
      return {
        rows: framesOf(drawn).map((row) => pickRows(shown, [row])),
        task: { options: { sizes: [1, 1] }, feeds: oneByOne(handFeeds) },
      };
    }
    case 'scod': {
      const seen = ownFrames(undefined, mapsForm(head).frames).rowsOf(file);
      return {
        rows: framesOf(drawn).map((row) => pickRows(tokens, seen[row]!)), // one for each row
        task: { options: unitSize, feeds: oneByOne(objectFeeds) },
      };
    }
    case 'sta':
      return { rows: framesOf(drawn).map((row) => pickRows(tokens, [row])), task: boxTask(opened) };
    default:
      throw new EgolensError('model.config', `${folder.id}: a head for ${String(folder.info.task)}`);
  }
}

/** The last window that ends by each second, the first one where there is none. */
function framesOf({ file: { times }, seconds }: DrawnFeatures): number[] {
  return Array.from({ length: Math.floor(seconds / everySecond) }, (_, i) =>
    Math.max(
      0,
      times.findLastIndex(({ end }) => end <= (i + 1) * everySecond + 1e-6),
    ),
  );
}

/** One question; the units of the clip are made with its words. */
async function questionAsks(
  { folder, head }: Opened,
  { rows }: DrawnFeatures,
  { signal = new AbortController().signal, progress = quiet }: BenchContext,
): Promise<Asks> {
  const options = { force: false, device: 'cpu', threads: 1, signal, progress };
  await using words = await openQuestionWords({ folder, head }, options);
  const { vocabulary } = words;
  const [asked] = await words.of([numbered(question, '0')]);
  const top = head.family === 'groundnlq' ? { max_seg_num: usualTop } : { top: usualTop };
  // Each question gives one with its words.
  return {
    rows: [rows],
    task: { options: top, feeds: oneByOne((own, shown) => questionFeeds(own, shown, asked!, vocabulary)) },
  };
}

/** Boxes are those of the detector that the head names, whose time counts too, else seeded ones. */
function boxTask({ folder, detector }: Opened): Asks['task'] {
  const nouns = headCategories(folder, 'noun');
  const seeded = detector === undefined ? boxes() : [];
  return {
    options: { max_detections: usualTop },
    async feeds(head, asks) {
      const windows = asks.map(({ rows }) => ({ ...rows, shape: rows.shape.slice(1) }));
      const frames = asks.map(() => ({ id: 'frame', size: frameSize }));
      const found =
        detector === undefined ? asks.map(() => seeded) : await candidates({ detector }, frames, windows, nouns);
      return interactionFeeds(
        head,
        windows,
        found.map((own) => ({ size: frameSize, boxes: own })),
      );
    },
  };
}

function boxes(): CandidateBox[] {
  const random = seededRandom(11, 'boxes');
  const [width, height] = frameSize;
  return Array.from({ length: seededBoxes }, () => {
    const [x, y] = [random.uniform() * 0.8 * width, random.uniform() * 0.8 * height];
    return { box: [x, y, x + 0.2 * width, y + 0.2 * height], score: random.uniform() };
  });
}
