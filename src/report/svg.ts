/** What the pictures of this folder are made of: axes, colours, text. The same numbers give the same bytes; every file stands alone. */

/** Width of a picture, in pixels. */
export const width = 720;
const font = 'font-family="Helvetica, Arial, DejaVu Sans, sans-serif"';
/** Okabe and Ito's colours, which people with colour blindness tell apart, then darker ones of them; dashes tell lines apart in grey. */
export const colours = [
  '#0072b2',
  '#d55e00',
  '#009e73',
  '#cc79a7',
  '#56b4e9',
  '#e69f00',
  '#333333',
  '#7a4fa3',
  '#8c6d31',
  '#a50f15',
] as const;
export const dashes = ['', '7 3', '2 3', '9 3 2 3'] as const;

/** Where the curves of a panel go, in pixels from the left upper corner of the picture. */
export interface Box {
  readonly left: number;
  readonly right: number;
  readonly top: number;
  readonly bottom: number;
}

/** The range of an axis, and where its lines are. */
export interface Axis {
  readonly low: number;
  readonly high: number;
  readonly ticks: readonly number[];
}

/** Round steps around the values; from 0 where `fromZero`, and up to 1 where they are shares. */
export function axisOf(values: readonly number[], fromZero: boolean): Axis {
  let low = values.reduce((least, value) => Math.min(least, value), Infinity);
  let high = values.reduce((most, value) => Math.max(most, value), -Infinity);
  if (values.length === 0) [low, high] = [0, 1];
  if (fromZero && low > 0) low = 0;
  if (fromZero && low === 0 && high <= 1 && high > 0.35) high = 1;
  if (low === high) high = low + 1;
  const rough = (high - low) / 6;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= rough * 0.999)!;
  const [first, last] = [Math.floor(low / step + 1e-9), Math.ceil(high / step - 1e-9)];
  const ticks = Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
  return { low: ticks[0]!, high: ticks.at(-1)!, ticks };
}

/** A value of the axis as a place between `from` and `to`. */
export function scaled(value: number, { low, high }: Axis, from: number, to: number): number {
  return from + ((value - low) / (high - low)) * (to - from);
}

/** Ground lines, numbers and names of a panel. */
export function axes(
  { left, right, top, bottom }: Box,
  x: { readonly axis: Axis; readonly name: string; readonly at: (value: number) => number },
  y: { readonly axis: Axis; readonly name: string; readonly at: (value: number) => number },
): string {
  const middle = (top + bottom) / 2;
  return [
    ...x.axis.ticks.flatMap((tick) => {
      const at = crisp(x.at(tick));
      return [
        `<line x1="${at}" y1="${top}" x2="${at}" y2="${bottom}" stroke="#eeeeee"/>`,
        text(x.at(tick), bottom + 18, tickText(tick), 12, 'middle'),
      ];
    }),
    ...y.axis.ticks.flatMap((tick) => {
      const at = crisp(y.at(tick));
      return [
        `<line x1="${left}" y1="${at}" x2="${right}" y2="${at}" stroke="#dddddd"/>`,
        text(left - 8, y.at(tick) + 4, tickText(tick), 12, 'end'),
      ];
    }),
    `<path d="M${crisp(left)} ${top}V${crisp(bottom)}H${right}" fill="none" stroke="#333333"/>`,
    text((left + right) / 2, bottom + 40, x.name, 13, 'middle'),
    `<text x="18" y="${middle}" font-size="13" ${font} text-anchor="middle" transform="rotate(-90 18 ${middle})">${escaped(y.name)}</text>`,
  ].join('\n');
}

/** The whole file: title and subtitle on a white ground, then the parts. */
export function document(title: string, subtitle: string, total: number, parts: readonly string[]): string {
  return `${[
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${total}" viewBox="0 0 ${width} ${total}">`,
    `<title>${escaped(title)}</title>`,
    `<rect width="${width}" height="${total}" fill="#ffffff"/>`,
    text(20, 20, shortened(title, 96), 14),
    ...(subtitle === '' ? [] : [text(20, 37, subtitle, 11)]),
    ...parts,
    '</svg>',
  ].join('\n')}\n`;
}

/** Text at a place. */
export function text(
  x: number,
  y: number,
  content: string,
  size: number,
  anchor: 'start' | 'middle' | 'end' = 'start',
): string {
  const place = anchor === 'start' ? '' : ` text-anchor="${anchor}"`;
  return `<text x="${fixed(x)}" y="${fixed(y)}" font-size="${size}" ${font}${place}>${escaped(content)}</text>`;
}

/** Two decimals: what a screen shows, and the same digits everywhere. */
export function fixed(value: number): string {
  return String(Number(value.toFixed(2)));
}

/** A line of one pixel in the middle of it: between two pixels it would be two grey ones. */
const crisp = (value: number): string => String(Math.floor(value) + 0.5);

/** A number at an axis; `3e-4` for a small one. */
export function tickText(value: number): string {
  const rounded = Number(value.toPrecision(6));
  return Math.abs(rounded) < 0.001 && rounded !== 0 ? rounded.toExponential() : String(rounded);
}

/** At most so many characters, the rest an ellipsis. */
export function shortened(content: string, length: number): string {
  const characters = Array.from(content);
  return characters.length <= length ? content : `${characters.slice(0, length - 1).join('')}…`;
}

/** Names come from strangers' files: no markup, and no character that XML forbids. */
export function escaped(content: string): string {
  return content
    .replaceAll(/[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu, '?')
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;');
}
