import Type, { type Static } from 'typebox';
import type { ImportedCard } from '../cards/import-card.ts';
import { LINE } from '../text.ts';
import { CardTypeField, Email, Expiry, OrderNumber, Pan, UniqueNumber } from './fields.ts';

/**
 * A card that exists elsewhere already, as `card/import` and each line of `cards import` bring it
 * in.
 */
export const ImportedCardBody = Type.Object({
  merchant_no: OrderNumber('Whose customer holds it'),
  card_no: Type.Optional(OrderNumber('Its number so far; a new one if absent')),
  card_unique_no: UniqueNumber("The merchant's own number"),
  cardholder_no: Type.Optional(OrderNumber('Its cardholder')),
  cardholder_unique_no: Type.Optional(UniqueNumber("Or the merchant's own number of it; a new one is made `Approved`")),
  email: Type.Optional(Email('Of a new cardholder')),
  card_type: CardTypeField,
  status: Type.Enum(['ToActivate', 'Activated', 'Frozen']),
  frozen_by: Type.Optional(
    Type.Enum(['merchant', 'issuer'], { description: 'Who may unfreeze it; `issuer` if absent' }),
  ),
  card_name: Type.Optional(Type.String({ maxLength: 128, pattern: LINE })),
  pan: Pan,
  expiry: Expiry,
});

export function importedCardOf(body: Static<typeof ImportedCardBody>): ImportedCard {
  return {
    cardNo: body.card_no,
    cardUniqueNo: body.card_unique_no,
    cardholderNo: body.cardholder_no,
    cardholderUniqueNo: body.cardholder_unique_no,
    email: body.email,
    cardType: body.card_type,
    status: body.status,
    frozenBy: body.frozen_by ?? 'issuer',
    cardName: body.card_name,
    pan: body.pan,
    expiry: body.expiry,
  };
}
