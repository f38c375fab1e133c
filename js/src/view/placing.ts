/** Which rows are drawn, and how far the sheet is moved: at the newest, or about the place where the reader is. */

import { style } from "./dom.ts";
import type { Rows } from "./rows.ts";
import { PADDING, ROW } from "./scroll.ts";
import type { Scrolling } from "./scrolling.ts";
import type { Sheet } from "./sheet.ts";

export class Placing {
  constructor(
    private readonly rows: Rows,
    private readonly sheet: Sheet,
    private readonly scrolling: Scrolling,
    /** It is told when the frame has been laid out. */
    private readonly measured: boolean,
    private readonly reachedOldest: () => void,
  ) {}

  draw(): void {
    const { follow, newestFirst } = this.rows;
    if (follow && newestFirst) this.#drawHead();
    else if (follow) this.#drawTail();
    else this.#drawPlace();
  }

  #drawTail(): void {
    const { end, rows: here } = this.sheet;
    const { capacity, height, total } = this.rows;
    if (end < total) return;
    const count = Math.min(capacity, here.length);
    const from = end - count;
    this.sheet.fill(from, end);
    const heights = this.#heights(from, end);
    const room = height - 2 * PADDING;
    const hidden = Math.max(0, heights.reduce((sum, one) => sum + one, 0) - room);
    this.rows.place = { index: from, px: hidden };
    this.#forward(heights);
    this.#move(hidden);
    if (!this.scrolling.atEnd || !this.measured) this.scrolling.sync();
  }

  #drawHead(): void {
    if (this.sheet.first > 0) return;
    this.rows.place = { index: 0, px: 0 };
    this.sheet.fill(0, Math.min(this.rows.capacity, this.sheet.end));
    this.#move(0);
    if (!this.scrolling.atEnd) this.scrolling.sync();
  }

  #drawPlace(): void {
    const { capacity, height, newestFirst, place, total } = this.rows;
    const back = place.px < 0 ? Math.min(place.index, Math.ceil(-place.px / ROW)) : 0;
    place.index -= back;
    const from = place.index;
    const end = Math.min(total, from + capacity + back + (this.#variable ? 0 : Math.ceil(Math.max(0, place.px) / ROW)));
    if (from < this.sheet.first || Math.min(end, this.sheet.end) < Math.min(end, from + 1)) {
      // Not here yet; the rows asked for will draw it. The move is done with: it must not be made again each time.
      place.index = from;
      place.px += back * ROW;
      this.rows.ask();
      return;
    }
    this.sheet.fill(from, end);
    const here = Math.min(end, this.sheet.end);
    const heights = this.#heights(from, here);
    for (let i = 0; i < back; i++) place.px += heights[i];
    if (place.px < 0) place.px = 0;
    const below = heights.reduce((sum, one) => sum + one, 0) - place.px;
    const missing = height - 2 * PADDING - below;
    if (missing > 0 && here === total && (from > 0 || place.px > 0)) {
      if (place.px >= missing) place.px -= missing;
      else if (from > 0) {
        place.px -= missing;
        if (back === 0) {
          this.#drawPlace();
          return;
        }
        place.px = Math.max(0, place.px);
      } else place.px = 0;
    }
    const hidden = place.px;
    this.#forward(heights);
    this.#move(hidden);
    if (this.scrolling.isResting) this.scrolling.sync();
    this.rows.ask();
    if (total > 1 && (newestFirst ? here === total : place.index === 0)) this.reachedOldest();
  }

  get #variable(): boolean {
    return this.rows.wrap || this.sheet.uneven || this.rows.high !== ROW;
  }

  #heights(from: number, end: number): number[] {
    if (!this.#variable) return Array.from({ length: Math.max(0, end - from) }, () => ROW);
    return this.sheet.heights();
  }

  #forward(heights: number[]): void {
    const { place } = this.rows;
    for (let i = 0; i < heights.length - 1 && place.px >= heights[i]; i++) {
      place.px -= heights[i];
      place.index++;
    }
  }

  #move(hidden: number): void {
    style(this.sheet.element, "transform", `translateY(${Math.round(PADDING - hidden)}px)`);
    const { index } = this.rows.place;
    const { first, rows } = this.sheet;
    this.rows.inSight = rows.slice(Math.max(0, index - first), index - first + this.rows.capacity - 2).filter((row) => row.kind === "line");
  }
}
