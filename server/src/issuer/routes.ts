import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import Type from 'typebox';
import type { PinBlockFormat } from '../crypto/pin-block.ts';
import { ApiError } from '../errors.ts';
import { success, successSchema } from '../http/envelope.ts';
import { OrderNumber, Result } from '../http/fields.ts';
import { documentIssuerApi, serveIssuerDocument } from '../openapi.ts';
import type { Services } from '../services.ts';
import { authenticateIssuer, issuerOriginOf } from './authenticate.ts';
import { issuerCardRoutes } from './card-routes.ts';
import { findToVerify, listIssuerKeys } from './store.ts';
import { supplyPersonal } from './supply-personal.ts';
import { unblockPin } from './unblock-pin.ts';
import { verifyPin } from './verify-pin.ts';
import { destroyZoneKey, importZoneKey } from './zone-keys.ts';

const Label = (description: string) => Type.String({ pattern: '^[A-Za-z0-9_-]{1,64}$', description });
const MOST_BLOCK_CHARACTERS = 64;

/** The issuer's API, with its own gate and its own OpenAPI document. */
export function issuerRoutes(services: Services): FastifyPluginAsyncTypebox {
  return async (app) => {
    await documentIssuerApi(app);
    await app.register(
      async (scope) => {
        scope.addHook('onRequest', authenticateIssuer(services));
        await scope.register(gatedRoutes(services));
        await scope.register(issuerCardRoutes(services));
      },
      { prefix: '/v1' },
    );
    serveIssuerDocument(app);
  };
}

