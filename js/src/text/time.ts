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

const UNITS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** Parse `90s`, `10m`, `1h30m` into milliseconds, an RFC 3339 time into the time since then; null for everything. */
export function parseWindow(since: string): number | null {
  if (since === "all" || since === "") return null;
  let total = 0;
  for (const [, amount, unit] of since.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/g)) total += Number(amount) * UNITS[unit];
  if (total > 0) return total;
  const instant = Date.parse(since);
  return Number.isNaN(instant) ? null : Math.max(1000, Date.now() - instant);
}

export function formatWindow(window: number | null): string {
  if (window === null) return "all";
  if (window % 3_600_000 === 0) return `${window / 3_600_000}h`;
  return window % 60_000 === 0 ? `${window / 60_000}m` : `${Math.ceil(window / 1000)}s`;
}

/**
 * Parse a time that a user typed: `14:03`, `14:03:21.5`, `-5m`, `2026-01-31 14:03`, with `Z` or `UTC` for UTC. Return ms since
 * 1970; null if it is invalid. A time of day is the last one before `now`.
 */
export function parseTypedTime(text: string, now: number, utc: boolean): number | null {
  const trimmed = text.trim();
  if (/^-\s*\d/.test(trimmed)) {
    const back = /^-(?:\s*\d+(?:\.\d+)?(?:ms|s|m|h|d))+$/.test(trimmed) ? parseWindow(trimmed.slice(1)) : null;
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
