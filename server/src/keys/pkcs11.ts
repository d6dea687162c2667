import { createSecretKey, type KeyObject } from 'node:crypto';
import { openGcm, sealGcm } from '../crypto/aes-gcm.ts';
import { encodeFields } from '../crypto/encode.ts';
import { randomBytesPooled } from '../crypto/random.ts';
import type { HeldKey } from './held-key.ts';
import { type HsmCalls, type HsmConfig, HsmError, openHsmCalls } from './pkcs11-calls.ts';

export { type HsmConfig, HsmError };

/** A token behind PKCS#11 v2.40. Nobody, this platform included, can read its keys. */
export interface Hsm {
  readonly labelPrefix: string;
  /** The token's description, and the mechanisms that were found. For people. */
  readonly report: string;
  held(label: string): HeldKey;
  /** Makes a non-extractable key of 32 bytes for HMAC-SHA-256. Returns its check value. */
  makeKey(label: string): Promise<string>;
  checkValue(label: string): Promise<string>;
  /** Succeeds too if the token has no such key. */
  destroy(label: string): Promise<void>;
  /** Whether the error means that the token cannot be reached; false if it refused a call. */
  isGone(error: unknown): boolean;
  close(): Promise<void>;
}

const KCV_BYTES = 3;
const SALT_BYTES = 16;
const ZEROS = Buffer.alloc(16);

/**
 * Opens the token. Every PKCS#11 call runs in a worker thread, so the event loop never
 * waits for one, even while an HSM starts or fails. Calls fail at once while the token is
 * unavailable. Later calls make the worker reconnect, at most twice a second, until the
 * token is back; if the worker died, they start another one. If the token refuses the PIN for
 * good, this process never asks it again, and tells `onEvent`. Errors: HsmError.
 */
export async function openHsm(config: HsmConfig, onEvent: (event: string) => void = () => {}): Promise<Hsm> {
  const { report, call, close } = await openHsmCalls(config, onEvent);
  const checkValue = async (label: string): Promise<string> =>
    (await call('mac', label, ZEROS)).subarray(0, KCV_BYTES).toString('hex').toUpperCase();
  return {
    labelPrefix: config.labelPrefix,
    report,
    held: (label) => tokenKey(call, label),
    async makeKey(label) {
      await call('make', label);
      return checkValue(label);
    },
    checkValue,
    async destroy(label) {
      await call('destroy', label);
    },
    isGone: (error) => error instanceof HsmError && error.gone,
    close,
  };
}

/** A key in the token. Sealed values are salt (16 bytes) ‖ IV ‖ ciphertext ‖ tag. */
function tokenKey(call: HsmCalls['call'], label: string): HeldKey {
  /**
   * The key of one value: HMAC-SHA-256 in the token over the value's identity and salt, a KDF
   * like those of NIST SP 800-108 with HMAC as PRF. So the KEK never leaves the token, and any
   * token with HMAC will do. Few tokens have GCM, and some transports to a token do not carry
   * its parameters.
   */
  async function valueKey(salt: Uint8Array, identity: string): Promise<KeyObject> {
    const bytes = await call('mac', label, encodeFields(['pinward/kek/v1', identity, salt]));
    const key = createSecretKey(bytes);
    bytes.fill(0);
    return key;
  }
  return {
    async seal(plain, identity) {
      const salt = randomBytesPooled(SALT_BYTES);
      return Buffer.concat([salt, sealGcm(await valueKey(salt, identity), plain, identity)]);
    },
    async open(sealed, identity) {
      const salt = sealed.subarray(0, SALT_BYTES);
      return openGcm(await valueKey(salt, identity), sealed.subarray(SALT_BYTES), identity);
    },
    mac: (message) => call('mac', label, message),
  };
}
