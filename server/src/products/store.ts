import type { CardType } from '../cards/store.ts';
import type { Queryable } from '../db/database.ts';
import type { Page } from '../http/list-query.ts';

/** Amounts in the BIN's currency, as decimal text. They are of the money side: told, and not acted upon. */
interface Limits {
  limit_balance: string;
  limit_week_balance: string;
  limit_atm_day_balance: string;
  limit_atm_month_balance: string;
}

export const NO_LIMITS: Limits = { limit_balance: '0', limit_week_balance: '0', limit_atm_day_balance: '0', limit_atm_month_balance: '0' };

export interface CardBin {
  cardBinNo: string;
  bin: string;
  panDigits: number;
  organization: string;
  supportPhysical: boolean;
  supportVirtual: boolean;
  currencies: string[];
  limits: Limits;
}

type BinTuple = [string, string, number, string, boolean, boolean, string[], Limits];
const BIN_COLUMNS = 'b.card_bin_no, b.bin, b.pan_digits, b.organization, b.support_physical, b.support_virtual, b.currencies, b.limits';

function binOf([cardBinNo, bin, panDigits, organization, supportPhysical, supportVirtual, currencies, limits]: BinTuple): CardBin {
  return { cardBinNo, bin, panDigits, organization, supportPhysical, supportVirtual, currencies, limits };
}

/** What a merchant may apply under: the enabled BINs of the issuers that it is bound to. */
const OFFERED = `b.status = 'Enabled' and exists (
  select from issuer_merchants m join issuers i using (issuer_id)
   where m.issuer_id = b.issuer_id and m.merchant_id = $1 and i.status = 'Enabled')`;

/** What a merchant may apply for: a BIN, by itself or through a package. */
export interface Offer {
  cardBinNo: string;
  packageNo: string | undefined;
  organization: string;
  cardName: string;
  cardTypes: CardType[];
}

/** An enabled product of an issuer that the merchant is bound to. */
export async function findOffer(
  db: Queryable,
  merchantId: number,
  product: { cardBinNo: string } | { packageNo: string },
): Promise<Offer | undefined> {
  const byBin = 'cardBinNo' in product;
  const [row] = await db.query<[string, string | null, string, string, CardType[]]>(
    byBin ? 'find-offered-bin' : 'find-offered-package',
    `select b.card_bin_no, ${byBin ? "null, b.organization, ''" : 'p.package_no, b.organization, p.en_name'},
            array_remove(array[case when b.support_physical ${byBin ? '' : "and p.card_type = 'Physical'"} then 'Physical' end,
                               case when b.support_virtual ${byBin ? '' : "and p.card_type = 'Virtual'"} then 'Virtual' end], null)
       from card_bins b ${byBin ? '' : "join card_packages p on p.card_bin_no = b.card_bin_no and p.status = 'Enabled'"}
      where ${OFFERED} and ${byBin ? 'b.card_bin_no' : 'p.package_no'} = $2`,
    [merchantId, byBin ? product.cardBinNo : product.packageNo],
  );
  if (row === undefined) return undefined;
  const [cardBinNo, packageNo, organization, cardName, cardTypes] = row;
  return { cardBinNo, packageNo: packageNo ?? undefined, organization, cardName, cardTypes };
}

export async function listBins(db: Queryable, merchantId: number, cardBinNo: string | undefined, page: Page): Promise<CardBin[]> {
  const rows = await db.query<BinTuple>(
    'list-bins',
    `select ${BIN_COLUMNS} from card_bins b where ${OFFERED} and ($2::text is null or b.card_bin_no = $2)
      order by b.card_bin_no offset $3 limit $4`,
    [merchantId, cardBinNo, page.offset, page.size],
  );
  return rows.map(binOf);
}

/** Any BIN, for who issues under it. */
export async function findBin(db: Queryable, cardBinNo: string): Promise<CardBin | undefined> {
  const [row] = await db.query<BinTuple>('find-bin', `select ${BIN_COLUMNS} from card_bins b where b.card_bin_no = $1`, [cardBinNo]);
  return row && binOf(row);
}

/** The BIN of an issuer's under which a PAN lies; the longest, where one begins with another. Chosen here: no statement carries a PAN in clear. */
export async function findBinOfPan(db: Queryable, issuerId: number, pan: string): Promise<CardBin | undefined> {
  const rows = await db.query<BinTuple>(
    'find-bins-by-length',
    `select ${BIN_COLUMNS} from card_bins b where b.issuer_id = $1 and b.pan_digits = $2 order by length(b.bin) desc, b.card_bin_no`,
    [issuerId, pan.length],
  );
  return rows.map(binOf).find(({ bin }) => pan.startsWith(bin));
}

export interface CardPackage {
  packageNo: string;
  cardType: CardType;
  enName: string;
  cnName: string;
  enDesc: string;
  cnDesc: string;
  enTags: string[];
  cnTags: string[];
  limits: Limits;
  /** In wire form: told, and not acted upon. */
  feeDetail: object;
  bin: CardBin;
}

