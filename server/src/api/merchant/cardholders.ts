import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import Type from 'typebox';
import { ApiError } from '../../api-error.ts';
import { applyCardholder } from '../../cardholders/apply-cardholder.ts';
import { findCardholder, listCardholders } from '../../cardholders/store.ts';
import { listIssuedCards } from '../../cards/store.ts';
import { requireKnownShareToken } from '../../sandbox/simulated-verifier.ts';
import type { Services } from '../../services.ts';
import { CardItem, cardItemOf } from '../card-item.ts';
import { success, successSchema } from '../envelope.ts';
import { CardholderStatusField, Filter, Maybe, OrderNumber, Time, UniqueNumber } from '../fields.ts';
import { listFields, listHeaders, readListQuery } from '../list-query.ts';
import { actorOf } from './gate.ts';

/** Cards that `cardholder/info` shows, the newest; `card/list` has them all. */
const CARDS_LIMIT = 100;

/**
 * The merchant's side of cardholders: send them to verification, list and show them.
 * Long, because each route has its schema beside its handler.
 */
export function cardholderRoutes(services: Services): FastifyPluginAsyncTypebox {
  const { db, config } = services;
  return async (app) => {
    app.post(
      '/cardholder/apply',
      {
        schema: {
          summary: "Apply for a cardholder's verification",
          description:
            'Creates a cardholder, or with `cardholder_no` applies again after a rejection. The same application again gets the same answer.',
          tags: ['Cardholders'],
          body: Type.Object({
            cardholder_no: Maybe(
              Type.String({ pattern: '^[A-Za-z0-9_-]{0,64}$', description: 'Empty or absent to create' }),
            ),
            cardholder_unique_no: UniqueNumber("The merchant's own number"),
            sumsub_share_token: Type.String({
              maxLength: 2_048,
              // The lookahead refuses first: without it a long token with a fault would be searched
              // again and again.
              pattern: '^(?=[\\x21-\\x7e]*$).*[A-Za-z0-9].*$',
              description: 'Of the verifier Sumsub',
            }),
          }),
          response: {
            200: successSchema(Type.Object({ cardholder_no: Type.String(), cardholder_unique_no: Type.String() })),
          },
        },
      },
      async (request) => {
        const {
          cardholder_no,
          cardholder_unique_no: cardholderUniqueNo,
          sumsub_share_token: shareToken,
        } = request.body;
        if (config.mode === 'sandbox') requireKnownShareToken(shareToken);
        const application = { cardholderNo: cardholder_no || undefined, cardholderUniqueNo, shareToken };
        const { cardholderNo } = await applyCardholder(services, request.caller, application, actorOf(request));
        return success(request, { cardholder_no: cardholderNo, cardholder_unique_no: cardholderUniqueNo });
      },
    );

    app.post(
      '/cardholder/list',
      {
        schema: {
          summary: 'List cardholders',
          description: 'Newest first, as `card/list`.',
          tags: ['Cardholders'],
          headers: listHeaders,
          body: Type.Object({ ...listFields, cardholder_no: Filter, cardholder_unique_no: Filter }),
          response: {
            200: successSchema(
              Type.Object({
                list: Type.Array(
                  Type.Object({
                    cardholder_no: Type.String(),
                    cardholder_unique_no: Type.String(),
                    email: Type.String(),
                    fail_reason: Type.String(),
                    status: CardholderStatusField,
                    time: Time('Creation'),
                  }),
                ),
              }),
            ),
          },
        },
      },
      async (request) => {
        const { cardholder_no, cardholder_unique_no } = request.body;
        const cardholders = await listCardholders(db, request.caller.merchantId, {
          ...readListQuery(request.body, request.headers.timezone),
          cardholderNo: cardholder_no || undefined,
          cardholderUniqueNo: cardholder_unique_no || undefined,
        });
        return success(request, {
          list: cardholders.map((one) => ({
            cardholder_no: one.cardholderNo,
            cardholder_unique_no: one.cardholderUniqueNo,
            email: one.email,
            fail_reason: one.failReason,
            status: one.status,
            time: one.createdAtMs,
          })),
        });
      },
    );

    app.get(
      '/cardholder/:cardholder_no/info',
      {
        schema: {
          summary: 'Get a cardholder',
          tags: ['Cardholders'],
          params: Type.Object({ cardholder_no: OrderNumber('The cardholder') }),
          response: {
            200: successSchema(
              Type.Object({
                cardholder_no: Type.String(),
                cardholder_unique_no: Type.String(),
                email: Type.String(),
                status: CardholderStatusField,
                total_balance: Type.String({ description: 'Always `0`: this platform moves no money' }),
                time: Time('Creation'),
                card_list: Type.Array(CardItem, { description: `The newest ${CARDS_LIMIT} cards that were issued` }),
              }),
            ),
          },
        },
      },
      async (request) => {
        const { merchantId } = request.caller;
        const { cardholder_no: cardholderNo } = request.params;
        const cardholder = await findCardholder(db, merchantId, cardholderNo);
        if (cardholder === undefined) throw new ApiError('cardholderMissing');
        return success(request, {
          cardholder_no: cardholderNo,
          cardholder_unique_no: cardholder.cardholderUniqueNo,
          email: cardholder.email,
          status: cardholder.status,
          total_balance: '0',
          time: cardholder.createdAtMs,
          card_list: (await listIssuedCards(db, merchantId, cardholderNo, CARDS_LIMIT)).map(cardItemOf),
        });
      },
    );
  };
}
