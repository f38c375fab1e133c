/** The data of the plots: one plot for each metric, with a line for each container that is shown. */

import type { Chart, ContainerSummary, Curve } from "../protocol/update.ts";
import type { SourceLabel } from "./row.ts";

/** Maximum number of plots. */
const MAX_MULTIPLES = 16;
/** A curve has ended if it lacks this many of its usual distances between points (as in analysis/curves.py). */
const LIVE_GAPS = 5;
/** Metrics whose names contain one of these words come first. */
const SHOWN_FIRST = ["loss", "acc", "rmse", "mae", "auc", "f1", "error", "ppl", "score", "reward"];

export interface CurveLine extends Curve {
  label: string;
  colour: number;
  /** Position of each point on the axis: its time or its step; NaN for a point without a step. */
  x: Float64Array;
  /** The smoothed values; undefined if they are shown as they are. */
  smooth: Float64Array | undefined;
  /** Whether `x` never decreases. Times never do, but steps may start over. */
  ordered: boolean;
}

/** A point of a line. */
export interface CurvePoint {
  line: CurveLine;
  at: number;
}

export interface Multiple {
  name: string;
  lines: CurveLine[];
  /** The points of all lines that are not finite, ordered by time. */
  nonFinite: CurvePoint[];
  /** Range of the finite values; Infinity and -Infinity if there are none. */
  least: number;
  most: number;
}

/** Return the metrics that vary, the usual ones first. */
export function buildMultiples({ curves }: Chart, sources: ContainerSummary[], labels: SourceLabel[], by: "time" | "step", smoothOver = 0): { shown: Multiple[]; more: number; stepless: number } {
  const known = new Map(sources.map((source, i) => [source.key, { on: source.on, label: labels[i]?.short || source.pod, colour: source.colour }]));
  const several = new Set(curves.map(({ source }) => source)).size > 1;
  const byName = new Map<string, Multiple>();
  for (const curve of curves) {
    // The training epoch says where the training is, not how well it goes.
    const { on = true, label = "", colour = 0 } = known.get(curve.source) ?? {};
    if (curve.name === "epoch" || !on) continue;
    const found = byName.get(curve.name) ?? { name: curve.name, lines: [], nonFinite: [], least: Infinity, most: -Infinity };
    byName.set(curve.name, found);
    const x = by === "time" ? curve.time : curve.step;
    const line = { ...curve, label: several ? label : "", colour, x, smooth: smoothOver > 0 ? smoothed(x, curve.value, smoothOver) : undefined, ordered: x.every((one, i) => i === 0 || one >= x[i - 1]) };
    found.lines.push(line);
    for (let i = 0; i < line.value.length; i++) {
      const value = line.value[i];
      if (Number.isFinite(value)) [found.least, found.most] = [Math.min(found.least, value), Math.max(found.most, value)];
      else found.nonFinite.push({ line, at: i });
    }
  }
  const varying = [...byName.values()].filter(({ least, most, nonFinite }) => least < most || nonFinite.length > 0);
  const result = varying.filter(({ lines }) => lines.some(({ x }) => !x.every(Number.isNaN)));
  for (const { nonFinite } of result) nonFinite.sort((a, b) => timeOf(a) - timeOf(b));
  const rank = ({ name }: Multiple): number => (SHOWN_FIRST.findIndex((word) => name.toLowerCase().includes(word)) + SHOWN_FIRST.length + 1) % (SHOWN_FIRST.length + 1);
  const size = ({ lines }: Multiple): number => Math.round(Math.log10(lines.reduce((sum, { value }) => sum + value.length, 0)));
  result.sort((a, b) => rank(a) - rank(b) || size(b) - size(a) || (a.name < b.name ? -1 : 1));
  return { shown: result.slice(0, MAX_MULTIPLES), more: Math.max(0, result.length - MAX_MULTIPLES), stepless: varying.length - result.length };
}

