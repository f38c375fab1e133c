/**
 * Where rows are on the scroll bar. Unloaded lines take the room that they will need when they are loaded. There are three kinds
 * of indexes: an index among the shown rows, one on the bar (loaded and unloaded rows by time), and one as displayed (perhaps with
 * the newest on top).
 */

import { TICKS, type Ticks } from "../protocol/update.ts";
import { ERROR } from "../text/level.ts";
import { LEVEL_BITS } from "./lines.ts";
import type { Selection } from "./selection.ts";
import { spanRows, spanRowsAfter, type UnloadedSpan } from "./spans.ts";
import type { TaskStore } from "./taskstore.ts";

/** Unloaded rows before the shown row `at`. */
export interface UnloadedBlock {
  at: number;
  rows: number;
  store: TaskStore;
  span: UnloadedSpan;
  /** Number of rows of the span before this block. */
  skip: number;
}

/** The content of an index on the bar: a shown row, or the row `offset` of an unloaded span. */
export type RowPlace = { index: number } | { block: UnloadedBlock; offset: number };

export class Layout {
  readonly total: number;

  constructor(
    /** Number of rows that are shown. */
    readonly count: number,
    /** Ordered by `at`. */
    readonly blocks: readonly UnloadedBlock[],
  ) {
    this.total = blocks.reduce((sum, { rows }) => sum + rows, count);
  }

  toBar(index: number): number {
    let bar = index;
    for (const { at, rows } of this.blocks) if (at <= index) bar += rows;
    return bar;
  }

  at(bar: number): RowPlace {
    let before = 0;
    for (const block of this.blocks) {
      const first = block.at + before;
      if (bar < first) break;
      if (bar < first + block.rows) return { block, offset: block.skip + bar - first };
      before += block.rows;
    }
    return { index: bar - before };
  }

  /** Return the index on the bar of a time within unloaded lines; null if the lines of that time are loaded. */
  blankAt(time: number | null): number | null {
    let before = 0;
    for (const { at, rows, span, store, skip } of time === null ? [] : this.blocks) {
      if (time! > span.low && time! < span.high) {
        const within = rows + skip - spanRowsAfter(span, time!, store.outline);
        return at + before + Math.max(0, Math.min(rows - 1, within - skip)) + 1;
      }
      before += rows;
    }
    return null;
  }
}

/** Build the layout. With a filter, unloaded lines take no room. */
export function buildLayout(selection: Selection, start: number, count: number, low: number): Layout {
  const blocks: UnloadedBlock[] = [];
  for (const [slot, store] of selection.isNarrowed ? [] : selection.stores.entries()) {
    for (const span of store.spans) {
      const at = selection.shown.indexFor(selection.idOf(slot, span.row)) - start;
      const rows = spanRows(span);
      if (at >= 0 && rows > 1) blocks.push({ at: at + 1, rows: rows - 1, store, span, skip: 1 });
      else if (at < 0 && span.high > low && selection.filter.tail === null) {
        // The window begins within the span.
        const within = spanRowsAfter(span, low, store.outline);
        if (within > 0) blocks.push({ at: 0, rows: within, store, span, skip: rows - within });
      }
    }
  }
  return new Layout(count, blocks.toSorted((a, b) => a.at - b.at));
}

/** Rows [start, start + count) of the selection are shown. */
export interface ShownRows {
  start: number;
  count: number;
  layout: Layout;
  order: DisplayOrder;
}

