import { createRequire } from 'node:module';
import type { Handle, PKCS11, default as Pkcs11js } from 'pkcs11js';
import type { HsmWorkerData } from './pkcs11-calls.ts';

/** A fault in words for the operator. */
export class TokenError extends Error {
  /** Whether the token refused the user's PIN for good: another login with it is never tried. */
  readonly final: boolean;

  constructor(message: string, final = false) {
    super(message);
    this.final = final;
  }
}

const pkcs11js = loadPackage();

/**
 * Not by a top-level await: Node 22 aborts when a worker is ended while such a module is still
 * being evaluated, and a worker is ended as soon as it has said that the token refuses the PIN.
 */
function loadPackage(): typeof Pkcs11js | undefined {
  try {
    return createRequire(import.meta.url)('pkcs11js') as typeof Pkcs11js;
  } catch {
    return undefined;
  }
}

/** The constants of PKCS#11. Undefined without the optional package: `loadModule` says so. */
export const p = pkcs11js as NonNullable<typeof pkcs11js>;

/** The mechanisms that the platform needs of a token, by the standard's names. */
const MECHANISMS = ['CKM_GENERIC_SECRET_KEY_GEN', 'CKM_SHA256_HMAC'] as const;

/**
 * Return values that another login with the same PIN cannot change (PKCS#11 v2.40, 5.1.6). Tokens
 * lock after some three wrong PINs, so none is tried again.
 */
const FINAL_REFUSALS = {
  CKR_PIN_INCORRECT: 'refuses the PIN',
  CKR_PIN_INVALID: 'refuses the PIN for its characters',
  CKR_PIN_LEN_RANGE: 'refuses the PIN for its length',
  CKR_PIN_EXPIRED: "says that the user's PIN has expired",
  CKR_PIN_LOCKED: "has locked the user's PIN",
  CKR_USER_PIN_NOT_INITIALIZED: 'has no PIN for the user yet',
  CKR_TOKEN_NOT_RECOGNIZED: 'is not one that the module knows',
} as const;
/** Return values from here on are the vendor's own (CKR_VENDOR_DEFINED). */
const VENDOR_DEFINED = 0x80000000;

/** The final refusal that an error of the module is, or undefined. */
export function finalRefusalOf(error: unknown, label: string): TokenError | undefined {
  const code = codeOf(error);
  for (const [name, words] of Object.entries(FINAL_REFUSALS))
    if (code !== undefined && code === p[name as keyof typeof FINAL_REFUSALS])
      return new TokenError(`the token "${label}" ${words}`, true);
  return undefined;
}

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
  const { manufacturerID, model, serialNumber, flags: state } = c.C_GetTokenInfo(slot);
  if ((state & p.CKF_USER_PIN_LOCKED) !== 0) throw finalRefusalOf({ code: p.CKR_PIN_LOCKED }, label);
  logIn(c, sessions[0] as Handle, label, config.pin);
  const maker = [manufacturerID, model, serialNumber].map((text) => text.trim()).join(', ');
  return { sessions, report: `token "${label}" (${maker}), mechanisms: ${MECHANISMS.join(', ')}` };
}

function logIn(c: PKCS11, session: Handle, label: string, pin: string): void {
  try {
    c.C_Login(session, p.CKU_USER, pin);
  } catch (error) {
    const code = codeOf(error) ?? 0;
    if (code === p.CKR_USER_ALREADY_LOGGED_IN) return;
    // What a vendor's own value means is not known. It may be a wrong PIN, so it counts as one.
    if (code >= VENDOR_DEFINED)
      throw new TokenError(`the token "${label}" refuses the login (0x${code.toString(16)})`, true);
    throw finalRefusalOf(error, label) ?? error;
  }
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

/** Finds the token by label or slot. No two tokens may have the label: the PIN is one token's. */
function findToken(c: PKCS11, { module, token }: HsmWorkerData): { slot: Handle; label: string } {
  const known = c.C_GetSlotList(true).map((slot) => ({ slot, label: labelOf(c, slot), number: numberOf(slot) }));
  const found = known.filter(({ label, number }) => (typeof token === 'number' ? number === token : label === token));
  const [only] = found;
  if (found.length > 1) {
    const slots = found.map(({ number }) => number).join(' and ');
    throw new TokenError(
      `the PKCS#11 module ${module} has ${found.length} tokens "${token}", in slots ${slots}; ` +
        'no PIN was tried: set PINWARD_PKCS11_SLOT instead of PINWARD_PKCS11_TOKEN',
    );
  }
  if (only?.label !== undefined) return { slot: only.slot, label: only.label };
  const wanted = typeof token === 'number' ? `in slot ${token}` : `"${token}"`;
  const named = known.map(
    ({ label, number }) => `${label === undefined ? 'an unknown one' : `"${label}"`} in slot ${number}`,
  );
  throw new TokenError(`the PKCS#11 module ${module} has no token ${wanted}; it has: ${named.join(', ') || 'none'}`);
}

/** Undefined for a token that the module does not know, or that was taken out just now. */
function labelOf(c: PKCS11, slot: Handle): string | undefined {
  try {
    return c.C_GetTokenInfo(slot).label.trim();
  } catch (error) {
    const isOther = codeOf(error) === p.CKR_TOKEN_NOT_RECOGNIZED || codeOf(error) === p.CKR_TOKEN_NOT_PRESENT;
    if (isOther) return undefined;
    throw error;
  }
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
