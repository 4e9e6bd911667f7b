/** Rounding to decimals as Python's `round` does it: the decimal nearest to the exact value of the number; of two, the even one. */
export function roundDecimals(value: number, digits: number): number {
  if (!Number.isFinite(value) || Math.abs(value) >= 1e21) return value; // toFixed would write an exponent
  const rounded = Number(value.toFixed(digits));
  // toFixed sees the exact value, and of two equally near decimals gives the one further from 0. A tie has exactly one more digit, a 5.
  const tail = value.toFixed(Math.min(100, digits + 60)).split('.')[1] ?? '';
  if (!/^50*$/.test(tail.slice(digits))) return rounded;
  const last = value.toFixed(digits).at(-1)!; // of a finite number there is one
  if (Number(last) % 2 === 0) return rounded;
  return Number(value.toFixed(digits + 1).slice(0, -1)); // without the 5: towards 0
}
