/** Where rows stand when what is not loaded takes the place it will need: from a row's index among those shown to its index on the scroll bar, and back. */

import { spanRowsAfter, spanRows, type UnloadedSpan } from "../holding/spans.ts";
import type { TaskStore } from "../holding/store.ts";
import type { Selection } from "./selection.ts";

/** Rows that are not here: they stand before the shown row `at`. */
export interface UnloadedBlock {
  at: number;
  rows: number;
  store: TaskStore;
  span: UnloadedSpan;
  /** Rows of the span that are before the first of these. */
  skip: number;
}

/** What a row on the scroll bar is: a shown row, or the row `offset` of a span. */
export type RowPlace = { index: number } | { block: UnloadedBlock; offset: number };

export class Layout {
  readonly total: number;

  constructor(
    /** Rows that are shown. */
    readonly count: number,
    /** By `at`. */
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

  /** Where a time stands among what is not loaded; null where it is. */
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

/** What is not loaded takes its place on the bar, where nothing is filtered. */
export function buildLayout(selection: Selection, start: number, count: number, low: number): Layout {
  const blocks: UnloadedBlock[] = [];
  for (const [slot, store] of selection.isNarrowed ? [] : selection.stores.entries()) {
    for (const span of store.spans) {
      const at = selection.shown.indexFor(selection.idOf(slot, span.row)) - start;
      const rows = spanRows(span);
      if (at >= 0 && rows > 1) blocks.push({ at: at + 1, rows: rows - 1, store, span, skip: 1 });
      else if (at < 0 && span.high > low && selection.filter.tail === null) {
        // The window begins within it.
        const within = spanRowsAfter(span, low, store.outline);
        if (within > 0) blocks.push({ at: 0, rows: within, store, span, skip: rows - within });
      }
    }
  }
  return new Layout(count, blocks.toSorted((a, b) => a.at - b.at));
}
