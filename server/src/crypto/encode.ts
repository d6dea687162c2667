/**
 * Concatenates fields so that no two lists of fields give the same bytes: each stands behind its length in bytes
 * (32 bits, big-endian), strings in UTF-8, whole numbers as 8 bytes. For MAC inputs and key derivation.
 * One buffer and no copies beside it, so that a caller who passed something secret can wipe it.
 */
export function encodeFields(fields: readonly (string | number | Uint8Array)[]): Buffer {
  let total = 0;
  for (const field of fields) total += 4 + sizeOf(field);
  const out = Buffer.alloc(total); // not from Node's pool: keys/pkcs11.ts gives its memory away
  let at = 0;
  for (const field of fields) {
    at = out.writeUInt32BE(sizeOf(field), at);
    if (typeof field === 'string') at += out.write(field, at, 'utf8');
    else if (typeof field === 'number') {
      at = out.writeInt32BE(Math.floor(field / 2 ** 32), at);
      at = out.writeUInt32BE(field >>> 0, at);
    } else {
      out.set(field, at);
      at += field.length;
    }
  }
  return out;
}

function sizeOf(field: string | number | Uint8Array): number {
  if (typeof field === 'string') return Buffer.byteLength(field, 'utf8');
  return typeof field === 'number' ? 8 : field.length;
}
