import type { IssuerScope } from '../audit/actor.ts';
import type { Cached } from '../db/cache.ts';
import type { Queryable } from '../db/queryable.ts';
import { toMs } from '../db/sql-time.ts';
import { createAllowlist } from '../net/ip-allowlist.ts';

/**
 * An issuer as its gate knows it: the bank or processor behind the cards of the merchants that it
 * is bound to.
 */
export interface Issuer extends IssuerScope {
  issuerNo: string;
  enabled: boolean;
  allows: (address: string) => boolean;
  /**
   * SHA-256 of the client certificate that every call must carry; undefined if none is required.
   */
  clientCert: Buffer | undefined;
}

interface IssuerRow extends IssuerScope {
  issuerNo: string;
  enabled: boolean;
  ipAllowlist: string[];
  clientCert: Buffer | null;
}

/** Issuers by the hex of their secret's SHA-256. */
export const ISSUERS: Cached<Issuer> = {
  async list({ monitor }) {
    const rows = await monitor.query<{ secretHash: string }>(
      'list-secret-hashes',
      `select encode(secret_hash, 'hex') as "secretHash" from issuers`,
    );
    return rows.map(({ secretHash }) => secretHash);
  },
  async load({ db }, secretHash) {
    const [row] = await db.query<IssuerRow>(
      'find-issuer',
      `select issuer_id as "issuerId", issuer_no as "issuerNo", status = 'Enabled' as enabled, ip_allowlist as "ipAllowlist",
              client_cert as "clientCert", array(select merchant_id from issuer_merchants m
                                                  where m.issuer_id = i.issuer_id order by merchant_id) as "merchantIds"
         from issuers i where secret_hash = decode($1, 'hex')`,
      [secretHash],
    );
    if (row === undefined) return undefined;
    const { ipAllowlist, clientCert, ...issuer } = row;
    return { ...issuer, allows: createAllowlist(ipAllowlist), clientCert: clientCert ?? undefined };
  },
};

export interface StoredIssuer {
  issuerNo: string;
  name: string;
  secretHash: Buffer;
  clientCert: Buffer | undefined;
  ipAllowlist: string[];
}

/** Returns the issuer's id. */
export async function insertIssuer(tx: Queryable, issuer: StoredIssuer): Promise<number> {
  const [row] = await tx.query<{ issuerId: number }>(
    'insert-issuer',
    `insert into issuers (issuer_no, name, secret_hash, client_cert, ip_allowlist)
     values ($1, $2, $3, $4, $5) returning issuer_id as "issuerId"`,
    [issuer.issuerNo, issuer.name, issuer.secretHash, issuer.clientCert, issuer.ipAllowlist],
  );
  return (row as { issuerId: number }).issuerId;
}

/** Binds an issuer to a merchant's cards. Returns false if there is no such merchant. */
export async function bindIssuer(tx: Queryable, issuerId: number, merchantNo: string): Promise<boolean> {
  const rows = await tx.query(
    'bind-issuer',
    `insert into issuer_merchants (issuer_id, merchant_id)
     select $1, merchant_id from merchants where merchant_no = $2 returning 1`,
    [issuerId, merchantNo],
  );
  return rows.length > 0;
}

/** An issuer and the merchants that it is bound to, whether it is enabled or not. */
export async function findIssuerScope(db: Queryable, issuerNo: string): Promise<IssuerScope | undefined> {
  const [row] = await db.query<IssuerScope>(
    'find-issuer-scope',
    `select issuer_id as "issuerId",
            array(select merchant_id from issuer_merchants m where m.issuer_id = i.issuer_id) as "merchantIds"
       from issuers i where issuer_no = $1`,
    [issuerNo],
  );
  return row;
}

export async function disableStoredIssuer(tx: Queryable, issuerId: number): Promise<void> {
  await tx.query('disable-issuer', `update issuers set status = 'Disabled' where issuer_id = $1`, [issuerId]);
}

export interface IssuerListing {
  issuerNo: string;
  name: string;
  status: string;
  merchants: string[];
  ipAllowlist: string[];
  /** Whether every call must carry a client certificate. */
  needsCertificate: boolean;
  createdAtMs: number;
}

export async function listIssuers(db: Queryable): Promise<IssuerListing[]> {
  return db.query(
    'list-issuers',
    `select issuer_no as "issuerNo", name, status,
            array(select merchant_no from issuer_merchants b join merchants m using (merchant_id)
                   where b.issuer_id = i.issuer_id order by 1) as merchants,
            ip_allowlist as "ipAllowlist", client_cert is not null as "needsCertificate", ${toMs('created_at')} as "createdAtMs"
       from issuers i order by issuer_id`,
  );
}
