import Type from 'typebox';
import { LINE } from '../text.ts';
import { Maybe } from './fields.ts';

const Line = (description: string) => Maybe(Type.String({ maxLength: 128, pattern: LINE, description }));

/** Who a card is for and where it goes. Which fields are required, cards/address.ts judges. */
export const AddressField = Type.Object({
  first_name: Line('English'),
  last_name: Line('English'),
  phone_code: Line('Country calling code, digits alone'),
  phone: Line('Its digits; blanks, hyphens, dots, brackets and a + before the country calling code are left out'),
  postal_code: Line("In the country's form"),
  country: Line('ISO 3166-1 alpha-2'),
  state: Line('English, as all that follow'),
  city: Line(''),
  address_line1: Line(''),
  address_line2: Line(''),
});
