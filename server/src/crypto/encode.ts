/**
 * Concatenates fields so that no two different lists give the same bytes. For MAC inputs and key
 * derivation. Before each field is its length in bytes (32 bits, big-endian). Strings are UTF-8,
 * whole numbers are 8 bytes. Makes one buffer and no other copy, so a caller can wipe it.
 */
export function encodeFields(fields: readonly (string | number | Uint8Array)[]): Buffer {
  let total = 0;
  for (const field of fields) total += 4 + sizeOf(field);
  // Not from Node's pool: keys/pkcs11-calls.ts transfers the buffer's memory to a worker.
  const out = Buffer.alloc(total);
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
