/** Searches bytes for many values in one pass: which of them stand there, by name. */
export function searchFor(values: ReadonlyMap<string, Uint8Array>): (bytes: Buffer) => string[] {
  // By their first two bytes, so that nearly every place is passed over by one look at an array.
  const byStart: (undefined | [name: string, value: Uint8Array][])[] = new Array(0x10000);
  for (const [name, value] of values) {
    if (value.length < 8) throw new Error(`${name} is too short to be told from chance`);
    const start = startAt(value, 0);
    byStart[start] = [...(byStart[start] ?? []), [name, value]];
  }
  return (bytes) => {
    const found: string[] = [];
    for (let at = 0; at + 1 < bytes.length; at++) {
      const candidates = byStart[startAt(bytes, at)];
      if (candidates === undefined) continue;
      for (const [name, value] of candidates) if (bytes.subarray(at, at + value.length).equals(value)) found.push(name);
    }
    return found;
  };
}

function startAt(bytes: Uint8Array, at: number): number {
  return ((bytes[at] as number) << 8) | (bytes[at + 1] as number);
}

/** The forms in which a value could have been left, each under a name that tells it. */
export function formsOf(what: string, value: string): [name: string, bytes: Buffer][] {
  const forms: [name: string, bytes: Buffer][] = [
    [what, Buffer.from(value, 'utf8')],
    [`${what}, in hex`, Buffer.from(Buffer.from(value, 'utf8').toString('hex'))],
    [`${what}, in Base64`, Buffer.from(Buffer.from(value, 'utf8').toString('base64').replace(/=+$/, ''))],
  ];
  const decoded = Buffer.from(value, 'base64');
  // What is Base64 itself could stand as the bytes that it says, too.
  if (decoded.toString('base64') === value || decoded.toString('base64url') === value) {
    forms.push([`${what}, decoded`, decoded], [`${what}, decoded and in hex`, Buffer.from(decoded.toString('hex'))]);
  }
  return forms;
}

/**
 * How often each group of six digits stands as a whole token: not inside a longer number, hex, or a
 * word.
 */
export function countSixDigits(text: string): Map<string, number> {
  const counts = new Map<string, number>();
  for (const [digits] of text.matchAll(/(?<![0-9A-Za-z])[0-9]{6}(?![0-9A-Za-z])/g))
    counts.set(digits, (counts.get(digits) ?? 0) + 1);
  return counts;
}
