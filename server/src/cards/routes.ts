import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import Type from 'typebox';
import { originOf } from '../auth/authenticate.ts';
import { ApiError } from '../errors.ts';
import { success, successSchema } from '../http/envelope.ts';
import { OrderNumber, Result } from '../http/fields.ts';
import { listFields, readListQuery } from '../http/list-query.ts';
import type { Services } from '../services.ts';
import { activateCard } from './activate-card.ts';
import { type Card, findCard, listCards } from './store.ts';
import { updateCardStatus } from './update-card-status.ts';

const CardTypeField = Type.Enum(['Virtual', 'Physical']);
const CardStatusField = Type.Enum(['Pending', 'ToActivate', 'Activated', 'Fail', 'Frozen', 'Delete']);
const Time = Type.Integer({ description: 'Creation, Unix milliseconds' });

const ListItem = Type.Object({
  card_no: Type.String(),
  card_unique_no: Type.String(),
  cardholder_no: Type.String(),
  card_type: CardTypeField,
  card_last_no: Type.String({ description: 'Last four digits; empty before the card is issued' }),
  organization: Type.String(),
  status: CardStatusField,
  time: Time,
});

const Detail = Type.Object({
  card_no: Type.String(),
  card_unique_no: Type.String(),
  cardholder_no: Type.String(),
  card_name: Type.String(),
  package_name_en: Type.String(),
  package_name_cn: Type.String(),
  card_type: CardTypeField,
  organization: Type.String(),
  card_last_no: Type.String(),
  fee_detail: Type.Object({}),
  status: CardStatusField,
  time: Time,
});

function listItemOf(card: Card) {
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

export function cardRoutes(services: Services): FastifyPluginAsyncTypebox {
  const { db } = services;
  return async (app) => {
    app.post(
      '/card/list',
      {
        schema: {
          summary: 'List cards',
          description:
            'Newest first. Times are `yyyy-MM-dd` or `yyyy-MM-dd HH:mm:ss` in the zone of the `Timezone` header; at most 90 days.',
          tags: ['Cards'],
          headers: Type.Object({ timezone: Type.Optional(Type.String({ description: '`UTC+8` if absent' })) }),
          body: Type.Object({
            ...listFields,
            card_no: Type.Optional(Type.String({ maxLength: 64, pattern: '^[^\\u0000]*$' })),
            card_unique_no: Type.Optional(Type.String({ maxLength: 64, pattern: '^[^\\u0000]*$' })),
            cardholder_no: Type.Optional(Type.String({ maxLength: 64, pattern: '^[^\\u0000]*$' })),
          }),
          response: { 200: successSchema(Type.Object({ list: Type.Array(ListItem) })) },
        },
      },
      async (request) => {
        const { card_no, card_unique_no, cardholder_no } = request.body;
        const query = readListQuery(request.body, request.headers.timezone);
        // An empty filter is none: the API's own samples send fields empty.
        const cards = await listCards(db, request.caller.merchantId, {
          ...query,
          cardNo: card_no || undefined,
          cardUniqueNo: card_unique_no || undefined,
          cardholderNo: cardholder_no || undefined,
        });
        return success(request, { list: cards.map(listItemOf) });
      },
    );

    app.get(
      '/card/:card_no/detail',
      {
        schema: {
          summary: 'Get a card',
          tags: ['Cards'],
          params: Type.Object({ card_no: OrderNumber('The card') }),
          response: { 200: successSchema(Detail) },
        },
      },
      async (request) => {
        const card = await findCard(db, request.caller.merchantId, request.params.card_no);
        if (card === undefined) throw new ApiError('cardMissing');
        return success(request, {
          ...listItemOf(card),
          card_name: card.cardName,
          package_name_en: '',
          package_name_cn: '',
          fee_detail: {},
        });
      },
    );

    app.post(
      '/card/active',
      {
        schema: {
          summary: 'Activate a physical card',
          description: 'From `ToActivate` alone. Five wrong tries in 24 hours, then 1009.',
          tags: ['Cards'],
          body: Type.Object({
            cardholder_no: OrderNumber('The cardholder that the card belongs to'),
            card_no: OrderNumber('The card'),
            cvv: Type.String({ description: 'The three digits on the card, in the same envelope as a PIN' }),
            card_last_no: Type.String({ pattern: '^[0-9]{4}$', description: "The card number's last four digits" }),
          }),
          response: { 200: Result },
        },
      },
      async (request) => {
        const { card_no: cardNo, cardholder_no: cardholderNo, cvv, card_last_no: lastFour } = request.body;
        await activateCard(services, request.caller, { cardNo, cardholderNo, cvv, lastFour }, originOf(request));
        return success(request, { result: true });
      },
    );

    app.post(
      '/card/status/update',
      {
        schema: {
          summary: 'Freeze, unfreeze or delete a card',
          description:
            '`Frozen` from `Activated`; `Activated` from `Frozen`; `Delete`, which is final, from `ToActivate`, `Activated` or `Frozen`.',
          tags: ['Cards'],
          body: Type.Object({
            card_no: OrderNumber('The card'),
            status: Type.Enum(['Frozen', 'Activated', 'Delete']),
          }),
          response: { 200: Result },
        },
      },
      async (request) => {
        const { card_no: cardNo, status } = request.body;
        await updateCardStatus(services, request.caller, { cardNo, status }, originOf(request));
        return success(request, { result: true });
      },
    );
  };
}
