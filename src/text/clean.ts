/**
 * Text as CLIP's tokenizer sees it: entities replaced, one blank between words, lower case. The original passes texts through the
 * Python package ftfy first; in its place stand Unicode form NFC and straight quotes. What else ftfy does (mending of wrongly decoded
 * text, ligatures, full-width forms, control characters) is not done; it changes no text that was well formed.
 *
 * @source openai/CLIP clip/simple_tokenizer.py: basic_clean, whitespace_clean, the lower-casing in encode
 */

/** The 96 characters from U+00A0 on, by their names in HTML. */
const latin1Names =
  'nbsp iexcl cent pound curren yen brvbar sect uml copy ordf laquo not shy reg macr deg plusmn sup2 sup3 acute micro para middot ' +
  'cedil sup1 ordm raquo frac14 frac12 frac34 iquest Agrave Aacute Acirc Atilde Auml Aring AElig Ccedil Egrave Eacute Ecirc Euml ' +
  'Igrave Iacute Icirc Iuml ETH Ntilde Ograve Oacute Ocirc Otilde Ouml times Oslash Ugrave Uacute Ucirc Uuml Yacute THORN szlig ' +
  'agrave aacute acirc atilde auml aring aelig ccedil egrave eacute ecirc euml igrave iacute icirc iuml eth ntilde ograve oacute ' +
  'ocirc otilde ouml divide oslash ugrave uacute ucirc uuml yacute thorn yuml';

/** Names that HTML also takes without the semicolon. */
const openNames: ReadonlyMap<string, string> = new Map([
  ...latin1Names.split(' ').map((name, i): [string, string] => [name, String.fromCharCode(0xa0 + i)]),
  ...Object.entries({ amp: '&', lt: '<', gt: '>', quot: '"', AMP: '&', LT: '<', GT: '>', QUOT: '"' }),
]);

/** Further names that occur in captions; they need their semicolon. */
const closedNames: ReadonlyMap<string, string> = new Map(
  Object.entries({
    apos: "'",
    ndash: '–',
    mdash: '—',
    lsquo: '‘',
    rsquo: '’',
    sbquo: '‚',
    ldquo: '“',
    rdquo: '”',
    bdquo: '„',
    lsaquo: '‹',
    rsaquo: '›',
    hellip: '…',
    bull: '•',
    trade: '™',
    euro: '€',
    prime: '′',
    Prime: '″',
    minus: '−',
    larr: '←',
    uarr: '↑',
    rarr: '→',
    darr: '↓',
    ensp: '\u2002',
    emsp: '\u2003',
    thinsp: '\u2009',
    zwnj: '\u200c',
    zwj: '\u200d',
    OElig: 'Œ',
    oelig: 'œ',
    Scaron: 'Š',
    scaron: 'š',
    Yuml: 'Ÿ',
    num: '#',
    percnt: '%',
    lpar: '(',
    rpar: ')',
    comma: ',',
    period: '.',
    colon: ':',
    excl: '!',
    quest: '?',
    commat: '@',
    lowbar: '_',
    Tab: '\t',
    NewLine: '\n',
  }),
);

/** What numbers 128 to 159 mean in HTML: windows-1252, the rest of which are themselves. */
const windows1252 = '€\x81‚ƒ„…†‡ˆ‰Š‹Œ\x8dŽ\x8f\x90‘’“”•–—˜™š›œ\x9džŸ';

const entity = /&(?:#(\d+);?|#[xX]([\dA-Fa-f]+);?|([A-Za-z][\dA-Za-z]{1,31})(;?))/g;

/** Entities of HTML replaced once: numbers, the names of Latin-1 and the common ones of typography; others stay as they are. */
export function unescapeHtml(text: string): string {
  if (!text.includes('&')) return text;
  return text.replace(entity, (whole, decimal?: string, hex?: string, name?: string, semicolon?: string) => {
    if (name !== undefined) return namedCharacter(name, semicolon !== '') ?? whole;
    return numberedCharacter(decimal === undefined ? Number.parseInt(hex!, 16) : Number(decimal)); // one of the two matched
  });
}

/** `&name;`, or without the semicolon the longest known beginning: `&ampere` is `&ere`. Undefined for an unknown name. */
function namedCharacter(name: string, isClosed: boolean): string | undefined {
  const exact = openNames.get(name) ?? (isClosed ? closedNames.get(name) : undefined);
  if (exact !== undefined) return exact;
  for (let length = name.length - 1; length >= 2; length--) {
    const character = openNames.get(name.slice(0, length));
    if (character !== undefined) return character + name.slice(length) + (isClosed ? ';' : '');
  }
  return undefined;
}

function numberedCharacter(code: number): string {
  if (code >= 0x80 && code <= 0x9f) return windows1252[code - 0x80]!;
  if (code === 0 || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) return '\ufffd';
  if (code < 0x20 && code !== 0x09 && code !== 0x0a && code !== 0x0d) return code === 0x0c ? '\f' : '';
  return String.fromCodePoint(code);
}

/** What Python counts as white space (and JavaScript does not): the separators U+001C to U+001F, and U+0085. */
const whiteSpace = /[\s\x1c-\x1f\x85]+/g;

/** The text that is cut into tokens: entities, NFC, quotes, white space, lower case, in that order. */
export function cleanText(text: string): string {
  return unescapeHtml(unescapeHtml(text))
    .normalize('NFC')
    .replace(/[\u02bc\u2018-\u201b]/g, "'")
    .replace(/[\u201c-\u201f]/g, '"')
    .replace(whiteSpace, ' ')
    .trim()
    .toLowerCase();
}
