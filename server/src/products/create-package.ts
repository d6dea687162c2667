import { auditPlatform } from '../audit/append.ts';
import type { Database } from '../db/database.ts';
import type { Queryable } from '../db/queryable.ts';
import { OperatorError } from '../operator-error.ts';
import type { PackageSheet } from './package-sheet.ts';
import { insertPackage } from './store.ts';

/** Creates a package from its sheet, which is JSON with wire names. Returns its number. */
export async function createPackage({ db, now }: { db: Database; now: () => number }, text: string): Promise<string> {
  // Loaded only here: its schemas take longer to load than other commands take to run.
  const { readPackageSheet } = await import('./package-sheet.ts');
  const sheet = readPackageSheet(text);
  await db.transaction(async (tx) => {
    if (!(await storePackage(tx, sheet, now()))) throw new OperatorError(`there is no BIN ${sheet.card_bin_no}`);
    const details = { package_no: sheet.package_no, card_bin_no: sheet.card_bin_no };
    await auditPlatform(tx, { atMs: now(), action: 'product_created', by: 'operator', details });
  });
  return sheet.package_no;
}

/** Stores a package. Returns false if there is no such BIN. */
export function storePackage(tx: Queryable, sheet: PackageSheet, atMs: number): Promise<boolean> {
  const stored = {
    packageNo: sheet.package_no,
    cardBinNo: sheet.card_bin_no,
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
  return insertPackage(tx, stored, atMs);
}
