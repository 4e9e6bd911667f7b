import { join } from 'node:path';
import { expect, test } from 'vitest';
import { packageRoot } from '../files.js';
import { indexFeatures } from './feature-index.js';

test.each([
  ['a folder that is not there', join(packageRoot, 'no-such-folder'), 'input.not_found', 'found nothing there'],
  ['a file', join(packageRoot, 'package.json'), 'input.not_found', 'found a file'],
  ['a folder without features', join(packageRoot, 'bin'), 'input.empty', 'found none'],
])('%s in place of features is said so, with what makes one', async (_, path, code, text) => {
  await expect(indexFeatures(path)).rejects.toMatchObject({
    code,
    message: expect.stringContaining(text) as unknown,
    details: { try: expect.stringContaining('egolens extract') as unknown },
  });
});
