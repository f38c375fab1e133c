/** The scroll bar of the rows: it stands for all of them, shows the place, and leads away from the newest when it is moved. */

import type { Rows } from "./rows.ts";
import { contentHeight, fromScrollTop, isSmallMove, PADDING_PX, ROW_PX, toScrollTop } from "./scroll.ts";

const SCROLL_REST_MS = 140;

export class ScrollBar {
  #lastTop = 0;
  #setTop = 0;
  #grabbed = false;
  #resting: ReturnType<typeof setTimeout> | undefined;
  /** The bar stands at its end, or will when the frame is laid out. */
  isAtEnd = false;

  constructor(private readonly rows: Rows) {
    const { element } = rows;
    element.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    element.addEventListener("wheel", (event) => this.#leadsAway(event.deltaY) && this.#leave(), { passive: true });
    element.addEventListener("touchmove", () => this.#leave(), { passive: true });
    element.addEventListener("pointerdown", (event) => (this.#grabbed = event.target === element));
    element.addEventListener("pointerup", () => (this.#grabbed = false));
    element.addEventListener("keydown", (event) => (rows.newestFirst ? ["PageDown", "ArrowDown"] : ["PageUp", "ArrowUp"]).includes(event.key) && this.#leave());
  }

  get isResting(): boolean {
    return this.#resting === undefined;
  }

  /** The scroll bar shows the place. */
  sync(): void {
    const { rows } = this;
    this.#setTop = toScrollTop(rows.place, rows.total, rows.height - 2 * PADDING_PX);
    this.isAtEnd = rows.follow;
    if (rows.follow && rows.newestFirst) this.#setTop = 0;
    else if (rows.follow) this.#setTop = contentHeight(rows.total) + 2 * PADDING_PX;
    else if (this.#movedAway()) return;
    if (Math.abs(rows.element.scrollTop - this.#setTop) >= 1) rows.element.scrollTop = this.#setTop;
    this.#lastTop = this.#setTop = rows.element.scrollTop;
  }

  /** The bar has been moved and its event is still to come: what was drawn meanwhile must not put it back. */
  #movedAway(): boolean {
    const { clientHeight, scrollHeight, scrollTop } = this.rows.element;
    return Math.abs(scrollTop - this.#lastTop) >= 1.5 && scrollTop < scrollHeight - clientHeight - 2;
  }

  #scrolled(): void {
    const { rows } = this;
    const top = rows.element.scrollTop;
    const delta = top - this.#lastTop;
    this.#lastTop = top;
    if (Math.abs(top - this.#setTop) < 1.5) return;
    this.isAtEnd = false;
    if (rows.follow) {
      if (this.#grabbed && this.#leadsAway(delta)) this.#leave();
      else {
        this.sync();
        return;
      }
    }
    this.#setTop = -10;
    rows.hasMoved = true;
    if (isSmallMove(delta, rows.height)) rows.place.px += delta;
    else {
      rows.place = fromScrollTop(top, rows.total, rows.height - 2 * PADDING_PX);
      rows.releaseAnchor();
    }
    clearTimeout(this.#resting);
    this.#resting = setTimeout(() => {
      this.#resting = undefined;
      this.sync();
      // Should the lines be loaded anew, the reader's place is known to the row.
      if (!rows.follow) rows.requestRows(true);
    }, SCROLL_REST_MS);
    rows.draw();
  }

  /** From the newest line. */
  #leadsAway(delta: number): boolean {
    return this.rows.newestFirst ? delta > 0 : delta < 0;
  }

  /** Leaving is only possible where there is more than is in sight. */
  #leave(): void {
    const { rows } = this;
    if (rows.follow && rows.total * ROW_PX > rows.height) rows.setFollow(false);
  }
}
