/** Which rows are drawn, and how far the sheet is moved: at the newest, or about the place where the reader is. */

import { setStyle } from "./dom.ts";
import type { Rows } from "./rows.ts";
import { PADDING_PX, ROW_PX } from "./scroll.ts";
import type { ScrollBar } from "./scrolling.ts";
import type { RowPool } from "./sheet.ts";

export class RowPlacer {
  constructor(
    private readonly rows: Rows,
    private readonly pool: RowPool,
    private readonly scrollBar: ScrollBar,
    /** It is told when the frame has been laid out. */
    private readonly measured: boolean,
    private readonly reachedOldest: () => void,
  ) {}

  draw(): void {
    const { follow, newestFirst } = this.rows;
    if (follow && newestFirst) this.#drawNewestFirst();
    else if (follow) this.#drawTail();
    else this.#drawPlace();
  }

  #drawTail(): void {
    const { end, rows: here } = this.pool;
    const { capacity, height, total } = this.rows;
    if (end < total) return;
    const count = Math.min(capacity, here.length);
    const from = end - count;
    this.pool.draw(from, end);
    const heights = this.#heights(from, end);
    const room = height - 2 * PADDING_PX;
    const hidden = Math.max(0, heights.reduce((sum, one) => sum + one, 0) - room);
    this.rows.place = { index: from, px: hidden };
    this.#skipHiddenRows(heights);
    this.#move(hidden);
    if (!this.scrollBar.isAtEnd || !this.measured) this.scrollBar.sync();
  }

  #drawNewestFirst(): void {
    if (this.pool.first > 0) return;
    this.rows.place = { index: 0, px: 0 };
    this.pool.draw(0, Math.min(this.rows.capacity, this.pool.end));
    this.#move(0);
    if (!this.scrollBar.isAtEnd) this.scrollBar.sync();
  }

  #drawPlace(): void {
    const { capacity, height, newestFirst, place, total } = this.rows;
    const back = place.px < 0 ? Math.min(place.index, Math.ceil(-place.px / ROW_PX)) : 0;
    place.index -= back;
    const from = place.index;
    const end = Math.min(total, from + capacity + back + (this.#hasUnevenRows ? 0 : Math.ceil(Math.max(0, place.px) / ROW_PX)));
    if (from < this.pool.first || Math.min(end, this.pool.end) < Math.min(end, from + 1)) {
      // Not here yet; the rows asked for will draw it. The move is done with: it must not be made again each time.
      place.index = from;
      place.px += back * ROW_PX;
      this.rows.requestRows();
      return;
    }
    this.pool.draw(from, end);
    const here = Math.min(end, this.pool.end);
    const heights = this.#heights(from, here);
    for (let i = 0; i < back; i++) place.px += heights[i];
    if (place.px < 0) place.px = 0;
    const below = heights.reduce((sum, one) => sum + one, 0) - place.px;
    const missing = height - 2 * PADDING_PX - below;
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
    this.#skipHiddenRows(heights);
    this.#move(hidden);
    if (this.scrollBar.isResting) this.scrollBar.sync();
    this.rows.requestRows();
    if (total > 1 && (newestFirst ? here === total : place.index === 0)) this.reachedOldest();
  }

  get #hasUnevenRows(): boolean {
    return this.rows.wrap || this.pool.hasOpenRows || this.rows.rowHeight !== ROW_PX;
  }

  #heights(from: number, end: number): number[] {
    if (!this.#hasUnevenRows) return Array.from({ length: Math.max(0, end - from) }, () => ROW_PX);
    return this.pool.heights();
  }

  #skipHiddenRows(heights: number[]): void {
    const { place } = this.rows;
    for (let i = 0; i < heights.length - 1 && place.px >= heights[i]; i++) {
      place.px -= heights[i];
      place.index++;
    }
  }

  #move(hidden: number): void {
    setStyle(this.pool.element, "transform", `translateY(${Math.round(PADDING_PX - hidden)}px)`);
    const { index } = this.rows.place;
    const { first, rows } = this.pool;
    this.rows.visibleRows = rows.slice(Math.max(0, index - first), index - first + this.rows.capacity - 2).filter((row) => row.kind === "line");
  }
}
