import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import Type, { type Static } from 'typebox';
import { decideVerification } from '../cardholders/decide-verification.ts';
import { listPendingCardholders, shareTokenIdentity } from '../cardholders/store.ts';
import { listPendingApplications } from '../cards/application-store.ts';
import { unwrapAddress } from '../cards/apply-card.ts';
import { AddressInfoField, CardStatusField, CardTypeField } from '../cards/card-item.ts';
import { changeStatusAsIssuer } from '../cards/change-status-as-issuer.ts';
import { failCard } from '../cards/fail-card.ts';
import { importCard } from '../cards/import-card.ts';
import { Expiry, ImportedCardBody, importedCardOf, Pan } from '../cards/imported-card.ts';
import { issueCard } from '../cards/issue-card.ts';
import { ApiError } from '../errors.ts';
import { success, successSchema } from '../http/envelope.ts';
import { Email, OrderNumber, Result } from '../http/fields.ts';
import { findMerchantId } from '../merchants/store.ts';
import type { Services } from '../services.ts';
import { issuerOriginOf } from './authenticate.ts';

const Time = (description: string) => Type.Integer({ description: `${description}, Unix milliseconds` });
const Reason = Type.String({ minLength: 1, maxLength: 256, pattern: '^[^\\u0000-\\u001f\\u007f]*$' });
const queueQuery = Type.Object({
  after: Type.Optional(OrderNumber('The number of the last item of the page before')),
  size: Type.Optional(Type.String({ pattern: '^([1-9][0-9]?|100)$', description: '1 to 100; 100 if absent' })),
});
const sizeOf = ({ size }: Static<typeof queueQuery>): number => Number(size ?? 100);

/** The issuer's side of cards and cardholders: decide on applications, bring cards in, freeze and delete them. */
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
          querystring: queueQuery,
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
                    address_info: Type.Optional(AddressInfoField),
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
        const pending = await listPendingApplications(db, issuerId, { after, untilMs: clock(), size: sizeOf(request.query) });
        return success(request, {
          list: pending.map((one) => ({
            card_no: one.cardNo,
            merchant_no: one.merchantNo,
            card_unique_no: one.cardUniqueNo,
            cardholder_no: one.cardholderNo,
            card_type: one.cardType,
            card_bin_no: one.cardBinNo,
            ...(one.packageNo !== undefined && { package_no: one.packageNo }),
            ...(one.addressWrapped !== undefined && { address_info: unwrapAddress(keys, one.cardNo, one.addressWrapped) }),
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
            "With the PAN and expiry of the issuer's card system, or without: then a PAN is made under the BIN, and the expiry is in five years. A physical card waits for its activation, a virtual one is activated. Once more it gives the same answer.",
          tags: ['Cards'],
          body: Type.Object({ card_no: OrderNumber('The card'), pan: Type.Optional(Pan), expiry: Type.Optional(Expiry) }),
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
        const card = await issueCard(services, request.issuer, { cardNo, pan, expiry }, issuerOriginOf(request));
        return success(request, { card_no: card.cardNo, status: card.status, pan: card.pan, expiry: card.expiry, cvv2: card.cvv2 });
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
        await failCard(services, request.issuer, { cardNo, reason }, issuerOriginOf(request));
        return success(request, { result: true });
      },
    );

    app.post(
      '/card/import',
      {
        schema: {
          summary: 'Bring in a card that is out already',
          description: "Its PAN lies under one of the issuer's BINs. The same card once more changes nothing.",
          tags: ['Cards'],
          body: ImportedCardBody,
          response: { 200: successSchema(Type.Object({ card_no: Type.String(), cardholder_no: Type.String(), added: Type.Boolean() })) },
        },
      },
      async (request) => {
        const { issuerId, merchantIds } = request.issuer;
        const merchantId = await findMerchantId(db, request.body.merchant_no);
        if (merchantId === undefined || !merchantIds.includes(merchantId)) throw new ApiError('invalidParameter', { field: 'merchant_no' });
        const { cardNo, cardholderNo, added } = await importCard(
          services,
          issuerId,
          merchantId,
          importedCardOf(request.body),
          issuerOriginOf(request),
        );
        return success(request, { card_no: cardNo, cardholder_no: cardholderNo, added });
      },
    );

    app.post(
      '/card/status',
      {
        schema: {
          summary: 'Freeze, unfreeze or delete a card',
          description:
            'What the issuer froze the merchant does not unfreeze. `Activated` ends that freeze; `Delete` is final. The merchant is told the reason.',
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
        const now = await changeStatusAsIssuer(services, request.issuer, { cardNo, status, reason }, issuerOriginOf(request));
        return success(request, { status: now });
      },
    );

    app.get(
      '/cardholder/pending',
      {
        schema: {
          summary: 'List the cardholders that wait for a verdict',
          description: 'Longest first, with the share token of each. For the next page give the last `cardholder_no` as `after`.',
          tags: ['Cardholders'],
          querystring: queueQuery,
          response: {
            200: successSchema(
              Type.Object({
                list: Type.Array(
                  Type.Object({
                    cardholder_no: Type.String(),
                    merchant_no: Type.String(),
                    cardholder_unique_no: Type.String(),
                    status: Type.Enum(['Pending', 'In_progress']),
                    sumsub_share_token: Type.String(),
                    time: Time('Application'),
                  }),
                ),
              }),
            ),
          },
        },
      },
      async (request) => {
        const pending = await listPendingCardholders(db, request.issuer.merchantIds, request.query.after, sizeOf(request.query));
        return success(request, {
          list: pending.map((one) => ({
            cardholder_no: one.cardholderNo,
            merchant_no: one.merchantNo,
            cardholder_unique_no: one.cardholderUniqueNo,
            status: one.status as 'Pending',
            sumsub_share_token: keys.pan.unwrap(one.shareTokenWrapped, shareTokenIdentity(one.cardholderNo)).toString('utf8'),
            time: one.submittedAtMs,
          })),
        });
      },
    );

    app.post(
      '/cardholder/verification',
      {
        schema: {
          summary: "Say how far a cardholder's verification is",
          description:
            '`In_progress`, then `Approved` or `Rejected` with a reason. With `Approved` may come what the PIN policies look at. The same word once more changes nothing.',
          tags: ['Cardholders'],
          body: Type.Object({
            cardholder_no: OrderNumber('The cardholder'),
            status: Type.Enum(['In_progress', 'Approved', 'Rejected']),
            time: Type.Optional(Time('The application that it is about, as the queue shows it; the present one if absent')),
            reason: Type.Optional(Reason),
            email: Type.Optional(Email('As the verifier learned it')),
            birth_date: Type.Optional(Type.String({ pattern: '^[0-9]{4}-[0-9]{2}-[0-9]{2}$' })),
            phone: Type.Optional(Type.String({ pattern: '^[0-9]{4,20}$', description: 'Digits alone' })),
          }),
          response: { 200: Result },
        },
      },
      async (request) => {
        const { cardholder_no: cardholderNo, time: submittedAtMs, status, reason, email, birth_date: birthDate, phone } = request.body;
        if (status === 'Rejected' && reason === undefined) throw new ApiError('invalidParameter', { field: 'reason' });
        const verdict = { cardholderNo, submittedAtMs, status, reason, email, personal: { birthDate, phone } };
        await decideVerification(services, request.issuer.merchantIds, verdict, issuerOriginOf(request));
        return success(request, { result: true });
      },
    );
  };
}
