import { auditIssuer } from '../audit/append.ts';
import { secretHashOf } from '../crypto/secret-hash.ts';
import type { Database } from '../db/database.ts';
import { requireAllowlistEntries } from '../net/ip-allowlist.ts';
import { OperatorError } from '../operator-error.ts';
import { randomText } from '../random-text.ts';
import { Secret } from '../secret.ts';
import { requireName } from '../text.ts';
import { bindIssuer, insertIssuer } from './store.ts';

/**
 * 32 characters of 54: 184 bits, too many to find a secret from its plain hash, which is stored.
 */
const SECRET_LENGTH = 32;

export interface NewIssuer {
  /** Undefined: a new one is made. */
  issuerNo?: string;
  name: string;
  /** Numbers of the merchants whose cards it sees. */
  merchants: string[];
  ipAllowlist: string[];
  /** SHA-256 of the client certificate's DER, hex. */
  clientCert?: string;
}

/** Creates an issuer. Its secret is returned this once and stored as a hash. */
export async function createIssuer(
  { db, now }: { db: Database; now: () => number },
  issuer: NewIssuer,
): Promise<{ issuerNo: string; secret: Secret<string> }> {
  const { name, merchants, ipAllowlist, clientCert } = issuer;
  requireName('an issuer', name);
  requireAllowlistEntries(ipAllowlist);
  if (clientCert !== undefined && !/^[0-9A-Fa-f]{64}$/.test(clientCert))
    throw new OperatorError('a certificate is given by its SHA-256: 64 hex digits');
  const issuerNo = issuer.issuerNo ?? `I${randomText(12)}`;
  const secret = new Secret(`is_${randomText(SECRET_LENGTH)}`);
  await db.transaction(async (tx) => {
    const issuerId = await insertIssuer(tx, {
      issuerNo,
      name,
      secretHash: secretHashOf(secret.expose()),
      clientCert: clientCert === undefined ? undefined : Buffer.from(clientCert, 'hex'),
      ipAllowlist,
    });
    for (const merchantNo of merchants)
      if (!(await bindIssuer(tx, issuerId, merchantNo))) throw new OperatorError(`there is no merchant ${merchantNo}`);
    const details = { name, merchants };
    await auditIssuer(tx, issuerId, { atMs: now(), action: 'issuer_created', by: 'operator', details });
  });
  return { issuerNo, secret };
}
