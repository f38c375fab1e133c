/** Volume over time: of the whole recording from its outline and what came since, else of what is loaded. */

import type { Histogram } from "../../types/chart.ts";
import { ERROR, WARNING } from "../parsing/level.ts";
import { LEVEL_BITS, NOTICE } from "../holding/flags.ts";
import type { TaskStore } from "../holding/store.ts";

const BINS = 160;

interface HistogramRange {
  now: number;
  live: boolean;
  low: number;
  newest: number;
}

export function buildHistogram(stores: TaskStore[], { now, live, low, newest }: HistogramRange): Histogram {
  const bins = new Uint32Array(BINS * 4);
  const to = Math.max(live ? now : 0, newest);
  const from = Math.min(to, ...stores.map(firstTime));
  const scale = BINS / Math.max(1, to - from + 1);
  const binAt = (time: number): number => Math.min(BINS - 1, Math.max(0, Math.floor((time - from) * scale))) * 4;
  for (const store of stores) {
    const { key, flags, seq, outline } = store;
    const upto = outline?.lastSeq ?? -1;
    for (const [i, count] of outline?.lines.entries() ?? []) {
      if (count === 0) continue;
      const bin = binAt(outline!.start + (i + 0.5) * outline!.width);
      bins[bin] += count;
      bins[bin + 1] += outline!.warnings?.[i] ?? 0;
      bins[bin + 2] += outline!.errors?.[i] ?? 0;
    }
    for (let row = 0; row < store.rows; row++) {
      const flag = flags[row];
      if (flag & NOTICE || store.isRemoved(row)) continue;
      const bin = binAt(key[row]);
      if (seq[row] > upto) bins[bin]++;
      if (outline?.errors && seq[row] <= upto) continue;
      const level = flag & LEVEL_BITS;
      if (level >= ERROR) bins[bin + 2]++;
      else if (level === WARNING) bins[bin + 1]++;
    }
    for (const { kind, time } of store.marks) if (kind === "gap") bins[binAt(time) + 3]++;
  }
  // Where a task's end was noticed only after it, it stands at the end.
  const marks = stores.flatMap((store) => store.marks.map((mark) => (mark.time > to ? { ...mark, time: to, to } : mark))).toSorted((a, b) => a.time - b.time);
  return { from, to, bins, count: BINS, low, isComplete: stores.every(({ outline }) => outline !== null), marks, loaded: loadedRanges(stores, from, to) };
}

function firstTime(store: TaskStore): number {
  let first = store.outline?.first || Infinity;
  for (let row = 0; row < store.rows && row < 1; row++) first = Math.min(first, store.firstKey);
  return Math.min(first, ...store.marks.map(({ time }) => time));
}

/** What is not in a span of any of the stores. */
function loadedRanges(stores: TaskStore[], from: number, to: number): [number, number][] {
  const found: [number, number][] = [];
  let at = from;
  for (const { low, high } of stores.flatMap(({ spans }) => spans).toSorted((a, b) => a.low - b.low)) {
    if (low > at) found.push([at, low]);
    at = Math.max(at, high);
  }
  if (at < to || found.length === 0) found.push([at, to]);
  return found;
}
