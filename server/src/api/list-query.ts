import Type from 'typebox';
import { ApiError } from '../api-error.ts';
import type { Page, RangePage } from '../db/page.ts';
import { readUtcTime } from '../utc-time.ts';
import { Maybe } from './fields.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const LONGEST_RANGE_MS = 90 * DAY_MS;
const DEFAULT_SIZE = 10;
/** The zone of a call without a Timezone header. */
export const DEFAULT_TIMEZONE = 'UTC+8';

/** The fields of calls that answer page by page. `page` counts from 0. */
export const pageFields = {
  page: Maybe(Type.Integer({ minimum: 0, maximum: 1_000_000, default: 0 })),
  size: Maybe(Type.Integer({ minimum: 1, maximum: 100, default: DEFAULT_SIZE })),
};

/** The fields of list calls with a time range. */
export const listFields = { start_time: Type.String(), end_time: Type.String(), ...pageFields };

/** Their headers. */
export const listHeaders = Type.Object({
  timezone: Type.Optional(Type.String({ description: `\`${DEFAULT_TIMEZONE}\` if absent` })),
});

interface PageBody {
  page?: number | null;
  size?: number | null;
}

export function readPage(body: PageBody): Page {
  const size = body.size ?? DEFAULT_SIZE;
  return { offset: (body.page ?? 0) * size, size };
}

/**
 * Reads the range and page of a list call. `start_time` and `end_time` are `yyyy-MM-dd` or
 * `yyyy-MM-dd HH:mm:ss` in the zone of the Timezone header (UTC+8 by default). The range includes
 * its start and not its end; an `end_time` that is only a date stands for the whole day. Errors:
 * 1004 with the field, 1019, 1020.
 */
export function readListQuery(
  body: PageBody & { start_time: string; end_time: string },
  timezone: string | undefined,
): RangePage {
  const offsetMs = readTimezone(timezone);
  const start = readTime(body.start_time, 'start_time', offsetMs);
  const end = readTime(body.end_time, 'end_time', offsetMs);
  const beforeMs = end.ms + (end.isDate ? DAY_MS : 0);
  if (beforeMs <= start.ms) throw new ApiError('endBeforeStart');
  if (end.ms - start.ms > LONGEST_RANGE_MS) throw new ApiError('rangeTooLong');
  return { fromMs: start.ms, beforeMs, ...readPage(body) };
}

/** `UTC`, `UTC+8`, `UTC-03:30` and the like, at most 14 hours from UTC, as milliseconds. */
function readTimezone(text: string | undefined): number {
  const match = /^UTC(?:([+-])(\d{1,2})(?::([0-5]\d))?)?$/.exec(text || DEFAULT_TIMEZONE);
  const minutes = match === null ? Number.NaN : Number(match[2] ?? 0) * 60 + Number(match[3] ?? 0);
  if (!(minutes <= 14 * 60)) throw new ApiError('invalidParameter', { field: 'Timezone' });
  return (match?.[1] === '-' ? -minutes : minutes) * 60_000;
}

function readTime(text: string, field: string, offsetMs: number): { ms: number; isDate: boolean } {
  const match = /^(\d{4}-\d{2}-\d{2})(?: (\d{2}:\d{2}:\d{2}))?$/.exec(text);
  const local = readUtcTime(`${match?.[1]}T${match?.[2] ?? '00:00:00'}.000Z`);
  if (local === undefined) throw new ApiError('invalidParameter', { field });
  return { ms: local - offsetMs, isDate: match?.[2] === undefined };
}
