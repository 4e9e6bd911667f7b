/** `annotations/tabletop.json`: how the splits of a folder of `synth` were made, and which of its clips are compositional. */
import { findings, loadValidator } from '../check.js';
import { EgolensError } from '../errors.js';
import { readSmallFile } from '../files.js';
import type { SetRequest } from '../world/data-set.js';
import type { Split } from '../world/scene.js';

/** `egolens.tabletop/1`, the members that are used. */
export interface TabletopIndex {
  readonly sets: readonly SetRequest[];
  readonly clips: readonly {
    readonly video_uid: string;
    readonly split: Split;
    /** Shows wearers, tables and pairs of noun and colour that training never shows. */
    readonly compositional: boolean;
  }[];
}

const mostBytes = 2 ** 30;

/** @throws EgolensError data.invalid for another file, limit.* for one of more than 1 GiB, input.* */
export async function readTabletop(path: string): Promise<TabletopIndex> {
  const text = new TextDecoder().decode(await readSmallFile(path, mostBytes));
  const advice = { try: 'name another folder, or remove the file', input: path };
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new EgolensError('data.invalid', `\`${path}\`: no JSON`, { cause, ...advice });
  }
  const [fault] = findings(await loadValidator('egolens.tabletop/1'), value);
  if (fault !== undefined) {
    const { at, expected, found } = fault;
    throw new EgolensError('data.invalid', `\`${path}\`: ${at}: expected ${expected}, found ${found}`, advice);
  }
  return value as TabletopIndex; // the schema was obeyed
}
