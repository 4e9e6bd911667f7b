/**
 * The twelve nouns as painted polygons, in units of half an object's width, around the middle of what is seen of it. One list serves
 * the painter, the label pictures and the boxes, so that truth and picture cannot differ.
 */
import {
  arc,
  capsule,
  ellipse,
  mapped,
  placed,
  polygon,
  roundedBox,
  swept,
  between,
  type Affine,
  type Polygon,
} from './geometry.js';
import type { Noun } from './vocabulary.js';

/** What a polygon is painted with; colours are chosen by the painter. */
export type Paint =
  | ('body' | 'bodyDark' | 'bodyLight' | 'inside' | 'liquid')
  | ('metal' | 'metalDark' | 'paper' | 'ink' | 'flesh' | 'screen' | 'leaf' | 'stem' | 'stain' | 'shine')
  | ('skin' | 'skinDark' | 'sleeve' | 'sleeveDark' | 'nail');

export interface Part {
  readonly points: Polygon;
  readonly paint: Paint;
  /** 1 where absent. */
  readonly alpha?: number;
  /** Lies inside another part of its object: painted, but no part of the outline. */
  readonly inner?: true;
}

/** How an object is, apart from where. */
export interface Condition {
  /** Radians about the upright axis. */
  readonly turn: number;
  /** 0 closed, 1 open: lid, cover, cap. */
  readonly open: number;
  /** 0 whole, 1 two halves apart. */
  readonly apart: number;
  /** What is in it, 0 to 1. */
  readonly level: number;
  /** 0 clean, 1 stained. */
  readonly dirt: number;
}

export const untouched: Condition = { turn: 0, open: 0, apart: 0, level: 0, dirt: 0 };

/** A circle on the table is seen as an ellipse of this height: the camera looks down at about 40 degrees. */
export const flatness = 0.64;

/** Painted back to front. */
export function partsOf(noun: Noun, condition: Condition): readonly Part[] {
  return shapes[noun](condition);
}

type Shape = (condition: Condition) => Part[];

