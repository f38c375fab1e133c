/**
 * Which way the rows are read. By time a row's place is its place on the bar; newest first the bar is turned over, and only what
 * has been opened below a row stays below it: a traceback is read from its first line to its last either way.
 */

import type { Layout } from "./layout.ts";
import type { Selection } from "./selection.ts";

export class DisplayOrder {
  readonly total: number;

  constructor(
    private readonly selection: Selection,
    private readonly layout: Layout,
    /** The rows that are shown are [start, end) of the selection's. */
    private readonly start: number,
    private readonly end: number,
    private readonly newestFirst: boolean,
  ) {
    // Row 0 by time says what lies before the first line.
    this.total = layout.total + 1;
  }

  /** The place by time of what is shown at a place. */
  byTime(shown: number): number {
    return this.newestFirst ? this.#mirrored(this.total - 1 - shown) : shown;
  }

  /** Where something is shown that has a place by time. */
  shownAt(byTime: number): number {
    return this.newestFirst ? this.total - 1 - this.#mirrored(byTime) : byTime;
  }

  /** Rows from one to another as they are shown, by time. */
  between(from: number, to: number): number[] {
    const { shown } = this.selection;
    const [a, b] = [from, to].map((id) => Math.max(0, Math.min(shown.indexFor(id), shown.length - 1)));
    if (!this.newestFirst || a <= b) return this.#ids(Math.min(a, b), Math.max(a, b));
    const [older, newer] = [this.#block(b), this.#block(a)];
    return [...this.#ids(older.first, b), ...this.#ids(older.last + 1, newer.first - 1), ...this.#ids(a, newer.last)];
  }

  #ids(from: number, to: number): number[] {
    return Array.from({ length: Math.max(0, to - from + 1) }, (_unused, i) => this.selection.shown.at(from + i));
  }

  #mirrored(byTime: number): number {
    const place = byTime === 0 ? null : this.layout.at(byTime - 1);
    if (place === null || !("index" in place)) return byTime;
    const index = this.start + place.index;
    const { first, last } = this.#block(index);
    return byTime + first + last - 2 * index;
  }

  /** The shown rows that belong together with one. */
  #block(index: number): { first: number; last: number } {
    const root = this.#rootAt(index);
    let [first, last] = [index, index];
    if (!this.selection.opened.has(root)) return { first, last };
    while (first > this.start && this.#rootAt(first - 1) === root) first--;
    while (last + 1 < this.end && this.#rootAt(last + 1) === root) last++;
    return { first, last };
  }

  #rootAt(index: number): number {
    const { selection } = this;
    const id = selection.shown.at(index);
    const slot = selection.slotOf(id);
    return selection.idOf(slot, selection.stores[slot].folds.rootOf(selection.rowOf(id)));
  }
}
