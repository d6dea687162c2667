/**
 * Unix milliseconds of `yyyy-MM-ddTHH:mm:ss.sssZ`, or undefined if there is no such time. Date.parse takes 30 February for 2 March: what it
 * read must be what was written.
 */
export function readUtcTime(text: string): number | undefined {
  const ms = Date.parse(text);
  return !Number.isNaN(ms) && new Date(ms).toISOString() === text ? ms : undefined;
}

/** The same of `yyyy-MM-dd`: its first instant. */
export function readUtcDate(text: string): number | undefined {
  return readUtcTime(`${text}T00:00:00.000Z`);
}
