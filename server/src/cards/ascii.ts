/** Characters that keyboards and word processors put where English has one in ASCII. */
const SPELLINGS: readonly [beyondAscii: RegExp, ascii: string][] = [
  [/[\u2018\u2019\u201b\u02bc\u02bb\u2032\u00b4]/g, "'"],
  [/[\u2010-\u2015\u2212]/g, '-'],
  [/[\u00a0\u2000-\u200a\u202f\u3000]/g, ' '],
  [/\u3012/g, ''], // the sign of the Japanese post before a postal code
];

/**
 * Writes typographic apostrophes, dashes and blanks and the full-width letters, digits and
 * signs of East Asian keyboards in ASCII. Other characters stay.
 */
export function toAscii(text: string): string {
  if (/^[\x20-\x7e]*$/.test(text)) return text;
  const narrow = text.replaceAll(/[\uff01-\uff5e]/g, (wide) => String.fromCharCode(wide.charCodeAt(0) - 0xfee0));
  return SPELLINGS.reduce((folded, [beyondAscii, ascii]) => folded.replaceAll(beyondAscii, ascii), narrow);
}
