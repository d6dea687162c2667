import type { ErrorName } from '@pinward/contract/errors';
import type { CardType } from '@pinward/contract/vocabulary';
import { type CountryCode, getCountries, getCountryCallingCode, isPossiblePhoneNumber } from 'libphonenumber-js/min';
import { ApiError } from '../api-error.ts';
import { isBlank } from '../text.ts';
import { toAscii } from './ascii.ts';
import { fitsCountry } from './postal-code.ts';

/**
 * Who a card is for and where it goes. In wire names, since it is passed on to the issuer.
 */
export type AddressInfo = Partial<Record<(typeof FIELDS)[number], string>>;

/** An address as a call gives it. A field that is blank or `null` counts as absent. */
export type GivenAddress = Partial<Record<(typeof FIELDS)[number], string | null>>;

const FIELDS = [
  'first_name',
  'last_name',
  'phone_code',
  'phone',
  'postal_code',
  'country',
  'state',
  'city',
  'address_line1',
  'address_line2',
] as const;

/** The fields that an address needs. For a virtual card, name and phone may be absent. */
const REQUIRED: Record<CardType, readonly (keyof AddressInfo)[]> = {
  Physical: FIELDS.slice(0, 9),
  Virtual: ['postal_code', 'country', 'state', 'city', 'address_line1'],
};

const COUNTRIES: ReadonlySet<string> = new Set(getCountries());
const CALLING_CODES: ReadonlySet<string> = new Set(getCountries().map((country) => getCountryCallingCode(country)));

/**
 * Checks an address and returns it in its one form: fields in a fixed order, without the
 * blank ones, common characters beyond ASCII replaced, the phone by its digits alone.
 * Undefined for a virtual card without an address. Errors, each with the field before its
 * text: 1004, 2008, 2007, 2009, 2010, 4010.
 */
export function judgeAddress(given: GivenAddress | undefined, cardType: CardType): AddressInfo | undefined {
  if (given === undefined && cardType === 'Virtual') return undefined;
  if (given === undefined) throw new ApiError('invalidParameter', { field: 'address_info' });
  const address: AddressInfo = {};
  for (const field of FIELDS) {
    const text = toAscii(given[field] ?? '');
    if (!isBlank(text)) address[field] = text;
  }
  for (const field of REQUIRED[cardType]) if (address[field] === undefined) throw refusal('invalidParameter', field);
  for (const field of FIELDS) if (!field.startsWith('phone')) judgeCharacters(field, address[field] ?? '');

  const { country = '', postal_code: postalCode = '', phone_code: phoneCode, phone } = address;
  if (!/^[A-Z]{2}$/.test(country)) throw refusal('invalidParameter', 'country');
  if (!COUNTRIES.has(country)) throw refusal('countryUnsupported', 'country');
  if (!fitsCountry(postalCode, country)) throw refusal('postalCodeUnfit', 'postal_code');
  address.postal_code = postalCode.trim().toUpperCase();
  if (phoneCode !== undefined && !/^[0-9]{1,4}$/.test(phoneCode)) throw refusal('invalidParameter', 'phone_code');
  if (phoneCode !== undefined && !CALLING_CODES.has(phoneCode)) throw refusal('phoneCodeUnsupported', 'phone_code');
  if (phone !== undefined) address.phone = readPhone(phone, phoneCode ?? getCountryCallingCode(country as CountryCode));
  return address;
}

/**
 * English means ASCII (2008). An address may have letters, digits, spaces and some signs
 * (2007). A name is stricter (1004).
 */
function judgeCharacters(field: keyof AddressInfo, text: string): void {
  if (/[^\x20-\x7e]/.test(text)) throw refusal('englishOnly', field);
  if (!/^[A-Za-z0-9 .,'&()/#-]*$/.test(text)) throw refusal('addressCharacters', field);
  if (field.endsWith('_name') && text !== '' && !isName(text)) throw refusal('invalidParameter', field);
}

/**
 * Has a letter. Digits begin a word (`John Smith 3rd`, `Jennifer 8. Lee`); a letter before one is a
 * slip.
 */
function isName(text: string): boolean {
  return /[A-Za-z]/.test(text) && !/[^A-Za-z0-9 .,'&/-]|[A-Za-z][0-9]/.test(text);
}

/**
 * The digits of a phone number, without those of the calling code if it begins with `+`.
 * Blanks and signs between the digits do not count. It must be possible under the calling
 * code, as it is dialled from abroad or, with a leading 0 or the like, within the country.
 */
function readPhone(given: string, callingCode: string): string {
  const international = /^\s*\+/.test(given);
  const digits = given.replaceAll(/[ ().+/-]/g, '');
  const phone = international && digits.startsWith(callingCode) ? digits.slice(callingCode.length) : digits;
  const isPossible =
    isPossiblePhoneNumber(`+${callingCode}${phone}`) ||
    isPossiblePhoneNumber(phone, { defaultCallingCode: callingCode });
  if (!/^[0-9]{4,15}$/.test(phone) || (international && phone === digits) || !isPossible)
    throw refusal('invalidParameter', 'phone');
  return phone;
}

function refusal(error: ErrorName, field: keyof AddressInfo): ApiError {
  return new ApiError(error, { field: `address_info.${field}` });
}
