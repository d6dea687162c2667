import { createHash, type KeyObject, sign, verify } from 'node:crypto';
import { encodeFields } from '../crypto/encode.ts';
import type { AuditRecord, ChainHead, ChainName, Checkpoint, Signing } from './store.ts';

/*
 * The chain's rule and what is signed of it. The rule is the database's too (`audit_hash` in the migrations), since a set computes its
 * record's hash on the row that it has locked; here it is written a second time, so that a database that lies is found out.
 */

export const CHAIN_START = Buffer.alloc(32);

/** SHA-256 over the hash before it and every column; texts stand behind their length in bytes. */
export function hashOf(previous: Uint8Array, { merchantId, cardNo, seq, atMs, action, details }: Omit<AuditRecord, 'hash'>): Buffer {
  const prefixed = (text: string): string => `${Buffer.byteLength(text)}:${text}`;
  const text = `${merchantId} ${prefixed(cardNo)} ${seq} ${atMs} ${prefixed(action)} ${prefixed(details)}`;
  return createHash('sha256').update(previous).update(text).digest();
}

/** A digest over heads in their order, chained to the signing before it: none can be taken out or put between. */
export function startDigest(signingId: number, atMs: number, previousDigest: Uint8Array) {
  const hash = createHash('sha256').update(encodeFields(['pinward/audit-signing/v1', signingId, atMs, previousDigest]));
  return {
    add: ({ merchantId, cardNo, count, head }: ChainHead): void => void hash.update(encodeFields([merchantId, cardNo, count, head])),
    end: (): Buffer => hash.digest(),
  };
}

export type SigningSubject = Pick<Signing, 'signingId' | 'atMs' | 'chains' | 'digest'>;

/** Ed25519 (RFC 8032). */
export function signHeads(key: KeyObject, subject: SigningSubject): Buffer {
  return sign(null, signingText(subject), key);
}

export function areSigned(publicKey: KeyObject, subject: SigningSubject, signature: Uint8Array): boolean {
  return verify(null, signingText(subject), publicKey, signature);
}

function signingText({ signingId, atMs, chains, digest }: SigningSubject): Buffer {
  return encodeFields(['pinward/audit-heads/v1', signingId, atMs, chains, digest]);
}

export type CheckpointSubject = Omit<Checkpoint, 'keyVersion' | 'signature'>;

export function signCheckpoint(key: KeyObject, subject: CheckpointSubject): Buffer {
  return sign(null, checkpointText(subject), key);
}

export function isCheckpointSigned(publicKey: KeyObject, subject: CheckpointSubject, signature: Uint8Array): boolean {
  return verify(null, checkpointText(subject), publicKey, signature);
}

function checkpointText({ merchantId, cardNo, seq, hash, atMs }: CheckpointSubject): Buffer {
  return encodeFields(['pinward/audit-checkpoint/v1', merchantId, cardNo, seq, hash, atMs]);
}

/** For people: "card C1 of merchant M1", "merchant M1", "issuer I1", "the platform". */
export function chainText({ merchantId, cardNo }: ChainName, merchants: Map<number, string>): string {
  if (merchantId === 0) return cardNo === '' ? 'the platform' : cardNo.replace(':', ' ');
  const merchant = `merchant ${merchants.get(merchantId) ?? `number ${merchantId}`}`;
  return cardNo === '' ? merchant : `card ${cardNo} of ${merchant}`;
}
