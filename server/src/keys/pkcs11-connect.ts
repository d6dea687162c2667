import type { Handle, PKCS11 } from 'pkcs11js';
import type { HsmWorkerData } from './pkcs11-calls.ts';

/** A fault in words for the operator. */
export class TokenError extends Error {}

const pkcs11js = await import('pkcs11js').then(
  (loaded) => loaded.default,
  () => undefined,
);
/** The constants of PKCS#11. Undefined without the optional package: `loadModule` says so. */
export const p = pkcs11js as NonNullable<typeof pkcs11js>;

/** The mechanisms that the platform needs of a token, by the standard's names. */
const MECHANISMS = ['CKM_GENERIC_SECRET_KEY_GEN', 'CKM_SHA256_HMAC'] as const;

/** The return value of PKCS#11 that an error carries. */
export function codeOf(error: unknown): number | undefined {
  return (error as { code?: number } | undefined)?.code;
}

export function loadModule(path: string): PKCS11 {
  if (pkcs11js === undefined)
    throw new TokenError(
      'PKCS#11 needs the optional package pkcs11js, which was not built at the install (it wants a C++ compiler)',
    );
  const loaded = new p.PKCS11();
  try {
    loaded.load(path);
  } catch {
    throw new TokenError(`the PKCS#11 module ${path} cannot be loaded`);
  }
  return loaded;
}

/** Finds the token, opens sessions and logs in. Errors: TokenError, with all that is missing. */
export function connect(
  c: PKCS11,
  config: HsmWorkerData,
  sessionCount: number,
): { sessions: Handle[]; report: string } {
  initialize(c, config.again);
  const { slot, label } = findToken(c, config);
  requireMechanisms(c, slot, label);
  const flags = p.CKF_SERIAL_SESSION | p.CKF_RW_SESSION;
  const sessions = Array.from({ length: sessionCount }, () => c.C_OpenSession(slot, flags));
  try {
    c.C_Login(sessions[0] as Handle, p.CKU_USER, config.pin);
  } catch (error) {
    if (codeOf(error) === p.CKR_PIN_INCORRECT) throw new TokenError(`the token "${label}" refuses the PIN`);
    if (codeOf(error) !== p.CKR_USER_ALREADY_LOGGED_IN) throw error;
  }
  const { manufacturerID, model, serialNumber } = c.C_GetTokenInfo(slot);
  const maker = [manufacturerID, model, serialNumber].map((text) => text.trim()).join(', ');
  return { sessions, report: `token "${label}" (${maker}), mechanisms: ${MECHANISMS.join(', ')}` };
}

/** `again`: whether this worker replaces one that died. */
function initialize(c: PKCS11, again: boolean): void {
  const options = { flags: p.CKF_OS_LOCKING_OK }; // without it parallel calls corrupt the heap
  try {
    c.C_Initialize(options);
  } catch (error) {
    // The module belongs to the process. A worker that died left it initialized, with
    // sessions that nobody uses.
    if (!again || codeOf(error) !== p.CKR_CRYPTOKI_ALREADY_INITIALIZED) throw error;
    c.C_Finalize();
    c.C_Initialize(options);
  }
}

function findToken(c: PKCS11, { module, token }: HsmWorkerData): { slot: Handle; label: string } {
  const known = c
    .C_GetSlotList(true)
    .map((slot) => ({ slot, label: c.C_GetTokenInfo(slot).label.trim(), number: numberOf(slot) }));
  const found = known.find(({ label, number }) => (typeof token === 'number' ? number === token : label === token));
  if (found !== undefined) return found;
  const wanted = typeof token === 'number' ? `in slot ${token}` : `"${token}"`;
  const there = known.map(({ label, number }) => `"${label}" in slot ${number}`).join(', ') || 'none';
  throw new TokenError(`the PKCS#11 module ${module} has no token ${wanted}; it has: ${there}`);
}

/** A slot's handle is its number, as the module writes it: bytes in the machine's order. */
function numberOf(slot: Handle): number {
  return Number(slot.readBigUInt64LE());
}

function requireMechanisms(c: PKCS11, slot: Handle, label: string): void {
  const offered = new Set(c.C_GetMechanismList(slot));
  const missing = MECHANISMS.filter((name) => !offered.has(p[name]));
  if (missing.length > 0)
    throw new TokenError(`the token "${label}" lacks what the platform needs: ${missing.join(', ')}`);
}
