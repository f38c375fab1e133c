/** When the time axis of a view is drawn anew: lines have come, or the time has moved it by some pixels. */

import type { Histogram } from "../../types/chart.ts";
import { buildHistogram } from "./histogram.ts";
import type { Selection } from "./selection.ts";
import type { TimeWindow } from "./window.ts";

const REDRAW_MS = 500;
/** It is drawn anew when nothing but the time has moved it by this share of its length (some pixels), and so much, ms. */
const REDRAW_SHARE = 1 / 64;
const MIN_STEP_MS = 2000;
/** Of so many rows the bars hardly change as more come. */
const LONG_ROWS = 2000;

export interface AxisState {
  now: number;
  live: boolean;
  low: number;
  follow: boolean;
}

export class TimeAxis {
  /** By a clock that is never set back. */
  #at = -Infinity;
  #signature = "";
  #step = MIN_STEP_MS;

  constructor(
    private readonly selection: Selection,
    private readonly window: TimeWindow,
  ) {}

  isStale(moment: AxisState): boolean {
    return this.#signatureOf(moment) !== this.#signature;
  }

  /** The axis, if it is another. */
  redraw(at: number, moment: AxisState): Histogram | undefined {
    const { all, stores } = this.selection;
    // A short log is drawn as it comes.
    if (at - this.#at < (all.length < LONG_ROWS ? 0 : REDRAW_MS) || !this.isStale(moment)) return undefined;
    this.#at = all.length === 0 ? -Infinity : at;
    const drawn = buildHistogram(stores, { ...moment, newest: this.window.newest });
    // A power of two: all viewers move at the same time, which is one frame.
    this.#step = MIN_STEP_MS * 2 ** Math.max(0, Math.floor(Math.log2(((drawn.to - drawn.from) / MIN_STEP_MS) * REDRAW_SHARE)));
    this.#signature = this.#signatureOf(moment);
    return drawn;
  }

  /** What it depends on: where the window goes with the time, it moves with the axis. */
  #signatureOf({ now, live, low, follow }: AxisState): string {
    const { all, filter, stores } = this.selection;
    const window = live && follow && !this.window.isExtended && filter.from === null ? filter.since : low;
    return `${stores.map(({ recorded, spans, outline }) => `${recorded} ${spans.length} ${outline?.errors?.length}`).join(" ")} ${all.length} ${live ? Math.floor(now / this.#step) : ""} ${window}`;
  }
}
