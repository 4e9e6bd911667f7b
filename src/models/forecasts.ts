/** Predictions of the tasks around hands and objects (files.md 7): what the records of the commands are made of. */

/** Corners in pixels of the annotated frame. */
export type BoxCorners = readonly [x1: number, y1: number, x2: number, y2: number];

/** A box that a head looks at, given or detected. */
export interface CandidateBox {
  /** Pixels of the annotated frame. */
  readonly box: BoxCorners;
  /** Class that the detector found; absent where none is known. */
  readonly noun?: number;
  /** The detector's; 1 for a given box. */
  readonly score: number;
}

/** Where both hands will be at the five key frames pre_45, pre_30, pre_15, pre_frame and contact_frame. */
export interface HandPrediction {
  readonly task: 'fhp';
  /** [key frame][left, right][x, y] in pixels of the annotated frame: of one view. */
  readonly points: readonly (readonly (readonly number[])[])[];
  /** [key frame][left, right]: probability that the hand is in view; absent where the head does not tell. */
  readonly visible?: readonly (readonly number[])[];
}

/** An object that will be touched: what it is, what is done to it, and when. */
export interface InteractionPrediction {
  readonly task: 'sta';
  readonly box: BoxCorners;
  readonly noun: string;
  readonly nounId: number;
  readonly verb: string;
  readonly verbId: number;
  /** Seconds from the annotated frame. */
  readonly timeToContact: number;
  readonly score: number;
}

/** An object in a frame; of one class (an object that changes its state) or of several. */
export interface ObjectPrediction {
  readonly task: 'scod';
  readonly box: BoxCorners;
  readonly label: string;
  readonly labelId: number;
  readonly score: number;
}

/** The frame of no return of a clip. */
export interface PnrPrediction {
  readonly task: 'pnr';
  /** Seconds from the start of the clip. */
  readonly time: number;
  /** Probability of the best bin. */
  readonly score: number;
}

/** Whether an object changes its state in a clip. */
export interface OsccPrediction {
  readonly task: 'oscc';
  readonly stateChange: boolean;
  /** Probability of a change. */
  readonly score: number;
}

/** The next actions, as several sequences of which the first is the likeliest. */
export interface SequencePrediction {
  readonly task: 'lta';
  /** [sequence][step] */
  readonly verb: readonly (readonly number[])[];
  readonly noun: readonly (readonly number[])[];
  /** The same by their names, where these are known. */
  readonly verbNames?: readonly (readonly string[])[];
  readonly nounNames?: readonly (readonly string[])[];
}

export type Forecast =
  HandPrediction | InteractionPrediction | ObjectPrediction | PnrPrediction | OsccPrediction | SequencePrediction;
