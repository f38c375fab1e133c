/**
 * Times in milliseconds as doubles, which have steps of 0.2 µs. That is enough for ordering; the recording has exact nanoseconds.
 * Whole milliseconds and the rest are always added last, so that a time is the same number however it was written: as
 * nanoseconds, as an offset to another time, or in RFC 3339. A line is found again by its time.
 */

const NS_PER_MS = 1e6;

/** Return the time of a number of nanoseconds. */
export function fromNs(ns: string): number {
  return nsTimes(ns)(0);
}

/** Return a function that returns the time of an offset (ns) to a start (ns). */
export function nsTimes(start: string): (offset: number) => number {
  const ms = Number(start.slice(0, -6));
  const rest = Number(start.slice(-6));
  return (offset) => {
    const ns = rest + offset;
    const whole = Math.floor(ns / NS_PER_MS);
    return ms + whole + (ns - whole * NS_PER_MS) / NS_PER_MS;
  };
}

let cachedSecond = "";
let cachedMs = 0;

/** Parse RFC 3339 with any number of fraction digits. */
export function fromIso(text: string): number {
  const second = text.slice(0, 19);
  if (second !== cachedSecond) {
    cachedSecond = second;
    cachedMs = Date.parse(`${second}Z`);
  }
  const fraction = (/^\.(\d+)/.exec(text.slice(19))?.[1] ?? "").padEnd(9, "0");
  const offset = /([+-])(\d\d):(\d\d)$/.exec(text);
  const shift = offset === null ? 0 : (offset[1] === "+" ? -1 : 1) * (Number(offset[2]) * 60 + Number(offset[3])) * 60_000;
  return cachedMs + shift + Number(fraction.slice(0, 3)) + Number(fraction.slice(3, 9)) / NS_PER_MS;
}

/** Format a time as RFC 3339, so that `fromIso` returns the same number. */
export function toIso(time: number): string {
  const whole = Math.floor(time);
  return `${new Date(whole).toISOString().slice(0, -1)}${String(Math.round((time - whole) * NS_PER_MS)).padStart(6, "0")}Z`;
}

const UNITS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 };

/** Parse `90s`, `10m`, `1h30m` into milliseconds, an RFC 3339 time into the time since then; null for everything. */
export function parseWindow(since: string): number | null {
  if (since === "all" || since === "") return null;
  let total = 0;
  for (const [, amount, unit] of since.matchAll(/(\d+(?:\.\d+)?)(ms|[smhdw])/g)) total += Number(amount) * UNITS[unit];
  if (total > 0) return total;
  const instant = Date.parse(since);
  return Number.isNaN(instant) ? null : Math.max(1000, Date.now() - instant);
}

export function formatWindow(window: number | null): string {
  if (window === null) return "all";
  if (window % 3_600_000 === 0) return `${window / 3_600_000}h`;
  return window % 60_000 === 0 ? `${window / 60_000}m` : `${Math.ceil(window / 1000)}s`;
}

/** Return the date of a time as `2026-01-31`. */
function dateOf(time: number, utc: boolean, daysBack = 0): string {
  const date = new Date(time);
  const day = utc ? Date.UTC(date.getUTCFullYear(), date.getUTCMonth(), date.getUTCDate() - daysBack) : Date.UTC(date.getFullYear(), date.getMonth(), date.getDate() - daysBack);
  return new Date(day).toISOString().slice(0, 10);
}

/** Write `today` and `yesterday` as dates. */
function withDate(text: string, now: number, utc: boolean): string {
  return text.trim().replace(/^(today|yesterday)\b/i, (word) => dateOf(now, utc, word.toLowerCase() === "today" ? 0 : 1));
}

/**
 * Parse a time that a user typed: `14:03`, `14:03:21.5`, `-5m`, `yesterday 14:03`, `2026-01-31 14:03`, with `Z` or `UTC` for UTC.
 * Return ms since 1970; null if it is invalid. A time of day is the last one before `now`.
 */
