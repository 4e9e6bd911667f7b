import { Flags } from '@oclif/core';
import { BaseCommand, formatFlag } from '../src/cli/base-command.js';
import { given, inputArgs } from '../src/cli/flags.js';
import { labelFormats } from '../src/cli/label-output.js';
import { runTask, taskFlags, type TaskUse } from '../src/cli/task-command.js';
import { columnsOf, spanCue } from '../src/cli/task-output.js';
import { EgolensError } from '../src/errors.js';
import type { WordedQuestion } from '../src/pipeline/question-words.js';

export default class Nlq extends BaseCommand {
  static override summary = 'Answer questions about videos with spans: when did I cut the red apple?';
  static override description = [
    'A head for Natural Language Queries (`train nlq`, or `models import --arch vslnet` or `groundnlq`) looks at the features of a whole video and at a question, and gives spans by falling score. The features are computed with the encoder and the recipe that the head was trained on, and kept in the cache; --features takes those that `extract` wrote.',
    'Questions: --query, as often as wanted, and --queries FILE are asked of every video; a list on standard input may carry them too: {"input":"lunch.mp4","query":"where is the cup?"}. Clips of Ego4D (--ego4d DIR --split, or --clips FILE with --features) are asked what the annotation file asks; the records then carry clip_uid, annotation_uid and query_idx and are in seconds of the clip, as `submit nlq` and `eval nlq` take them.',
    'Heads of `train nlq` know the words of their training questions. Other heads are given vectors of words: of the text tower of --text-model (by default the one that the head names), or arrays of your own by --query-features.',
    'srt, vtt, edl and ffcut hold one video or clip.',
  ].join('\n\n');
  static override examples = [
    '<%= config.bin %> nlq lunch.mp4 --query "when did I cut the red apple?" --head runs/nlq/final',
    '<%= config.bin %> nlq videos/ --queries questions.txt --top 1 --head runs/nlq/final -o answers.csv',
    '<%= config.bin %> nlq lunch.mp4 --query "where is the cup?" --head groundnlq --text-model clip-b32 --format srt > cup.srt',
    '<%= config.bin %> nlq --ego4d ego4d/v2 --task nlq --split val --features feats/ --head runs/nlq/final -o nlq.ndjson',
  ];
  static override strict = false;
  static override args = inputArgs;
  static override baseFlags = { ...BaseCommand.baseFlags, format: formatFlag(labelFormats) };
  static override flags = {
    ...taskFlags('nlq'),
    query: Flags.string({ multiple: true, multipleNonGreedy: true, summary: 'A question; may be repeated.' }),
    queries: Flags.string({
      helpValue: 'FILE',
      summary: 'Questions, one a line, or records {"query":…,"id":…}.',
    }),
    top: Flags.integer({ min: 1, max: 1_000_000, default: 5, summary: 'Most answers to a question.' }),
    'text-model': Flags.string({
      helpValue: 'NAME|DIR',
      summary: 'Model whose text tower makes the vectors of words, for heads that are given them.',
      exclusive: ['query-features'],
    }),
    'query-features': Flags.string({
      helpValue: 'DIR|FILE',
      summary: 'Vectors of words, an array a question: by its `id`, its number from 0, or ANNOTATION-UID_QUERY-IDX.',
    }),
    labels: Flags.string({ hidden: true, parse: refuseLabels }),
  };

