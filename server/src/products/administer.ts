import { auditPlatform, detailsOf } from '../audit/append.ts';
import type { CardType } from '../cards/store.ts';
import type { Database, Queryable } from '../db/database.ts';
import { OperatorError, randomText } from '../merchants/administer.ts';
import type { PackageSheet } from './product-file.ts';
import { type CardBin, insertBin, insertPackage, lockBins, NO_LIMITS, setOffered } from './store.ts';

/** What operators do to card products. Each change and its audit record are one transaction. */

export interface NewBin {
  cardBinNo?: string;
  issuerNo: string;
  bin: string;
  panDigits: number;
  organization: string;
  cardTypes: CardType[];
  currencies: string[];
}

/** Makes a BIN of an issuer's; the merchants that the issuer is bound to may apply under it. No PAN may lie under the BINs of two issuers. */
export async function createBin({ db, now }: { db: Database; now: () => number }, given: NewBin): Promise<string> {
  if (!/^[0-9]{6,11}$/.test(given.bin)) throw new OperatorError('a BIN has 6 to 11 digits');
  if (given.panDigits < given.bin.length + 2) throw new OperatorError('the PAN is too short for the BIN');
  const bin: CardBin = {
    cardBinNo: given.cardBinNo ?? `B${randomText(12)}`,
    bin: given.bin,
    panDigits: given.panDigits,
    organization: given.organization,
    supportPhysical: given.cardTypes.includes('Physical'),
    supportVirtual: given.cardTypes.includes('Virtual'),
    currencies: given.currencies,
    limits: NO_LIMITS,
  };
  await db.transaction(async (tx) => {
    const other = await lockBins(tx, given.issuerNo, bin.bin);
    if (other !== undefined) throw new OperatorError(`the BIN lies within, or around, one of issuer ${other}`);
    if (!(await insertBin(tx, given.issuerNo, bin, now()))) throw new OperatorError(`there is no issuer ${given.issuerNo}`);
    const details = { card_bin_no: bin.cardBinNo, bin: bin.bin, issuer: given.issuerNo };
    await auditPlatform(tx, now(), 'product_created', detailsOf('operator', details));
  });
  return bin.cardBinNo;
}

/** Makes a package from its sheet (JSON, the wire's names). */
export async function createPackage({ db, now }: { db: Database; now: () => number }, text: string): Promise<string> {
  const { readPackageFile } = await import('./product-file.ts'); // its schemas take longer to load than other commands to run
  const sheet = readPackageFile(text);
  await db.transaction(async (tx) => {
    if (!(await storePackage(tx, sheet, now()))) throw new OperatorError(`there is no BIN ${sheet.card_bin_no}`);
    const details = { package_no: sheet.package_no, card_bin_no: sheet.card_bin_no };
    await auditPlatform(tx, now(), 'product_created', detailsOf('operator', details));
  });
  return sheet.package_no;
}

/** False if there is no such BIN. */
export function storePackage(tx: Queryable, sheet: PackageSheet, atMs: number): Promise<boolean> {
  const one = {
    packageNo: sheet.package_no,
    cardType: sheet.package_type,
    enName: sheet.package_en_name,
    cnName: sheet.package_cn_name,
    enDesc: sheet.en_desc,
    cnDesc: sheet.cn_desc,
    enTags: sheet.en_tag_list,
    cnTags: sheet.cn_tag_list,
    limits: sheet.consumption_limit,
    feeDetail: sheet.fee_detail,
  };
  return insertPackage(tx, sheet.card_bin_no, one, atMs);
}

/** Takes a BIN or package out of what is offered, or back in. */
export async function changeOffer(
  { db, now }: { db: Database; now: () => number },
  table: 'card_bins' | 'card_packages',
  no: string,
  offered: boolean,
): Promise<void> {
  await db.transaction(async (tx) => {
    if (!(await setOffered(tx, table, no, offered)))
      throw new OperatorError(`there is no ${table === 'card_bins' ? 'BIN' : 'package'} ${no}`);
    await auditPlatform(tx, now(), 'product_updated', detailsOf('operator', { product: no, status: offered ? 'Enabled' : 'Disabled' }));
  });
}
