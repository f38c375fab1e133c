/** Where rows stand when what is not loaded takes the place it will need: from a row's index among those shown to its index on the scroll bar, and back. */

import type { Span } from "../holding/spans.ts";
import type { TaskStore } from "../holding/store.ts";

/** Rows that are not here: they stand before the shown row `at`. */
export interface Block {
  at: number;
  rows: number;
  store: TaskStore;
  span: Span;
  /** Rows of the span that are before the first of these. */
  skip: number;
}

/** What a row on the scroll bar is: a shown row, or the row `offset` of a span. */
export type Place = { index: number } | { block: Block; offset: number };

export class Layout {
  readonly total: number;

  constructor(
    /** Rows that are shown. */
    readonly count: number,
    /** By `at`. */
    readonly blocks: readonly Block[],
  ) {
    this.total = blocks.reduce((sum, { rows }) => sum + rows, count);
  }

  toBar(index: number): number {
    let bar = index;
    for (const { at, rows } of this.blocks) if (at <= index) bar += rows;
    return bar;
  }

  at(bar: number): Place {
    let before = 0;
    for (const block of this.blocks) {
      const first = block.at + before;
      if (bar < first) break;
      if (bar < first + block.rows) return { block, offset: block.skip + bar - first };
      before += block.rows;
    }
    return { index: bar - before };
  }
}
