/** Exit codes of the program: a contract with scripts. */
export const exitCodes = {
  done: 0,
  internal: 1,
  usage: 2,
  someFailed: 3,
  noneDone: 4,
  invalidData: 5,
  model: 6,
  unavailable: 7,
  limit: 8,
  interrupted: 130,
  terminated: 143,
} as const;

/**
 * Every stable error code, with what it means. `egolens help errors` prints this table; a code that is not here does not compile.
 * The first word decides the exit code of a command that ends with it (`exitCodeOf`).
 */
export const errorCodes = {
  'usage.flag': 'a flag or argument has a value that cannot work',
  'usage.conflict': 'two inputs, flags or output names exclude each other',
  'input.not_found': 'the file or folder does not exist',
  'input.unreadable': 'the file exists but cannot be read',
  'input.empty': 'the file has no bytes',
  'input.not_a_file': 'the path is something else than a file or folder',
  'input.not_a_video': 'ffmpeg recognises no media in the file',
  'input.truncated': 'the file ends before the data it announces',
  'input.too_short':
    'the video has fewer frames than one window and the tail rule is `drop`, or it ends before a time that `--at` names',
  'input.format': 'the file is not in the form its reader knows',
  'decode.no_video_stream': 'the file has no video stream, or not the one asked for',
  'decode.no_frames': 'the video stream has no decodable frame',
  'decode.unsupported_codec': 'this ffmpeg cannot decode the codec',
  'decode.encrypted': 'the stream is encrypted',
  'decode.truncated': 'the file is cut off: its index (moov) or its data is missing',
  'decode.stalled': 'ffmpeg gave nothing for the stall limit',
  'decode.failed': 'ffmpeg ended with an error',
  'decode.damaged': 'decoding met errors and --decode-errors does not allow them',
  'decode.count': 'another number of frames was decoded than counted before; planned and decoded again (warning)',
  'decode.limit': 'the picture is larger than the program decodes',
  'decode.hdr': 'PQ or HLG video: pixels are used without tone mapping (warning)',
  'data.shape': 'an array has another shape than expected',
  'data.dtype': 'an array has another element type than expected',
  'data.invalid': 'a value breaks a stated rule',
  'data.not_finite': 'a computed value is NaN or infinite',
  'data.clock': 'two feature sets lie on different clocks',
  'data.unknown_id': 'an identifier is not in the reference file',
  'checkpoint.format': 'the file is no checkpoint container known here',
  'checkpoint.pickle': 'the pickle inside is damaged or asks for something that is never done',
  'checkpoint.unsupported': 'a wanted tensor depends on a class or type that is not read',
  'model.not_found': 'no model of that name or at that path',
  'model.download': 'a file of a model could not be downloaded',
  'model.incomplete': 'the model folder lacks a file',
  'model.digest': 'a file of the model folder has other bytes than model.json records',
  'model.key_unmatched': 'tensors of the checkpoint and parameters of the graph do not correspond',
  'model.shape': 'a tensor has another shape than the graph needs',
  'model.config': 'the configuration lacks or contradicts something',
  'model.unknown_family': 'no such architecture',
  'model.probe': 'the model does not reproduce its stored probe output',
  'model.licence': 'the licence is not among those allowed',
  'model.untrained': 'the weights were never trained: labels and scores mean nothing (warning)',
  'model.tabletop': 'the weights know Tabletop, a drawn world, and nothing else (warning)',
  'device.unavailable': 'the requested device cannot be used',
  'device.failed': 'the device failed during a run',
  'tool.ffmpeg_missing': 'no ffmpeg or ffprobe was found',
  'tool.failed': 'a helper program could not be started',
  'limit.memory': 'the work needs more memory than allowed',
  'limit.disk': 'the disk is full',
  'limit.time': 'the time limit was reached',
  'limit.size': 'a size in the file exceeds what the program accepts',
  'output.exists': 'the output exists and --force was not given',
  'output.unwritable': 'the output cannot be written',
  'store.locked': 'another process works on this item',
  'run.interrupted': 'the run was interrupted',
  'internal.bug': 'a fault of the program itself',
} as const;
/** One of the stable codes: dotted, lower case, the first word is the area. */
export type ErrorCode = keyof typeof errorCodes;

export interface ErrorDetails {
  /** What to do next, one line. */
  readonly try?: string;
  readonly cause?: unknown;
  /** The input it is about, as given. */
  readonly input?: string;
  /** Decoded frames before the fault. */
  readonly frame?: number;
  /** A later run may succeed without any change of the input. */
  readonly retryable?: boolean;
}

/**
 * The one error class. `message` says what was found, what was expected and where; `details.try` says what to do next.
 * `code`, `suggestions` and `oclif` are the fields that oclif prints and exits by.
 */
export class EgolensError extends Error {
  override readonly name = 'EgolensError';
  readonly code: ErrorCode;
  readonly details: ErrorDetails;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.details = details;
  }

  get suggestions(): string[] {
    return this.details.try === undefined ? [] : [this.details.try];
  }

  get oclif(): { exit: number } {
    return { exit: exitCodeOf(this.code) };
  }
}

/** Exit code of a command that could do nothing because of this error. */
export function exitCodeOf(code: ErrorCode): number {
  const area = code.slice(0, code.indexOf('.'));
  switch (area) {
    case 'usage':
    case 'output':
      return exitCodes.usage;
    case 'input':
    case 'decode':
    case 'store':
      return exitCodes.noneDone;
    case 'data':
    case 'checkpoint':
      return exitCodes.invalidData;
    case 'model':
      return exitCodes.model;
    case 'device':
    case 'tool':
      return exitCodes.unavailable;
    case 'limit':
      return exitCodes.limit;
    case 'run':
      return exitCodes.interrupted;
    default:
      return exitCodes.internal;
  }
}

/** Our own mistakes, not the world's: throws `internal.bug`. */
export function assert(condition: unknown, message: string): asserts condition {
  if (condition === false || condition === undefined || condition === null || condition === 0 || condition === '') {
    throw new EgolensError('internal.bug', message);
  }
}

/** For the default arm of a switch over a union: a missing arm does not compile. */
export function assertNever(value: never): never {
  throw new EgolensError('internal.bug', `unexpected case ${JSON.stringify(value)}`);
}

/** Any thrown value as an EgolensError; what we did not foresee becomes `internal.bug` with the original as cause. */
export function asEgolensError(error: unknown, input?: string): EgolensError {
  if (error instanceof EgolensError) {
    return input === undefined || error.details.input !== undefined
      ? error
      : new EgolensError(error.code, error.message, { ...error.details, input });
  }
  const systemCode = (error as NodeJS.ErrnoException | null)?.code;
  const message = error instanceof Error ? error.message : String(error);
  const details = { cause: error, ...(input === undefined ? {} : { input }) };
  if (systemCode === 'ENOENT' || systemCode === 'ENOTDIR') return new EgolensError('input.not_found', message, details);
  if (systemCode === 'EISDIR') return new EgolensError('input.not_a_file', message, details);
  if (systemCode === 'EACCES' || systemCode === 'EPERM') return new EgolensError('input.unreadable', message, details);
  if (systemCode === 'ENOSPC' || systemCode === 'EDQUOT')
    return new EgolensError('limit.disk', message, { ...details, retryable: true });
  return new EgolensError('internal.bug', message, details);
}
