/** The learning curve of a training run as SVG, out of its `egolens.step/1` records. */
import { axes, axisOf, colours, dashes, document, fixed, scaled, shortened, text, tickText, width } from './svg.js';
import type { Axis, Box } from './svg.js';

/** What a curve needs of an `egolens.step/1` record. */
export interface CurveRecord {
  /** Updates done. */
  readonly step: number;
  /** From 1. */
  readonly epoch: number;
  readonly loss: number;
  /** Terms of the loss by name. */
  readonly parts?: Readonly<Record<string, number>>;
  /** Learning rate. */
  readonly lr: number;
  /** By name, where the model was scored; what is not finite stands there as text and is left out. */
  readonly metrics?: Readonly<Record<string, number | string>>;
}

export interface LearningCurveOptions {
  readonly title: string;
  /** The step of the best checkpoint and its score: a line through all panels. */
  readonly best?: { readonly step: number; readonly value: number } | null;
}

/** Terms of the loss beyond so many are left out: nobody could follow them. */
const mostParts = 4;
const mostMetrics = 8;
/** A line is drawn from so many places at most, whatever the length of the run. */
const mostPlaces = 480;
/** The smooth line is a mean over such a share of the records around a step. */
const smoothShare = 1 / 40;
/** Losses that span more than this factor are drawn over a logarithmic axis. */
const logarithmicFrom = 20;

const side = { left: 70, right: width - 20 } as const;
const heights = { loss: 250, metrics: 160, rate: 44 } as const;
/** Above a panel there is room for its legend, below it for the numbers of the steps. */
const gaps = { above: 26, below: 26 } as const;
const firstTop = 66;

type Point = readonly [step: number, value: number];

interface Line {
  readonly name: string;
  readonly points: readonly Point[];
  readonly colour: string;
  readonly dash: string;
  /** Few values, each of which was asked for: marked. */
  readonly isMarked: boolean;
}

/**
 * The loss (a smooth line over the raw values), its terms where there are at most four, metrics at the steps that were scored (shares and other numbers in
 * panels of their own) and the learning rate, one below the other over the same steps. The same records give the same bytes.
 */
export function learningCurveSvg(records: readonly CurveRecord[], { title, best }: LearningCurveOptions): string {
  const steps = records.map(({ step }) => step);
  const stepAxis = axisOf(steps.length === 0 ? [] : [0, ...steps], true);
  const last = steps.reduce((most, step) => Math.max(most, step), 0);
  // The axis ends where the run does: a round number beyond it would leave a quarter of the picture empty.
  const x: Axis = last === 0 ? stepAxis : { low: 0, high: last, ticks: stepAxis.ticks.filter((tick) => tick <= last) };
  const parts: string[] = [];
  let top = firstTop;
  const place = (height: number): Box => {
    const box = { ...side, top, bottom: top + height };
    top = box.bottom + gaps.below + gaps.above;
    return box;
  };
  const boxes: Box[] = [];
  const draw = (height: number, panel: (box: Box) => readonly string[]): void => {
    const box = place(height);
    boxes.push(box);
    parts.push(...panel(box));
  };
  draw(heights.loss, (box) => lossPanel(box, x, records));
  for (const { name, lines, isShare } of metricPanels(records)) {
    draw(heights.metrics, (box) => linePanel(box, x, { name, lines, y: axisOf(valuesOf(lines), isShare) }));
  }
  draw(heights.rate, (box) => ratePanel(box, x, records));
  if (best) parts.push(...bestLine(boxes, x, best));
  const bottom = boxes.at(-1)!.bottom; // three panels at least
  parts.push(text((side.left + side.right) / 2, bottom + 38, 'step', 13, 'middle'));
  return document(title, subtitleOf(records, best ?? null), bottom + 52, parts);
}

