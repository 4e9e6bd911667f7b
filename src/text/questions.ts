/** Questions in the forms that published text models were given them. */

/** Does this text ask anything: is there a letter or a digit in it? */
export function isQuestion(text: string): boolean {
  return /[\p{L}\p{N}]/u.test(text);
}

/** `clip`: GroundNLQ, CONE, OSGNet. `bert`: VSLNet. `plain`: as it stands. */
export type QuestionForm = 'clip' | 'bert' | 'plain';

export const questionForms: readonly QuestionForm[] = ['clip', 'bert', 'plain'];

/**
 * A question in a form: in lower case, without what stands around it, with one question mark after it.
 *
 * @source EGO4D/episodic-memory NLQ/VSLNet/utils/prepare_ego4d_dataset.py, process_question (`bert`); houzhijian/CONE feature extraction (`clip`)
 * @quirk `bert` takes blanks off before question marks, so that a blank before the mark stays: `where is it ?`
 */
export function questionText(question: string, form: QuestionForm): string {
  if (form === 'plain') return question;
  if (form === 'bert') return `${question.replace(/^ +| +$/g, '').replace(/^\?+|\?+$/g, '')}?`.toLowerCase();
  let text = question;
  for (const mark of [/^\.+|\.+$/g, /^ +| +$/g, /^\?+|\?+$/g]) text = text.replace(mark, '');
  return `${text}?`.toLowerCase();
}