const shapes: Readonly<Record<Noun, Shape>> = {
  cup: ({ turn, level }) => {
    const handle = handleOf(turn);
    const isBehind = Math.sin(turn) < 0;
    return [
      ...(isBehind ? handle : []),
      vessel(-0.62, 0.74, 0.34, 0.62, 0.55, 0.26),
      { points: stripe(0.12, 0.34), paint: 'bodyDark', inner: true },
      ...rim(0, -0.62, 0.74, 0.34, level),
      ...(isBehind ? [] : handle),
    ];
  },
  bowl: ({ level, turn }) => [
    vessel(-0.3, 1.08, 0.52, 0.5, 0.5, 0.22),
    { points: ellipse(0, 0.58, 0.44, 0.13), paint: 'bodyDark', inner: true },
    ...rim(0, -0.3, 1.08, 0.52, level),
    {
      points: mapped(
        placed(0, -0.3),
        capsule(0.9 * Math.cos(turn), 0.42 * Math.sin(turn), 0.07, 0.98 * Math.cos(turn), 0.47 * Math.sin(turn), 0.07),
      ),
      paint: 'bodyDark',
      inner: true,
    },
  ],
  bottle: ({ open, level }) => {
    const lifted = Math.sin(Math.PI * Math.min(1, open)) * 0.55;
    const cap = placed(between(0, 1.05, open), between(-1.62, 0.72, open) - lifted);
    const body = polygon(
      ...arc(0, 0.86, 0.56, 0.22, 0, 0.5, 10),
      ...[-0.56, -0.3, -0.46, -0.62, -0.22, -0.92, -0.2, -1.5],
      ...[0.2, -1.5, 0.22, -0.92, 0.46, -0.62, 0.56, -0.3],
    );
    const capParts: Part[] = [
      { points: mapped(cap, swept(ellipse(0, 0, 0.27, 0.13), 0, -0.26)), paint: 'bodyDark' },
      { points: mapped(cap, ellipse(0, -0.26, 0.27, 0.13)), paint: 'metal', inner: true },
    ];
    return [
      { points: body, paint: 'body' },
      { points: polygon(-0.56, -0.1, 0.56, -0.1, 0.56, 0.42, -0.56, 0.42), paint: 'paper', inner: true },
      { points: ellipse(0, 0.16, 0.24, 0.18), paint: 'liquid', inner: true, alpha: 0.35 + 0.65 * level },
      { points: polygon(-0.4, -0.25, -0.28, -0.25, -0.28, 0.8, -0.4, 0.8), paint: 'shine', alpha: 0.45, inner: true },
      ...(open > 0.02 ? [{ points: ellipse(0, -1.5, 0.2, 0.09), paint: 'ink', inner: true } as const] : []),
      ...capParts,
    ];
  },
  knife: ({ turn }) =>
    flat(turn, 0.06, [
      { points: polygon(-0.3, -0.22, 0.95, -0.2, 1.3, 0.02, 1.42, 0.22, -0.3, 0.22), paint: 'metal' },
      { points: polygon(-0.3, 0.1, 1.38, 0.16, 1.42, 0.22, -0.3, 0.22), paint: 'shine', inner: true },
      { points: roundedBox(-0.86, 0, 0.58, 0.2, 0.16), paint: 'body' },
      { points: ellipse(-1.08, 0, 0.07, 0.07, 8), paint: 'metal', inner: true },
      { points: ellipse(-0.64, 0, 0.07, 0.07, 8), paint: 'metal', inner: true },
    ]),
  apple: ({ apart }) =>
    apart < 0.02
      ? [
          { points: appleOutline(), paint: 'body' },
          { points: ellipse(-0.3, -0.28, 0.2, 0.14), paint: 'shine', alpha: 0.5, inner: true },
          { points: ellipse(0, -0.58, 0.24, 0.1), paint: 'bodyDark', inner: true },
          { points: capsule(0, -0.55, 0.07, 0.1, -0.95, 0.06), paint: 'stem' },
          { points: mapped(placed(0.36, -0.9, -0.5), ellipse(0, 0, 0.28, 0.13)), paint: 'leaf' },
        ]
      : [-1, 1].flatMap((side) => {
          const at = placed(side * (0.3 + 0.5 * apart), 0.1, side * 0.35 * apart);
          return [
            { points: mapped(at, ellipse(0, 0, 0.56, 0.74)), paint: 'body' },
            { points: mapped(at, ellipse(-side * 0.09, 0, 0.42, 0.64)), paint: 'flesh', inner: true },
            { points: mapped(at, ellipse(-side * 0.07, -0.12, 0.07, 0.12, 8)), paint: 'stem', inner: true },
            { points: mapped(at, ellipse(-side * 0.07, 0.16, 0.07, 0.12, 8)), paint: 'stem', inner: true },
          ] as const;
        }),
  bread: ({ apart, turn }) => {
    const half = (side: number): Part[] => {
      const at = placed(side * 0.3 * apart, 0);
      const loaf = (grow: number): Polygon =>
        Float64Array.from([
          ...arc(side * 0.72, 0, 0.6 * grow, 0.6 * grow, side > 0 ? -0.25 : 0.25, side > 0 ? 0.25 : 0.75, 12),
          ...[0, side * 0.6 * grow, 0, -side * 0.6 * grow],
        ]);
      return [
        { points: mapped(at, loaf(1)), paint: 'body' },
        {
          points: mapped(at, capsule(side * 0.36, -0.34, 0.07, side * 0.56, 0.3, 0.07)),
          paint: 'bodyLight',
          inner: true,
        },
        { points: mapped(at, capsule(side * 0.8, -0.34, 0.07, side * 1, 0.26, 0.07)), paint: 'bodyLight', inner: true },
        ...(apart > 0.02
          ? [{ points: mapped(at, ellipse(side * 0.06, 0, 0.14, 0.56)), paint: 'flesh', inner: true } as const]
          : []),
      ];
    };
    return flat(turn, 0.3, [...half(-1), ...half(1)]);
  },
  box: ({ open, dirt }) => {
    const [w, top, deep, high] = [0.98, -0.5, 0.62, 0.82];
    const lean = between(0, 0.62 * Math.PI, open);
    // The lid turns about the back edge: its front edge goes up and over.
    const edge = { x: w, y: top - deep / 2 + deep * Math.cos(lean), up: 0.92 * Math.sin(lean) };
    const lid = polygon(-w, top - deep / 2, w, top - deep / 2, edge.x, edge.y - edge.up, -edge.x, edge.y - edge.up);
    const front = polygon(-w, top + deep / 2, w, top + deep / 2, w, top + deep / 2 + high, -w, top + deep / 2 + high);
    const opening = polygon(-w, top - deep / 2, w, top - deep / 2, w, top + deep / 2, -w, top + deep / 2);
    return [
      { points: opening, paint: 'inside' },
      { points: lid, paint: open > 0.5 ? 'bodyDark' : 'bodyLight' },
      { points: inset(lid, 0.78), paint: open > 0.5 ? 'inside' : 'body', alpha: 0.35, inner: true },
      { points: front, paint: 'body' },
      {
        points: polygon(-0.16, top + deep / 2, 0.16, top + deep / 2, 0.16, 0.16, -0.16, 0.16),
        paint: 'paper',
        alpha: 0.85,
        inner: true,
      },
      ...stains(0, 0.28, 0.9, dirt),
    ];
  },
  book: ({ open, turn, dirt }) => {
    const [w, h] = [0.78, 1.02];
    // The cover turns about the left edge; seen from above its width shrinks, then grows on the other side.
    const reach = w * 2 * Math.cos(Math.PI * open);
    const lift = 0.5 * Math.sin(Math.PI * open);
    const cover = polygon(-w, -h, -w + reach, -h - lift, -w + reach, h - lift, -w, h);
    const isOver = open > 0.5;
    const lines = [-0.6, -0.3, 0, 0.3, 0.6].map((y): Part => ({
      points: polygon(-w + 0.22, y - 0.045, w - 0.2, y - 0.045, w - 0.2, y + 0.045, -w + 0.22, y + 0.045),
      paint: 'ink',
      alpha: 0.6,
      inner: true,
    }));
    const closed: Part[] = [
      { points: polygon(-w, -h, -w + 0.2, -h, -w + 0.2, h, -w, h), paint: 'bodyDark', inner: true },
      { points: mapped(placed(0.12, -0.3), roundedBox(0, 0, 0.42, 0.24, 0.05)), paint: 'paper', inner: true },
      ...stains(0.1, 0.35, 0.8, dirt),
    ];
    return flat(turn, 0.2, [
      { points: polygon(-w, -h, w, -h, w, h, -w, h), paint: 'bodyDark' },
      {
        points: polygon(-w, -h + 0.07, w - 0.08, -h + 0.07, w - 0.08, h - 0.07, -w, h - 0.07),
        paint: 'paper',
        inner: true,
      },
      ...lines,
      ...(open < 0.02 ? [] : [{ points: cover, paint: isOver ? 'paper' : 'body' } as const]),
      ...(open < 0.02 ? [{ points: cover, paint: 'body' } as const, ...closed] : []),
    ]);
  },
  phone: ({ turn, dirt }) =>
    flat(turn, 0.12, [
      { points: roundedBox(0, 0, 0.58, 1.08, 0.18), paint: 'body' },
      { points: roundedBox(0, 0, 0.46, 0.84, 0.05), paint: 'screen', inner: true },
      { points: polygon(-0.4, -0.78, 0.16, -0.78, -0.4, 0.3), paint: 'shine', alpha: 0.3, inner: true },
      { points: ellipse(0, 0.96, 0.09, 0.06, 8), paint: 'ink', inner: true },
      ...stains(0, 0, 0.7, dirt),
    ]),
  spoon: ({ turn }) =>
    flat(turn, 0.05, [
      { points: capsule(-1.2, 0, 0.15, 0.4, 0, 0.1), paint: 'body' },
      { points: ellipse(0.86, 0, 0.56, 0.38), paint: 'metal' },
      { points: ellipse(0.88, 0.03, 0.4, 0.25), paint: 'metalDark', inner: true },
      { points: ellipse(0.72, -0.08, 0.14, 0.08, 8), paint: 'shine', inner: true },
    ]),
  sponge: ({ turn }) =>
    flat(turn, 0.5, [
      { points: roundedBox(0, 0, 1, 0.66, 0.18), paint: 'body' },
      ...[
        [-0.6, -0.3, 0.12],
        [-0.2, 0.2, 0.15],
        [0.3, -0.25, 0.13],
        [0.65, 0.25, 0.12],
        [-0.66, 0.32, 0.09],
        [0.05, -0.02, 0.08],
      ].map(([x, y, r]): Part => ({ points: ellipse(x!, y!, r!, r!, 10), paint: 'bodyDark', inner: true })), // triples
    ]),
  plate: ({ dirt, turn }) => [
    { points: swept(ellipse(0, 0, 1.2, 1.2 * flatness, 28), 0, 0.12), paint: 'bodyDark' },
    { points: ellipse(0, 0, 1.2, 1.2 * flatness, 28), paint: 'body', inner: true },
    { points: ellipse(0, 0.03, 0.78, 0.78 * flatness, 24), paint: 'bodyLight', inner: true },
    { points: ellipse(0, 0.07, 0.66, 0.66 * flatness, 24), paint: 'body', alpha: 0.7, inner: true },
    { points: ellipse(Math.cos(turn), flatness * Math.sin(turn), 0.09, 0.06, 8), paint: 'bodyDark', inner: true },
    ...stains(0, 0.02, 1.1, dirt),
  ],
};

