/** What can be seen and done on the table: verbs, nouns, colours, and the words for them. The order of each list is its label. */

export const verbs = ['take', 'put', 'push', 'turn', 'open', 'close', 'cut', 'pour', 'stir', 'wipe'] as const;
export type Verb = (typeof verbs)[number];

export const nouns = [
  ...(['cup', 'bowl', 'bottle', 'knife', 'apple', 'bread'] as const),
  ...(['box', 'book', 'phone', 'spoon', 'sponge', 'plate'] as const),
] as const;
export type Noun = (typeof nouns)[number];

export const colours = ['red', 'orange', 'yellow', 'green', 'blue', 'purple', 'white', 'black'] as const;
export type Colour = (typeof colours)[number];

/** What a verb can be done to. Nothing but `cut` and `stir` is bound to fewer than three nouns: a noun must not give the verb away. */
export const affordances: Readonly<Record<Verb, readonly Noun[]>> = {
  take: nouns,
  put: nouns,
  push: nouns,
  turn: ['cup', 'knife', 'bread', 'book', 'phone', 'spoon', 'sponge'],
  open: ['bottle', 'box', 'book'],
  close: ['bottle', 'box', 'book'],
  cut: ['apple', 'bread'],
  pour: ['cup', 'bowl', 'bottle'],
  stir: ['cup', 'bowl'],
  wipe: ['box', 'book', 'phone', 'plate'],
};

/** What takes what is poured. */
export const receivers: readonly Noun[] = ['cup', 'bowl'];

/** What the hand holds when it comes. */
export const toolOf: Readonly<Partial<Record<Verb, Noun>>> = { cut: 'knife', stir: 'spoon', wipe: 'sponge' };

/** Verbs whose action can change how an object is (not only where it is). */
export const changingVerbs: readonly Verb[] = ['open', 'close', 'cut', 'pour', 'wipe'];

/** As it stands after `did I`. */
export const asked: Readonly<Record<Verb, string>> = {
  take: 'take',
  put: 'put down',
  push: 'push',
  turn: 'turn',
  open: 'open',
  close: 'close',
  cut: 'cut',
  pour: 'pour from',
  stir: 'stir in',
  wipe: 'wipe',
};

/** `#C C puts down the red apple`. */
export const presentOf: Readonly<Record<Verb, string>> = {
  take: 'takes',
  put: 'puts down',
  push: 'pushes',
  turn: 'turns',
  open: 'opens',
  close: 'closes',
  cut: 'cuts',
  pour: 'pours from',
  stir: 'stirs in',
  wipe: 'wipes',
};

/** Two of the eight colours of every noun are kept for the compositional part of the test split: no training clip shows them. */
export function isHeldOut(noun: Noun, colour: Colour): boolean {
  return (colours.indexOf(colour) + 3 * nouns.indexOf(noun)) % 4 === 0;
}
