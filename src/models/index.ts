import { EgolensError } from '../errors.js';
import type { JsonValue } from '../json.js';
import { clip } from './clip.js';
import { crossModelAttention } from './cross-model-attention-family.js';
import { internvideo2 } from './internvideo2-family.js';
import { internvideoMm } from './internvideo-mm.js';
import type { ModelFamily } from './spec.js';
import { uniformerV1 } from './uniformer-v1-family.js';
import { uniformerv2 } from './uniformerv2-family.js';
import { viclip } from './viclip.js';
import { videomaeClassifier, videomaePretraining } from './videomae-family.js';

/** The families of models, in help order. */
export const families: readonly ModelFamily[] = [
  videomaeClassifier,
  videomaePretraining,
  uniformerv2,
  crossModelAttention,
  clip,
  viclip,
  internvideoMm,
  uniformerV1,
  internvideo2,
];

/** What `--arch` takes: a family, or a known size of one. Throws `model.unknown_family` with the names there are. */
export function familyOf(arch: string): { family: ModelFamily; size: Readonly<Record<string, JsonValue>> } {
  for (const family of families) {
    if (family.name === arch) return { family, size: {} };
    const size = family.sizes[arch];
    if (size) return { family, size };
  }
  const names = families.flatMap((family) => [family.name, ...Object.keys(family.sizes)]);
  throw new EgolensError('model.unknown_family', `no architecture \`${arch}\`; there are ${names.join(', ')}`, {
    try: '`egolens models list --architectures`',
  });
}
