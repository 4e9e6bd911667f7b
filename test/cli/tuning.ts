import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readPreset } from '../../src/models/presets.js';
import { makeSeededModel } from '../../src/pipeline/seeded-model.js';
import { clip, egolens, temporaryFolder, type CommandEnd } from './command.js';

/** Material for `train recognition --fine-tune`: a tiny encoder, and clips of fixtures/videos with labels of our own. Call `prepare` first. */
export function tuningWork() {
  const folder = temporaryFolder();
  const at = (...names: string[]): string => join(folder, ...names);
  const [model, gt, val] = [at('tiny'), at('train.csv'), at('val.csv')];
  const usual = ['vfr.mp4', 'three-seconds.mp4', 'rotated.mp4'].map(clip);
  const command = (run: string, ...more: readonly string[]): string[] => [
    ...['train', 'recognition', '--fine-tune', '--model', model, '--gt', gt, '--val', val, '-o', at(run)],
    ...['--batch', '2', '--device', 'cpu', '--threads', '1', ...more],
  ];
  return {
    ...{ at, model, gt, val, usual, command },
    tune: (run: string, ...more: readonly string[]): Promise<CommandEnd> =>
      egolens(command(run, ...more, '--videos', ...usual)),
    prepare: async (): Promise<void> => {
      const { pixels, sampling, ...preset } = readPreset('nano-16x2');
      await makeSeededModel(model, {
        name: 'tiny',
        config: { img_size: 32, patch_size: 16, all_frames: 2, embed_dim: 24, depth: 2, num_heads: 2, num_classes: 0 },
        preset: { ...preset, sampling: { ...sampling, frames: 2, hop: 2 }, pixels: { ...pixels, size: 32 } },
        seed: 2,
      });
      const head = 'input,start,end,label';
      const own = [
        'vfr.mp4,0,0.5,one',
        'three-seconds.mp4,0,1.5,two',
        'three-seconds.mp4,1.5,3,one',
        'rotated.mp4,,,two',
      ];
      writeFileSync(gt, `${[head, ...own].join('\n')}\n`);
      writeFileSync(val, `${[head, 'vfr.mp4,0.2,0.9,one', 'three-seconds.mp4,1,2,two'].join('\n')}\n`);
    },
  };
}
