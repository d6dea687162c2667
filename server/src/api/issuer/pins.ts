import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import Type from 'typebox';
import { ApiError } from '../../api-error.ts';
import type { PinBlockFormat } from '../../crypto/pin-block.ts';
import { findToVerify } from '../../pins/try-store.ts';
import { unblockPin } from '../../pins/unblock-pin.ts';
import { verifyPin } from '../../pins/verify-pin.ts';
import type { Services } from '../../services.ts';
import { success, successSchema } from '../envelope.ts';
import { OrderNumber, Pan, Result } from '../fields.ts';
import { issuerActorOf } from './gate.ts';
import { Label } from './zone-keys.ts';

/**
 * Hex digits of a PIN block, at most. Formats 0, 1 and 3 have 16, format 4 has 32; longer ones are
 * malformed.
 */
const PIN_BLOCK_CHARACTERS = 64;

/**
 * The issuer's side of PINs: verify, unblock, show the status.
 * Long, because each route has its schema beside its handler.
 */
export function issuerPinRoutes(services: Services): FastifyPluginAsyncTypebox {
  const { db, config } = services;
  return async (app) => {
    app.post(
      '/pin/verify',
      {
        schema: {
          summary: "Verify a PIN block against a card's PIN",
          description:
            'The card by its `card_no` or its `pan`, not both. A mismatch costs a try, and the last try blocks the PIN. A match clears the count. A malformed block costs no try, but after too many of them in an hour the card, the caller or the zone key answers 1009; the text names which.',
          tags: ['PIN'],
          body: Type.Object({
            card_no: Type.Optional(OrderNumber('The card')),
            pan: Type.Optional(Type.String({ ...Pan, description: 'Its PAN, instead of its number' })),
            pin_block: Type.String({
              pattern: `^([0-9A-Fa-f]{2}){1,${PIN_BLOCK_CHARACTERS / 2}}$`,
              description:
                'The enciphered PIN block in hex: 8 bytes for formats 0, 1 and 3 (under TDES), 16 for format 4 (under AES)',
            }),
            format: Type.Enum([0, 1, 3, 4], { description: 'ISO 9564-1' }),
            zone_key: Label('The label of the zone key'),
            terminal_id: Type.Optional(
              Type.String({
                pattern: '^[\\x21-\\x7e]{1,16}$',
                description:
                  'The terminal that the PIN was typed at (ISO 8583, field 41). Malformed blocks are counted by it; without it, by the address of the call',
              }),
            ),
          }),
          response: {
            200: successSchema(
              Type.Object({
                result: Type.Enum(['match', 'mismatch', 'blocked', 'not_set', 'malformed']),
                tries_left: Type.Optional(
                  Type.Integer({ description: 'With `mismatch`; 0: this one has blocked the PIN' }),
                ),
              }),
            ),
          },
        },
      },
      async (request) => {
        const { card_no: cardNo, pan, pin_block, format, zone_key: zoneKey } = request.body;
        if ((cardNo === undefined) === (pan === undefined))
          throw new ApiError('invalidParameter', { field: 'card_no' });
        const block = {
          card: cardNo === undefined ? { pan: pan as string } : { cardNo },
          pinBlock: Buffer.from(pin_block, 'hex'),
          format: format as PinBlockFormat,
          zoneKey,
          terminal: request.body.terminal_id,
        };
        const answer = await verifyPin(services, request.issuer, block, issuerActorOf(request));
        const triesLeft = 'triesLeft' in answer && { tries_left: answer.triesLeft };
        return success(request, { result: answer.result, ...triesLeft });
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
        await unblockPin(services, request.issuer, request.body.card_no, issuerActorOf(request));
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
        const card = await findToVerify(db, request.issuer, { cardNo: request.params.card_no });
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
  };
}
