/**
 * Reads `yyyy-MM-ddTHH:mm:ss.sssZ` as Unix milliseconds; undefined if there is no such time.
 * Date.parse reads 30 February as 2 March, so the result is written back and compared.
 */
export function readUtcTime(text: string): number | undefined {
  const ms = Date.parse(text);
  return !Number.isNaN(ms) && new Date(ms).toISOString() === text ? ms : undefined;
}

/** Reads `yyyy-MM-dd` as the first instant of that day; undefined if there is no such day. */
export function readUtcDate(text: string): number | undefined {
  return readUtcTime(`${text}T00:00:00.000Z`);
}
