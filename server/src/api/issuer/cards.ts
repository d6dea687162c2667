import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import Type from 'typebox';
import { ApiError } from '../../api-error.ts';
import { listPendingApplications } from '../../cards/application-store.ts';
import { unwrapAddress } from '../../cards/apply-card.ts';
import { changeStatusAsIssuer } from '../../cards/change-status-as-issuer.ts';
import { failCard } from '../../cards/fail-card.ts';
import { importCard } from '../../cards/import-card.ts';
import { issueCard } from '../../cards/issue-card.ts';
import { findMerchantId } from '../../merchants/store.ts';
import type { Services } from '../../services.ts';
import { AddressField } from '../address-field.ts';
import { success, successSchema } from '../envelope.ts';
import { CardStatusField, CardTypeField, Expiry, OrderNumber, Pan, Result, Time } from '../fields.ts';
import { ImportedCardBody, importedCardOf } from '../imported-card.ts';
import { issuerActorOf } from './gate.ts';
import { QueueQuery, Reason, readQueueSize } from './queue.ts';

/**
 * The issuer's side of cards: decide on applications, import cards, freeze and delete them.
 * Long, because each route has its schema beside its handler.
 */
export function issuerCardRoutes(services: Services): FastifyPluginAsyncTypebox {
  const { db, keys, clock } = services;
  return async (app) => {
    app.get(
      '/card/pending',
      {
        schema: {
          summary: 'List the applications that wait for a decision',
          description: "Under the issuer's BINs, oldest first. For the next page give the last `card_no` as `after`.",
          tags: ['Cards'],
          querystring: QueueQuery,
          response: {
            200: successSchema(
              Type.Object({
                list: Type.Array(
                  Type.Object({
                    card_no: Type.String(),
                    merchant_no: Type.String(),
                    card_unique_no: Type.String(),
                    cardholder_no: Type.String(),
                    card_type: CardTypeField,
                    card_bin_no: Type.String(),
                    package_no: Type.Optional(Type.String()),
                    address_info: Type.Optional(AddressField),
                    time: Time('Application'),
                  }),
                ),
              }),
            ),
          },
        },
      },
      async (request) => {
        const { after } = request.query;
        const { issuerId } = request.issuer;
        const pending = await listPendingApplications(db, issuerId, {
          after,
          untilMs: clock(),
          size: readQueueSize(request.query),
        });
        return success(request, {
          list: pending.map((one) => ({
            card_no: one.cardNo,
            merchant_no: one.merchantNo,
            card_unique_no: one.cardUniqueNo,
            cardholder_no: one.cardholderNo,
            card_type: one.cardType,
            card_bin_no: one.cardBinNo,
            ...(one.packageNo !== null && { package_no: one.packageNo }),
            ...(one.addressWrapped !== null && { address_info: unwrapAddress(keys, one.cardNo, one.addressWrapped) }),
            time: one.appliedAtMs,
          })),
        });
      },
    );

    app.post(
      '/card/issued',
      {
        schema: {
          summary: 'Mark a card issued',
          description:
            "With the PAN and expiry of the issuer's card system, or without: then a PAN is made under the BIN, and the card expires in five years. A physical card then waits for its activation, a virtual card is activated. The same call again gets the same answer.",
          tags: ['Cards'],
          body: Type.Object({
            card_no: OrderNumber('The card'),
            pan: Type.Optional(Pan),
            expiry: Type.Optional(Expiry),
          }),
          response: {
            200: successSchema(
              Type.Object({
                card_no: Type.String(),
                status: CardStatusField,
                pan: Type.String(),
                expiry: Type.String({ description: 'YYMM' }),
                cvv2: Type.String(),
              }),
            ),
          },
        },
      },
      async (request) => {
        const { card_no: cardNo, pan, expiry } = request.body;
        const card = await issueCard(services, request.issuer, { cardNo, pan, expiry }, issuerActorOf(request));
        return success(request, {
          card_no: card.cardNo,
          status: card.status,
          pan: card.pan,
          expiry: card.expiry,
          cvv2: card.cvv2,
        });
      },
    );

    app.post(
      '/card/failed',
      {
        schema: {
          summary: 'Refuse a card that was applied for',
          tags: ['Cards'],
          body: Type.Object({ card_no: OrderNumber('The card'), reason: Reason }),
          response: { 200: Result },
        },
      },
      async (request) => {
        const { card_no: cardNo, reason } = request.body;
        await failCard(services, request.issuer, { cardNo, reason }, issuerActorOf(request));
        return success(request, { result: true });
      },
    );

    app.post(
      '/card/import',
      {
        schema: {
          summary: 'Bring in a card that exists elsewhere',
          description: "Its PAN lies under one of the issuer's BINs. The same card again changes nothing.",
          tags: ['Cards'],
          body: ImportedCardBody,
          response: {
            200: successSchema(
              Type.Object({ card_no: Type.String(), cardholder_no: Type.String(), added: Type.Boolean() }),
            ),
          },
        },
      },
      async (request) => {
        const { issuerId, merchantIds } = request.issuer;
        const merchantId = await findMerchantId(db, request.body.merchant_no);
        if (merchantId === undefined || !merchantIds.includes(merchantId))
          throw new ApiError('invalidParameter', { field: 'merchant_no' });
        const owner = { issuerId, merchantId };
        const card = importedCardOf(request.body);
        const { cardNo, cardholderNo, added } = await importCard(services, owner, card, issuerActorOf(request));
        return success(request, { card_no: cardNo, cardholder_no: cardholderNo, added });
      },
    );

    app.post(
      '/card/status',
      {
        schema: {
          summary: 'Freeze, unfreeze or delete a card',
          description:
            'The merchant cannot unfreeze what the issuer froze. `Activated` ends that freeze; `Delete` is final. The merchant is told the reason.',
          tags: ['Cards'],
          body: Type.Object({
            card_no: OrderNumber('The card'),
            status: Type.Enum(['Frozen', 'Activated', 'Delete']),
            reason: Type.Optional(Reason),
          }),
          response: { 200: successSchema(Type.Object({ status: CardStatusField })) },
        },
      },
      async (request) => {
        const { card_no: cardNo, status, reason = '' } = request.body;
        const change = { cardNo, status, reason };
        const changed = await changeStatusAsIssuer(services, request.issuer, change, issuerActorOf(request));
        return success(request, { status: changed });
      },
    );
  };
}
