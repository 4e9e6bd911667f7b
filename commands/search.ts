import { createInterface } from 'node:readline/promises';
import { Args, Flags } from '@oclif/core';
import { BaseCommand } from '../src/cli/base-command.js';
import { deviceFlags, given, inputFlags, inputOptions, parseSize } from '../src/cli/flags.js';
import { openWithSystem } from '../src/cli/open-file.js';
import { column } from '../src/cli/output.js';
import { countsText, namesOf, windowFlags, windowPlan } from '../src/cli/search-flags.js';
import { EgolensError, exitCodes } from '../src/errors.js';
import type { InputItem } from '../src/pipeline/inputs.js';
import type { Query } from '../src/pipeline/search.js';
import type { Progress } from '../src/types.js';

export default class Search extends BaseCommand {
  static override summary = 'Find moments in videos, by text or by an example clip.';
  static override description =
    'Without --index one is made for the PATHs, or updated, and kept in the cache folder. Texts need a two-tower model (family clip, viclip or internvideo-mm) with its tokenizer; --by-clip works with any. Every window is compared, so the best hits are exactly the best. A score is a cosine (less that of --not), no probability; `logit` is the score times the scale of the model (1 / temperature). Of windows close to each other the best is shown (--min-gap).\n\nWith --by-clip all arguments are PATHs. A TEXT that is called like a subcommand (`index`, `stats`) is searched with a blank before it: " index".';
  static override examples = [
    '<%= config.bin %> search --by-clip fixtures/videos/demo.mp4:1-3 fixtures/videos',
    '<%= config.bin %> search "someone opens a door" videos/ --model viclip-b --top 5',
    '<%= config.bin %> search "cutting an onion" --not "a still picture" --index lib.egx --format csv',
    'cat queries.txt | <%= config.bin %> search - --index lib.egx',
  ];
  static override strict = false;
  static override args = {
    text: Args.string({ ignoreStdin: true, description: 'what to look for; - for one text a line on standard input' }),
    path: Args.string({ ignoreStdin: true, description: 'videos, folders, "patterns" or @LIST, without --index' }),
  };
  static override flags = {
    index: Flags.string({ helpValue: 'FILE', summary: 'An index made by `search index`, as it is.' }),
    'by-clip': Flags.string({
      helpValue: 'FILE[:START-END]',
      summary: 'Look for what is like this part of a video, in place of TEXT.',
    }),
    not: Flags.string({
      multiple: true,
      multipleNonGreedy: true,
      helpValue: 'TEXT',
      summary: 'Likeness to it counts against a window; the mean of several.',
    }),
    top: Flags.integer({ default: 20, min: 1, max: 100_000, summary: 'Most hits.' }),
    'min-gap': Flags.string({
      helpValue: 'S',
      summary: 'Seconds between hits of one video; 0: they may touch; default: the granularity.',
    }),
    'max-memory': Flags.string({
      default: '2G',
      helpValue: '2G',
      summary: 'Vectors kept in memory between the queries of standard input.',
    }),
    open: Flags.boolean({
      summary: 'On a terminal: open the video of the best hit with the program the system has for it.',
    }),
    ...windowFlags,
    ...inputFlags,
    ...deviceFlags,
  };

