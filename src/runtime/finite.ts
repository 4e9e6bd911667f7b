/**
 * Index of the first NaN or infinity, -1 when all values are finite. The usual case is a loop without branches: x * 0 is 0 for
 * every finite x and NaN for the others, and a sum keeps a NaN.
 */
export function firstNotFinite(values: Float32Array): number {
  let a = 0;
  let b = 0;
  let c = 0;
  let d = 0;
  const end = values.length & ~3;
  for (let i = 0; i < end; i += 4) {
    a += values[i]! * 0;
    b += values[i + 1]! * 0;
    c += values[i + 2]! * 0;
    d += values[i + 3]! * 0;
  }
  for (let i = end; i < values.length; i++) a += values[i]! * 0;
  return Number.isNaN(a + b + c + d) ? values.findIndex((value) => !Number.isFinite(value)) : -1;
}