export function parseTypedTime(text: string, now: number, utc: boolean): number | null {
  const trimmed = withDate(text, now, utc);
  if (/^-\s*\d/.test(trimmed)) {
    const back = /^-(?:\s*\d+(?:\.\d+)?(?:ms|[smhdw]))+$/.test(trimmed) ? parseWindow(trimmed.slice(1)) : null;
    return back === null ? null : now - back;
  }
  const asUtc = utc || /\s*(?:z|utc)$/i.test(trimmed);
  const match = /^(?:(\d{4})-(\d\d)-(\d\d)[ T])?(\d{1,2}):(\d\d)(?::(\d\d(?:\.\d+)?))?(?:\s*(?:z|utc))?$/i.exec(trimmed);
  if (match === null) {
    const instant = /^\d{4}-\d\d-\d\dT.*[+-]\d\d:?\d\d$/.test(trimmed) ? Date.parse(trimmed) : Number.NaN;
    return Number.isNaN(instant) ? null : instant;
  }
  const [, year, month, day, hours, minutes, seconds = "0"] = match;
  if (Number(hours) > 23 || Number(minutes) > 59 || Number(seconds) >= 60) return null;
  const base = new Date(now);
  const [y, m, d] = year === undefined ? (asUtc ? [base.getUTCFullYear(), base.getUTCMonth(), base.getUTCDate()] : [base.getFullYear(), base.getMonth(), base.getDate()]) : [Number(year), Number(month) - 1, Number(day)];
  const parts = [y, m, d, Number(hours), Number(minutes), Math.floor(Number(seconds)), Math.round((Number(seconds) % 1) * 1000)] as const;
  const onDay = (date: number): number => {
    const [ofYear, ofMonth, , ...ofDay] = parts;
    return asUtc ? Date.UTC(ofYear, ofMonth, date, ...ofDay) : new Date(ofYear, ofMonth, date, ...ofDay).getTime();
  };
  const time = onDay(parts[2]);
  // A day has 23 or 25 hours when clocks change.
  return year === undefined && time > now ? onDay(parts[2] - 1) : time;
}

/** A window as in a filter: its length back from now (`since`), or its ends (ms). */
export interface TypedRange {
  since: number | null;
  from: number | null;
  until: number | null;
}

/** Return the start of a day, or its last millisecond. A day has 23 or 25 hours when clocks change. */
function dayBound(date: string, isEnd: boolean, utc: boolean): number | null {
  const start = parseTypedTime(`${date} 00:00`, 0, utc);
  // Noon of the next day is in the next day, whatever the clocks do.
  return !isEnd || start === null ? start : parseTypedTime(`${dateOf(start + 36 * UNITS.h, utc)} 00:00`, 0, utc)! - 1;
}

/**
 * Parse a window that a user typed: `2h`, `10:00 to 10:20`, `yesterday`, `2026-01-31`, `yesterday 10:00 to today 9:00`, `-2h to -1h`,
 * `10:00 to now`, `all`. Return null if it is none. Python's `since` and `until` have the same words.
 */
export function parseTypedRange(text: string, now: number, utc: boolean): TypedRange | null {
  const typed = text.trim().replace(/^last\s+/i, "");
  if (/^all$/i.test(typed)) return { since: null, from: null, until: null };
  const length = typed.replace(/\s+/g, "");
  if (/^(?:\d+(?:\.\d+)?(?:ms|[smhdw]))+$/.test(length)) return { since: parseWindow(length), from: null, until: null };
  const [first, second = first, ...more] = typed.split(/\s+to\s+|\s+until\s+|\s*[–—]\s*|\s+-\s+|(?<=:\d\d)-(?=\d)/i).map((part) => withDate(part, now, utc));
  const isDay = (part: string): boolean => /^\d{4}-\d\d-\d\d$/.test(part);
  if (more.length > 0 || (first === second && !isDay(first))) return null;
  const from = isDay(first) ? dayBound(first, false, utc) : parseTypedTime(first, now, utc);
  if (from === null) return null;
  let until = /^now$/i.test(second) ? now : isDay(second) ? dayBound(second, true, utc) : parseTypedTime(second, now, utc);
  // A time of day alone is the first one after the start.
  if (/^\d{1,2}:/.test(second)) for (const day of [from, from + 24 * UNITS.h]) {
    until = parseTypedTime(`${dateOf(day, utc || /z|utc$/i.test(second))} ${second}`, now, utc);
    if (until === null || until > from) break;
  }
  return until === null || until <= from ? null : { since: null, from, until };
}
