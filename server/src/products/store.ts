import type { CardType } from '@pinward/contract/vocabulary';
import type { Page } from '../db/page.ts';
import type { Queryable } from '../db/queryable.ts';
import { fromMs } from '../db/sql-time.ts';

/**
 * Amounts in the BIN's currency, as decimal text. Pinward moves no money: it shows them and does
 * not enforce them.
 */
export interface Limits {
  limit_balance: string;
  limit_week_balance: string;
  limit_atm_day_balance: string;
  limit_atm_month_balance: string;
}

export const NO_LIMITS: Limits = {
  limit_balance: '0',
  limit_week_balance: '0',
  limit_atm_day_balance: '0',
  limit_atm_month_balance: '0',
};

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

const BIN_COLUMNS = `b.card_bin_no as "cardBinNo", b.bin, b.pan_digits as "panDigits", b.organization,
            b.support_physical as "supportPhysical", b.support_virtual as "supportVirtual", b.currencies, b.limits`;

/**
 * SQL: whether BIN `b` is offered to merchant `$1`. It must be enabled, and so must its issuer,
 * which must be bound to the merchant.
 */
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

interface OfferRow {
  cardBinNo: string;
  packageNo: string | null;
  organization: string;
  cardName: string;
  supportPhysical: boolean;
  supportVirtual: boolean;
}

/** Finds a product that is offered to the merchant. */
export async function findOffer(
  db: Queryable,
  merchantId: number,
  product: { cardBinNo: string } | { packageNo: string },
): Promise<Offer | undefined> {
  const [row] =
    'cardBinNo' in product
      ? await db.query<OfferRow>(
          'find-offered-bin',
          `select b.card_bin_no as "cardBinNo", null as "packageNo", b.organization, '' as "cardName",
                  b.support_physical as "supportPhysical", b.support_virtual as "supportVirtual"
             from card_bins b where ${OFFERED} and b.card_bin_no = $2`,
          [merchantId, product.cardBinNo],
        )
      : await db.query<OfferRow>(
          'find-offered-package',
          `select b.card_bin_no as "cardBinNo", p.package_no as "packageNo", b.organization, p.en_name as "cardName",
                  b.support_physical and p.card_type = 'Physical' as "supportPhysical",
                  b.support_virtual and p.card_type = 'Virtual' as "supportVirtual"
             from card_bins b join card_packages p on p.card_bin_no = b.card_bin_no and p.status = 'Enabled'
            where ${OFFERED} and p.package_no = $2`,
          [merchantId, product.packageNo],
        );
  if (row === undefined) return undefined;
  const { supportPhysical, supportVirtual, packageNo, ...offer } = row;
  const cardTypes: CardType[] = [];
  if (supportPhysical) cardTypes.push('Physical');
  if (supportVirtual) cardTypes.push('Virtual');
  return { ...offer, packageNo: packageNo ?? undefined, cardTypes };
}

export async function listBins(
  db: Queryable,
  merchantId: number,
  cardBinNo: string | undefined,
  page: Page,
): Promise<CardBin[]> {
  return db.query(
    'list-bins',
    `select ${BIN_COLUMNS} from card_bins b where ${OFFERED} and ($2::text is null or b.card_bin_no = $2)
      order by b.card_bin_no offset $3 limit $4`,
    [merchantId, cardBinNo, page.offset, page.size],
  );
}

/** Finds any BIN, offered or not. For issuers. */
export async function findBin(db: Queryable, cardBinNo: string): Promise<CardBin | undefined> {
  const [row] = await db.query<CardBin>('find-bin', `select ${BIN_COLUMNS} from card_bins b where b.card_bin_no = $1`, [
    cardBinNo,
  ]);
  return row;
}

/**
 * Finds the issuer's BIN of a PAN. If one BIN begins with another, the longest counts. The match
 * is made here and not in SQL, so that no statement carries a clear PAN.
 */
export async function findBinOfPan(db: Queryable, issuerId: number, pan: string): Promise<CardBin | undefined> {
  const bins = await db.query<CardBin>(
    'find-bins-by-length',
    `select ${BIN_COLUMNS} from card_bins b where b.issuer_id = $1 and b.pan_digits = $2
      order by length(b.bin) desc, b.card_bin_no`,
    [issuerId, pan.length],
  );
  return bins.find(({ bin }) => pan.startsWith(bin));
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
  /** In wire names. Pinward shows it and charges nothing. */
  feeDetail: object;
  /** Its BIN's number. */
  cardBinNo: string;
  bin: string;
  organization: string;
}

