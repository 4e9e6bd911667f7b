/** The gradient of a real step against finite differences of its real loss, part by part of the model. */
import { assert, EgolensError } from '../errors.js';
import { seededRandom } from '../random.js';
import type { TensorsByName } from '../runtime/training-session.js';
import { tensor } from '../tensor.js';
import type { Tensor } from '../types.js';
import type { Training, TrainingState, Weights } from './step.js';

/** One part of a model: parameters whose names begin alike, moved together. */
export interface GradientCheck {
  /** What their names begin with: `encoder.blocks.3`, `head.head`. */
  readonly part: string;
  readonly parameters: number;
  /** Slope of the loss along the direction, by the gradient. */
  readonly slope: number;
  /** The same by a central difference, of the shortest step that was taken. */
  readonly difference: number;
  /** Distance of the two by the larger one; 0 where both are lost in rounding. */
  readonly error: number;
  readonly agrees: boolean;
}

/** A wrong rule is off by more; what the third derivative and float32 leave is less. */
export const gradientTolerance = 0.02;

/**
 * Lengths of the movement relative to that of the weights, until two in a row agree. A long one meets curvature and kinks: of a fresh head
 * for moments on one sequence, ReLUs turn the slope by a quarter at 1e-2 and by less than a hundredth from 3e-4 down. What counts is the
 * shortest one that was taken, for a wrong gradient stays wrong however short the step, and may look right at one length by chance.
 */
const steps = [1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5] as const;
/** Of a difference of two losses below this share of the loss, float32 rounding (about 1e-7 of the loss) is a hundredth or more. */
const rounding = 1e-5;

/**
 * Moves the weights of each part along a direction, to and fro, and compares what the loss of `batch` does with what its gradient says. The
 * direction is the gradient itself with each element weighed by a random number from 0.5 to 1.5: long enough a slope to be seen in float32.
 * It does not see elements whose gradient is wrongly 0. The state of the training is afterwards as it was.
 *
 * @throws EgolensError data.not_finite
 */
export async function checkGradients(training: Training, batch: TensorsByName, seed: number): Promise<GradientCheck[]> {
  const before = await training.state();
  const gradients = await training.gradients(batch);
  const lossAt = async (weights: Weights): Promise<number> => {
    await training.load({ ...before, weights });
    return (await training.run(batch, 0)).loss; // a rate of 0 moves nothing
  };
  const checks: GradientCheck[] = [];
  try {
    for (const [part, names] of partsOf([...gradients.keys()])) {
      const random = seededRandom(seed, `direction ${part}`);
      const direction = new Map(
        names.map((name) => [
          name,
          Float32Array.from(gradients.get(name)!.data, (value) => value * (0.5 + random.uniform())),
        ]),
      );
      checks.push(await checkPart({ part, direction, gradients, before }, lossAt));
    }
  } finally {
    await training.load(before);
  }
  return checks;
}

interface Part {
  readonly part: string;
  readonly direction: ReadonlyMap<string, Float32Array<ArrayBuffer>>;
  readonly gradients: Weights;
  readonly before: TrainingState;
}

async function checkPart(
  { part, direction, gradients, before }: Part,
  lossAt: (weights: Weights) => Promise<number>,
): Promise<GradientCheck> {
  let [slope, weightSquares, squares, parameters] = [0, 0, 0, 0];
  for (const [name, along] of direction) {
    const [gradient, weights] = [gradients.get(name)!.data, before.weights.get(name)!.data]; // both hold all trained parameters
    for (let i = 0; i < along.length; i++) {
      slope += gradient[i]! * along[i]!;
      squares += along[i]! ** 2;
      weightSquares += weights[i]! ** 2;
    }
    parameters += along.length;
  }
  // No weights to compare with, as in a fresh bias: as if each were 0.01.
  const length = Math.max(Math.sqrt(weightSquares), 0.01 * Math.sqrt(parameters));
  let shortest: Pick<GradientCheck, 'difference' | 'error'> | undefined;
  for (const step of squares === 0 ? [] : steps) {
    const far = (step * length) / Math.sqrt(squares);
    const [up, down] = [
      await lossAt(moved(before.weights, direction, far)),
      await lossAt(moved(before.weights, direction, -far)),
    ];
    const difference = (up - down) / (2 * far);
    const larger = Math.max(Math.abs(difference), Math.abs(slope));
    if (larger * 2 * far < rounding * Math.max(Math.abs(up), Math.abs(down))) break; // as are all shorter ones
    const error = Math.abs(difference - slope) / larger;
    const agreedBefore = shortest !== undefined && shortest.error <= gradientTolerance;
    shortest = { difference, error };
    if (agreedBefore && error <= gradientTolerance) break;
  }
  const { difference, error } = shortest ?? { difference: 0, error: 0 };
  return { part, parameters, slope, difference, error, agrees: error <= gradientTolerance };
}

function moved(
  weights: Weights,
  direction: ReadonlyMap<string, Float32Array<ArrayBuffer>>,
  far: number,
): Map<string, Tensor<'float32'>> {
  return new Map(
    [...weights].map(([name, value]) => {
      const along = direction.get(name);
      if (along === undefined) return [name, value];
      const data = Float32Array.from(value.data, (weight, i) => weight + far * along[i]!); // as long as the weights
      return [name, tensor('float32', value.shape, data)];
    }),
  );
}

/** Parameters by the beginning of their names: up to the number of a block or layer, else up to their module. */
export function partsOf(names: readonly string[]): Map<string, string[]> {
  const parts = new Map<string, string[]>();
  for (const name of names) {
    const numbered = /^.*?\.\d+(?=\.)/.exec(name)?.[0];
    const part = numbered ?? (name.includes('.') ? name.slice(0, name.lastIndexOf('.')) : name);
    parts.set(part, [...(parts.get(part) ?? []), name]);
  }
  return parts;
}

/** Refuses checks of which some do not agree. @throws EgolensError internal.bug: a derivative of the program is wrong */
export function refuseWrongGradients(checks: readonly GradientCheck[]): void {
  assert(checks.length > 0, 'no gradient was checked');
  const wrong = checks.filter(({ agrees }) => !agrees);
  if (wrong.length === 0) return;
  const worst = wrong.reduce((a, b) => (b.error > a.error ? b : a));
  throw new EgolensError(
    'internal.bug',
    `the gradient of ${wrong.length} of ${checks.length} parts disagrees with the loss, most that of ${worst.part}: slope ${worst.slope}, difference ${worst.difference}`,
  );
}
