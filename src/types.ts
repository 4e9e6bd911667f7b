/**
 * The contracts that the rooms of the project share. Types only, no behaviour.
 *
 * Inside the program every time is seconds after the first frame of the chosen video stream, and every span is half-open.
 */

export type Seconds = number;
/** [start, end), start < end. */
export type Span = readonly [start: Seconds, end: Seconds];
/** Exact fraction, in lowest terms, den > 0: 30000/1001 stays exact. */
export interface Rational {
  readonly num: number;
  readonly den: number;
}

// ---- arrays ------------------------------------------------------------------------------------------------------

export type DType = 'float32' | 'float16' | 'uint8' | 'int32' | 'int64' | 'bool';
/** The typed array that holds a dtype: float16 as its bit patterns, bool as 0 and 1. */
export type ArrayOf<D extends DType> = D extends 'float32'
  ? Float32Array<ArrayBuffer>
  : D extends 'float16'
    ? Uint16Array<ArrayBuffer>
    : D extends 'int32'
      ? Int32Array<ArrayBuffer>
      : D extends 'int64'
        ? BigInt64Array<ArrayBuffer>
        : Uint8Array<ArrayBuffer>;
/** Row-major (C order). `data.length` is the product of `shape`. */
export interface Tensor<D extends DType = DType> {
  readonly dtype: D;
  readonly shape: readonly number[];
  readonly data: ArrayOf<D>;
}
/** A tensor of any one dtype, told apart by its `dtype`. */
export type AnyTensor = { [D in DType]: Tensor<D> }[DType];

// ---- files -------------------------------------------------------------------------------------------------------

/** Random access to bytes of known length: what the parsers of hostile files work on. */
export interface ByteSource {
  /** What messages call it, normally the path. */
  readonly name: string;
  readonly size: number;
  /** Exactly `length` bytes from `offset`, in memory of the caller's own. Rejects with `input.truncated` when the range leaves the source. */
  read(offset: number, length: number): Promise<Uint8Array<ArrayBuffer>>;
}

/** One named array of a checkpoint, not read yet. */
export interface StoredTensor {
  readonly name: string;
  /** As stored: 'float32', 'float16', 'bfloat16', 'float64', 'int64', … */
  readonly storedType: string;
  readonly shape: readonly number[];
  /** Values in row-major order as float32, in pieces of at most `maxElements`; half, bfloat16 and double are converted. Integer types convert exactly up to 2^24. */
  chunks(maxElements?: number): AsyncIterable<Float32Array<ArrayBuffer>>;
}
/** Tensors by name, in file order. */
export type StateDict = ReadonlyMap<string, StoredTensor>;

// ---- video -------------------------------------------------------------------------------------------------------

/** `opencv-*` and `pil-*` work on uint8 and give uint8; `torch-bilinear` gives unrounded floats; `torch-bicubic` is rounded to uint8. Rules: src/video/resize.ts. */
export type ResizeRule = 'opencv-bilinear' | 'pil-bilinear' | 'pil-bicubic' | 'torch-bilinear' | 'torch-bicubic';
/** How full frames become model pixels (files.md 2, `pixels`). */
export interface PixelRecipe {
  /** `exact`: full frames out of ffmpeg, `resize` on the host. `fast`: scaled (area) and cropped inside ffmpeg. */
  readonly path: 'exact' | 'fast';
  readonly resize: ResizeRule;
  /** `short-side`: the short side becomes `size`, aspect kept. `stretch`: both sides become `size`. */
  readonly to: 'short-side' | 'stretch';
  /** Side of the square crop in pixels. */
  readonly size: number;
  /** Length the short side is scaled to before the crop; `size` where absent. */
  readonly shortSide?: number;
  /** `three`: left, centre, right (or top, centre, bottom) along the long side: three windows per clip. */
  readonly crop: 'center' | 'three' | 'none';
  /** Which official offsets the crop follows; `videomae` where absent: centre = round-half-even((long-size)/2), three = int(k (long-size)/2). `uniformerv2`: 0, ceil, long-size. */
  readonly offsets?: 'videomae' | 'uniformerv2';
}
export type TailRule = 'align' | 'pad' | 'drop';
/** Which frames make which window (files.md 2, `sampling`). */
export interface SamplingRecipe {
  /** `dense`: sliding windows. `segments`: one window of `frames` uniform segment middles per view. Any other name is an official sampler of src/video/sampling.ts. */
  readonly plan: string;
  readonly frames: number;
  readonly step: number;
  /** Frames that a dense window spans, at least (frames - 1) step + 1, which it is where absent: a stream that samples the windows of another. */
  readonly extent?: number;
  /** Frames between the starts of dense windows. */
  readonly hop: number;
  readonly rate: Rational | 'source';
  readonly tail: TailRule;
  /** clips x crops */
  readonly views: readonly [clips: number, crops: number];
}