type PackageTuple = [string, CardType, string, string, string, string, string[], string[], Limits, object, ...BinTuple];

export async function listPackages(
  db: Queryable,
  merchantId: number,
  filter: { packageNo: string | undefined; cardType: string | undefined },
  page: Page,
): Promise<CardPackage[]> {
  const rows = await db.query<PackageTuple>(
    'list-packages',
    `select p.package_no, p.card_type, p.en_name, p.cn_name, p.en_desc, p.cn_desc, p.en_tags, p.cn_tags, p.limits, p.fee_detail, ${BIN_COLUMNS}
       from card_packages p join card_bins b using (card_bin_no)
      where p.status = 'Enabled' and ${OFFERED} and ($2::text is null or p.package_no = $2) and ($3::text is null or p.card_type = $3)
      order by p.package_no offset $4 limit $5`,
    [merchantId, filter.packageNo, filter.cardType, page.offset, page.size],
  );
  return rows.map(([packageNo, cardType, enName, cnName, enDesc, cnDesc, enTags, cnTags, limits, feeDetail, ...bin]) => ({
    packageNo,
    cardType,
    enName,
    cnName,
    enDesc,
    cnDesc,
    enTags,
    cnTags,
    limits,
    feeDetail,
    bin: binOf(bin),
  }));
}

/** Another issuer with a BIN that begins as this one does, or the other way round; nobody makes one until the transaction ends. */
export async function lockBins(tx: Queryable, issuerNo: string, bin: string): Promise<string | undefined> {
  await tx.query('lock-bins', 'lock table card_bins in share row exclusive mode');
  const [row] = await tx.query<[string]>(
    'find-overlapping-bin',
    `select issuer_no from card_bins b join issuers using (issuer_id)
      where issuer_no <> $1 and (starts_with(b.bin, $2) or starts_with($2, b.bin)) limit 1`,
    [issuerNo, bin],
  );
  return row?.[0];
}

/** Stores a BIN of an issuer's; false if there is no such issuer. */
export async function insertBin(tx: Queryable, issuerNo: string, bin: CardBin, atMs: number): Promise<boolean> {
  const rows = await tx.query(
    'insert-bin',
    `insert into card_bins (card_bin_no, issuer_id, bin, pan_digits, organization, support_physical, support_virtual, currencies, limits, created_at)
     select $2, issuer_id, $3, $4, $5, $6, $7, $8, $9, to_timestamp($10::bigint / 1000.0) from issuers where issuer_no = $1 returning 1`,
    [
      issuerNo,
      bin.cardBinNo,
      bin.bin,
      bin.panDigits,
      bin.organization,
      bin.supportPhysical,
      bin.supportVirtual,
      bin.currencies,
      bin.limits,
      atMs,
    ],
  );
  return rows.length > 0;
}

/** Stores a package of a BIN's; false if there is no such BIN. */
export async function insertPackage(tx: Queryable, cardBinNo: string, one: Omit<CardPackage, 'bin'>, atMs: number): Promise<boolean> {
  const rows = await tx.query(
    'insert-package',
    `insert into card_packages (package_no, card_bin_no, card_type, en_name, cn_name, en_desc, cn_desc, en_tags, cn_tags, limits, fee_detail, created_at)
     select $2, card_bin_no, $3, $4, $5, $6, $7, $8, $9, $10, $11, to_timestamp($12::bigint / 1000.0) from card_bins where card_bin_no = $1 returning 1`,
    [
      cardBinNo,
      one.packageNo,
      one.cardType,
      one.enName,
      one.cnName,
      one.enDesc,
      one.cnDesc,
      one.enTags,
      one.cnTags,
      one.limits,
      one.feeDetail,
      atMs,
    ],
  );
  return rows.length > 0;
}

/** Takes a BIN or package out of what is offered, or back in; false if there is none. Cards that were issued stay. */
export async function setOffered(tx: Queryable, table: 'card_bins' | 'card_packages', no: string, offered: boolean): Promise<boolean> {
  const key = table === 'card_bins' ? 'card_bin_no' : 'package_no';
  const rows = await tx.query(`set-offered-${table}`, `update ${table} set status = $2 where ${key} = $1 returning 1`, [
    no,
    offered ? 'Enabled' : 'Disabled',
  ]);
  return rows.length > 0;
}

export function listAllBins(
  db: Queryable,
): Promise<[no: string, issuerNo: string, bin: string, organization: string, types: string, status: string][]> {
  return db.query(
    'list-all-bins',
    `select card_bin_no, issuer_no, bin, organization,
            concat_ws(' ', case when support_physical then 'Physical' end, case when support_virtual then 'Virtual' end), b.status
       from card_bins b join issuers using (issuer_id) order by card_bin_no`,
  );
}

export function listAllPackages(db: Queryable): Promise<[no: string, cardBinNo: string, cardType: string, name: string, status: string][]> {
  return db.query('list-all-packages', 'select package_no, card_bin_no, card_type, en_name, status from card_packages order by package_no');
}