/** Lies on the table: turned about its middle, seen at a slant, with an edge of this height. */
function flat(turn: number, thickness: number, parts: readonly Part[]): Part[] {
  const map: Affine = {
    a: Math.cos(turn),
    b: Math.sin(turn) * flatness,
    c: -Math.sin(turn),
    d: Math.cos(turn) * flatness,
    e: 0,
    f: 0,
  };
  const turned = parts.map((part): Part => ({ ...part, points: mapped(map, part.points) }));
  const edges = turned
    .filter(({ inner, paint }) => inner !== true && (paint === 'body' || paint === 'bodyDark'))
    .map(({ points }): Part => ({ points: swept(points, 0, thickness), paint: 'bodyDark' }));
  return [...edges, ...turned];
}

/** An upright body between two ellipses: around (0, top) and around (0, bottom). */
function vessel(top: number, rx: number, ry: number, bottom: number, bx: number, by: number): Part {
  const points = Float64Array.from([...arc(0, top, rx, ry, 0.5, 1, 14), ...arc(0, bottom, bx, by, 0, 0.5, 14)]);
  return { points, paint: 'body' };
}

function rim(x: number, y: number, rx: number, ry: number, level: number): Part[] {
  const fill = 0.55 + 0.4 * level;
  return [
    { points: ellipse(x, y, rx, ry), paint: 'bodyLight', inner: true },
    { points: ellipse(x, y + 0.02, rx * 0.88, ry * 0.84), paint: 'inside', inner: true },
    ...(level > 0.02
      ? [
          {
            points: ellipse(x, y + 0.3 * ry * (1 - level), rx * fill * 0.88, ry * fill * 0.8),
            paint: 'liquid',
            inner: true,
          } as const,
          {
            points: ellipse(x - 0.2 * rx, y - 0.05, rx * 0.16, ry * 0.1, 8),
            paint: 'shine',
            alpha: 0.6,
            inner: true,
          } as const,
        ]
      : []),
  ];
}

