/** What a chart shows: a picture per metric, in it a line per source that is switched on. */

import type { Chart, Curve } from "../types/chart.ts";
import type { SourceSummary } from "../types/summary.ts";
import type { Label } from "./row.ts";

/** Pictures: more than one looks through would only cost. */
const MOST = 16;
/** What is looked at first. */
const FIRST = ["loss", "acc", "rmse", "mae", "auc", "f1", "error", "ppl", "score", "reward"];

export interface Line extends Curve {
  label: string;
  hue: number;
  /** Where it is drawn: time or step; NaN where it cannot be. */
  x: Float64Array;
  /** `x` never goes back: times do not, steps may begin anew. */
  ordered: boolean;
}

/** A line's value that is no number. */
export interface Lost {
  line: Line;
  at: number;
}

export interface Multiple {
  name: string;
  lines: Line[];
  /** Of all lines, by time. */
  lost: Lost[];
  /** Of finite values; Infinity and -Infinity without any. */
  least: number;
  most: number;
}

/** The metrics that vary, what is usually looked at first. */
export function multiplesOf({ curves }: Chart, sources: SourceSummary[], labels: Label[], by: "time" | "step"): { shown: Multiple[]; more: number; stepless: number } {
  const known = new Map(sources.map((source, i) => [source.key, { on: source.on, label: labels[i]?.short || source.pod, hue: source.hue }]));
  const several = new Set(curves.map(({ source }) => source)).size > 1;
  const byName = new Map<string, Multiple>();
  for (const curve of curves) {
    // The epoch is where one is, not how it goes.
    const { on = true, label = "", hue = 252 } = known.get(curve.source) ?? {};
    if (curve.name === "epoch" || !on) continue;
    const found = byName.get(curve.name) ?? { name: curve.name, lines: [], lost: [], least: Infinity, most: -Infinity };
    byName.set(curve.name, found);
    const x = by === "time" ? curve.time : curve.step;
    const line = { ...curve, label: several ? label : "", hue, x, ordered: x.every((one, i) => i === 0 || one >= x[i - 1]) };
    found.lines.push(line);
    for (let i = 0; i < line.value.length; i++) {
      const value = line.value[i];
      if (Number.isFinite(value)) [found.least, found.most] = [Math.min(found.least, value), Math.max(found.most, value)];
      else found.lost.push({ line, at: i });
    }
  }
  const varying = [...byName.values()].filter(({ least, most, lost }) => least < most || lost.length > 0);
  const found = varying.filter(({ lines }) => lines.some(({ x }) => !x.every(Number.isNaN)));
  for (const { lost } of found) lost.sort((a, b) => timeOf(a) - timeOf(b));
  const rank = ({ name }: Multiple): number => (FIRST.findIndex((word) => name.toLowerCase().includes(word)) + FIRST.length + 1) % (FIRST.length + 1);
  const size = ({ lines }: Multiple): number => Math.round(Math.log10(lines.reduce((sum, { value }) => sum + value.length, 0)));
  found.sort((a, b) => rank(a) - rank(b) || size(b) - size(a) || (a.name < b.name ? -1 : 1));
  return { shown: found.slice(0, MOST), more: Math.max(0, found.length - MOST), stepless: varying.length - found.length };
}

export function valueOf({ line, at }: Lost): number {
  return line.value[at];
}

export function timeOf({ line, at }: Lost): number {
  return line.time[at];
}

/** Of each line the point that is nearest to a place on the axis. */
export function nearestOf({ lines }: Multiple, x: number): Lost[] {
  return lines.map((line) => ({ line, at: nearest(line, x) })).filter(({ at }) => at >= 0);
}

function nearest({ x: all, ordered }: Line, x: number): number {
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