/** One row of features: which source frames its window really used, and what it covers. */
export interface RowTime {
  readonly index: number;
  /** Source frames, counted from 0 as they are decoded. */
  readonly firstFrame: number;
  readonly lastFrame: number;
  readonly start: Seconds;
  readonly end: Seconds;
}

/** The grid on which feature rows lie (files.md 5, `clock`). Row i starts at i * hop / rate; only an aligned last row departs from that. */
export interface FeatureClock {
  readonly rate: Rational | 'source';
  /** May be a decimal for imported feature sets. */
  readonly hop: number;
  readonly frames: number;
  readonly step: number;
  /** Frames that a window spans; (frames - 1) step + 1 where absent. */
  readonly extent?: number;
  readonly tail: TailRule;
  readonly rows: number;
}

// ---- graphs ------------------------------------------------------------------------------------------------------

/** A string is a symbolic size: 'batch'. */
export type Dim = number | string;

// ---- models ------------------------------------------------------------------------------------------------------

/** Normalised pixels = (pixel / 255 - mean) / std, per RGB channel. */
export interface Normalisation {
  readonly mean: readonly [number, number, number];
  readonly std: readonly [number, number, number];
}

/** A recipe from pixels to features, with a version; data of a model (files.md 2). */
export interface Preset extends Normalisation {
  readonly name: string;
  readonly version: number;
  readonly sampling: SamplingRecipe & { readonly fusion: 'softmax-mean' | 'logit-mean' };
  readonly pixels: PixelRecipe;
  /** Output that `extract` takes as the feature. */
  readonly feature: string;
  /** Where each value was read. */
  readonly source: string;
}

// ---- challenges --------------------------------------------------------------------------------------------------

/** What `eval`, `validate` and `submit` take as a task (files.md 7). */
export type ScoredTask =
  'mq' | 'nlq' | 'vq2d' | 'fhp' | 'sta' | 'lta' | 'scod' | 'pnr' | 'oscc' | 'recognition' | 'tal' | 'retrieval';

/**
 * A JSON file as it was read. Whole numbers written without point or exponent are `number` too, unless the reader was asked to keep
 * the literals apart: then they are `bigint`, as Python tells int from float. Bare NaN and Infinity are numbers.
 */
export interface JsonDocument {
  /** Path, for messages. */
  readonly name: string;
  readonly bytes: number;
  readonly value: unknown;
  /** Faults of the text itself: duplicate keys, NaN tokens, a byte order mark. */
  readonly findings: readonly Finding[];
  /** Line (from 1) of the value at a JSON pointer; undefined where it cannot be told. */
  line(pointer: string): number | undefined;
  /** Keys of an object of this document in the order of the file: JavaScript lists those that look like integers first. Absent: in that order. */
  keys?(object: object): readonly string[];
}

/** One number of an evaluation. */
export interface Score {
  readonly metric: string;
  readonly value: number;
  /** What it was taken at: `{ tIoU: 0.5 }`, `{ label: 'cut' }`, `{ item: '…' }`. */
  readonly at?: Readonly<Record<string, number | string>>;
}

/** A curve for `eval --plot`: precision over recall, mAP over tIoU. */
export interface Curve {
  readonly name: string;
  readonly x: string;
  readonly y: string;
  readonly points: readonly (readonly [x: number, y: number])[];
}

/** Order of equal scores: numpy's introsort (official), or the earlier or later listed first. */
export type TieRule = 'numpy' | 'first' | 'last';

export interface EvalOptions {
  readonly ties: TieRule;
  /** `val`, `validation`, … where the official evaluator selects by it. */
  readonly split?: string;
  readonly fhpScale?: 'sum' | 'mean';
  readonly inputActions?: number;
  /** Rows by class and by item, and curves, are only computed when asked for. */
  readonly detail: boolean;
}