function stripe(y0: number, y1: number): Polygon {
  return polygon(...arc(0, y0, 0.63, 0.28, 0, 0.5, 10), ...arc(0, y1, 0.59, 0.27, 0.5, 0, 10));
}

/** A ring beside the cup, on the side that the turn says. */
function handleOf(turn: number): Part[] {
  const [x, y] = [0.66 * Math.cos(turn), 0.28 * Math.sin(turn)];
  const [reach, drop] = [1.3 * Math.cos(turn), 0.62 * Math.sin(turn)];
  const joints = [
    [x, y - 0.34],
    [reach, drop - 0.3],
    [reach, drop + 0.14],
    [x * 0.9, y + 0.26],
  ] as const;
  return [0, 1, 2].map((i): Part => {
    const [from, to] = [joints[i]!, joints[i + 1]!]; // four joints
    return { points: capsule(from[0], from[1], 0.13, to[0], to[1], 0.13), paint: 'bodyDark' };
  });
}

function appleOutline(): Polygon {
  const points: number[] = [];
  for (let i = 0; i < 28; i++) {
    const angle = (2 * Math.PI * i) / 28;
    const dent =
      0.16 * Math.exp(-(((angle - 1.5 * Math.PI) / 0.42) ** 2)) +
      0.06 * Math.exp(-(((angle - 0.5 * Math.PI) / 0.3) ** 2));
    const r = 0.84 * (1 - dent);
    points.push(r * 1.06 * Math.cos(angle), 0.08 + r * Math.sin(angle));
  }
  return Float64Array.from(points);
}

