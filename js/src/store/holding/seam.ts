/** Where a page joins what is here on both sides: each source goes on in its own order, whatever the times of its lines say. */

import type { UnloadedSpan } from "./spans.ts";
import { GAP, HOLE, NOTICE } from "./flags.ts";
import type { TaskStore } from "./store.ts";

/** Within this, ms, a page's lines stand before those that are here of their source, whatever their times say. */
export const SEAM_MS = 10_000;
/** Two writers' times cross by so little, ms, and so few lines: pages are cut by time, so a line and the one before it may come in two. */
const MAX_CROSSING_MS = 100;
const MAX_SEQ_DISTANCE = 1000;
/** Numbers hold times to less than this, ms. */
const ROUNDING_MS = 0.01;

export class Seam {
  /** Each source's lowest key behind the span, and its highest before it. */
  readonly ceiling: number[] = [];
  readonly floor: number[] = [];
  /** Its lines next to the span: number and key, by number. */
  readonly #near: [seq: number, key: number][][] = [];

  constructor(
    store: TaskStore,
    private readonly span: UnloadedSpan,
  ) {
    const { from, to } = span;
    for (let row = 0; row < store.rows; row++) {
      if (store.flags[row] & (NOTICE | GAP | HOLE)) continue;
      const id = store.source[row];
      const key = store.key[row];
      if (key >= to && !(key >= this.ceiling[id])) this.ceiling[id] = key;
      if (key <= from && !(key <= this.floor[id])) this.floor[id] = key;
      if (Math.abs(key - to) < MAX_CROSSING_MS || Math.abs(key - from) < MAX_CROSSING_MS) (this.#near[id] ??= []).push([store.seq[row], key]);
    }
    for (const near of this.#near) near?.sort(([a], [b]) => a - b);
  }

  isOutside(time: number): boolean {
    const { low, high, onDemand } = this.span;
    return !onDemand && (time < low - ROUNDING_MS || time > high + ROUNDING_MS);
  }

  /** The key of a line, between its source's neighbours in number. */
  placeKey(id: number, seq: number, time: number, key: number): number {
    const near = this.#near[id];
    if (near === undefined) return key;
    let low = 0;
    let high = near.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (near[middle][0] < seq) low = middle + 1;
      else high = middle;
    }
    const [before, after] = [near[low - 1], near[low]];
    let found = key;
    if (before && seq - before[0] < MAX_SEQ_DISTANCE && before[1] - time < MAX_CROSSING_MS) found = Math.max(found, before[1]);
    if (after && after[0] - seq < MAX_SEQ_DISTANCE && time - after[1] < MAX_CROSSING_MS) found = Math.min(found, after[1]);
    return found;
  }
}
