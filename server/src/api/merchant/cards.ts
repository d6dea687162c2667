import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import Type from 'typebox';
import { ApiError } from '../../api-error.ts';
import { activateCard } from '../../cards/activate-card.ts';
import { applyCard } from '../../cards/apply-card.ts';
import { changeStatusAsMerchant } from '../../cards/change-status-as-merchant.ts';
import { issueClientToken } from '../../cards/issue-client-token.ts';
import { readPrivateInfo } from '../../cards/read-private-info.ts';
import { findCardDetail, listCards } from '../../cards/store.ts';
import { FeeDetail } from '../../products/package-sheet.ts';
import type { Services } from '../../services.ts';
import { AddressField } from '../address-field.ts';
import { CardItem, cardItemOf } from '../card-item.ts';
import { success, successSchema } from '../envelope.ts';
import { CardTypeField, Filter, filled, Maybe, OrderNumber, Result, UniqueNumber } from '../fields.ts';
import { listFields, listHeaders, readListQuery } from '../list-query.ts';
import { actorOf } from './gate.ts';

const Detail = Type.Object({
  ...CardItem.properties,
  card_name: Type.String({ description: "The package's English name; empty without one" }),
  package_name_en: Type.String(),
  package_name_cn: Type.String(),
  fee_detail: FeeDetail,
});

/**
 * The merchant's side of cards: list, show, apply, activate, change the status.
 * Long, because each route has its schema beside its handler.
 */
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
          headers: listHeaders,
          body: Type.Object({ ...listFields, card_no: Filter, card_unique_no: Filter, cardholder_no: Filter }),
          response: { 200: successSchema(Type.Object({ list: Type.Array(CardItem) })) },
        },
      },
      async (request) => {
        const { card_no, card_unique_no, cardholder_no } = request.body;
        const cards = await listCards(db, request.caller.merchantId, {
          ...readListQuery(request.body, request.headers.timezone),
          cardNo: card_no || undefined,
          cardUniqueNo: card_unique_no || undefined,
          cardholderNo: cardholder_no || undefined,
        });
        return success(request, { list: cards.map(cardItemOf) });
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
        const card = await findCardDetail(db, request.caller.merchantId, request.params.card_no);
        if (card === undefined) throw new ApiError('cardMissing');
        return success(request, {
          ...cardItemOf(card),
          card_name: card.cardName,
          package_name_en: card.packageEnName,
          package_name_cn: card.packageCnName,
          fee_detail: card.feeDetail,
        });
      },
    );

    app.get(
      '/card/:card_no/private/info',
      {
        schema: {
          summary: "Get a card's PAN, expiry and CVV",
          description:
            'For merchants that the operator has allowed it; others get 1013. `data` is Base64 of AES/ECB/PKCS5Padding under the apiSecret over JSON with `card_no`, `card_unique_no`, `cvv`, `pan`, `exp_year`, `exp_month`. Only of cards that are `Activated` or `Frozen`.',
          tags: ['Cards'],
          params: Type.Object({ card_no: OrderNumber('The card') }),
          response: { 200: successSchema(Type.String()) },
        },
      },
      async (request) =>
        success(request, await readPrivateInfo(services, request.caller, request.params.card_no, actorOf(request))),
    );

    app.get(
      '/merchant/client/:card_no/token',
      {
        schema: {
          summary: "Get a client access token for a cardholder's browser",
          description: 'Works once. For merchants that the operator has allowed it; others get 1013.',
          tags: ['Cards'],
          params: Type.Object({ card_no: OrderNumber('The card') }),
          response: {
            200: successSchema(
              Type.Object({ client_access_token: Type.String(), expires_in: Type.Integer({ description: 'Seconds' }) }),
            ),
          },
        },
      },
      async (request) => {
        const { token, expiresInSeconds } = await issueClientToken(
          services,
          request.caller,
          request.params.card_no,
          actorOf(request),
        );
        return success(request, { client_access_token: token, expires_in: expiresInSeconds });
      },
    );

    app.post(
      '/card/apply',
      {
        schema: {
          summary: 'Apply for a card',
          description:
            'The card is `Pending` until its issuer decides. `AUTHORIZATION` merchants send a `card_bin_no`, `CREDIT_EXTENSION` merchants a `package_no`. The same application again gets the same answer.',
          tags: ['Cards'],
          body: Type.Object({
            card_bin_no: Filter,
            package_no: Filter,
            cardholder_no: OrderNumber('An `Approved` cardholder'),
            card_unique_no: UniqueNumber("The merchant's own number"),
            card_type: CardTypeField,
            address_info: Maybe(AddressField),
          }),
          response: { 200: successSchema(Type.Object({ card_no: Type.String(), card_unique_no: Type.String() })) },
        },
      },
      async (request) => {
        const {
          card_bin_no,
          package_no,
          cardholder_no: cardholderNo,
          card_unique_no: cardUniqueNo,
          card_type: cardType,
        } = request.body;
        const application = {
          cardBinNo: filled(card_bin_no),
          packageNo: filled(package_no),
          cardholderNo,
          cardUniqueNo,
          cardType,
          address: request.body.address_info ?? undefined,
        };
        const { cardNo } = await applyCard(services, request.caller, application, actorOf(request));
        return success(request, { card_no: cardNo, card_unique_no: cardUniqueNo });
      },
    );

    app.post(
      '/card/active',
      {
        schema: {
          summary: 'Activate a physical card',
          description: 'Only from `ToActivate`. After five wrong tries in 24 hours it answers 1009.',
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
        await activateCard(services, request.caller, { cardNo, cardholderNo, cvv, lastFour }, actorOf(request));
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
        await changeStatusAsMerchant(services, request.caller, { cardNo, status }, actorOf(request));
        return success(request, { result: true });
      },
    );
  };
}
