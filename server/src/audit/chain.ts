import { createHash, type KeyObject, sign, verify } from 'node:crypto';
import { encodeFields } from '../crypto/encode.ts';
import type { AuditRecord, ChainHead, Checkpoint, Signing } from './store.ts';
import { chainOf } from './subject.ts';

/*
 * The rule of the chains, and what is signed of them. The database has the rule too (`audit_hash`),
 * since a statement that appends hashes on the row that it has locked. Here it is written a second
 * time, so that a database that lies is found out.
 */

export const CHAIN_START = Buffer.alloc(32);

/** SHA-256 over the hash before it and every column. Texts stand behind their length in bytes. */
export function hashOf(previous: Uint8Array, record: Omit<AuditRecord, 'hash'>): Buffer {
  const { merchantId, seq, atMs, action, details } = record;
  const sized = (text: string): string => `${Buffer.byteLength(text)}:${text}`;
  const text = `${merchantId} ${sized(chainOf(record))} ${seq} ${atMs} ${sized(action)} ${sized(details)}`;
  return createHash('sha256').update(previous).update(text).digest();
}

/**
 * The digest of a signing, over heads in their order. It covers the digest before it, so no signing
 * can be removed.
 */
export function startDigest(signingId: number, atMs: number, previousDigest: Uint8Array) {
  const start = encodeFields(['pinward/audit-signing/v1', signingId, atMs, previousDigest]);
  const hash = createHash('sha256').update(start);
  return {
    add(head: ChainHead): void {
      hash.update(encodeFields([head.merchantId, chainOf(head), head.count, head.head]));
    },
    end: (): Buffer => hash.digest(),
  };
}

export type SignedText = Pick<Signing, 'signingId' | 'atMs' | 'chains' | 'digest'>;

/** Signs by Ed25519 (RFC 8032). */
export function signHeads(key: KeyObject, signing: SignedText): Buffer {
  return sign(null, signingText(signing), key);
}

export function areHeadsSigned(publicKey: KeyObject, signing: SignedText, signature: Uint8Array): boolean {
  return verify(null, signingText(signing), publicKey, signature);
}

function signingText({ signingId, atMs, chains, digest }: SignedText): Buffer {
  return encodeFields(['pinward/audit-heads/v1', signingId, atMs, chains, digest]);
}

export type CheckpointText = Omit<Checkpoint, 'keyVersion' | 'signature'>;

export function signCheckpoint(key: KeyObject, checkpoint: CheckpointText): Buffer {
  return sign(null, checkpointText(checkpoint), key);
}

export function isCheckpointSigned(publicKey: KeyObject, checkpoint: CheckpointText, signature: Uint8Array): boolean {
  return verify(null, checkpointText(checkpoint), publicKey, signature);
}

function checkpointText(checkpoint: CheckpointText): Buffer {
  const { merchantId, seq, hash, atMs } = checkpoint;
  return encodeFields(['pinward/audit-checkpoint/v1', merchantId, chainOf(checkpoint), seq, hash, atMs]);
}
