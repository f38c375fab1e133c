/** When the time axis of a view is drawn anew: lines have come, or the time has moved it by some pixels. */

import type { Histogram } from "../../types/chart.ts";
import { histogram } from "./histogram.ts";
import type { Selection } from "./selection.ts";
import type { Window } from "./window.ts";

const EVERY = 500;
/** It is drawn anew when nothing but the time has moved it by this share of its length (some pixels), and so much, ms. */
const SHARE = 1 / 64;
const LEAST_STEP = 2000;
/** Of so many rows the bars hardly change as more come. */
const LONG = 2000;

export interface Moment {
  now: number;
  live: boolean;
  low: number;
  follow: boolean;
}

export class TimeAxis {
  /** By a clock that is never set back. */
  #at = -Infinity;
  #drawn = "";
  #step = LEAST_STEP;

  constructor(
    private readonly selection: Selection,
    private readonly window: Window,
  ) {}

  isStale(moment: Moment): boolean {
    return this.#drawnOf(moment) !== this.#drawn;
  }

  /** The axis, if it is another. */
  next(at: number, moment: Moment): Histogram | undefined {
    const { all, stores } = this.selection;
    // A short log is drawn as it comes.
    if (at - this.#at < (all.length < LONG ? 0 : EVERY) || !this.isStale(moment)) return undefined;
    this.#at = all.length === 0 ? -Infinity : at;
    const drawn = histogram(stores, { ...moment, newest: this.window.newest });
    // A power of two: all viewers move at the same time, which is one frame.
    this.#step = LEAST_STEP * 2 ** Math.max(0, Math.floor(Math.log2(((drawn.to - drawn.from) / LEAST_STEP) * SHARE)));
    this.#drawn = this.#drawnOf(moment);
    return drawn;
  }

  /** What it depends on: where the window goes with the time, it moves with the axis. */
  #drawnOf({ now, live, low, follow }: Moment): string {
    const { all, filter, stores } = this.selection;
    const window = live && follow && !this.window.extended && filter.from === null ? filter.since : low;
    return `${stores.map(({ recorded, spans, outline }) => `${recorded} ${spans.length} ${outline?.errors?.length}`).join(" ")} ${all.length} ${live ? Math.floor(now / this.#step) : ""} ${window}`;
  }
}
