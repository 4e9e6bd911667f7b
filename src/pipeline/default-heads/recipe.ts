import type { SetRequest } from '../../world/data-set.js';

/** The embedded heads: data, settings, names. Everything that `npm run train:defaults` does about heads follows from this. */

const set = { seed: 101, seconds: 120, fps: 30, difficulty: 2, width: 320, height: 240 } as const;

/** Drawn for training; the second one chooses the best checkpoint. */
export const trainSet: SetRequest = { ...set, split: 'train', clips: 200 };
export const valSet: SetRequest = { ...set, split: 'val', clips: 30 };
/** Rendered as videos for the figures: other seeds, and no clip that chose anything. */
export const reportSet: SetRequest = { ...set, seed: 202, split: 'val', clips: 20 };

/** A head and how it is trained. */
export interface DefaultHead {
  readonly name: string;
  /** Of `egolens train`. */
  readonly task: 'mq' | 'nlq' | 'fhp' | 'sta' | 'lta' | 'scod' | 'oscc' | 'recognition';
  /** How the names of its annotation files begin. */
  readonly annotations: string;
  /** Windows of whole videos, pooled; or tokens of windows that end at annotated frames. */
  readonly features: 'rows' | 'tokens';
  /** Further flags of the command; `{output}` is the folder of the embedded models. */
  readonly flags: readonly string[];
}

/** In the order of training: the detector comes before what uses it. */
export const defaultHeadRecipes: readonly DefaultHead[] = [
  { name: 'tabletop-moments', task: 'mq', annotations: 'moments', features: 'rows', flags: ['--epochs', '20'] },
  { name: 'tabletop-queries', task: 'nlq', annotations: 'nlq', features: 'rows', flags: [] },
  {
    name: 'tabletop-states',
    task: 'oscc',
    annotations: 'fho_oscc-pnr',
    features: 'rows',
    flags: ['--epochs', '12', '--average', '0.995', '--weight-decay', '0.5', '--lr', '5e-4'],
  },
  { name: 'tabletop-actions', task: 'recognition', annotations: 'fho_lta', features: 'rows', flags: [] },
  { name: 'tabletop-futures', task: 'lta', annotations: 'fho_lta', features: 'rows', flags: [] },
  { name: 'tabletop-hands', task: 'fhp', annotations: 'fho_hands', features: 'tokens', flags: [] },
  { name: 'tabletop-changes', task: 'scod', annotations: 'fho_scod', features: 'tokens', flags: [] },
  { name: 'tabletop-objects', task: 'scod', annotations: 'fho_sta', features: 'tokens', flags: [] },
  {
    name: 'tabletop-interactions',
    task: 'sta',
    annotations: 'fho_sta',
    features: 'tokens',
    flags: ['--detector', '{output}/tabletop-objects'],
  },
];
