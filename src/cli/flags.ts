import { Flags } from '@oclif/core';

/** Flags that several commands share; a flag has one meaning in all of them. */
export const deviceFlags = {
  device: Flags.string({
    default: 'auto',
    env: 'EGOLENS_DEVICE',
    helpValue: 'auto|cpu|cuda[:N]|webgpu[:N]',
    summary: 'Where to compute. auto may choose and says so; a named device never falls back.',
    helpGroup: 'DEVICE',
  }),
  threads: Flags.integer({
    min: 1,
    max: 1024,
    env: 'EGOLENS_THREADS',
    summary: "Threads of one run on the CPU; default: the runtime's choice.",
    helpGroup: 'DEVICE',
  }),
};

export const outputFlag = Flags.string({ char: 'o', summary: 'Folder for the results.', helpValue: 'DIR' });
export const forceFlag = Flags.boolean({ summary: 'Replace what exists.' });

/** Members that are undefined left out: what `exactOptionalPropertyTypes` asks for when flags become options. */
export function given<T extends object>(values: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>; // entries that are undefined were just removed
  };
}
