import { type ExpiryOrder, type Purpose, type StoredKey, stateOf } from '../keys/key-file.ts';
import { keyMakerOf, makeKey } from '../keys/make-key.ts';
import { OperatorError } from '../operator-error.ts';
import { changeKeyFile, type KeyPlace } from './change-key-file.ts';

interface Rotation {
  /** How long the key is pending: every process must read it before any process uses it. */
  activeInMs: number;
  /** The clear key from components, which the caller wipes. A random key if absent. */
  bytes?: Buffer;
  /** Of a CVV key. */
  expiryOrder?: ExpiryOrder | undefined;
}

/**
 * Makes the next version of a purpose's key. Values under the version before it stay there
 * until `rewrap` moves them; PIN reference values move when PINs are set or verified.
 * Throws an OperatorError if a version is pending already.
 */
export async function rotateKey(
  place: KeyPlace,
  purpose: Purpose,
  { activeInMs, bytes, expiryOrder }: Rotation,
): Promise<StoredKey> {
  const nowMs = place.now();
  return changeKeyFile(place, async ({ file, record }) => {
    const { keys } = file.stored;
    if (keys.some((key) => key.purpose === purpose && stateOf(key, keys, nowMs) === 'pending'))
      throw new OperatorError(`${purpose} has a pending key already: wait until it is active`);
    const times = { now: new Date(nowMs), activeFrom: new Date(nowMs + activeInMs) };
    const made = await makeKey(keyMakerOf(file, place.source), purpose, { ...times, bytes });
    if (expiryOrder !== undefined) made.expiry_order = expiryOrder;
    keys.push(made);
    const { version, kcv, active_from } = made;
    await record('key_rotated', { purpose, version, kcv, active_from, ...(bytes && { from: 'components' }) });
    return made;
  });
}
