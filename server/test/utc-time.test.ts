import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readUtcDate, readUtcTime } from '../src/utc-time.ts';

for (const [text, ms] of [
  ['1970-01-02', 86_400_000],
  ['2024-02-29', 1_709_164_800_000],
  ['2025-02-29', undefined],
  ['2026-02-30', undefined],
  ['2026-13-01', undefined],
  ['2026-1-1', undefined],
  ['2026', undefined],
  ['', undefined],
] as const)
  test(`${text || 'nothing'} is ${ms === undefined ? 'no date' : 'a date'}`, () => assert.equal(readUtcDate(text), ms));

for (const [text, ms] of [
  ['1970-01-01T00:00:01.000Z', 1_000],
  ['2026-02-28T24:00:00.000Z', undefined],
  ['2026-02-30T00:00:00.000Z', undefined],
  ['2026-02-28T00:00:60.000Z', undefined],
  ['2026-02-28T00:00:00.000+00:00', undefined],
  ['undefined', undefined],
] as const)
  test(`${text} is ${ms === undefined ? 'no time' : 'a time'}`, () => assert.equal(readUtcTime(text), ms));
