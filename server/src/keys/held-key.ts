import { createHmac, type KeyObject } from 'node:crypto';
import { openGcm, sealGcm } from '../crypto/aes-gcm.ts';

/**
 * A key that is used in place and never shown: in this process, or in an HSM (pkcs11.ts).
 * The keys that an HSM may hold are used only through this. It returns promises because an
 * HSM does.
 */
export interface HeldKey {
  /** AES-256-GCM, bound to the identity. */
  seal(plain: Uint8Array, identity: string): Promise<Buffer>;
  open(sealed: Uint8Array, identity: string): Promise<Buffer>;
  /** HMAC-SHA-256. */
  mac(message: Uint8Array): Promise<Buffer>;
}

export function processKey(key: KeyObject): HeldKey {
  return {
    seal: async (plain, identity) => sealGcm(key, plain, identity),
    open: async (sealed, identity) => openGcm(key, sealed, identity),
    mac: async (message) => createHmac('sha256', key).update(message).digest(),
  };
}
