/** The times below the axis: as exact as needed for each to be another, and none said twice. */

import { formatClock } from "./format.ts";

const SECOND = 1000;
const DAY = 86_400_000;
/** How much of `14:03:21.250` is said when ticks are so far apart, ms. */
const CHARS_BY_STEP: [apart: number, chars: number][] = [[2 * 60 * SECOND, 5], [SECOND, 8], [SECOND / 10, 10], [0, 12]];

/** A time on an axis of this length, as exactly as this step needs, to the second at least. */
export function formatMoment(time: number, step: number, length: number): string {
  const [, chars] = CHARS_BY_STEP.find(([least]) => step >= least)!;
  return `${length >= DAY ? `${formatDay(time)} ` : ""}${formatClock(time).slice(0, Math.max(8, chars))}`;
}

/** `count` times from `from`, evenly up to before `to`; "" where there is nothing new to say. */
export function timeTicks(from: number, to: number, count: number): string[] {
  const apart = (to - from) / count;
  if (!(apart > 0)) return Array.from({ length: count }, () => "");
  const [, chars] = CHARS_BY_STEP.find(([least]) => apart >= least)!;
  const times = Array.from({ length: count }, (_unused, i) => from + i * apart);
  const said = times.map((time) => `${to - from >= DAY ? `${formatDay(time)} ` : ""}${apart >= DAY ? "" : formatClock(time).slice(0, chars)}`.trim());
  return said.map((one, i) => (said.indexOf(one) === i ? one : ""));
}

function formatDay(time: number): string {
  return new Date(time).toLocaleDateString("en", { day: "numeric", month: "short" });
}
