import { randomBytes } from 'node:crypto';
import { auditPlatform } from '../audit/append.ts';
import { xorInto } from '../crypto/cmac.ts';
import { isPair, type KeyAlgorithm, keyCheckValue } from '../crypto/key-check-value.ts';
import { type Purpose, stateOf } from '../keys/key-file.ts';
import { clearBytes, type OpenKey, type OpenKeyFile, openKeyFile } from '../keys/open-key-file.ts';
import { OperatorError } from '../operator-error.ts';
import { Secret } from '../secret.ts';
import type { KeyPlace } from './change-key-file.ts';

/** One part of a key. All parts XORed are the key; with one missing they tell nothing. */
interface Component {
  /** From 1. */
  number: number;
  /** Upper-case hex. */
  hex: Secret<string>;
  kcv: string;
}

/**
 * Splits a secret key into components. Throws an OperatorError for a key pair, for a key in
 * the HSM, and for a version that does not exist or is destroyed. `version` undefined means
 * the active version.
 */
export async function exportComponents(
  place: KeyPlace,
  purpose: Purpose,
  { version, count }: { version?: number | undefined; count: number },
): Promise<{ key: OpenKey; components: Component[] }> {
  const file = await openKeyFile(place.keyFile, place.source);
  const nowMs = place.now();
  const key = version === undefined ? findActive(file, purpose, nowMs) : findVersion(file, purpose, version);
  if (key === undefined || key.destroyed_at !== undefined) {
    const which = version === undefined ? '' : ` of version ${version}`;
    throw new OperatorError(`there is no ${purpose} key${which} to export`);
  }
  const { algorithm, kcv } = key;
  if (isPair(algorithm))
    throw new OperatorError(`${purpose} is a key pair; only secret keys are split into components`);
  const bytes = clearBytes(key);
  if (bytes === undefined)
    throw new OperatorError(`${purpose} version ${key.version} was made in the HSM and cannot leave it`);
  const components = split(algorithm, bytes, count);
  const details = { purpose, version: key.version, kcv, shares: count };
  await place.db.transaction((tx) =>
    auditPlatform(tx, { atMs: nowMs, action: 'key_exported', by: 'operator', details }),
  );
  return { key, components };
}

function findActive({ keys }: OpenKeyFile, purpose: Purpose, nowMs: number): OpenKey | undefined {
  return keys.find((key) => key.purpose === purpose && stateOf(key, keys, nowMs) === 'active');
}

function findVersion({ keys }: OpenKeyFile, purpose: Purpose, version: number): OpenKey | undefined {
  return keys.find((key) => key.purpose === purpose && key.version === version);
}

/** Random parts, and the key XORed with all of them. Wipes `bytes`. */
function split(algorithm: KeyAlgorithm, bytes: Buffer, count: number): Component[] {
  const parts: Buffer[] = Array.from({ length: count - 1 }, () => randomBytes(bytes.length));
  for (const part of parts) xorInto(bytes, part);
  parts.push(bytes);
  return parts.map((part, i) => {
    const hex = new Secret(part.toString('hex').toUpperCase());
    const component = { number: i + 1, hex, kcv: keyCheckValue(algorithm, part) };
    part.fill(0);
    return component;
  });
}
