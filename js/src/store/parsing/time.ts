/** Times in milliseconds as a double: 0.2 us steps, enough to order by; exact nanoseconds stay in the recording. */

export function fromNs(ns: string): number {
  return ns.length > 6 ? Number(ns.slice(0, -6)) + Number(ns.slice(-6)) / 1e6 : Number(ns) / 1e6;
}

let cachedSecond = "";
let cachedMs = 0;

/** RFC 3339 with any number of fraction digits. */
export function fromIso(text: string): number {
  const second = text.slice(0, 19);
  if (second !== cachedSecond) {
    cachedSecond = second;
    cachedMs = Date.parse(`${second}Z`);
  }
  const fraction = /^\.\d+/.exec(text.slice(19))?.[0] ?? "";
  const offset = /([+-])(\d\d):(\d\d)$/.exec(text);
  const shift = offset === null ? 0 : (offset[1] === "+" ? -1 : 1) * (Number(offset[2]) * 60 + Number(offset[3])) * 60_000;
  return cachedMs + shift + (fraction === "" ? 0 : Number(`0${fraction}`) * 1000);
}

const UNITS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** `90s`, `10m`, `1h30m` as milliseconds; an instant as the time since then; null for all. */
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