function gatedRoutes(services: Services): FastifyPluginAsyncTypebox {
  const { db, config } = services;
  return async (app) => {
    app.post(
      '/pin/verify',
      {
        schema: {
          summary: "Verify a PIN block against a card's PIN",
          description:
            'The card by `card_no` or by `pan`, one of them. A mismatch costs a try; the last one blocks. A match clears the count. `malformed` costs none, but after some of them in an hour the card or the zone key answers 1009.',
          tags: ['PIN'],
          body: Type.Object({
            card_no: Type.Optional(OrderNumber('The card')),
            pan: Type.Optional(Type.String({ pattern: '^[0-9]{12,19}$', description: 'Its PAN, instead of its number' })),
            pin_block: Type.String({
              pattern: `^([0-9A-Fa-f]{2}){1,${MOST_BLOCK_CHARACTERS / 2}}$`,
              description: 'The enciphered PIN block in hex: 8 bytes for formats 0, 1 and 3 (under TDES), 16 for format 4 (under AES)',
            }),
            format: Type.Enum([0, 1, 3, 4], { description: 'ISO 9564-1' }),
            zone_key: Label('The label of the zone key'),
          }),
          response: {
            200: successSchema(
              Type.Object({
                result: Type.Enum(['match', 'mismatch', 'blocked', 'not_set', 'malformed']),
                tries_left: Type.Optional(Type.Integer({ description: 'With `mismatch`; 0: this one has blocked the PIN' })),
              }),
            ),
          },
        },
      },
      async (request) => {
        const { card_no: cardNo, pan, pin_block, format, zone_key: zoneKey } = request.body;
        if ((cardNo === undefined) === (pan === undefined)) throw new ApiError('invalidParameter', { field: 'card_no' });
        const answer = await verifyPin(
          services,
          request.issuer,
          {
            card: cardNo === undefined ? { pan: pan as string } : { cardNo },
            pinBlock: Buffer.from(pin_block, 'hex'),
            format: format as PinBlockFormat,
            zoneKey,
          },
          issuerOriginOf(request),
        );
        return success(request, { result: answer.result, ...('triesLeft' in answer && { tries_left: answer.triesLeft }) });
      },
    );

    app.post(
      '/pin/unblock',
      {
        schema: {
          summary: "Clear a PIN's failed tries and its block",
          description: 'The PIN stays as it is.',
          tags: ['PIN'],
          body: Type.Object({ card_no: OrderNumber('The card') }),
          response: { 200: Result },
        },
      },
      async (request) => {
        await unblockPin(services, request.issuer, request.body.card_no, issuerOriginOf(request));
        return success(request, { result: true });
      },
    );

    app.get(
      '/pin/:card_no',
      {
        schema: {
          summary: "Get a PIN's status",
          tags: ['PIN'],
          params: Type.Object({ card_no: OrderNumber('The card') }),
          response: {
            200: successSchema(
              Type.Object({
                status: Type.Enum(['NOT_SET', 'OK', 'BLOCKED']),
                tries_left: Type.Optional(Type.Integer()),
                set_at: Type.Optional(Type.Integer({ description: 'Unix milliseconds' })),
                envelope: Type.Optional(Type.String({ description: 'In which the PIN came' })),
              }),
            ),
          },
        },
      },
      async (request) => {
        const card = await findToVerify(db, request.issuer, { cardNo: request.params.card_no }, undefined);
        if (card === undefined) throw new ApiError('cardMissing');
        if (card.pin === undefined) return success(request, { status: 'NOT_SET' as const });
        return success(request, {
          status: card.blocked ? ('BLOCKED' as const) : ('OK' as const),
          tries_left: card.blocked ? 0 : Math.max(0, config.pinTries - card.failedTries),
          set_at: card.pin.setAtMs,
          envelope: card.pin.envelope,
        });
      },
    );

    app.post(
      '/zone-keys',
      {
        schema: {
          summary: 'Import a zone PIN key',
          description: 'In a key block of ANSI X9.143 (TR-31), version B or D, under a protection key that came by components.',
          tags: ['Zone keys'],
          body: Type.Object({
            label: Label('Its name from now on'),
            kbpk: Label('The label of the key-block protection key'),
            key_block: Type.String({ minLength: 16, maxLength: 4096 }),
          }),
          response: { 200: successSchema(Type.Object({ label: Type.String(), algorithm: Type.String(), kcv: Type.String() })) },
        },
      },
      async (request) => {
        const { label, kbpk, key_block: keyBlock } = request.body;
        return success(request, {
          label,
          ...(await importZoneKey(services, request.issuer, { label, kbpk, keyBlock }, issuerOriginOf(request))),
        });
      },
    );

    app.get(
      '/zone-keys',
      {
        schema: {
          summary: 'List zone keys and key-block protection keys',
          tags: ['Zone keys'],
          response: {
            200: successSchema(
              Type.Object({
                list: Type.Array(
                  Type.Object({
                    kind: Type.Enum(['zpk', 'kbpk']),
                    label: Type.String(),
                    algorithm: Type.String(),
                    kcv: Type.String(),
                    created_at: Type.Integer({ description: 'Unix milliseconds' }),
                    destroyed_at: Type.Optional(Type.Integer()),
                  }),
                ),
              }),
            ),
          },
        },
      },
      async (request) => {
        const keys = await listIssuerKeys(db, request.issuer.issuerId);
        return success(request, {
          list: keys.map(({ kind, label, algorithm, kcv, createdAtMs, destroyedAtMs }) => ({
            kind,
            label,
            algorithm,
            kcv,
            created_at: createdAtMs,
            ...(destroyedAtMs !== undefined && { destroyed_at: destroyedAtMs }),
          })),
        });
      },
    );

    app.delete(
      '/zone-keys/:label',
      {
        schema: {
          summary: 'Destroy a zone PIN key',
          description: 'For good; its label stays taken.',
          tags: ['Zone keys'],
          params: Type.Object({ label: Label('The zone key') }),
          response: { 200: Result },
        },
      },
      async (request) => {
        await destroyZoneKey(services, request.issuer, request.params.label, issuerOriginOf(request));
        return success(request, { result: true });
      },
    );

    app.post(
      '/cardholder/personal',
      {
        schema: {
          summary: 'Supply what the PIN policies look at',
          description: "A cardholder's birth date and phone number; what is left out is forgotten.",
          tags: ['Cardholders'],
          body: Type.Object({
            cardholder_no: OrderNumber('The cardholder'),
            birth_date: Type.Optional(Type.String({ pattern: '^[0-9]{4}-[0-9]{2}-[0-9]{2}$' })),
            phone: Type.Optional(Type.String({ pattern: '^[0-9]{4,20}$', description: 'Digits alone' })),
          }),
          response: { 200: Result },
        },
      },
      async (request) => {
        const { cardholder_no: cardholderNo, birth_date: birthDate, phone } = request.body;
        await supplyPersonal(services, request.issuer, cardholderNo, { birthDate, phone }, issuerOriginOf(request));
        return success(request, { result: true });
      },
    );
  };
}
