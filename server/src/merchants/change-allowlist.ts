import { auditMerchant } from '../audit/append.ts';
import type { Database } from '../db/database.ts';
import { requireAllowlistEntries } from '../net/ip-allowlist.ts';
import { OperatorError } from '../operator-error.ts';
import { lockAllowlist, storeAllowlist } from './store.ts';

/** Entries to add or to remove: addresses and CIDR blocks. */
export type AllowlistChange = { add: string[] } | { remove: string[] };

/** Changes a credential's allowlist. Returns the new list. */
export async function changeAllowlist(
  { db, now }: { db: Database; now: () => number },
  apiKey: string,
  change: AllowlistChange,
): Promise<string[]> {
  requireAllowlistEntries('add' in change ? change.add : change.remove);
  return db.transaction(async (tx) => {
    const credential = await lockAllowlist(tx, apiKey);
    if (credential === undefined) throw new OperatorError(`there is no credential ${apiKey}`);
    const { merchantId, ipAllowlist } = credential;
    const changed = 'add' in change ? withAdded(ipAllowlist, change.add) : withRemoved(ipAllowlist, change.remove);
    await storeAllowlist(tx, apiKey, changed);
    const details = { api_key: apiKey, ip_allowlist: changed };
    await auditMerchant(tx, merchantId, { atMs: now(), action: 'credential_updated', by: 'operator', details });
    return changed;
  });
}

function withAdded(current: string[], entries: string[]): string[] {
  return [...new Set([...current, ...entries])];
}

function withRemoved(current: string[], entries: string[]): string[] {
  const absent = entries.find((entry) => !current.includes(entry));
  if (absent !== undefined)
    throw new OperatorError(`${absent} is not on the allowlist, which holds: ${current.join(', ') || '(nothing)'}`);
  return current.filter((entry) => !entries.includes(entry));
}