function subtitleOf(records: readonly CurveRecord[], best: LearningCurveOptions['best']): string {
  const end = records.at(-1);
  if (end === undefined) return 'no steps yet';
  const plural = (count: number, what: string): string => `${count} ${what}${count === 1 ? '' : 's'}`;
  const losses = smoothed(series(records, ({ loss }) => loss));
  const loss = losses.at(-1)?.[1];
  return [
    `${plural(end.step, 'step')}, ${plural(end.epoch, 'epoch')}`,
    ...(loss === undefined ? [] : [`loss ${short(loss)} at the end`]),
    ...(best ? [`best score ${short(best.value)} at step ${best.step}`] : []),
  ].join('; ');
}

function lossPanel(box: Box, x: Axis, records: readonly CurveRecord[]): string[] {
  const raw = series(records, ({ loss }) => loss);
  const names = [...new Set(records.flatMap(({ parts = {} }) => Object.keys(parts)))];
  const isTerm = (name: string): boolean =>
    records.some(({ parts = {}, loss }) => parts[name] !== undefined && parts[name] !== loss);
  const terms = names.filter(isTerm); // a single term is the loss itself
  const shown = terms.length <= mostParts ? terms : [];
  const lines: Line[] = [
    { name: 'loss', points: smoothed(raw), colour: colours[0], dash: '', isMarked: raw.length === 1 },
    ...shown.map((name, i): Line => {
      const points = smoothed(series(records, ({ parts = {} }) => parts[name]));
      return { name, points, colour: colours[1 + i]!, dash: dashes[1 + (i % 3)]!, isMarked: points.length === 1 };
    }),
  ];
  const scale = lossScale(valuesOf(lines), raw);
  // Values above the axis are drawn at its edge.
  const faint = thinned(raw).map(([step, value]): Point => [step, clamp(value, scale.low, scale.high)]);
  const toX = placesAlong(x, box);
  const toY = (value: number): number => scale.at(clamp(value, scale.low, scale.high), box);
  return [
    frame(box, x, { name: scale.name, ticks: scale.ticks, at: toY }),
    polyline(faint, toX, toY, `stroke="${colours[0]}" stroke-opacity="0.3" stroke-width="1"`),
    ...lines.flatMap((line) => drawn(line, toX, toY)),
    ...(shown.length === 0 ? [] : legend(lines, box)),
  ];
}

/** The finite values of the records. */
function series(records: readonly CurveRecord[], of: (record: CurveRecord) => number | undefined): Point[] {
  return records.flatMap((record): Point[] => {
    const value = of(record);
    return value !== undefined && Number.isFinite(value) ? [[record.step, value]] : [];
  });
}

interface Scale {
  readonly name: string;
  readonly low: number;
  readonly high: number;
  readonly ticks: readonly number[];
  at(value: number, box: Box): number;
}

/** Linear, or logarithmic where the run goes over more than a power of ten. */
function lossScale(smooth: readonly number[], raw: readonly Point[]): Scale {
  const sorted = [...smooth, ...raw.map(([, value]) => value)].sort((a, b) => a - b);
  const low = sorted[0] ?? 0;
  const usual = sorted[Math.floor(0.99 * (sorted.length - 1))] ?? 1;
  // A spike or two, and the mean around them, must not press the rest of the run flat.
  const high = Math.min(sorted.at(-1) ?? 1, usual + 2 * (usual - low));
  if (low > 0 && high / low > logarithmicFrom) {
    const ticks = logarithmicTicks(low, high);
    const axis: Axis = { low: Math.log10(ticks[0]!), high: Math.log10(ticks.at(-1)!), ticks };
    return {
      name: 'loss (logarithmic)',
      low: ticks[0]!,
      high: ticks.at(-1)!,
      ticks,
      at: (value, box) => scaled(Math.log10(value), axis, box.bottom, box.top),
    };
  }
  // From 0 only where the losses come near it: a loss of 6.9 to 6.2 would be a flat line.
  const axis = axisOf([low, high], low > 0 && low < 0.5 * high && high > 1);
  return { name: 'loss', ...axis, at: (value, box) => scaled(value, axis, box.bottom, box.top) };
}