  async run(): Promise<void> {
    const { argv, flags } = await this.parse(Search);
    const words = argv as string[];
    const clipText = flags['by-clip'];
    const [text, paths] = clipText === undefined ? [words[0], words.slice(1)] : [undefined, words];
    if (clipText === undefined && (text === undefined || text.trim() === '')) {
      throw new EgolensError('usage.flag', 'nothing to look for; expected a TEXT or --by-clip FILE:START-END');
    }
    if (flags.index === undefined ? paths.length === 0 : paths.length > 0) {
      throw new EgolensError(
        flags.index === undefined ? 'usage.flag' : 'usage.conflict',
        flags.index === undefined
          ? 'nowhere to look; expected PATHs after the text, or --index FILE'
          : `--index ${flags.index} is searched as it is; expected no PATH, found \`${paths[0]!}\``,
        { try: '`search index PATH… -o FILE --update` adds videos to an index' },
      );
    }
    const index = paths.find((path) => path.endsWith('.egx'));
    if (index !== undefined) {
      throw new EgolensError('usage.flag', `\`${index}\` is an index, not a video`, {
        try: `\`--index ${index}\` searches it`,
      });
    }
    if (flags.index !== undefined && (flags.granularity ?? flags.stream) !== undefined) {
      throw new EgolensError(
        'usage.conflict',
        '--granularity and --stream are for a new index; that of --index has its own',
      );
    }
    const { openSearch, parseClip, requireTextTower } = await import('../src/pipeline/search.js');
    const { doubtOf } = await import('../src/models/folder.js');
    const gap = flags['min-gap'] === undefined ? undefined : parseGap(flags['min-gap']);
    const maxMemory = text === '-' ? parseSize(flags['max-memory']) : 0;
    using progress = await this.progress(flags);
    const not = flags.not ?? [];
    const clip = clipText === undefined ? undefined : await parseClip(clipText);
    const needsText = clip === undefined || not.length > 0;
    const library = flags.index === undefined ? await this.library(paths, flags, needsText, progress) : undefined;
    if (library !== undefined && library.exit === exitCodes.noneDone) {
      process.exitCode = library.exit;
      return;
    }
    await using searcher = await openSearch(library?.path ?? flags.index!, {
      device: flags.device,
      maxMemory,
      signal: this.signal,
      progress,
      ...given({ model: flags.model, threads: flags.threads, names: library?.names }),
    });
    if (needsText) requireTextTower(searcher.model);
    const doubt = doubtOf(searcher.model);
    if (doubt) progress.warn(doubt.code, doubt.text);
    const writer = this.writer(flags, [
      column('rank', 'right'),
      column('score', 'right'),
      column('start', 'right'),
      column('end', 'right'),
      column('input'),
      ...(text === '-' ? [column('query')] : []),
    ]);
    let best: string | undefined;
    for await (const query of queriesOf(text, clip, not)) {
      this.signal.throwIfAborted();
      const hits = await searcher.search(query, { top: flags.top, ...given({ minGap: gap }) });
      for (const hit of hits) await writer.write(hit);
      best ??= hits[0] && searcher.pathOf(hits[0]);
    }
    await writer.end();
    if (best === undefined) progress.note('no hit: the index is empty');
    else if (flags.open) await openWithSystem(best, progress);
    process.exitCode = library?.exit ?? exitCodes.done;
  }

  /** The index of the paths, made or updated; bad videos are told on standard error. */
  private async library(
    paths: readonly string[],
    flags: Parameters<typeof windowPlan>[0] &
      Parameters<typeof inputOptions>[0] & {
        readonly device: string;
        readonly threads: number | undefined;
        readonly batch: number | undefined;
      },
    needsText: boolean,
    progress: Progress,
  ): Promise<{ path: string; exit: number; names: ReadonlyMap<string, string> }> {
    const { indexLibrary } = await import('../src/pipeline/index-library.js');
    const { cachedIndex, requireTextTower } = await import('../src/pipeline/search.js');
    const { listInputs } = await import('../src/pipeline/inputs.js');
    const plan = await windowPlan(flags);
    // Before a library is encoded for nothing.
    if (needsText) requireTextTower(plan.model);
    await using inputs = await listInputs(paths, { ...inputOptions(flags), signal: this.signal, progress });
    const place = await cachedIndex(paths, plan);
    const run = indexLibrary(inputs.items satisfies readonly InputItem[], {
      ...place,
      plan,
      device: flags.device,
      ...given({ threads: flags.threads, batch: flags.batch }),
      others: 'drop',
      identity: 'ends',
      waits: true,
      stallTimeoutMs: 60_000,
      signal: this.signal,
      progress,
    });
    let next: Awaited<ReturnType<typeof run.next>>;
    try {
      while ((next = await run.next()).done !== true) if (next.value.kind === 'failed') this.logError(next.value.error);
    } finally {
      await run.return(undefined as never); // what is open goes
    }
    const { rows, encodedRows, exit } = next.value;
    progress.note(`${countsText(next.value)}; ${encodedRows} rows encoded, ${rows} searched`);
    return { path: place.output, exit: rows === 0 ? exitCodes.noneDone : exit, names: namesOf(inputs.items) };
  }
}

type Clip = Extract<Query, { readonly clip: unknown }>['clip'];

/** One query, or one a line of standard input. */
async function* queriesOf(
  text: string | undefined,
  clip: Clip | undefined,
  not: readonly string[],
): AsyncGenerator<Query> {
  if (clip !== undefined) yield { clip, not };
  else if (text !== '-')
    yield { text: text!, not }; // without a clip there is a text
  else {
    for await (const line of createInterface({ input: process.stdin }))
      if (line.trim() !== '') yield { text: line, not };
  }
}

/** `1.5s`, `0` -> seconds. */
function parseGap(text: string): number {
  const seconds = Number(/^(\d{1,9}(?:\.\d{1,6})?)s?$/.exec(text)?.[1]);
  if (Number.isNaN(seconds))
    throw new EgolensError('usage.flag', `--min-gap ${text}: expected seconds such as 5 or 2.5s`);
  return seconds;
}
