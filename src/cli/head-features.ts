/** Features of videos on the way to a head, as the flags of its command say. */
import type { AnchorRequest } from '../pipeline/anchors.js';
import type { VideoFeatures } from '../pipeline/head-features.js';
import type { InputItem } from '../pipeline/inputs.js';
import type { HeadRun } from '../pipeline/recognize-head.js';
import { given, parseDuration } from './flags.js';
import { spanOf } from './video-flags.js';

/** The flags that count, as oclif parsed them. */
export type HeadFeatureFlags = Parameters<typeof spanOf>[0] & {
  readonly model?: string | undefined;
  readonly stream: string;
  readonly device: string;
  readonly threads?: number | undefined;
  readonly batch?: number | undefined;
  readonly jobs: number;
  readonly 'on-error': 'skip' | 'stop';
  readonly 'decode-errors': string;
  readonly 'strict-decode': boolean;
  readonly timeout?: string | undefined;
  readonly 'stall-timeout': string;
};

/**
 * Computes the features that a head wants, or takes those that are there already.
 *
 * @param at windows end at these times; absent: they lie as the head's recipe says
 * @throws EgolensError usage.flag; as `featuresForHead`
 */
export async function computeFeatures(
  items: readonly InputItem[],
  flags: HeadFeatureFlags,
  { folder, head, signal, progress }: Pick<HeadRun, 'folder' | 'head' | 'signal' | 'progress'>,
  at?: AnchorRequest,
): Promise<VideoFeatures> {
  const { featuresForHead } = await import('../pipeline/head-features.js');
  const { parseDecodeErrors } = await import('../pipeline/extract-options.js');
  const { parseStreamChoice } = await import('../video/probe.js');
  const isStrict = flags['strict-decode'];
  return await featuresForHead(
    items,
    { folder, head },
    {
      ...given({ encoder: flags.model, threads: flags.threads, batch: flags.batch, span: spanOf(flags), at }),
      ...given({ timeoutMs: flags.timeout === undefined ? undefined : parseDuration(flags.timeout) }),
      stallTimeoutMs: parseDuration(flags['stall-timeout']),
      stream: parseStreamChoice(flags.stream),
      device: flags.device,
      jobs: flags.jobs,
      onError: flags['on-error'],
      decodeErrors: isStrict ? 'fail' : parseDecodeErrors(flags['decode-errors']),
      strict: isStrict,
      signal,
      progress,
    },
  );
}