/** 1, 2 and 5 times the powers of ten around the values; the powers alone where there are many. */
function logarithmicTicks(low: number, high: number): number[] {
  const powers = Math.log10(high / low);
  const steps = powers > 4 ? [1] : powers > 2 ? [1, 3] : [1, 2, 5];
  const ticks: number[] = [];
  for (let power = Math.floor(Math.log10(low)) - 1; power <= Math.ceil(Math.log10(high)) + 1; power++) {
    for (const step of steps) ticks.push(Number(`${step}e${power}`));
  }
  const first = ticks.findLastIndex((tick) => tick <= low);
  const last = ticks.findIndex((tick) => tick >= high);
  return ticks.slice(first, last + 1);
}

/** Shares and other numbers apart, because they have no axis in common. */
function metricPanels(
  records: readonly CurveRecord[],
): { readonly name: string; readonly lines: readonly Line[]; readonly isShare: boolean }[] {
  const byName = new Map<string, Point[]>();
  for (const { step, metrics = {} } of records) {
    for (const [name, value] of Object.entries(metrics)) {
      const points = byName.get(name) ?? [];
      byName.set(name, points);
      if (typeof value === 'number' && Number.isFinite(value)) points.push([step, value]);
    }
  }
  const all = [...byName].filter(([, points]) => points.length > 0);
  const isShare = ([name, points]: readonly [string, readonly Point[]]): boolean =>
    !/loss|error|distance/i.test(name) && points.every(([, value]) => value >= 0 && value <= 1);
  const groups = [
    { name: 'score', isShare: true, members: all.filter(isShare) },
    { name: 'value', isShare: false, members: all.filter((entry) => !isShare(entry)) },
  ];
  return groups.flatMap(({ name, isShare: from0, members }) => {
    if (members.length === 0) return [];
    const lines = members.slice(0, mostMetrics).map(([metric, points], i): Line => ({
      name: metric,
      points,
      colour: colours[(i + 1) % colours.length]!,
      dash: dashes[Math.floor(i / 3) % dashes.length]!,
      isMarked: points.length <= 60,
    }));
    const axisName = members.length === 1 ? lines[0]!.name : name;
    return [{ name: axisName, lines, isShare: from0 }];
  });
}

function linePanel(
  box: Box,
  x: Axis,
  { name, lines, y }: { readonly name: string; readonly lines: readonly Line[]; readonly y: Axis },
): string[] {
  const toX = placesAlong(x, box);
  const toY = (value: number): number => scaled(value, y, box.bottom, box.top);
  return [
    frame(box, x, { name, ticks: y.ticks, at: toY }),
    ...lines.flatMap((line) => drawn({ ...line, points: thinned(line.points) }, toX, toY)),
    ...(lines.length === 1 ? [] : legend(lines, box)),
  ];
}

function ratePanel(box: Box, x: Axis, records: readonly CurveRecord[]): string[] {
  const points = thinned(records.map(({ step, lr }): Point => [step, lr]));
  const most = points.reduce((high, [, rate]) => Math.max(high, rate), 0);
  // Rounded for reading: the line may stand a pixel beside its number.
  const y: Axis = { low: 0, high: most === 0 ? 1 : most, ticks: most === 0 ? [0] : [0, Number(most.toPrecision(2))] };
  const toY = (value: number): number => scaled(value, y, box.bottom, box.top);
  return [
    frame(box, x, { name: 'rate', ticks: y.ticks, at: toY }),
    polyline(points, placesAlong(x, box), toY, 'stroke="#333333" stroke-width="1"'),
  ];
}

function bestLine(boxes: readonly Box[], x: Axis, best: { readonly step: number; readonly value: number }): string[] {
  const at = placesAlong(x, side)(best.step);
  const isRight = at > (side.left + side.right) / 2;
  return [
    ...boxes.map(
      ({ top, bottom }) =>
        `<path d="M${fixed(at)} ${top}V${bottom}" fill="none" stroke="#333333" stroke-dasharray="4 3"/>`,
    ),
    text(isRight ? at - 6 : at + 6, boxes[0]!.top + 14, `best: step ${best.step}`, 11, isRight ? 'end' : 'start'),
  ];
}