/**
 * Return the exponential moving average of values: it weighs about the last `points` ones. It starts over after a value that is not
 * finite, and where steps start over.
 */
export function smoothed(x: Float64Array, value: Float64Array, points: number): Float64Array {
  const keep = 1 - 2 / (points + 1);
  let [sum, weight, last] = [0, 0, -Infinity];
  return value.map((one, i) => {
    if (!Number.isFinite(one) || x[i] < last) sum = weight = 0;
    if (!Number.isNaN(x[i])) last = x[i];
    if (!Number.isFinite(one)) return one;
    sum = keep * sum + one;
    weight = keep * weight + 1;
    return sum / weight;
  });
}

export function valueOf({ line, at }: CurvePoint): number {
  return line.value[at];
}

export function timeOf({ line, at }: CurvePoint): number {
  return line.time[at];
}

/** Return for each line the point that is nearest to a position on the axis. */
export function nearestPoints({ lines }: Pick<Multiple, "lines">, x: number): CurvePoint[] {
  return lines.map((line) => ({ line, at: nearestIndex(line, x) })).filter(({ at }) => at >= 0);
}

/** Return the nearest points of the lines that reach a position on the axis: to their usual distance between points, at least `margin`. */
export function pointsNear({ lines }: Pick<Multiple, "lines">, x: number, margin: number): CurvePoint[] {
  const reaching = lines.filter((line) => {
    const { from, to, gap } = extentOf(line.x);
    const reach = Math.max(gap, margin);
    return x >= from - reach && x <= to + reach;
  });
  return nearestPoints({ lines: reaching }, x);
}

/** Return the last points of the lines that go on: each has a point in the last few of its usual distances. */
export function livePoints({ lines }: Pick<Multiple, "lines">): CurvePoint[] {
  const newest = lines.reduce((most, { time }) => Math.max(most, time.at(-1) ?? -Infinity), -Infinity);
  const live = lines.filter(({ time }) => time.length > 0 && newest - time.at(-1)! <= LIVE_GAPS * extentOf(time).gap);
  return live.map((line) => ({ line, at: line.value.length - 1 }));
}

/** Return the median of the finite values; without one, NaN or an infinity; undefined without points. */
export function medianOf(points: CurvePoint[]): number | undefined {
  const finite = points.map(valueOf).filter(Number.isFinite).toSorted((a, b) => a - b);
  const middle = finite.length >> 1;
  if (finite.length === 0) return points[0] && valueOf(points[0]);
  return finite.length % 2 === 1 ? finite[middle] : (finite[middle - 1] + finite[middle]) / 2;
}

interface Extent {
  from: number;
  to: number;
  /** Mean distance between points. */
  gap: number;
}

const extents = new WeakMap<Float64Array, Extent>();

/** Return where the points of a line are. The result is kept, for the pointer asks at each movement. */
function extentOf(x: Float64Array): Extent {
  let extent = extents.get(x);
  if (extent === undefined) {
    let [from, to, count] = [Infinity, -Infinity, 0];
    for (const one of x) {
      if (Number.isNaN(one)) continue;
      [from, to] = [Math.min(from, one), Math.max(to, one)];
      count++;
    }
    extents.set(x, (extent = { from, to, gap: count > 1 ? (to - from) / (count - 1) : 0 }));
  }
  return extent;
}

function nearestIndex({ x: all, ordered }: CurveLine, x: number): number {
  let [from, to] = [0, all.length];
  if (ordered) {
    while (from < to) {
      const middle = (from + to) >>> 1;
      if (all[middle] < x) from = middle + 1;
      else to = middle;
    }
    [from, to] = [Math.max(0, from - 1), Math.min(all.length, from + 1)];
  }
  let at = -1;
  for (let i = from; i < to; i++) if (!Number.isNaN(all[i]) && (at < 0 || Math.abs(all[i] - x) < Math.abs(all[at] - x))) at = i;
  return at;
}
