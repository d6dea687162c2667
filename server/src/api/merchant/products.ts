import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { CARD_TYPES } from '@pinward/contract/vocabulary';
import Type from 'typebox';
import { requireMode } from '../../merchants/caller.ts';
import { FeeDetail, LimitFields } from '../../products/package-sheet.ts';
import { listBins, listPackages } from '../../products/store.ts';
import type { Services } from '../../services.ts';
import { success, successSchema } from '../envelope.ts';
import { CardTypeField, Filter, Maybe } from '../fields.ts';
import { pageFields, readPage } from '../list-query.ts';

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
  package_type: CardTypeField,
  en_desc: Type.String(),
  cn_desc: Type.String(),
  en_tag_list: Type.Array(Type.String()),
  cn_tag_list: Type.Array(Type.String()),
  consumption_limit: LimitFields,
  fee_detail: FeeDetail,
});

/**
 * The cards that merchants can apply for: by BIN in one integration mode, by package in the other.
 * Long, because each route has its schema beside its handler.
 */
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
        const { merchantId } = request.caller;
        const bins = await listBins(db, merchantId, request.body.card_bin_no || undefined, readPage(request.body));
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
          body: Type.Object({ type: Maybe(Type.Enum(['', ...CARD_TYPES])), package_no: Filter, ...pageFields }),
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
            card_bin: one.bin,
            card_bin_no: one.cardBinNo,
            organization: one.organization,
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
