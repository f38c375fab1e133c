/** From when on a view shows lines. It stands still while somebody reads. */

import type { Selection } from "./selection.ts";

/** A window that goes with the time moves in so many steps. */
const WINDOW_STEPS = 60;
/** After the first rows, ms: what are the newest is not known before. */
const SETTLE_MS = 500;

export class TimeWindow {
  /** The reader went beyond it by scrolling up. */
  isExtended = false;
  low = -Infinity;
  #firstRows = 0;
  #tailLow = -Infinity;

  constructor(private readonly selection: Selection) {}

  /** Where it begins; `follow`: it goes with the time. */
  start(now: number, live: boolean, follow: boolean): number {
    const { since, from, tail } = this.selection.filter;
    if (this.isExtended) return -Infinity;
    if (from !== null) this.low = from;
    else if (since === null) this.low = -Infinity;
    else if (follow || this.low === -Infinity) {
      const step = since / WINDOW_STEPS;
      this.low = (live ? Math.floor(now / step) * step : this.newest) - since;
    }
    return tail === null ? this.low : Math.max(this.low, this.#tailBound(tail));
  }

  get newest(): number {
    return Math.max(0, ...this.selection.stores.map((store) => store.lastTime));
  }

  #tailBound(tail: number): number {
    const { selection } = this;
    const { all } = selection;
    if (all.length === 0) return -Infinity;
    this.#firstRows ||= Date.now();
    if (Date.now() - this.#firstRows < SETTLE_MS) this.#tailLow = tail === 0 ? Infinity : selection.keyOf(all.at(Math.max(0, all.length - tail)));
    return this.#tailLow;
  }
}