export async function listPackages(
  db: Queryable,
  merchantId: number,
  filter: { packageNo: string | undefined; cardType: string | undefined },
  page: Page,
): Promise<CardPackage[]> {
  return db.query(
    'list-packages',
    `select p.package_no as "packageNo", p.card_type as "cardType", p.en_name as "enName", p.cn_name as "cnName",
            p.en_desc as "enDesc", p.cn_desc as "cnDesc", p.en_tags as "enTags", p.cn_tags as "cnTags", p.limits,
            p.fee_detail as "feeDetail", b.card_bin_no as "cardBinNo", b.bin, b.organization
       from card_packages p join card_bins b using (card_bin_no)
      where p.status = 'Enabled' and ${OFFERED}
        and ($2::text is null or p.package_no = $2) and ($3::text is null or p.card_type = $3)
      order by p.package_no offset $4 limit $5`,
    [merchantId, filter.packageNo, filter.cardType, page.offset, page.size],
  );
}

/**
 * Locks the table: until the transaction ends, nobody else creates a BIN. Returns another issuer
 * with a BIN that overlaps with `bin`, if there is one. BINs overlap if one begins with the other.
 */
export async function lockBins(tx: Queryable, issuerNo: string, bin: string): Promise<string | undefined> {
  await tx.query('lock-bins', 'lock table card_bins in share row exclusive mode');
  const [row] = await tx.query<{ issuerNo: string }>(
    'find-overlapping-bin',
    `select issuer_no as "issuerNo" from card_bins b join issuers using (issuer_id)
      where issuer_no <> $1 and (starts_with(b.bin, $2) or starts_with($2, b.bin)) limit 1`,
    [issuerNo, bin],
  );
  return row?.issuerNo;
}

/** Stores a BIN. Returns false if there is no such issuer. */
export async function insertBin(tx: Queryable, issuerNo: string, bin: CardBin, atMs: number): Promise<boolean> {
  const rows = await tx.query(
    'insert-bin',
    `insert into card_bins (card_bin_no, issuer_id, bin, pan_digits, organization, support_physical, support_virtual,
                            currencies, limits, created_at)
     select $2, issuer_id, $3, $4, $5, $6, $7, $8, $9, ${fromMs('$10')} from issuers where issuer_no = $1 returning 1`,
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

export type NewPackage = Omit<CardPackage, 'bin' | 'organization'>;

/** Stores a package. Returns false if there is no such BIN. */
export async function insertPackage(tx: Queryable, given: NewPackage, atMs: number): Promise<boolean> {
  const rows = await tx.query(
    'insert-package',
    `insert into card_packages (package_no, card_bin_no, card_type, en_name, cn_name, en_desc, cn_desc, en_tags,
                                cn_tags, limits, fee_detail, created_at)
     select $2, card_bin_no, $3, $4, $5, $6, $7, $8, $9, $10, $11, ${fromMs('$12')}
       from card_bins where card_bin_no = $1 returning 1`,
    [
      given.cardBinNo,
      given.packageNo,
      given.cardType,
      given.enName,
      given.cnName,
      given.enDesc,
      given.cnDesc,
      given.enTags,
      given.cnTags,
      given.limits,
      given.feeDetail,
      atMs,
    ],
  );
  return rows.length > 0;
}

export interface OfferChange {
  product: 'bin' | 'package';
  /** The product's number. */
  number: string;
  offered: boolean;
}

/**
 * Starts or stops offering a product. Returns false if there is no such product. Cards that were
 * issued stay.
 */
export async function storeOffered(tx: Queryable, { product, number, offered }: OfferChange): Promise<boolean> {
  const [table, key] = product === 'bin' ? ['card_bins', 'card_bin_no'] : ['card_packages', 'package_no'];
  const rows = await tx.query(
    `store-offered-${product}`,
    `update ${table} set status = $2 where ${key} = $1 returning 1`,
    [number, offered ? 'Enabled' : 'Disabled'],
  );
  return rows.length > 0;
}

export interface BinListing {
  cardBinNo: string;
  issuerNo: string;
  bin: string;
  organization: string;
  /** The card types, with blanks between them. */
  types: string;
  status: string;
}

export async function listAllBins(db: Queryable): Promise<BinListing[]> {
  return db.query(
    'list-all-bins',
    `select card_bin_no as "cardBinNo", issuer_no as "issuerNo", bin, organization, b.status,
            concat_ws(' ', case when support_physical then 'Physical' end,
                           case when support_virtual then 'Virtual' end) as types
       from card_bins b join issuers using (issuer_id) order by card_bin_no`,
  );
}

export interface PackageListing {
  packageNo: string;
  cardBinNo: string;
  cardType: string;
  name: string;
  status: string;
}

export async function listAllPackages(db: Queryable): Promise<PackageListing[]> {
  return db.query(
    'list-all-packages',
    `select package_no as "packageNo", card_bin_no as "cardBinNo", card_type as "cardType", en_name as name, status
       from card_packages order by package_no`,
  );
}
