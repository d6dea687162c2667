import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import Type from 'typebox';
import { ApiError } from '../../api-error.ts';
import { decideVerification } from '../../cardholders/decide-verification.ts';
import { unwrapShareToken } from '../../cardholders/share-token.ts';
import { listPendingCardholders } from '../../cardholders/store.ts';
import { supplyPersonal } from '../../cardholders/supply-personal.ts';
import type { Services } from '../../services.ts';
import { success, successSchema } from '../envelope.ts';
import { BirthDate, Email, OrderNumber, Phone, Result, Time } from '../fields.ts';
import { issuerActorOf } from './gate.ts';
import { QueueQuery, Reason, readQueueSize } from './queue.ts';

/**
 * The issuer's side of cardholders: verify them, and supply what the PIN policies compare with.
 * Long, because each route has its schema beside its handler.
 */
export function issuerCardholderRoutes(services: Services): FastifyPluginAsyncTypebox {
  const { db, keys } = services;
  return async (app) => {
    app.get(
      '/cardholder/pending',
      {
        schema: {
          summary: 'List the cardholders that wait for a verdict',
          description:
            'Longest first, with the share token of each. For the next page give the last `cardholder_no` as `after`.',
          tags: ['Cardholders'],
          querystring: QueueQuery,
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
        const pending = await listPendingCardholders(
          db,
          request.issuer.merchantIds,
          request.query.after,
          readQueueSize(request.query),
        );
        return success(request, {
          list: pending.map((one) => ({
            cardholder_no: one.cardholderNo,
            merchant_no: one.merchantNo,
            cardholder_unique_no: one.cardholderUniqueNo,
            status: one.status as 'Pending',
            sumsub_share_token: unwrapShareToken(keys, one.cardholderNo, one.shareTokenWrapped),
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
            '`In_progress`, then `Approved`, or `Rejected` with a reason. What the PIN policies compare with may be sent with `Approved`. The same status again changes nothing.',
          tags: ['Cardholders'],
          body: Type.Object({
            cardholder_no: OrderNumber('The cardholder'),
            status: Type.Enum(['In_progress', 'Approved', 'Rejected']),
            time: Type.Optional(
              Time('The application that it is about, as the queue shows it, or absent for the present one'),
            ),
            reason: Type.Optional(Reason),
            email: Type.Optional(Email('As the verifier learned it')),
            birth_date: Type.Optional(BirthDate),
            phone: Type.Optional(Phone),
          }),
          response: { 200: Result },
        },
      },
      async (request) => {
        const {
          cardholder_no: cardholderNo,
          time: submittedAtMs,
          status,
          reason,
          email,
          birth_date: birthDate,
          phone,
        } = request.body;
        if (status === 'Rejected' && reason === undefined) throw new ApiError('invalidParameter', { field: 'reason' });
        const verdict = { cardholderNo, submittedAtMs, status, reason, email, personal: { birthDate, phone } };
        await decideVerification(services, request.issuer.merchantIds, verdict, issuerActorOf(request));
        return success(request, { result: true });
      },
    );

    app.post(
      '/cardholder/personal',
      {
        schema: {
          summary: 'Supply what the PIN policies compare with',
          description: "A cardholder's birth date and phone number. A member that is absent is deleted.",
          tags: ['Cardholders'],
          body: Type.Object({
            cardholder_no: OrderNumber('The cardholder'),
            birth_date: Type.Optional(BirthDate),
            phone: Type.Optional(Phone),
          }),
          response: { 200: Result },
        },
      },
      async (request) => {
        const { cardholder_no: cardholderNo, birth_date: birthDate, phone } = request.body;
        await supplyPersonal(services, request.issuer, cardholderNo, { birthDate, phone }, issuerActorOf(request));
        return success(request, { result: true });
      },
    );
  };
}
