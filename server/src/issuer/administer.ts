import { auditIssuer, detailsOf } from '../audit/append.ts';
import type { Database } from '../db/database.ts';
import { OperatorError, randomText, requireEntries, requireName } from '../merchants/administer.ts';
import { Secret } from '../secret.ts';
import { secretHashOf } from './authenticate.ts';
import { bindIssuer, disableIssuer, findIssuerId, insertIssuer } from './store.ts';

/** What operators do to issuers. Each change and its audit record are one transaction. */

/** 32 letters and digits of 54: 184 bits, so that its plain hash is as good as it. */
const SECRET_LENGTH = 32;

export interface NewIssuer {
  issuerNo?: string;
  name: string;
  merchants: string[];
  ipAllowlist: string[];
  /** SHA-256 of the client certificate's DER, hex. */
  clientCert?: string;
  secret?: Secret<string>;
}

/** Makes an issuer and its credential. The secret is given back this once and stored hashed. */
export async function createIssuer(
  { db, now }: { db: Database; now: () => number },
  issuer: NewIssuer,
): Promise<{ issuerNo: string; secret: Secret<string> }> {
  requireName(issuer.name);
  requireEntries(issuer.ipAllowlist);
  if (issuer.clientCert !== undefined && !/^[0-9A-Fa-f]{64}$/.test(issuer.clientCert))
    throw new OperatorError('a certificate is named by its SHA-256: 64 hex digits');
  const issuerNo = issuer.issuerNo ?? `I${randomText(12)}`;
  const secret = issuer.secret ?? new Secret(`is_${randomText(SECRET_LENGTH)}`);
  await db.transaction(async (tx) => {
    const issuerId = await insertIssuer(tx, {
      issuerNo,
      name: issuer.name,
      secretHash: secretHashOf(secret.expose()),
      clientCert: issuer.clientCert === undefined ? undefined : Buffer.from(issuer.clientCert, 'hex'),
      ipAllowlist: issuer.ipAllowlist,
    });
    for (const merchantNo of issuer.merchants)
      if (!(await bindIssuer(tx, issuerId, merchantNo))) throw new OperatorError(`there is no merchant ${merchantNo}`);
    await auditIssuer(tx, issuerId, now(), 'issuer_created', detailsOf('operator', { name: issuer.name, merchants: issuer.merchants }));
  });
  return { issuerNo, secret };
}

/** Ends the issuer's credential, within a second on every process. */
export async function endIssuer({ db, now }: { db: Database; now: () => number }, issuerNo: string): Promise<void> {
  await db.transaction(async (tx) => {
    const issuerId = await findIssuerId(tx, issuerNo);
    if (issuerId === undefined) throw new OperatorError(`there is no issuer ${issuerNo}`);
    await disableIssuer(tx, issuerId);
    await auditIssuer(tx, issuerId, now(), 'issuer_updated', detailsOf('operator', { status: 'Disabled' }));
  });
}
