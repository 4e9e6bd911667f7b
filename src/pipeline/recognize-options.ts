import { EgolensError } from '../errors.js';
import { readSmallFile } from '../files.js';
import { defaultModelName } from '../hub/cache.js';
import {
  checkClasses,
  checkTemplates,
  maxListBytes,
  parseClassFile,
  parseTemplateFile,
  templateLists,
  type TemplateListName,
} from '../text/prompts.js';
import type { Preset } from '../types.js';
import { parseStreamChoice } from '../video/probe.js';
import { adjustPreset, type PresetChanges } from './adjust-preset.js';
import { parseDecodeErrors } from './extract-options.js';
import { presetOf } from './import-model.js';
import { labelList } from './label-lists.js';
import { parseShard } from './inputs.js';
import type { ClassList } from './recognize.js';

/** What flags say, as text where a person wrote text. */
export interface RecognizeFlags extends PresetChanges {
  readonly model?: string | undefined;
  readonly preset?: string | undefined;
  readonly labels?: string | undefined;
  readonly zeroShot: boolean;
  readonly class?: readonly string[] | undefined;
  readonly classFile?: string | undefined;
  readonly template?: readonly string[] | undefined;
  readonly templateFile?: string | undefined;
  readonly per: 'video' | 'window';
  readonly merge: boolean;
  readonly top?: number | undefined;
  /** Most labels of a stretch where `--top` is not given. */
  readonly topDefault: number;
  readonly minScore?: string | undefined;
  readonly frames?: number | undefined;
  readonly stream: string;
  readonly device: string;
  readonly threads?: number | undefined;
  readonly batch?: number | undefined;
  readonly jobs: number;
  readonly shard?: string | undefined;
  readonly decodeErrors: string;
}

/** The options behind flags; each text is checked here. Throws `usage.*`, and `data.invalid` for lists that do not work. */
export async function recognizeDefaults(flags: RecognizeFlags) {
  const { per, merge, device, threads, batch, jobs, shard, preset, frames } = flags;
  const { pixels, window, stride, fps, tail, views } = flags;
  const changes = { pixels, window, stride, fps, tail, views };
  if (merge && per !== 'window')
    throw new EgolensError('usage.conflict', '--merge joins windows', { try: 'add `--per window`' });
  if (merge && (flags.top ?? 1) !== 1) {
    throw new EgolensError('usage.conflict', `--merge joins the first label of each window; found --top ${flags.top}`);
  }
  return {
    model: flags.model ?? defaultModelName,
    classes: await classListOf(flags),
    per,
    merge,
    top: merge ? 1 : (flags.top ?? flags.topDefault),
    minScore: flags.minScore === undefined ? 0 : parseScore(flags.minScore),
    device,
    jobs,
    stream: parseStreamChoice(flags.stream),
    decodeErrors: parseDecodeErrors(flags.decodeErrors),
    adjust: (base: Preset) => adjustPreset(base, changes),
    ...(frames !== undefined && { frames }),
    ...(threads !== undefined && { threads }),
    ...(batch !== undefined && { batch }),
    ...(shard !== undefined && { shard: parseShard(shard) }),
    ...(preset !== undefined && { preset: await presetOf(preset) }),
  };
}

/** A score from 0 to 1. @throws EgolensError usage.flag */
export function parseScore(text: string): number {
  const score = /^(?:\d+\.?\d*|\.\d+)(?:e-?\d+)?$/i.test(text) ? Number(text) : NaN;
  if (score >= 0 && score <= 1) return score;
  throw new EgolensError('usage.flag', `--min-score: expected a number from 0 to 1, found \`${text}\``);
}

async function classListOf(flags: RecognizeFlags): Promise<ClassList> {
  const { labels } = flags;
  const own = flags.class ?? [];
  const isZeroShot = flags.zeroShot || own.length > 0 || flags.classFile !== undefined;
  if (!isZeroShot) {
    if (flags.template !== undefined || flags.templateFile !== undefined) {
      throw new EgolensError('usage.conflict', '--template is for classes given as text; found none', {
        try: 'add `--class TEXT`, `--class-file FILE`, or `--zero-shot --labels LIST`',
      });
    }
    return { kind: 'trained', ...(labels !== undefined && { labels }) };
  }
  if (labels !== undefined && !flags.zeroShot) {
    throw new EgolensError(
      'usage.conflict',
      '--labels names the classes of a classifier, --class and --class-file are texts',
      {
        try: 'add `--zero-shot` to use the names of the list as texts too',
      },
    );
  }
  const given = [
    ...own,
    ...(flags.classFile === undefined ? [] : await readList(flags.classFile, parseClassFile)),
    ...(labels === undefined || labels === 'none' ? [] : (await labelList(labels)).labels),
  ];
  if (given.length === 0) {
    throw new EgolensError('usage.flag', '--zero-shot: no classes; expected those that the video may show', {
      try: '`--class "cut vegetables" --class "wash dishes"`, `--class-file FILE` with one a line, or `--labels k400`',
    });
  }
  const sources = [own.length > 0, flags.classFile !== undefined, labels !== undefined].filter(Boolean);
  const where = sources.length > 1 ? 'all classes together' : own.length > 0 ? '--class' : (flags.classFile ?? labels)!; // one is there
  return { kind: 'zero-shot', names: checkClasses(given, where), templates: await templatesOf(flags) };
}

/** `--template`, then those of the file or list; our own for activities where neither is given. */
async function templatesOf({ template, templateFile }: RecognizeFlags): Promise<readonly string[]> {
  if (template === undefined && templateFile === undefined) return templateLists.actions;
  const listed =
    templateFile === undefined
      ? []
      : isListName(templateFile)
        ? templateLists[templateFile]
        : await readList(templateFile, parseTemplateFile);
  return checkTemplates([...(template ?? []), ...listed], template === undefined ? templateFile! : '--template'); // one is there
}

function isListName(name: string): name is TemplateListName {
  return Object.hasOwn(templateLists, name);
}

async function readList(
  path: string,
  parse: (bytes: Uint8Array, name: string) => readonly string[],
): Promise<readonly string[]> {
  return parse(await readSmallFile(path, maxListBytes), path);
}