/** Numbers under the keys and nesting of the official output; non-finite ones stay numbers here. */
export interface Nested {
  readonly [key: string]:
    number | string | boolean | null | Nested | readonly (Nested | number | string | null | readonly number[])[];
}

/** What an evaluator makes of truth and predictions. */
export interface Evaluation {
  /** Keys and nesting of the official numbers (cli.md 6.4). */
  readonly official: Nested;
  /** The same numbers with the known faults of the official code mended; null where there is none. */
  readonly corrected: Nested | null;
  /** The numbers that rank, and those people quote, in the order of the challenge. */
  readonly rows: readonly Score[];
  /** The same rows of the corrected numbers; absent where there are none, or where their own names in `corrected` serve. */
  readonly correctedRows?: readonly Score[];
  /** Official main numbers under the other tie rules; absent where ties cannot matter. */
  readonly ties?: { readonly tied: number; readonly first: Nested; readonly last: Nested };
  readonly perClass?: readonly Score[];
  readonly perItem?: readonly Score[];
  readonly curves?: readonly Curve[];
  /** Dropped labels, unknown clips, coverage: for people, on standard error. */
  readonly notes: readonly string[];
}

/** Truth and predictions read once, ready to be scored in whole or on a resampled set of units (bootstrap). */
export interface Prepared {
  /** What is resampled: videos or clips, by name. */
  readonly units: readonly string[];
  evaluate(options: EvalOptions): Evaluation;
  /** The ranking numbers on a sample of units, with repetition; the same names as `rows`. */
  resample(sample: Int32Array, ties: TieRule): readonly Score[];
}

export type DocumentKind = 'annotations' | 'predictions' | 'submission';

/** One challenge: reader, checks, evaluator and submission writer of one task. Pure: no file, clock or randomness. */
export interface Challenge {
  readonly task: ScoredTask;
  readonly summary: string;
  /** Metric that ranks, and its direction. */
  readonly primary: { readonly metric: string; readonly higherIsBetter: boolean };
  /** The reader must keep integer and float literals apart (STA). */
  readonly keepsLiterals?: true;
  /** The reader must tell the order of keys that look like integers (VQ2D): it decides between equal scores. */
  readonly keepsKeyOrder?: true;
  /** Every fault of a document; `against` is the annotation file that ids, order and ranges are compared with. Never throws. */
  check(kind: DocumentKind, document: JsonDocument, against?: JsonDocument): Finding[];
  /**
   * Reads truth and predictions; each file is recognised by its content. Throws EgolensError `data.invalid` or `data.unknown_id`
   * naming file and place where the official evaluator dies.
   */
  prepare(truth: readonly JsonDocument[], predictions: readonly JsonDocument[], options: EvalOptions): Prepared;
  /** Our own records (files.md 7) -> the challenge's JSON over the (unannotated) annotation file; absent for tasks without a challenge. */
  submission?(
    records: readonly Readonly<Record<string, unknown>>[],
    test: JsonDocument,
    options: SubmissionOptions,
  ): Submission;
}

export interface SubmissionOptions {
  readonly fillMissing: boolean;
  readonly fhpScale?: 'sum' | 'mean';
}

export interface Submission {
  /** For the JSON writer: floats that must keep a decimal point are `Float` (src/json.ts). */
  readonly json: unknown;
  /** Items written, filled in, left out. */
  readonly counts: Readonly<Record<string, number>>;
  readonly notes: readonly string[];
}

// ---- reports -----------------------------------------------------------------------------------------------------

/** One fault of a file. */
export interface Finding {
  readonly level: 'error' | 'warning';
  readonly code: string;
  /** JSON pointer */
  readonly at: string;
  readonly line?: number;
  readonly expected: string;
  readonly found: string;
  readonly hint?: string;
}

/** Bars on a terminal, or nothing: the pipelines report here and never print. */
export interface Progress {
  /** A unit of work begins; `total` in units (frames, files, bytes) where it is known. */
  start(label: string, total?: number): ProgressItem;
  /** A line for people, on standard error. */
  note(message: string): void;
  warn(code: string, message: string): void;
  /** A line of detail. Absent where nobody asked for any, so that none is made up in vain. */
  detail?(message: string): void;
}
export interface ProgressItem {
  advance(by: number): void;
  stop(): void;
}
