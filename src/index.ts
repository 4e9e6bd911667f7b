/**
 * The program as a library: what the commands call. Everything here is asynchronous where it touches files, throws EgolensError with a
 * stable code, and prints nothing.
 */
export { EgolensError, errorCodes, exitCodeOf, type ErrorCode } from './errors.js';
export { openVideo, probeVideo, type ProbeRecord, type VideoSource } from './video/probe.js';
export { readWindows, type WindowBatch, type WindowsReport } from './video/windows.js';
export { openModelFolder, type ModelFolder } from './models/folder.js';
export { openHeadFolder, type HeadFolder } from './models/head-folder.js';
export { presetNames, readPreset } from './models/presets.js';
export { importModel, type ImportOptions, type ImportReport } from './pipeline/import-model.js';
export { encodeArrays, type EncodeOptions, type EncodeReport } from './pipeline/encode.js';
export { extract, type ExtractEvent, type ExtractOptions, type ExtractSummary } from './pipeline/extract.js';
export {
  recognize,
  type ClassList,
  type LabelRecord,
  type RecognizedVideo,
  type RecognizeEvent,
  type RecognizeOptions,
  type RecognizeSummary,
} from './pipeline/recognize.js';
export { listInputs, type InputItem, type InputOptions } from './pipeline/inputs.js';
export { indexLibrary, type IndexEvent, type IndexOptions, type IndexSummary } from './pipeline/index-library.js';
export { indexInfo, openSearch, type HitRecord, type Query, type Searcher } from './pipeline/search.js';
export { planVectors, type WindowPlan } from './pipeline/window-vectors.js';
export { pullModel, type PulledRecord, type PullOptions } from './pipeline/pull.js';
export { readCatalogue, type CatalogueEntry } from './hub/catalogue.js';
export { openSession, type Session } from './runtime/session.js';
export { openFeatures, readFeatures, type FeatureFile, type Features } from './features/store.js';
export type { FeatureClock, Preset, RowTime, Span, Tensor } from './types.js';
