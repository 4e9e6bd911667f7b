/**
 * Figures of an evaluation as SVG: curves with labelled axes, bars by class. The same numbers give the same bytes; every file stands
 * alone, with a white ground, so that a viewer, a browser and a page show the same.
 */
import type { Curve, Score } from '../types.js';
import { axes, axisOf, colours, dashes, document, fixed, scaled, shortened, text, tickText, width } from './svg.js';

/** One file. */
export interface Plot {
  /** File name: `precision-over-recall.svg`. */
  readonly name: string;
  readonly svg: string;
}

const height = 460;
const margin = { left: 70, right: 20, top: 54, bottom: 56 };
/** More lines than this are not told apart: the best ones by the mean of their values are drawn. */
const mostLines = 10;
const mostBars = 120;

/** One file for each pair of axes among the curves, one for each metric by class. */
export function plotsOf(title: string, curves: readonly Curve[], perClass: readonly Score[]): Plot[] {
  const byAxes = grouped(curves, ({ x, y }) => `${y} over ${x}`);
  const bars = grouped(
    perClass.filter(({ at }) => at?.['label'] !== undefined),
    ({ metric, at }) => [metric, ...placesOf(at)].join(', '),
  );
  const names = new Set<string>();
  const nameOf = (text: string): string => {
    const stem =
      text
        .toLowerCase()
        .replaceAll(/[^a-z0-9.]+/g, '-')
        .replaceAll(/^-+|-+$/g, '') || 'plot';
    let name = `${stem}.svg`;
    for (let n = 2; names.has(name); n++) name = `${stem}-${n}.svg`;
    names.add(name);
    return name;
  };
  return [
    ...[...byAxes].map(([what, group]) => ({ name: nameOf(what), svg: curvePlot(`${title}: ${what}`, group) })),
    ...[...bars].map(([what, scores]) => ({
      name: nameOf(`${what} by class`),
      svg: barPlot(`${title}: ${what}`, scores),
    })),
  ];
}

/** `tIoU=0.5` of what a score was taken at, its label apart; counts of members are no places. */
function placesOf(at: Score['at']): string[] {
  return Object.entries(at ?? {}).flatMap(([key, value]) =>
    key === 'tIoU' || key === 'IoU' ? [`${key}=${value}`] : [],
  );
}

function grouped<T>(items: readonly T[], keyOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const key = keyOf(item);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [item]);
    else group.push(item);
  }
  return groups;
}

