/** Figures as pictures, for where SVG cannot go: slides, chats, most reports. */

/** Pixels a unit of the figure: sharp on screens of today. */
const scale = 2;

/**
 * A figure of this folder as PNG. Letters are those of the fonts of the system, so that other machines may give other bytes.
 *
 * @param svg a whole file, with its size
 * @returns bytes of a PNG file; undefined on a system without any font, where a figure would have no words
 */
export async function pngOf(svg: string): Promise<Uint8Array | undefined> {
  const { createCanvas, GlobalFonts, loadImage } = await import('@napi-rs/canvas');
  if (GlobalFonts.families.length === 0) return undefined;
  const image = await loadImage(Buffer.from(svg));
  const canvas = createCanvas(image.width * scale, image.height * scale);
  canvas.getContext('2d').drawImage(image, 0, 0, canvas.width, canvas.height);
  return await canvas.encode('png');
}
