import Type from 'typebox';
import { ApiError } from '../errors.ts';
import { readUtcTime } from '../utc-time.ts';
import { Maybe } from './fields.ts';

const DAY_MS = 86_400_000;
const LONGEST_RANGE_MS = 90 * DAY_MS;

/** The fields of calls that give page after page. `page` counts from 0. */
export const pageFields = {
  page: Maybe(Type.Integer({ minimum: 0, maximum: 1_000_000, default: 0 })),
  size: Maybe(Type.Integer({ minimum: 1, maximum: 100, default: 10 })),
};

/** The fields that every list call with a time range takes. */
export const listFields = { start_time: Type.String(), end_time: Type.String(), ...pageFields };

/** Beside them. */
export const listHeaders = Type.Object({ timezone: Type.Optional(Type.String({ description: '`UTC+8` if absent' })) });

export interface Page {
  offset: number;
  size: number;
}

export interface ListQuery extends Page {
  /** First instant, Unix milliseconds. */
  fromMs: number;
  /** The instant after the last one. */
  beforeMs: number;
}

interface AskedPage {
  page?: number | null;
  size?: number | null;
}

export function readPage({ page, size }: AskedPage): Page {
  const items = size ?? 10;
  return { offset: (page ?? 0) * items, size: items };
}

/**
 * Reads a list call's range and page. `start_time` and `end_time` are `yyyy-MM-dd` or `yyyy-MM-dd HH:mm:ss` in the
 * zone of the Timezone header (default UTC+8). A range holds its start and not its end; an `end_time` that is a
 * mere date stands for the whole day. Faults: 1004 with the field, 1019, 1020.
 */
export function readListQuery(body: AskedPage & { start_time: string; end_time: string }, timezone: string | undefined): ListQuery {
  const offsetMs = readTimezone(timezone);
  const start = readTime(body.start_time, 'start_time', offsetMs);
  const end = readTime(body.end_time, 'end_time', offsetMs);
  const beforeMs = end.ms + (end.isDate ? DAY_MS : 0);
  if (beforeMs <= start.ms) throw new ApiError('endBeforeStart');
  if (end.ms - start.ms > LONGEST_RANGE_MS) throw new ApiError('rangeTooLong');
  return { fromMs: start.ms, beforeMs, ...readPage(body) };
}

function readTimezone(given: string | undefined): number {
  if (given === undefined || given === '') return 8 * 3_600_000;
  const match = /^UTC(?:([+-])(\d{1,2})(?::([0-5]\d))?)?$/.exec(given);
  const minutes = match === null ? Number.NaN : Number(match[2] ?? 0) * 60 + Number(match[3] ?? 0);
  if (!(minutes <= 14 * 60)) throw new ApiError('invalidParameter', { field: 'Timezone' });
  return (match?.[1] === '-' ? -minutes : minutes) * 60_000;
}

function readTime(given: string, field: string, offsetMs: number): { ms: number; isDate: boolean } {
  const match = /^(\d{4}-\d{2}-\d{2})(?: (\d{2}:\d{2}:\d{2}))?$/.exec(given);
  const local = readUtcTime(`${match?.[1]}T${match?.[2] ?? '00:00:00'}.000Z`);
  if (local === undefined) throw new ApiError('invalidParameter', { field });
  return { ms: local - offsetMs, isDate: match?.[2] === undefined };
}
