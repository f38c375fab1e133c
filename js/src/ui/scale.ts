/** Scales of the time axis and the plots: round ticks, positions, and numbers and times as labels. */

import { formatClock, formatDay } from "../text/format.ts";

export interface Scale {
  low: number;
  high: number;
  /** 0 at the low end, 1 at the high one. */
  at(value: number): number;
  ticks: number[];
}

const MARGIN = 0.06;

/** Return a scale from `low` to `high` with a margin. It is logarithmic if `log` is set and the values are positive. */
export function makeScale(low: number, high: number, log: boolean, most: number): Scale {
  if (log && low > 0) {
    const [a, b] = [Math.log10(low / 1.15), Math.log10(high * 1.15)];
    return { low: 10 ** a, high: 10 ** b, at: (value) => (Math.log10(value) - a) / (b - a), ticks: powerTicks(a, b, most) };
  }
  const room = (high - low) * MARGIN || Math.abs(high) * MARGIN || 1;
  const [a, b] = [low - room, high + room];
  return { low: a, high: b, at: (value) => (value - a) / (b - a), ticks: roundTicks(a, b, most) };
}

/** Return round ticks. The step is the round one that is nearest on a logarithmic scale (https://github.com/d3/d3-array). */
export function roundTicks(low: number, high: number, most: number): number[] {
  const raw = (high - low) / Math.max(1, most);
  if (!(raw > 0) || !Number.isFinite(raw)) return [low];
  const unit = 10 ** Math.floor(Math.log10(raw));
  const error = raw / unit;
  const step = unit * (error >= Math.sqrt(50) ? 10 : error >= Math.sqrt(10) ? 5 : error >= Math.sqrt(2) ? 2 : 1);
  const result: number[] = [];
  for (let i = Math.ceil(low / step - 1e-9); i <= Math.floor(high / step + 1e-9) && result.length < 20; i++) result.push(Number((i * step).toPrecision(10)));
  return result;
}

function powerTicks(low: number, high: number, most: number): number[] {
  const step = Math.max(1, Math.ceil((high - low) / Math.max(1, most)));
  const result: number[] = [];
  for (let power = Math.ceil(low); power <= high; power += step) result.push(10 ** power);
  // The range has no power of ten, so use round values between its ends.
  return result.length > 0 ? result : roundTicks(10 ** low, 10 ** high, 2);
}

/** Return a number as a label: `0.25`, `3e-4`, `12.5k`, `3M`. */
export function formatNumber(value: number, digits = 4): string {
  const size = Math.abs(value);
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "NaN" : value > 0 ? "∞" : "−∞";
  for (const [unit, of, over] of [["G", 1e9, 1e9], ["M", 1e6, 1e6], ["k", 1e4, 1e3]] as const) if (size >= of && size < 1e12) return `${Number((value / over).toPrecision(digits))}${unit}`;
  if (size !== 0 && (size < 1e-3 || size >= 1e12)) return value.toExponential(Math.min(2, digits - 1)).replace(/\.?0*e\+?/, "e");
  return String(Number(value.toPrecision(digits)));
}

const SECOND = 1000;
const DAY = 86_400_000;
/** Characters of `14:03:21.250` to show for ticks that are this far apart (ms). */
const CHARS_BY_STEP: [apart: number, chars: number][] = [[2 * 60 * SECOND, 5], [SECOND, 8], [SECOND / 10, 10], [0, 12]];

/** Return a time as exactly as a step needs, at least to the second. `length` is the length of the axis (ms). */
export function formatMoment(time: number, step: number, length: number): string {
  const [, chars] = CHARS_BY_STEP.find(([least]) => step >= least)!;
  return `${length >= DAY ? `${formatDay(time)} ` : ""}${formatClock(time).slice(0, Math.max(8, chars))}`;
}

/** Return `count` evenly spaced times from `from` to before `to` as labels; "" instead of repeating one. */
export function timeTicks(from: number, to: number, count: number): string[] {
  const apart = (to - from) / count;
  if (!(apart > 0)) return Array.from({ length: count }, () => "");
  const [, chars] = CHARS_BY_STEP.find(([least]) => apart >= least)!;
  const times = Array.from({ length: count }, (_unused, i) => from + i * apart);
  const labels = times.map((time) => `${to - from >= DAY ? `${formatDay(time)} ` : ""}${apart >= DAY ? "" : formatClock(time).slice(0, chars)}`.trim());
  return labels.map((one, i) => (labels.indexOf(one) === i ? one : ""));
}
