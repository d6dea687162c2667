import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import Type from 'typebox';
import type { Services } from '../../services.ts';
import { destroyZoneKey } from '../../zone-keys/destroy-zone-key.ts';
import { importZoneKey } from '../../zone-keys/import-zone-key.ts';
import { listIssuerKeys } from '../../zone-keys/store.ts';
import { success, successSchema } from '../envelope.ts';
import { Result, Time } from '../fields.ts';
import { issuerActorOf } from './gate.ts';

export const Label = (description: string) => Type.String({ pattern: '^[A-Za-z0-9_-]{1,64}$', description });

/**
 * The issuer's zone keys: import, list, destroy.
 * Long, because each route has its schema beside its handler.
 */
export function issuerZoneKeyRoutes(services: Services): FastifyPluginAsyncTypebox {
  const { db } = services;
  return async (app) => {
    app.post(
      '/zone-keys',
      {
        schema: {
          summary: 'Import a zone PIN key',
          description:
            'In a key block of ANSI X9.143 (TR-31), version B or D, under a key-block protection key that came by components.',
          tags: ['Zone keys'],
          body: Type.Object({
            label: Label('Its name from now on'),
            kbpk: Label('The label of the key-block protection key'),
            key_block: Type.String({ minLength: 16, maxLength: 4096 }),
          }),
          response: {
            200: successSchema(Type.Object({ label: Type.String(), algorithm: Type.String(), kcv: Type.String() })),
          },
        },
      },
      async (request) => {
        const { label, kbpk, key_block: keyBlock } = request.body;
        const zoneKey = { label, kbpk, keyBlock };
        const imported = await importZoneKey(services, request.issuer, zoneKey, issuerActorOf(request));
        return success(request, { label, ...imported });
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
                    created_at: Time('Creation'),
                    destroyed_at: Type.Optional(Type.Integer()),
                  }),
                ),
              }),
            ),
          },
        },
      },
      async (request) => {
        const issuerKeys = await listIssuerKeys(db, request.issuer.issuerId);
        return success(request, {
          list: issuerKeys.map(({ kind, label, algorithm, kcv, createdAtMs, destroyedAtMs }) => ({
            kind,
            label,
            algorithm,
            kcv,
            created_at: createdAtMs,
            ...(destroyedAtMs !== null && { destroyed_at: destroyedAtMs }),
          })),
        });
      },
    );

    app.delete(
      '/zone-keys/:label',
      {
        schema: {
          summary: 'Destroy a zone PIN key',
          description: 'It cannot be brought back, and its label stays taken.',
          tags: ['Zone keys'],
          params: Type.Object({ label: Label('The zone key') }),
          response: { 200: Result },
        },
      },
      async (request) => {
        await destroyZoneKey(services, request.issuer, request.params.label, issuerActorOf(request));
        return success(request, { result: true });
      },
    );
  };
}
