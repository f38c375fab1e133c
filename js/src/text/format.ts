/** Numbers, times and durations as text. */

/** Return the message of a thrown value, which need not be an Error. */
export function errorMessage(reason: unknown): string {
  return reason instanceof Error ? reason.message : String(reason);
}

/** Return 18204 as "18 204", with thin no-break spaces. */
export function groupDigits(value: number): string {
  return String(Math.round(value)).replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f");
}

function twoDigits(value: number): string {
  return value < 10 ? `0${value}` : String(value);
}

export function formatClock(ms: number): string {
  const date = new Date(ms);
  return `${twoDigits(date.getHours())}:${twoDigits(date.getMinutes())}:${twoDigits(date.getSeconds())}.${String(date.getMilliseconds()).padStart(3, "0")}`;
}

/** Return the time of day in UTC. */
export function formatUtcClock(ms: number): string {
  return new Date(ms).toISOString().slice(11, 23);
}

/** Return a duration to the millisecond: `+1:02:03.456`. */
export function formatElapsed(ms: number): string {
  const whole = Math.abs(Math.round(ms));
  const hours = Math.floor(whole / 3_600_000);
  const rest = `${twoDigits(Math.floor(whole / 60_000) % 60)}:${twoDigits(Math.floor(whole / 1000) % 60)}.${String(whole % 1000).padStart(3, "0")}`;
  return `${ms < 0 ? "−" : "+"}${hours > 0 ? `${hours}:` : ""}${rest}`;
}

/** Return the day of a time in the user's zone: `Jan 31`, or `Jan 31, 2025` if it is not of this year. */
export function formatDay(ms: number): string {
  const isOfThisYear = new Date(ms).getFullYear() === new Date().getFullYear();
  return new Date(ms).toLocaleDateString("en", { day: "numeric", month: "short", ...(!isOfThisYear && { year: "numeric" }) });
}

/** Return whether two times are of the same day in the user's zone, or in UTC. */
export function isSameDay(a: number, b: number, utc: boolean): boolean {
  // Zones differ by whole quarters of an hour, so a day never ends within one. Nearly all neighbours are of the same quarter.
  if (Math.floor(a / 900_000) === Math.floor(b / 900_000)) return true;
  const dayOf = (ms: number): string => (utc ? new Date(ms).toISOString().slice(0, 10) : new Date(ms).toDateString());
  return Math.abs(a - b) < 86_400_000 && dayOf(a) === dayOf(b);
}

/** Return the day of a time with its weekday: `Sat, Jan 31`, or `Fri, Jan 31, 2025` if it is not of this year. */
export function formatWeekday(ms: number, utc: boolean): string {
  const isOfThisYear = new Date(ms).getFullYear() === new Date().getFullYear();
  return new Date(ms).toLocaleDateString("en", { weekday: "short", day: "numeric", month: "short", ...(!isOfThisYear && { year: "numeric" }), ...(utc && { timeZone: "UTC" }) });
}

/** Return a range of times: `10:00 to 10:20`, `Fri, Jan 30 10:00 to Sat, Jan 31 09:00`. The day is left out if both are of today. */
export function formatRange(from: number, until: number, utc: boolean): string {
  const areToday = isSameDay(from, Date.now(), utc) && isSameDay(until, Date.now(), utc);
  const areOfOneDay = isSameDay(from, until, utc);
  const clock = (ms: number): string => (utc ? formatUtcClock(ms) : formatClock(ms)).slice(0, until - from < 3_600_000 ? 8 : 5);
  const day = (ms: number): string => `${formatWeekday(ms, utc)} `;
  return `${areToday ? "" : day(from)}${clock(from)} to ${areOfOneDay ? "" : day(until)}${clock(until)}`;
}

/** Return the time between two lines: `3 ms`, `1.234 s`, `2 m 3 s`. */
export function formatSpan(ms: number): string {
  if (ms < 1000) return `${Number(ms.toFixed(ms < 10 ? 2 : 0))} ms`;
  return ms < 60_000 ? `${(ms / 1000).toFixed(3)} s` : formatAge(ms);
}

export function formatShortClock(ms: number, seconds: boolean): string {
  return formatClock(ms).slice(0, seconds ? 8 : 5);
}

/** Return a time for a list: the time of day, after the day if that is not today. */
export function formatShortTime(ms: number): string {
  return `${isSameDay(ms, Date.now(), false) ? "" : `${formatDay(ms)} `}${formatShortClock(ms, true)}`;
}

export function formatAge(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return minutes < 10 && seconds % 60 ? `${minutes} m ${seconds % 60} s` : `${minutes} m`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} m` : `${Math.floor(hours / 24)} d`;
}

/** Round a growing age: from a minute on to ten seconds, so that its text seldom changes. */
export function roundAge(ms: number): number {
  return ms < 60_000 ? ms : ms - (ms % 10_000);
}

/** Return a duration as text: `2 s`, `1 h 12 m`. */
export function formatPhase(ms: number): string {
  return ms < 950 ? "< 1 s" : formatAge(ms);
}

/** Return 8123 as "8.1k", for narrow columns. */
export function shortCount(value: number): string {
  if (value < 1000) return String(value);
  if (value < 999_500) return `${(value / 1000).toFixed(value < 9950 ? 1 : 0)}k`;
  return `${(value / 1e6).toFixed(value < 9.95e6 ? 1 : 0)}M`;
}

/** Return the user's time zone at a time (ms), as an offset to UTC: that of a log from before clocks changed is another one than today's. */
export function zoneName(at: number): string {
  const minutes = -new Date(at).getTimezoneOffset();
  if (minutes === 0) return "UTC";
  const rest = Math.abs(minutes) % 60;
  return `UTC${minutes > 0 ? "+" : "−"}${Math.floor(Math.abs(minutes) / 60)}${rest ? `:${twoDigits(rest)}` : ""}`;
}

/** Split `namespace:kind/name`. */
export function taskParts(task: string): { namespace: string; kind: string; name: string } {
  const [, namespace, kind, name] = /^([^:]*):([^/]*)\/(.*)$/.exec(task) ?? ["", "default", "job", task];
  return { namespace, kind, name };
}

/** Return the beginning of a text, at most `length` characters, without half of a surrogate pair at its end. */
export function truncate(text: string, length: number): string {
  return text.length > length ? text.slice(0, length).replace(/[\ud800-\udbff]$/, "") : text;
}