function curvePlot(title: string, all: readonly Curve[]): string {
  const drawn = all.map((curve) => ({ curve, points: curve.points.filter((point) => point.every(Number.isFinite)) }));
  const meanOf = (points: readonly (readonly [number, number])[]): number =>
    points.reduce((sum, [, y]) => sum + y, 0) / Math.max(1, points.length);
  const lines =
    drawn.length <= mostLines
      ? drawn
      : [...drawn]
          .sort((a, b) => meanOf(b.points) * Math.sqrt(b.points.length) - meanOf(a.points) * Math.sqrt(a.points.length))
          .slice(0, mostLines);
  const xs = lines.flatMap(({ points }) => points.map(([x]) => x));
  const ys = lines.flatMap(({ points }) => points.map(([, y]) => y));
  const { x = '', y = '' } = all[0] ?? {};
  const [xAxis, yAxis] = [axisOf(xs, x === 'recall'), axisOf(ys, true)];
  const legendHeight = lines.length > 1 ? 18 * Math.ceil(lines.length / 2) + 8 : 0;
  const bottom = height - margin.bottom;
  const toX = (value: number): number => scaled(value, xAxis, margin.left, width - margin.right);
  const toY = (value: number): number => scaled(value, yAxis, bottom, margin.top);
  const box = { left: margin.left, right: width - margin.right, top: margin.top, bottom };
  const parts = [axes(box, { axis: xAxis, name: x, at: toX }, { axis: yAxis, name: y, at: toY })];
  lines.forEach(({ points }, i) => {
    const colour = colours[i % colours.length]!;
    const path = points.map(([px, py]) => `${fixed(toX(px))},${fixed(toY(py))}`).join(' ');
    const dash = dashes[Math.floor(i / 3) % dashes.length]!;
    const style = dash === '' ? '' : ` stroke-dasharray="${dash}"`;
    if (points.length > 1)
      parts.push(`<polyline fill="none" stroke="${colour}" stroke-width="2"${style} points="${path}"/>`);
    // Few points are marked, so that one alone is seen at all.
    if (points.length <= 25)
      parts.push(
        ...points.map(([px, py]) => `<circle cx="${fixed(toX(px))}" cy="${fixed(toY(py))}" r="3" fill="${colour}"/>`),
      );
  });
  if (lines.length > 1) {
    lines.forEach(({ curve, points }, i) => {
      const left = margin.left + (i % 2) * ((width - margin.left) / 2);
      const top = height + 18 * Math.floor(i / 2);
      const dash = dashes[Math.floor(i / 3) % dashes.length]!;
      const style = dash === '' ? '' : ` stroke-dasharray="${dash}"`;
      const colour = colours[i % colours.length]!;
      parts.push(
        `<line x1="${fixed(left)}" y1="${top}" x2="${fixed(left + 26)}" y2="${top}" stroke="${colour}" stroke-width="2"${style}/>`,
        text(left + 32, top + 4, shortened(points.length === 0 ? `${curve.name} (no points)` : curve.name, 44), 11),
      );
    });
  }
  const hidden = drawn.length - lines.length;
  const subtitle = hidden > 0 ? `the ${lines.length} largest of ${drawn.length} curves` : '';
  return document(title, subtitle, height + legendHeight, parts);
}

function barPlot(title: string, scores: readonly Score[]): string {
  const finite = scores.filter(({ value }) => Number.isFinite(value));
  const sorted = [...finite].sort((a, b) => b.value - a.value).slice(0, mostBars);
  const labels = sorted.map(({ at }) => shortened(String(at?.['label'] ?? ''), 40));
  const left = 30 + 6.2 * Math.max(6, ...labels.map((label) => label.length));
  const step = 18;
  const bottom = margin.top + step * Math.max(1, sorted.length) + 6;
  const xAxis = axisOf(
    sorted.map(({ value }) => value),
    true,
  );
  const toX = (value: number): number => scaled(value, xAxis, left, width - 60);
  const parts: string[] = [];
  for (const tick of xAxis.ticks) {
    const at = fixed(toX(tick));
    parts.push(
      `<line x1="${at}" y1="${margin.top}" x2="${at}" y2="${bottom}" stroke="#dddddd"/>`,
      text(toX(tick), bottom + 16, tickText(tick), 11, 'middle'),
    );
  }
  const zero = toX(Math.max(xAxis.low, 0));
  sorted.forEach(({ value }, i) => {
    const top = margin.top + step * i + 4;
    const [from, to] = [Math.min(zero, toX(value)), Math.max(zero, toX(value))];
    parts.push(
      text(left - 8, top + 10, labels[i]!, 11, 'end'),
      `<rect x="${fixed(from)}" y="${top}" width="${fixed(to - from)}" height="12" fill="${colours[0]}"/>`,
      text(to + 5, top + 10, String(Number(value.toPrecision(3))), 10),
    );
  });
  parts.push(`<line x1="${fixed(zero)}" y1="${margin.top}" x2="${fixed(zero)}" y2="${bottom}" stroke="#333333"/>`);
  parts.push(text((left + width - 60) / 2, bottom + 36, scores[0]?.metric ?? '', 13, 'middle'));
  const undefinedCount = scores.length - finite.length;
  const subtitle = [
    finite.length > sorted.length ? `the ${sorted.length} largest of ${finite.length} classes` : '',
    undefinedCount > 0 ? `${undefinedCount} classes have no number` : '',
  ];
  return document(title, subtitle.filter((part) => part !== '').join('; '), bottom + 50, parts);
}
