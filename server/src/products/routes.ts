import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import Type from 'typebox';
import { requireMode } from '../auth/callers.ts';
import { success, successSchema } from '../http/envelope.ts';
import { Filter, Maybe } from '../http/fields.ts';
import { pageFields, readPage } from '../http/list-query.ts';
import type { Services } from '../services.ts';
import { FeeDetail, LimitFields } from './product-file.ts';
import { listBins, listPackages } from './store.ts';

const Bin = Type.Object({
  card_bin_no: Type.String(),
  card_bin: Type.String({ description: 'The first digits of its PANs' }),
  organization: Type.String(),
  support_physical: Type.Boolean(),
  support_virtual: Type.Boolean(),
  currencies: Type.Array(Type.String()),
  balance_limit: LimitFields,
});

const Package = Type.Object({
  package_no: Type.String(),
  package_en_name: Type.String(),
  package_cn_name: Type.String(),
  card_bin: Type.String(),
  card_bin_no: Type.String(),
  organization: Type.String(),
  package_type: Type.Enum(['Virtual', 'Physical']),
  en_desc: Type.String(),
  cn_desc: Type.String(),
  en_tag_list: Type.Array(Type.String()),
  cn_tag_list: Type.Array(Type.String()),
  consumption_limit: LimitFields,
  fee_detail: FeeDetail,
});

/** What cards can be applied for: by BIN in the one integration mode, by package in the other. */
export function productRoutes({ db }: Services): FastifyPluginAsyncTypebox {
  return async (app) => {
    app.post(
      '/card/support/bins',
      {
        schema: {
          summary: 'List the BINs to apply under',
          description: 'For `AUTHORIZATION` merchants; others get 1012.',
          tags: ['Cards'],
          body: Type.Object({ card_bin_no: Filter, ...pageFields }),
          response: { 200: successSchema(Type.Object({ list: Type.Array(Bin) })) },
        },
      },
      async (request) => {
        requireMode(request.caller, 'AUTHORIZATION');
        const bins = await listBins(db, request.caller.merchantId, request.body.card_bin_no || undefined, readPage(request.body));
        return success(request, {
          list: bins.map((bin) => ({
            card_bin_no: bin.cardBinNo,
            card_bin: bin.bin,
            organization: bin.organization,
            support_physical: bin.supportPhysical,
            support_virtual: bin.supportVirtual,
            currencies: bin.currencies,
            balance_limit: bin.limits,
          })),
        });
      },
    );

    app.post(
      '/card/package/list',
      {
        schema: {
          summary: 'List the packages to apply for',
          description: 'For `CREDIT_EXTENSION` merchants; others get 1012.',
          tags: ['Cards'],
          body: Type.Object({ type: Maybe(Type.Enum(['', 'Virtual', 'Physical'])), package_no: Filter, ...pageFields }),
          response: { 200: successSchema(Type.Object({ list: Type.Array(Package) })) },
        },
      },
      async (request) => {
        requireMode(request.caller, 'CREDIT_EXTENSION');
        const { type, package_no } = request.body;
        const filter = { packageNo: package_no || undefined, cardType: type || undefined };
        const packages = await listPackages(db, request.caller.merchantId, filter, readPage(request.body));
        return success(request, {
          list: packages.map((one) => ({
            package_no: one.packageNo,
            package_en_name: one.enName,
            package_cn_name: one.cnName,
            card_bin: one.bin.bin,
            card_bin_no: one.bin.cardBinNo,
            organization: one.bin.organization,
            package_type: one.cardType,
            en_desc: one.enDesc,
            cn_desc: one.cnDesc,
            en_tag_list: one.enTags,
            cn_tag_list: one.cnTags,
            consumption_limit: one.limits,
            fee_detail: one.feeDetail,
          })),
        });
      },
    );
  };
}