function frame(
  box: Box,
  x: Axis,
  y: { readonly name: string; readonly ticks: readonly number[]; readonly at: (value: number) => number },
): string {
  const [low, high] = [y.ticks[0]!, y.ticks.at(-1)!];
  return axes(
    box,
    { axis: x, name: '', at: placesAlong(x, box) },
    { axis: { low, high, ticks: y.ticks }, name: y.name, at: y.at },
  );
}

/** Names above the panel, in up to four columns. */
function legend(lines: readonly Line[], box: Box): string[] {
  const room = (box.right - box.left) / Math.max(3, lines.length);
  return lines.flatMap(({ name, colour, dash }, i) => {
    const left = box.left + i * room;
    const y = box.top - 9;
    const style = dash === '' ? '' : ` stroke-dasharray="${dash}"`;
    return [
      `<line x1="${fixed(left)}" y1="${y}" x2="${fixed(left + 24)}" y2="${y}" stroke="${colour}" stroke-width="2"${style}/>`,
      text(left + 30, y + 4, shortened(name, Math.floor((room - 36) / 6)), 11),
    ];
  });
}

function drawn(line: Line, toX: (step: number) => number, toY: (value: number) => number): string[] {
  const { points, colour, dash, isMarked } = line;
  const style = dash === '' ? '' : ` stroke-dasharray="${dash}"`;
  return [
    polyline(points, toX, toY, `stroke="${colour}" stroke-width="2"${style}`),
    ...(isMarked
      ? points.map(
          ([step, value]) => `<circle cx="${fixed(toX(step))}" cy="${fixed(toY(value))}" r="3" fill="${colour}"/>`,
        )
      : []),
  ];
}

function polyline(
  points: readonly Point[],
  toX: (step: number) => number,
  toY: (value: number) => number,
  style: string,
): string {
  const path = points.map(([step, value]) => `${fixed(toX(step))},${fixed(toY(value))}`).join(' ');
  return points.length < 2 ? '' : `<polyline fill="none" ${style} points="${path}"/>`;
}

const placesAlong =
  (x: Axis, { left, right }: Pick<Box, 'left' | 'right'>) =>
  (step: number): number =>
    scaled(step, x, left, right);

const clamp = (value: number, low: number, high: number): number => Math.min(high, Math.max(low, value));

const short = (value: number): string => tickText(Number(value.toPrecision(3)));

const valuesOf = (lines: readonly Line[]): number[] => lines.flatMap(({ points }) => points.map(([, value]) => value));

/** Means over neighbours on both sides, at no more places than a screen shows. */
function smoothed(points: readonly Point[]): Point[] {
  const reach = Math.floor((points.length * smoothShare) / 2);
  const sums = new Float64Array(points.length + 1);
  points.forEach(([, value], i) => (sums[i + 1] = sums[i]! + value));
  const every = Math.max(1, Math.floor(points.length / mostPlaces));
  return points.flatMap(([step], i): Point[] => {
    if (i % every !== 0 && i !== points.length - 1) return [];
    const [from, to] = [Math.max(0, i - reach), Math.min(points.length, i + reach + 1)];
    return [[step, (sums[to]! - sums[from]!) / (to - from)]];
  });
}

/** The least and the greatest value of each stretch, in their order, where there are more points than places. */
function thinned(points: readonly Point[]): readonly Point[] {
  if (points.length <= 2 * mostPlaces) return points;
  const size = points.length / mostPlaces;
  return Array.from({ length: mostPlaces }, (_, i) => {
    const stretch = points.slice(Math.floor(i * size), Math.floor((i + 1) * size));
    const least = stretch.reduce((a, b) => (b[1] < a[1] ? b : a));
    const most = stretch.reduce((a, b) => (b[1] > a[1] ? b : a));
    return least[0] < most[0] ? [least, most] : least === most ? [least] : [most, least];
  }).flat();
}
