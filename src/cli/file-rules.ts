import type { FileRules } from '../pipeline/validate.js';

/** What the challenges know of files, as the pipelines take it. */
export async function loadFileRules(): Promise<FileRules> {
  const { challengeOf } = await import('../../benchmarks/index.js');
  const { formFindings, formOf } = await import('../../benchmarks/ego4d/forms.js');
  const { fixDocument } = await import('../../benchmarks/ego4d/fix.js');
  return { challengeOf, formOf, formFindings, fixDocument };
}