  async run(): Promise<void> {
    const { flags, argv } = await this.parse(Nlq);
    const { questionFeeds } = await import('../heads/nlq/feeds.js');
    const { headOf } = await import('../heads/index.js');
    const { answerRecord, answerSchema, numbered, ownQuestions } = await import('../src/pipeline/answer-task.js');
    const { oneByOne } = await import('../src/pipeline/predict.js');
    const { queryStretches } = await import('../src/pipeline/query-stretches.js');
    const { openQuestionWords } = await import('../src/pipeline/question-words.js');
    const { openHead } = await import('../src/pipeline/recognize-head.js');
    const { unknownWords } = await import('../heads/words.js');
    using progress = await this.progress(flags);
    const own = await ownQuestions(flags.query ?? [], flags.queries);
    const isListed = flags.ego4d !== undefined || flags.clips !== undefined;
    checkAsked(own.length, isListed, argv as string[]);
    const head = await openHead(flags.head, headOf, 'nlq');
    await using words = await openQuestionWords(head, {
      ...given({ vectors: flags['query-features'], model: flags['text-model'], threads: flags.threads }),
      force: flags['force-features'],
      device: flags.device,
      signal: this.signal,
      progress,
    });
    const { vocabulary } = words;
    const strange =
      vocabulary.length === 0
        ? []
        : unknownWords(
            vocabulary,
            own.map(({ text }) => text),
          );
    if (strange.length > 0) progress.note(`words that ${head.folder.id} has not learned: ${strange.join(', ')}`);
    /** What the annotation files ask, by clip. */
    const asked = new Map<string, Parameters<typeof words.of>[0]>();
    /** Answers so far, for their ranks. */
    const ranks = new WeakMap<WordedQuestion, number>();
    const use: TaskUse<WordedQuestion> = {
      task: 'nlq',
      schema: answerSchema,
      options: head.head.family === 'groundnlq' ? { max_seg_num: flags.top } : { top: flags.top },
      async queries({ clipUid, item, input }) {
        const listed = (item?.queries ?? []).map((text, i) => numbered(text, String(own.length + i)));
        const all = (isListed ? asked.get(clipUid ?? '') : undefined) ?? [...own, ...listed];
        if (all.length === 0 && !isListed) throw noQuestion(`\`${input}\`: `);
        return await words.of(all.map((question) => ({ ...question })));
      },
      feeds: oneByOne((own, rows, question) => questionFeeds(own, rows, question, vocabulary)),
      record(prediction, stretch, question) {
        const rank = (ranks.get(question) ?? 0) + 1;
        const record = answerRecord(prediction, stretch, question, rank);
        if (record !== undefined) ranks.set(question, rank);
        return record;
      },
      columns: (format) => {
        const answer = ['query', 'rank', 'start', 'end', 'score'];
        return format === 'table'
          ? columnsOf('input', 'clip_uid', ...answer)
          : columnsOf('input', 'id', 'clip_uid', 'annotation_uid', 'query_idx', ...answer, 'model');
      },
      async clips(document, set, options) {
        const { stretches, missing, silent } = await queryStretches(document, set, options);
        for (const { id, questions } of stretches) asked.set(id, questions);
        if (silent > 0) progress.note(`${document.name}: ${silent} queries without text are not answered`);
        return { stretches, missing };
      },
      // Shares of all spans: small ones.
      cue: (record) => spanCue(record, record['query'], (score) => score.toPrecision(2)),
    };
    process.exitCode = await runTask(argv as string[], flags, use, this.shell(flags, progress));
  }
}

function refuseLabels(): Promise<never> {
  throw new EgolensError('usage.flag', '--labels: answers have no classes');
}

/** Questions stand in the flags, in a list, or in annotation files: in one of these places at least. */
function checkAsked(own: number, isListed: boolean, argv: readonly string[]): void {
  if (isListed && own > 0) {
    throw new EgolensError('usage.conflict', 'annotation files name the questions; expected no --query or --queries', {
      try: '`--features DIR --query …` asks your own of these videos',
    });
  }
  const mayCarry = argv.some((path) => path === '-' || path.startsWith('@'));
  if (!isListed && own === 0 && !mayCarry) throw noQuestion('');
}

function noQuestion(where: string): EgolensError {
  return new EgolensError('usage.flag', `${where}no question`, {
    try: '`--query "when did I open the jar?"`, `--queries FILE`, or records with `query` on standard input',
  });
}
