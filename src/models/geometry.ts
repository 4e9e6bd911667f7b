/** Sizes and statistics of a configuration's pictures: checked in one place, because they decide how much memory a model takes. */
import type { Normalisation } from '../types.js';
import { limits, type ConfigReader } from './config.js';
import { gridOf, tokenCount, type Geometry } from './patches.js';

/** What a family calls the members, for messages. */
export interface GeometryMembers {
  readonly size: string;
  readonly patch: string;
  readonly frames: string;
  /** Absent where it is no member of its own. */
  readonly tubelet?: string;
}

/** `mean` and `std`; where the configuration leaves them open those given, as of the preset: the graph normalises with them. */
export function readStatistics(config: ConfigReader, statistics: Normalisation): Normalisation {
  const std = config.triple('std', statistics.std);
  if (std.some((s) => s <= 0)) throw config.fail('std', 'three numbers above 0');
  return { mean: config.triple('mean', statistics.mean), std };
}

/** The geometry of sizes that were read one by one. Throws `model.config` where they do not go together or would take too much memory. */
export function readGeometry(
  config: ConfigReader,
  { size, patch, frames, tubelet }: Pick<Geometry, 'size' | 'patch' | 'frames' | 'tubelet'>,
  members: GeometryMembers,
  statistics: Normalisation,
): Geometry {
  if (size % patch !== 0) throw config.fail(members.size, `a multiple of ${members.patch} ${patch}`);
  if (frames % tubelet !== 0)
    throw config.fail(members.frames, `a multiple of ${members.tubelet ?? 'tubelet'} ${tubelet}`);
  refuseManyPixels(config, members.size, frames, size);
  return { size, patch, frames, tubelet, ...readStatistics(config, statistics) };
}

/** Throws `model.config`, naming `member`, where a window has more pixels than any model's. */
export function refuseManyPixels(config: ConfigReader, member: string, frames: number, size: number): void {
  if (frames * size ** 2 > limits.pixels)
    throw config.fail(member, `at most ${limits.pixels} pixels in ${frames} frames`);
}

/** Throws `model.config`, naming `member`, where patches are so small that a window has more tokens than any model's. */
export function refuseManyTokens(config: ConfigReader, member: string, geometry: Geometry, classTokens = 0): void {
  const [most, tokens] = [limits.tokens - classTokens, tokenCount(geometry)];
  if (tokens > most) throw config.fail(member, `at most ${most} tokens; ${gridOf(geometry).join(' x ')} are ${tokens}`);
}
