import Type from 'typebox';
import { Maybe } from '../http/fields.ts';
import type { Card } from './store.ts';

export const CardTypeField = Type.Enum(['Virtual', 'Physical']);
export const CardStatusField = Type.Enum(['Pending', 'ToActivate', 'Activated', 'Fail', 'Frozen', 'Delete']);

const AddressField = (description: string) => Maybe(Type.String({ maxLength: 128, description }));
/** Who a card is for and where it goes; what must be there, `address.ts` judges. */
export const AddressInfoField = Type.Object({
  first_name: AddressField('English'),
  last_name: AddressField('English'),
  phone_code: AddressField('Country calling code, digits alone'),
  phone: AddressField('Digits alone'),
  postal_code: AddressField("In the country's form"),
  country: AddressField('ISO 3166-1 alpha-2'),
  state: AddressField('English, as all that follows'),
  city: AddressField(''),
  address_line1: AddressField(''),
  address_line2: AddressField(''),
});

/** A card as lists show it. */
export const CardItem = Type.Object({
  card_no: Type.String(),
  card_unique_no: Type.String(),
  cardholder_no: Type.String(),
  card_type: CardTypeField,
  card_last_no: Type.String({ description: 'Last four digits; empty before the card is issued' }),
  organization: Type.String(),
  status: CardStatusField,
  time: Type.Integer({ description: 'Creation, Unix milliseconds' }),
});

export function cardItemOf(card: Card) {
  return {
    card_no: card.cardNo,
    card_unique_no: card.cardUniqueNo,
    cardholder_no: card.cardholderNo,
    card_type: card.cardType,
    card_last_no: card.panLastFour ?? '',
    organization: card.organization,
    status: card.status,
    time: card.createdAtMs,
  };
}
