/** The door of the feature store: names, keys, writing, reading, comparing. Locks and the ledger have doors of their own. */
export { compareFeatures, sameClock, clockText, type Comparison, type RowDifference } from './compare.js';
export {
  clockJson,
  clockOf,
  completeMeta,
  featureKey,
  featureVersion,
  isComplete,
  readMeta,
  videoIdentity,
  type ClockJson,
  type FeatureMeta,
  type KeyParts,
  type MetaFacts,
  type TimeBase,
  type VideoIdentity,
} from './meta.js';
export {
  defaultTemplate,
  planNames,
  type FeatureStream,
  type FeatureTarget,
  type FeatureType,
  type ItemNames,
  type NamedInput,
  type NameOptions,
} from './names.js';
export {
  officialClock,
  officialClocks,
  openFeatures,
  readFeatures,
  type FeatureFile,
  type Features,
  type OfficialClock,
  type ReadOptions,
} from './reader.js';
export { parseTimes, readTimes, timesOf, timesText } from './times.js';
export { arrayName, ledgerFiles, openFeatureWriter, type FeatureWriter } from './writer.js';
