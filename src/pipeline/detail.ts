/** The lines of `-v`: one wording for all commands that decode videos. `Progress.detail` prints them. */
import { rationalText } from '../time.js';
import type { Preset } from '../types.js';
import type { VideoSource } from '../video/probe.js';

/** The sampling plan and the pixels of a run. */
export function presetDetail({ name, version, sampling, pixels }: Preset): string {
  const { plan, frames, step, hop, extent, rate, tail, views } = sampling;
  const parts = [
    `${frames} frames, step ${step}${extent === undefined ? '' : ` in ${extent}`}, hop ${hop}`,
    `rate ${rate === 'source' ? rate : rationalText(rate)}`,
    `tail ${tail}`,
    `views ${views[0]}x${views[1]}`,
    `pixels ${pixels.path}, ${pixels.size}`,
  ];
  return `preset ${name}@${version}: ${plan}, ${parts.join(', ')}`;
}

/** How the windows of one video go through the model. */
export function sessionDetail(
  input: string,
  run: { readonly provider: string; readonly batch: number; readonly threads: number | undefined },
): string {
  return `\`${input}\`: provider ${run.provider}, threads ${run.threads ?? 'by the runtime'}, batch ${run.batch}`;
}

/** The stream that was chosen, and what the header says of it. */
export function sourceDetail(input: string, source: VideoSource): string {
  const { claimed, streamNumber, codec, width, height } = source;
  const rate = claimed.rate === null ? 'no rate' : `${rationalText(claimed.rate)} frames a second`;
  const length = `${claimed.frames ?? 'unknown'} frames, ${claimed.duration ?? 'unknown'} s`;
  return `\`${input}\`: video stream ${streamNumber}, ${codec}, ${width}x${height}, claims ${rate}, ${length}`;
}

/** Seconds by stage of one video. */
export function stagesDetail(input: string, seconds: Readonly<Record<string, number>>): string {
  const stages = Object.entries(seconds).map(([stage, value]) => `${stage} ${value.toFixed(2)}`);
  return `\`${input}\`: seconds: ${stages.join(', ')}`;
}
