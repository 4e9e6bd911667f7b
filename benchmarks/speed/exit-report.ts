/**
 * Loaded before a program (`node --import`) to say on descriptor 3, when the process ends, what it was. The peak of a process
 * cannot be read any more when it is gone, and only it knows which libraries it has loaded.
 */
import { writeSync } from 'node:fs';
import { isMainThread } from 'node:worker_threads';
import { peakBytes } from './cost.js';

/** One line of JSON on descriptor 3. */
export interface ExitReport {
  readonly peakBytes: number;
  /** Is ONNX Runtime's library in the process? */
  readonly hasRuntime: boolean;
}

if (isMainThread) {
  process.once('exit', () => {
    const peak = peakBytes(); // before the report below takes memory
    // Node's type is `object`; the format is documented.
    const { sharedObjects } = process.report.getReport() as { readonly sharedObjects: readonly string[] };
    const report: ExitReport = {
      peakBytes: peak,
      hasRuntime: sharedObjects.some((path) => path.includes('onnxruntime')),
    };
    writeSync(3, JSON.stringify(report));
  });
}
