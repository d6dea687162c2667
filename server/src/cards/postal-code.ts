/*
 * The forms of postal codes, only for countries where every code has one of them: 9 stands for a
 * digit, A for a letter, * for either. Blanks, hyphens and dots do not count, nor does the country
 * before a code or any word before one of digits (`LV-1010`, `D-10115`, `C.P. 02860`). A country
 * that is not here has no postal codes, or has them in forms that changed or that not everybody
 * keeps to: there any code passes, since a refusal would hit a real customer (docs/adr/0021).
 */
const FORMS: readonly [forms: string, countries: string][] = [
  ['999', 'FO IS'],
  ['9999', 'AF AL AT AU BD BE BG CC CH CV CX DK GE GL HU LI LU LV MD MK NF NO NZ PH SI SJ TN ZA'],
  ['9999 99999', 'CY'],
  ['9999 999999', 'AM'],
  ['9999AA', 'NL'],
  ['9999 9999999', 'PT'],
  ['9999 A9999 A9999AAA', 'AR'],
  ['99999', 'AX BA CU CZ DE DZ EE ES FI FR GR HR ID IT KE LK LT MA MC ME MX MY NP PK SE SK SM TH TR UA VA'],
  ['99999', 'BL GF GP MF MQ NC PF PM RE WF YT'],
  ['99999 999999', 'KR RS VN'],
  ['99999 9999999', 'EG IL'],
  ['99999 999999999', 'AS FM GU MH MP PR PW SA US VI'],
  ['999999', 'BY CN CO IN KG RO RU SG TJ TM UZ'],
  ['999999 A99A9A9', 'KZ'],
  ['999 99999 999999', 'TW'],
  ['9999999', 'CL JP'],
  ['99999999', 'BR'],
  ['A9A9A9', 'CA'],
  ['A9*****', 'IE'],
  // BFPO: forces post. GIR0AA: a bank's own code.
  ['A99AA A999AA AA99AA AA999AA A9A9AA AA9A9AA GIR9AA BFPO9 BFPO99 BFPO999 BFPO9999', 'GB GG IM JE'],
];

const FORM_OF: ReadonlyMap<string, RegExp> = new Map(
  FORMS.flatMap(([forms, countries]) => {
    const pattern = new RegExp(`^(${forms.replaceAll(' ', '|').replaceAll(/[9A*]/g, characterOf)})$`);
    return countries.split(' ').map((country) => [country, pattern] as const);
  }),
);

function characterOf(sign: string): string {
  return { '9': '[0-9]', A: '[A-Z]' }[sign] ?? '[A-Z0-9]';
}

/** Whether a code in ASCII can be one of the country (ISO 3166-1 alpha-2), by its form alone. */
export function fitsCountry(postalCode: string, country: string): boolean {
  const form = FORM_OF.get(country);
  if (form === undefined) return true;
  const code = postalCode.toUpperCase().replaceAll(/[^A-Z0-9]/g, '');
  const withoutCountry = code.startsWith(country) ? code.slice(country.length) : code;
  const digits = code.replace(/^[A-Z]+(?=[0-9]+$)/, '');
  return [code, withoutCountry, digits].some((spelling) => form.test(spelling));
}
