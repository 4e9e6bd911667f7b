import { basename } from 'node:path';
import { defaultModelName, embeddedModels, findModel, installedModels } from '../../src/hub/cache.js';
import { float } from '../../src/json.js';
import { openModelFolder } from '../../src/models/folder.js';
import { defaultDetector, defaultHeads } from '../../src/pipeline/default-heads/names.js';
import { openModelSession } from '../../src/pipeline/probe.js';
import type { Session } from '../../src/runtime/session.js';
import { costOf } from './cost.js';
import { drawnFeatures, type DrawnFeatures } from './drawn-minute.js';
import {
  medianOf,
  pairRatios,
  valuesOf,
  type BenchContext,
  type Case,
  type Figure,
  type SpeedBenchmark,
} from './harness.js';
import { openPass, type HeadPass } from './head-passes.js';

/** Seconds of the clip of the promise; of a smoke run. */
const [minute, moment] = [60, 8];
/** A head may take so much of the time of the encoder, and a question so many milliseconds. */
const mostShare = 0.1;
const mostQuestionMs = 50;

const named = {
  mq: 'moments',
  nlq: 'one question',
  pnr: 'changes of state, in windows of 8 s',
  recognition: 'classes of every window',
  lta: 'the next actions, once',
  fhp: 'hands, a frame a second',
  sta: 'coming interactions with their detector, a frame a second',
  scod: 'objects of a change, a frame a second',
  detector: 'boxes of a detector, a frame a second',
};

/** Heads over features in memory, against the encoder that made them. */
export const heads: SpeedBenchmark = {
  name: 'heads',
  summary: 'the embedded heads over a minute of features, against the default encoder over the same minute',
  figures: [
    ...Object.entries(named).map(([name, what]) => ({
      name,
      summary: `CPU time of ${what} (inputs, run, decoding; warm, one thread) / that of ${defaultModelName} over the same minute at its preset`,
      limit: mostShare,
    })),
    { name: 'question', summary: `CPU time of one question over a minute / ${mostQuestionMs} ms`, limit: 1 },
  ],
  async *cases(context) {
    const model = await openModelFolder(await findModel(defaultModelName));
    const place = { device: 'cpu', threads: 1, ...(context.signal && { signal: context.signal }) };
    await using encoder = await openModelSession(model, place);
    const drawn = await drawnFeatures(model, encoder, context.isSmoke ? moment : minute, context.signal);
    const passes: HeadPass[] = [];
    try {
      for (const name of await chosenHeads(context)) passes.push(await openPass(name, drawn, context));
      yield headsCase(encoder, model.preset.feature, drawn, passes);
    } finally {
      for (const pass of passes) await pass[Symbol.asyncDispose]();
    }
  },
};

/** Those that were asked for, else the embedded ones that are there. */
async function chosenHeads({ heads: asked = [], progress }: BenchContext): Promise<readonly string[]> {
  if (asked.length > 0) return asked;
  const all = [...new Set([...Object.values(defaultHeads), defaultDetector])];
  const there = new Set((await installedModels(embeddedModels)).map((folder) => basename(folder)));
  const missing = all.filter((name) => !there.has(name));
  if (missing.length > 0) progress?.note(`not measured, for they are not there: ${missing.join(', ')}`);
  return all.filter((name) => there.has(name));
}

function headsCase(encoder: Session, feature: string, drawn: DrawnFeatures, passes: readonly HeadPass[]): Case {
  const stepOf = (i: number): string => `head ${i}`;
  return {
    input: null,
    steps: [
      {
        name: 'encoder',
        run: () =>
          costOf(async () => {
            for (const frames of drawn.windows) await encoder.run({ frames }, [feature]);
          }),
      },
      ...passes.map((pass, i) => ({ name: stepOf(i), run: () => costOf(() => pass.run()) })),
    ],
    figures: (samples) =>
      passes.flatMap((pass, i): Figure[] => {
        const own = valuesOf(samples, stepOf(i), 'ownCpuMs');
        const detail = {
          head: pass.id,
          seconds: drawn.seconds,
          windows: drawn.windows.length,
          asks: pass.asks,
          threads: 1,
          headCpuMs: float(medianOf(samples, stepOf(i), 'ownCpuMs')),
          headMs: float(medianOf(samples, stepOf(i), 'wallMs')),
          encoderCpuMs: float(medianOf(samples, 'encoder', 'ownCpuMs')),
          encoderMs: float(medianOf(samples, 'encoder', 'wallMs')),
        };
        const ratios = pairRatios(own, valuesOf(samples, 'encoder', 'ownCpuMs'));
        const share: Figure = { name: nameOf(pass), ratios, detail };
        if (pass.task !== 'nlq') return [share];
        return [share, { name: 'question', ratios: own.map((ms) => ms / mostQuestionMs), detail }];
      }),
  };
}

/** Heads for the moment and for the fact of a change are the same. */
function nameOf({ task, isDetector }: HeadPass): keyof typeof named {
  if (isDetector) return 'detector';
  return task === 'oscc' ? 'pnr' : task;
}
