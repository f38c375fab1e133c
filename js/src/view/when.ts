/** A time as a reader writes it to go there: `14:03`, `14:03:21.5`, `-5m`, `2026-01-31 14:03`, with `Z` or `UTC` for UTC. */

import { parseWindow } from "../store/parsing/time.ts";

/** ms since the epoch; null where it is no time. A time of day is the last such before `now`. */
export function parseTypedTime(text: string, now: number, utc: boolean): number | null {
  const trimmed = text.trim();
  if (/^-\s*\d/.test(trimmed)) {
    const back = /^-(?:\s*\d+(?:\.\d+)?(?:ms|s|m|h|d))+$/.test(trimmed) ? parseWindow(trimmed.slice(1)) : null;
    return back === null ? null : now - back;
  }
  const asUtc = utc || /\s*(?:z|utc)$/i.test(trimmed);
  const found = /^(?:(\d{4})-(\d\d)-(\d\d)[ T])?(\d{1,2}):(\d\d)(?::(\d\d(?:\.\d+)?))?(?:\s*(?:z|utc))?$/i.exec(trimmed);
  if (found === null) {
    const instant = /^\d{4}-\d\d-\d\dT.*[+-]\d\d:?\d\d$/.test(trimmed) ? Date.parse(trimmed) : Number.NaN;
    return Number.isNaN(instant) ? null : instant;
  }
  const [, year, month, day, hours, minutes, seconds = "0"] = found;
  if (Number(hours) > 23 || Number(minutes) > 59 || Number(seconds) >= 60) return null;
  const base = new Date(now);
  const [y, m, d] = year === undefined ? (asUtc ? [base.getUTCFullYear(), base.getUTCMonth(), base.getUTCDate()] : [base.getFullYear(), base.getMonth(), base.getDate()]) : [Number(year), Number(month) - 1, Number(day)];
  const parts = [y, m, d, Number(hours), Number(minutes), Math.floor(Number(seconds)), Math.round((Number(seconds) % 1) * 1000)] as const;
  const time = asUtc ? Date.UTC(...parts) : new Date(...parts).getTime();
  return year === undefined && time > now ? time - 86_400_000 : time;
}