function inset(points: Polygon, by: number): Polygon {
  let [x, y] = [0, 0];
  for (let i = 0; i < points.length; i += 2) {
    x += (2 * points[i]!) / points.length; // pairs
    y += (2 * points[i + 1]!) / points.length;
  }
  return mapped({ a: by, b: 0, c: 0, d: by, e: x * (1 - by), f: y * (1 - by) }, points);
}

function stains(x: number, y: number, spread: number, dirt: number): Part[] {
  if (dirt < 0.02) return [];
  const spots = [
    [-0.3, -0.16, 0.2],
    [0.22, 0.1, 0.24],
    [-0.1, 0.28, 0.15],
    [0.38, -0.24, 0.13],
  ] as const;
  return spots.map(([dx, dy, r]) => ({
    points: ellipse(x + dx * spread, y + dy * spread, r * spread * 1.2, r * spread * 0.8, 12),
    paint: 'stain',
    alpha: 0.85 * dirt,
    inner: true,
  }));
}

/** Where fingers hold what opens: the front edge of a lid, the free edge of a cover, a cap. In the units of `partsOf`. */
export function openingEdge(noun: Noun, { open, turn }: Condition): readonly [x: number, y: number] {
  if (noun === 'box') {
    const lean = between(0, 0.62 * Math.PI, open);
    return [0.35, -0.81 + 0.62 * Math.cos(lean) - 0.92 * Math.sin(lean)];
  }
  if (noun === 'book') {
    const [x, y] = [-0.78 + 1.5 * Math.cos(Math.PI * open), 0.2 - 0.5 * Math.sin(Math.PI * open)];
    return [x * Math.cos(turn) - y * Math.sin(turn), flatness * (x * Math.sin(turn) + y * Math.cos(turn))];
  }
  return [between(0, 1.05, open), between(-1.75, 0.6, open) - Math.sin(Math.PI * Math.min(1, open)) * 0.55];
}

/** Where things are held, stirred and filled: the lower front, the middle of the opening, the mouth. In the units of `partsOf`. */
export const places: Readonly<
  Record<Noun, { readonly hold: readonly [number, number]; readonly top: readonly [number, number] }>
> = {
  cup: { hold: [0, 0.12], top: [0, -0.62] },
  bowl: { hold: [0, 0.3], top: [0, -0.3] },
  bottle: { hold: [0, 0.1], top: [0, -1.5] },
  knife: { hold: [0, 0.06], top: [0, 0] },
  apple: { hold: [0, 0.25], top: [0, 0] },
  bread: { hold: [0, 0.25], top: [0, 0] },
  box: { hold: [0, 0.35], top: [0, -0.1] },
  book: { hold: [0, 0.3], top: [0, 0] },
  phone: { hold: [0, 0.25], top: [0, 0] },
  spoon: { hold: [0, 0.06], top: [0, 0] },
  sponge: { hold: [0, 0.2], top: [0, 0] },
  plate: { hold: [0, 0.35], top: [0, 0] },
};
