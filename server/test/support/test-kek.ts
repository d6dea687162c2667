import type { KekSource } from '../../src/keys/kek.ts';
import { Secret } from '../../src/secret.ts';

/** Opens the key file of a test run; 32 bytes that nobody takes for a real key. */
export const testKek: KekSource = { kind: 'key', key: new Secret(Buffer.alloc(32, 0x5a)) };