/** Return where the errors and the matches of find are on the scroll bar, also errors that are not loaded but counted. */
export function findTicks(selection: Selection, { start, count, layout, order }: ShownRows): Ticks {
  const { finder, shown, stores } = selection;
  const ticks = { errors: new Set<number>(), found: new Set<number>() };
  const add = (kind: keyof Ticks, bar: number): unknown => ticks[kind].add(Math.floor((order.shownAt(bar) / order.total) * TICKS));
  // The matches have the order of the shown rows.
  let match = count > 0 ? finder.matches.indexFor(shown.at(start)) : 0;
  let next = finder.matches.at(match);
  for (let index = 0; index < count; index++) {
    const id = shown.at(start + index);
    if ((stores[selection.slotOf(id)].flags[selection.rowOf(id)] & LEVEL_BITS) >= ERROR) add("errors", layout.toBar(index) + 1);
    if (id !== next || match === finder.matches.length) continue;
    add("found", layout.toBar(index) + 1);
    next = finder.matches.at(++match);
  }
  for (const { outline } of new Set(layout.blocks.map(({ store }) => store))) {
    for (const [i, errors] of outline?.errors?.entries() ?? []) {
      const bar = errors === 0 ? null : layout.blankAt(outline!.start + (i + 0.5) * outline!.width);
      if (bar !== null) add("errors", bar);
    }
  }
  const sorted = (of: Set<number>): number[] => [...of].toSorted((a, b) => a - b);
  return { errors: sorted(ticks.errors), found: sorted(ticks.found) };
}

export class DisplayOrder {
  readonly total: number;

  readonly #selection: Selection;
  readonly #layout: Layout;
  /** Rows [start, end) of the selection are shown. */
  readonly #start: number;
  readonly #end: number;
  readonly #newestFirst: boolean;

  constructor(
    selection: Selection,
    layout: Layout,
    start: number,
    end: number,
    newestFirst: boolean,
  ) {
    this.#selection = selection;
    this.#layout = layout;
    this.#start = start;
    this.#end = end;
    this.#newestFirst = newestFirst;
    // Row 0 by time is the row before the first line (`edgeRow`).
    this.total = layout.total + 1;
  }

  /** Return the index by time of a displayed row. */
  byTime(shown: number): number {
    return this.#newestFirst ? this.#mirrored(this.total - 1 - shown) : shown;
  }

  /** Return the index in display order of a row by time. */
  shownAt(byTime: number): number {
    return this.#newestFirst ? this.total - 1 - this.#mirrored(byTime) : byTime;
  }

  /** Return the ids of the displayed rows between two rows, ordered by time. */
  between(from: number, to: number): number[] {
    const { shown } = this.#selection;
    const [a, b] = [from, to].map((id) => Math.max(0, Math.min(shown.indexFor(id), shown.length - 1)));
    if (!this.#newestFirst || a <= b) return this.#ids(Math.min(a, b), Math.max(a, b));
    const [older, newer] = [this.#block(b), this.#block(a)];
    return [...this.#ids(older.first, b), ...this.#ids(older.last + 1, newer.first - 1), ...this.#ids(a, newer.last)];
  }

  /** Return the ids of the last displayed rows up to a row (null: up to the newest one), ordered by time. */
  lastIds(to: number | null, most: number): number[] {
    const { shown } = this.#selection;
    const last = Math.min(to === null ? Infinity : shown.indexFor(to), this.#end - 1, shown.length - 1);
    return this.#ids(Math.max(this.#start, last - most + 1), last);
  }

  #ids(from: number, to: number): number[] {
    return Array.from({ length: Math.max(0, to - from + 1) }, (_unused, i) => this.#selection.shown.at(from + i));
  }

  #mirrored(byTime: number): number {
    const place = byTime === 0 ? null : this.#layout.at(byTime - 1);
    if (place === null || !("index" in place)) return byTime;
    const index = this.#start + place.index;
    const { first, last } = this.#block(index);
    return byTime + first + last - 2 * index;
  }

  /** Return the range of shown rows that are in the same fold as a row. */
  #block(index: number): { first: number; last: number } {
    const root = this.#rootAt(index);
    let [first, last] = [index, index];
    if (!this.#selection.opened.has(root)) return { first, last };
    while (first > this.#start && this.#rootAt(first - 1) === root) first--;
    while (last + 1 < this.#end && this.#rootAt(last + 1) === root) last++;
    return { first, last };
  }

  #rootAt(index: number): number {
    const selection = this.#selection;
    const id = selection.shown.at(index);
    const slot = selection.slotOf(id);
    return selection.idOf(slot, selection.stores[slot].folds.rootOf(selection.rowOf(id)));
  }
}
