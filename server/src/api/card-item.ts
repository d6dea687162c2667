import Type from 'typebox';
import type { Card } from '../cards/store.ts';
import { CardStatusField, CardTypeField, Time } from './fields.ts';

/** A card as lists show it. */
export const CardItem = Type.Object({
  card_no: Type.String(),
  card_unique_no: Type.String(),
  cardholder_no: Type.String(),
  card_type: CardTypeField,
  card_last_no: Type.String({ description: 'Last four digits; empty before the card is issued' }),
  organization: Type.String(),
  status: CardStatusField,
  time: Time('Creation'),
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
