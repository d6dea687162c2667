/**
 * Who does something: a merchant's request, an issuer's request, the operator at the command line,
 * or the sandbox.
 */
export type Actor = MerchantActor | IssuerActor | 'operator' | 'sandbox';

/** A merchant's request: its credential, the address that it came from, and its id. */
export interface MerchantActor {
  credentialId: number;
  ip: string;
  requestId: string;
}

export interface IssuerActor {
  issuerNo: string;
  ip: string;
  requestId: string;
}

/** The side of an issuer: the issuer, and the merchants whose cards it sees. */
export interface IssuerScope {
  issuerId: number;
  merchantIds: number[];
}

/** The `details` of an audit record: who did it, and what else there is to say. JSON. */
export function auditDetails(by: Actor, more: Record<string, unknown> = {}): string {
  return JSON.stringify({ ...membersOf(by), ...more });
}

function membersOf(by: Actor): Record<string, unknown> {
  if (typeof by === 'string') return { by };
  const who = 'issuerNo' in by ? { issuer: by.issuerNo } : { credential_id: by.credentialId };
  return { ...who, ip: by.ip, request_id: by.requestId };
}
