/** Points and polygons of the scene. A polygon is a flat list x0, y0, x1, y1, …; a scene unit is a hundredth of the picture's height. */

export type Polygon = Float64Array;

/** Affine map: x' = a x + c y + e, y' = b x + d y + f (the order of a 2-D canvas). */
export interface Affine {
  readonly a: number;
  readonly b: number;
  readonly c: number;
  readonly d: number;
  readonly e: number;
  readonly f: number;
}

export const identity: Affine = { a: 1, b: 0, c: 0, d: 1, e: 0, f: 0 };

/** First `inner`, then `outer`. */
export function compose(outer: Affine, inner: Affine): Affine {
  return {
    a: outer.a * inner.a + outer.c * inner.b,
    b: outer.b * inner.a + outer.d * inner.b,
    c: outer.a * inner.c + outer.c * inner.d,
    d: outer.b * inner.c + outer.d * inner.d,
    e: outer.a * inner.e + outer.c * inner.f + outer.e,
    f: outer.b * inner.e + outer.d * inner.f + outer.f,
  };
}

/** Scale and turn (radians, clockwise on the screen), then move to (x, y). */
export function placed(x: number, y: number, angle = 0, scaleX = 1, scaleY = scaleX): Affine {
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  return { a: cos * scaleX, b: sin * scaleX, c: -sin * scaleY, d: cos * scaleY, e: x, f: y };
}

export function applied(map: Affine, x: number, y: number): readonly [x: number, y: number] {
  return [map.a * x + map.c * y + map.e, map.b * x + map.d * y + map.f];
}

export function mapped(map: Affine, polygon: Polygon): Polygon {
  const result = new Float64Array(polygon.length);
  for (let i = 0; i < polygon.length; i += 2) {
    const [x, y] = [polygon[i]!, polygon[i + 1]!]; // pairs
    result[i] = map.a * x + map.c * y + map.e;
    result[i + 1] = map.b * x + map.d * y + map.f;
  }
  return result;
}

export function polygon(...values: number[]): Polygon {
  return Float64Array.from(values);
}

const round = 2 * Math.PI;

/** Points of an ellipse from `from` to `to` (turns of 2π, clockwise on the screen from the right). */
export function arc(x: number, y: number, rx: number, ry: number, from = 0, to = 1, steps = 20): number[] {
  const points: number[] = [];
  const isWhole = to - from === 1;
  for (let i = 0; i < steps + (isWhole ? 0 : 1); i++) {
    const angle = round * (from + ((to - from) * i) / steps);
    points.push(x + rx * Math.cos(angle), y + ry * Math.sin(angle));
  }
  return points;
}

export function ellipse(x: number, y: number, rx: number, ry: number, steps = 20): Polygon {
  return Float64Array.from(arc(x, y, rx, ry, 0, 1, steps));
}

/** A line of width 2 r0 … 2 r1 with round ends. */
export function capsule(x0: number, y0: number, r0: number, x1: number, y1: number, r1: number): Polygon {
  const along = Math.atan2(y1 - y0, x1 - x0) / round;
  return Float64Array.from([
    ...arc(x1, y1, r1, r1, along - 0.25, along + 0.25, 6),
    ...arc(x0, y0, r0, r0, along + 0.25, along + 0.75, 6),
  ]);
}

export function roundedBox(x: number, y: number, halfWidth: number, halfHeight: number, r: number): Polygon {
  const [w, h] = [halfWidth - r, halfHeight - r];
  return Float64Array.from([
    ...arc(x + w, y + h, r, r, 0, 0.25, 3),
    ...arc(x - w, y + h, r, r, 0.25, 0.5, 3),
    ...arc(x - w, y - h, r, r, 0.5, 0.75, 3),
    ...arc(x + w, y - h, r, r, 0.75, 1.0001, 3),
  ]);
}

/** Corners that hold all points, or undefined of none. */
export function boundsOf(polygons: readonly Polygon[]): readonly [number, number, number, number] | undefined {
  let [x1, y1, x2, y2] = [Infinity, Infinity, -Infinity, -Infinity];
  for (const points of polygons) {
    for (let i = 0; i < points.length; i += 2) {
      const [x, y] = [points[i]!, points[i + 1]!]; // pairs
      if (x < x1) x1 = x;
      if (x > x2) x2 = x;
      if (y < y1) y1 = y;
      if (y > y2) y2 = y;
    }
  }
  return x1 <= x2 ? [x1, y1, x2, y2] : undefined;
}

/** The part of a polygon swept while it is moved by (dx, dy): exact for convex polygons, a little more for others. */
export function swept(points: Polygon, dx: number, dy: number): Polygon {
  const all: (readonly [number, number])[] = [];
  for (let i = 0; i < points.length; i += 2) {
    const [x, y] = [points[i]!, points[i + 1]!]; // pairs
    all.push([x, y], [x + dx, y + dy]);
  }
  return hull(all);
}

/** Convex hull by Andrew's monotone chain. */
function hull(points: (readonly [number, number])[]): Polygon {
  const sorted = points.sort((p, q) => p[0] - q[0] || p[1] - q[1]);
  const half = (list: readonly (readonly [number, number])[]): (readonly [number, number])[] => {
    const chain: (readonly [number, number])[] = [];
    for (const point of list) {
      while (chain.length >= 2 && turn(chain[chain.length - 2]!, chain[chain.length - 1]!, point) <= 0) chain.pop();
      chain.push(point);
    }
    chain.pop();
    return chain;
  };
  return Float64Array.from([...half(sorted), ...half(sorted.slice().reverse())].flat());
}

function turn(o: readonly [number, number], p: readonly [number, number], q: readonly [number, number]): number {
  return (p[0] - o[0]) * (q[1] - o[1]) - (p[1] - o[1]) * (q[0] - o[0]);
}

/** 0 at 0, 1 at 1, at rest on both ends: 6u^5 - 15u^4 + 10u^3, the path of least jerk of an arm that goes from rest to rest. */
export function smooth(u: number): number {
  const x = Math.min(1, Math.max(0, u));
  return x * x * x * (x * (6 * x - 15) + 10);
}

/** 0 at 0 from rest, 1 at 1 still in motion: a hand that reaches something slows down but does not creep, so that the frame of contact is sharp. */
export function reaching(u: number): number {
  const x = Math.min(1, Math.max(0, u));
  const end = 0.78 * Math.PI;
  return (1 - Math.cos(end * x)) / (1 - Math.cos(end));
}

/** Share of [from, to] that lies behind f: 0 before, 1 after. */
export function share(f: number, from: number, to: number): number {
  return to <= from ? Number(f >= to) : Math.min(1, Math.max(0, (f - from) / (to - from)));
}

export function between(from: number, to: number, u: number): number {
  return from + (to - from) * u;
}
