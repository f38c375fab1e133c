/** The time axis of a view: its window, the histogram of its lines, and when to draw it again. While the user reads, the window does not move. */

import type { Histogram } from "../protocol/update.ts";
import { ERROR, WARNING } from "../text/level.ts";
import { LEVEL_BITS, NOTICE } from "./lines.ts";
import type { Selection } from "./selection.ts";
import type { TaskStore } from "./taskstore.ts";

/** A moving window moves in steps of its length divided by this number. */
const WINDOW_STEPS = 60;
/** For this long after the first rows (ms), further rows can still change which ones are the newest (`tail`). */
const SETTLE_MS = 500;

export class TimeWindow {
  /** Whether the user went beyond the start of the window, by scrolling or by a jump. Then all rows are shown. */
  isExtended = false;
  low = -Infinity;
  #firstRows = 0;
  #tailLow = -Infinity;

  readonly #selection: Selection;

  constructor(selection: Selection) {
    this.#selection = selection;
  }

  /** Return the start of the window (ms). With `follow` it moves with the time. */
  start(now: number, live: boolean, follow: boolean): number {
    const { since, from, tail } = this.#selection.filter;
    if (this.isExtended) return -Infinity;
    if (from !== null) this.low = from;
    else if (since === null) this.low = -Infinity;
    else if (follow || this.low === -Infinity) {
      const step = since / WINDOW_STEPS;
      this.low = (live ? Math.floor(now / step) * step : this.newest) - since;
    }
    return tail === null ? this.low : Math.max(this.low, this.#tailBound(tail));
  }

  /** Return the length of a window that ends now (ms); null for everything, and for a range that ended before. */
  length(now: number): number | null {
    const { since, from, until } = this.#selection.filter;
    return from === null || until !== null ? since : Math.max(0, now - from);
  }

  get newest(): number {
    return Math.max(0, ...this.#selection.stores.map((store) => store.lastTime));
  }

  #tailBound(tail: number): number {
    const selection = this.#selection;
    const { all } = selection;
    if (all.length === 0) return -Infinity;
    this.#firstRows ||= Date.now();
    if (Date.now() - this.#firstRows < SETTLE_MS) this.#tailLow = tail === 0 ? Infinity : selection.keyOf(all.at(Math.max(0, all.length - tail)));
    return this.#tailLow;
  }
}

const BINS = 160;

interface HistogramRange {
  now: number;
  live: boolean;
  low: number;
  newest: number;
  /** With a filter, all matches after this time are known (ms). */
  searchedTo: number;
}

/** Number of pods that are counted apart: as many neighbours have different hues. */
const MAX_PODS = 16;
const LEVEL_NAMES = ["debug", "info", "warning", "error"];
/** The number of the name for each rank of a level (text/level.ts). A line without a level counts as `info`. */
const LEVEL_PARTS = [1, 0, 0, 1, 2, 3, 3];

/** Counts of lines in each bin, by level or by pod. */
class Parts {
  readonly #isByPod: boolean;
  readonly #names: string[];
  /** For each task and each of its sources, the number of its pod. */
  readonly #pods: number[][];
  readonly #counts: Uint32Array[];

  constructor({ stores, filter }: Selection) {
    this.#isByPod = filter.split === "pod";
    const pods = stores.map(({ task, sources }) => sources.map(({ pod }) => `${task}/${pod}`));
    this.#names = this.#isByPod ? [...new Set(pods.flat())] : LEVEL_NAMES;
    this.#pods = pods.map((names) => names.map((name) => this.#names.indexOf(name)));
    this.#counts = this.#names.map(() => new Uint32Array(BINS));
  }

  add(slot: number, { flags, source }: TaskStore, row: number, bin: number): void {
    const counts = this.#counts[this.#isByPod ? this.#pods[slot][source[row]] : LEVEL_PARTS[flags[row] & LEVEL_BITS]];
    if (counts) counts[bin]++;
  }

  /** Return the parts that have lines; of many pods, those with the most lines, and all others as one part. `bins` have warnings and errors of unloaded lines. */
  list(bins: Uint32Array | null): { name: string; lines: Uint32Array }[] {
    if (bins !== null && !this.#isByPod) for (const level of [1, 2]) this.#counts[level + 1] = bins.filter((_unused, i) => i % 4 === level);
    const parts = this.#names.map((name, i) => ({ name, lines: this.#counts[i], sum: this.#counts[i].reduce((a, b) => a + b) })).filter(({ sum }) => sum > 0).toSorted((a, b) => b.sum - a.sum);
    const rest = parts.splice(MAX_PODS);
    if (rest.length > 0) parts.push({ name: "", lines: rest[0].lines.map((_unused, i) => rest.reduce((sum, { lines }) => sum + lines[i], 0)), sum: 0 });
    return parts.map(({ name, lines }) => ({ name, lines }));
  }
}

/** Count the known matches of a filter in each bin: lines, and the warnings and errors among them. */
function countMatches(selection: Selection, binAt: (time: number) => number, parts: Parts | null): Uint32Array {
  const matches = new Uint32Array(BINS * 3);
  const { matched, stores } = selection;
  for (let index = 0; index < matched.length; index++) {
    const id = matched.at(index);
    const slot = selection.slotOf(id);
    const { flags, folds, key } = stores[slot];
    const row = selection.rowOf(id);
    if (flags[row] & NOTICE) continue;
    const rows = folds.heads.has(row) && !selection.opened.has(id) ? [row, ...folds.membersOf(row)] : [row];
    for (const one of rows) {
      const at = binAt(key[one]);
      const bin = at * 3;
      parts?.add(slot, stores[slot], one, at);
      const level = flags[one] & LEVEL_BITS;
      matches[bin]++;
      if (level >= ERROR) matches[bin + 2]++;
      else if (level === WARNING) matches[bin + 1]++;
    }
  }
  return matches;
}

function buildHistogram(selection: Selection, { now, live, low, newest, searchedTo }: HistogramRange): Histogram {
  const { stores, filtered } = selection;
  const parts = selection.filter.split === "" ? null : new Parts(selection);
  const bins = new Uint32Array(BINS * 4);
  const to = Math.max(live ? now : 0, newest);
  const from = Math.min(to, ...stores.map(firstTime));
  const scale = BINS / Math.max(1, to - from + 1);
  const binOf = (time: number): number => Math.min(BINS - 1, Math.max(0, Math.floor((time - from) * scale)));
  const binAt = (time: number): number => binOf(time) * 4;
  for (const [slot, store] of stores.entries()) {
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
      if (!filtered) parts?.add(slot, store, row, bin / 4);
      if (seq[row] > upto) bins[bin]++;
      if (outline?.errors && seq[row] <= upto) continue;
      const level = flag & LEVEL_BITS;
      if (level >= ERROR) bins[bin + 2]++;
      else if (level === WARNING) bins[bin + 1]++;
    }
    for (const { kind, time } of store.marks) if (kind === "gap") bins[binAt(time) + 3]++;
  }
  // Move marks after the end of the axis to its end: the end of a task is noticed late.
  const marks = stores.flatMap((store) => store.marks.map((mark) => (mark.time > to ? { ...mark, time: to, to } : mark))).toSorted((a, b) => a.time - b.time);
  // Loaded lines are searched at once. The server searches the other lines, from the newest to the oldest.
  const unloaded = stores.flatMap((store) => [...store.spans.map(({ high }) => high), store.older ? store.firstKey : -Infinity]);
  const matches = filtered ? countMatches(selection, binOf, parts) : undefined;
  return { from, to, bins, count: BINS, matches, parts: parts?.list(filtered ? null : bins), matchesFrom: Math.min(searchedTo, Math.max(-Infinity, ...unloaded)), low, isComplete: stores.every(({ outline }) => outline !== null), marks, loaded: loadedRanges(stores, from, to) };
}

function firstTime(store: TaskStore): number {
  let first = store.outline?.first || Infinity;
  for (let row = 0; row < store.rows && row < 1; row++) first = Math.min(first, store.firstKey);
  return Math.min(first, ...store.marks.map(({ time }) => time));
}

/** Return the time ranges outside all unloaded spans. */
function loadedRanges(stores: TaskStore[], from: number, to: number): [number, number][] {
  const result: [number, number][] = [];
  let at = from;
  for (const { low, high } of stores.flatMap(({ spans }) => spans).toSorted((a, b) => a.low - b.low)) {
    if (low > at) result.push([at, low]);
    at = Math.max(at, high);
  }
  if (at < to || result.length === 0) result.push([at, to]);
  return result;
}

const REDRAW_MS = 500;
/** If only time has passed, the axis is redrawn after it has moved by this share of its length, which is some pixels. */
const REDRAW_SHARE = 1 / 64;
/** Minimum time between two redrawings if only time has passed (ms). */
const MIN_STEP_MS = 2000;
/** From this number of rows on, new rows hardly change the bars. */
const LONG_ROWS = 2000;

export interface AxisState {
  now: number;
  live: boolean;
  low: number;
  follow: boolean;
  searchedTo: number;
}

export class TimeAxis {
  /** When the axis was last drawn (`performance.now`, ms). */
  #at = -Infinity;
  #signature = "";
  #step = MIN_STEP_MS;

  readonly #selection: Selection;
  readonly #window: TimeWindow;

  constructor(
    selection: Selection,
    window: TimeWindow,
  ) {
    this.#selection = selection;
    this.#window = window;
  }

  isStale(moment: AxisState): boolean {
    return this.#signatureOf(moment) !== this.#signature;
  }

  /** Return the histogram if it is time to draw it again. */
  redraw(at: number, moment: AxisState): Histogram | undefined {
    const { all } = this.#selection;
    // The histogram of a short log is drawn at once.
    if (at - this.#at < (all.length < LONG_ROWS ? 0 : REDRAW_MS) || !this.isStale(moment)) return undefined;
    this.#at = all.length === 0 ? -Infinity : at;
    const drawn = buildHistogram(this.#selection, { ...moment, newest: this.#window.newest });
    // Multiples of one step by powers of two, so that all views redraw at the same moments.
    this.#step = MIN_STEP_MS * 2 ** Math.max(0, Math.floor(Math.log2(((drawn.to - drawn.from) / MIN_STEP_MS) * REDRAW_SHARE)));
    this.#signature = this.#signatureOf(moment);
    return drawn;
  }

  /** Return a text that changes when the histogram must be drawn again. If the window moves with the axis, only its length counts. */
  #signatureOf({ now, live, low, follow, searchedTo }: AxisState): string {
    const { all, filter, filtered, finder, matched, shown, stores, unsearched } = this.#selection;
    const matches = `${filtered ? `${shown.length} ${matched.length} ${unsearched} ${searchedTo}` : ""} ${finder.isActive ? finder.matches.length : ""}`;
    const window = live && follow && !this.#window.isExtended && filter.from === null ? filter.since : low;
    return `${stores.map(({ recorded, spans, outline }) => `${recorded} ${spans.length} ${outline?.errors?.length}`).join(" ")} ${all.length} ${live ? Math.floor(now / this.#step) : ""} ${window} ${matches} ${filter.split}`;
  }
}
