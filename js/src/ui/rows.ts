/**
 * The lines: a few dozen rows in a sheet that stays in the viewport while the scroll bar stands for all of them. Following is
 * a state that only the reader changes; whatever arrives, the row being read keeps its place.
 */

import type { Viewport } from "../protocol/requests.ts";
import type { Row, Update } from "../protocol/update.ts";
import { h, setClass, setStyle } from "./dom.ts";
import { RowPool, type RowPoolActions, RowSelection } from "./rowpool.ts";
import { contentHeight, fromScrollTop, isSmallMove, PADDING_PX, type Place, ROW_PX, toScrollTop } from "./scroll.ts";

const MARGIN_ROWS = 24;

export interface RowsActions extends RowPoolActions {
  setViewport(look: Viewport): void;
  followChanged(follow: boolean): void;
  /** The oldest row is in sight. */
  reachedOldest(): void;
}

export class Rows {
  readonly element: HTMLElement;
  follow = true;
  wrap = false;
  /** The reader has moved since the lines were loaded: where they read before is not sought any more. */
  hasMoved = false;
  #wantsNewestFirst = false;
  total = 1;
  place: Place = { index: 0, px: 0 };
  /** Rows in sight, for the status bar and the kernel. */
  visibleRows: Row[] = [];
  readonly selection = new RowSelection();
  readonly picker: RowPicker;
  #pool: RowPool;
  readonly #placer: RowPlacer;
  readonly #scrollBar: ScrollBar;
  #spacer = h("div", { class: "cl-spacer" });
  #requested = "";
  #requestedAnchor: number | null = null;
  #appliedShift = 0;
  /** How high a row is that is not wrapped, px. */
  rowHeight = ROW_PX;
  #generation = 0;
  readonly #resizeObserver = typeof ResizeObserver === "function" ? new ResizeObserver(() => this.follow && this.#scrollBar.sync()) : undefined;
  /** Measured when it changes, not each time: asking the DOM would lay it out in the middle of drawing. */
  height = 330;

  readonly #actions: RowsActions;

  constructor(actions: RowsActions) {
    this.#actions = actions;
    this.#pool = new RowPool(actions, this.selection);
    const pin = h("div", { class: "cl-pin" }, this.#pool.element);
    this.element = h("div", { class: "cl-rows", role: "log", "aria-live": "off", "aria-label": "Log lines", tabindex: "0" }, pin, this.#spacer);
    this.#scrollBar = new ScrollBar(this);
    this.picker = new RowPicker(this, this.#pool);
    this.#placer = new RowPlacer(this, this.#pool, this.#scrollBar, this.#resizeObserver !== undefined, () => actions.reachedOldest());
    this.#pool.element.addEventListener("toggle", () => this.draw(), { capture: true });
    // While following the bar is moved when the frame has been laid out: to ask sooner would lay it out twice.
    this.#resizeObserver?.observe(this.#spacer);
  }

  close(): void {
    this.#resizeObserver?.disconnect();
  }

  /** The newest row is row 0, of the rows that are here. */
  get newestFirst(): boolean {
    return this.#pool.newestFirst;
  }

  measure(): void {
    this.height = this.element.clientHeight || this.height;
    this.requestRows(true);
    this.draw();
  }

  get capacity(): number {
    return Math.ceil(this.height / Math.min(ROW_PX, this.rowHeight)) + 2;
  }

  viewport(): Viewport {
    const { index } = this.place;
    const anchor = this.follow ? undefined : this.#pool.firstFrom(index);
    return { from: Math.max(0, index - MARGIN_ROWS), count: this.capacity + 2 * MARGIN_ROWS, follow: this.follow, newestFirst: this.#wantsNewestFirst, anchor: anchor?.id ?? null, anchorIndex: anchor?.index ?? 0, ...(this.hasMoved && { seek: null }) };
  }

  setFollow(follow: boolean): void {
    if (this.follow === follow) return;
    this.follow = follow;
    this.#scrollBar.isAtEnd = false;
    this.#actions.followChanged(follow);
    this.requestRows(true);
    this.draw();
  }

  /** Which row is on top; the row being read stays in sight. */
  setOrder(newestFirst: boolean): void {
    if (newestFirst === this.#wantsNewestFirst) return;
    this.#wantsNewestFirst = newestFirst;
    this.requestRows(true);
  }

  toOldest(): void {
    this.setFollow(false);
    this.place = { index: this.newestFirst ? this.total - 1 : 0, px: 0 };
    this.#jumped();
  }

  /** The row that the reader is at: picked, else the first line in sight. */
  get current(): Row | undefined {
    const { head } = this.selection;
    const seen = head === null ? undefined : this.visibleRows.find(({ id }) => id === head.id);
    return seen ?? this.visibleRows[0];
  }

  /** Puts a row a third down the rows and picks it. */
  #landOn({ row, id }: { row: number; id: number }): void {
    const was = this.follow;
    this.follow = false;
    this.place = { index: Math.max(0, row - Math.floor(this.capacity / 3)), px: 0 };
    this.selection.set(id, row, false);
    this.releaseAnchor();
    if (was) this.#actions.followChanged(false);
  }

  /** Everything is drawn anew: names, columns or styles have changed. */
  restyle(): void {
    this.#pool.restyle();
    this.draw();
  }

  /** How lines look: wrapped or not, and how high one is, px. */
  setLineLayout(wrap: boolean, high: number): void {
    if (wrap === this.wrap && high === this.rowHeight) return;
    this.wrap = wrap;
    this.rowHeight = high;
    setClass(this.element, "cl-wrap", wrap);
    this.requestRows(true);
    this.restyle();
  }

  update(update: Update): void {
    if (update.generation !== this.#generation) {
      this.#generation = update.generation;
      this.hasMoved = false;
      this.#pool.clear();
      this.releaseAnchor();
      this.selection.clear();
    }
    if (update.jump !== undefined) this.#landOn(update.jump);
    else if (!this.follow && update.seekRow !== undefined && !this.hasMoved) this.place = { index: update.seekRow, px: 0 };
    else if (!this.follow && update.rows.length > 0) this.#holdPlace(update);
    if (update.newestFirst !== this.newestFirst) this.#scrollBar.isAtEnd = false;
    this.total = update.total;
    this.#pool.setRows(update);
    this.selection.reindex(update.rows, update.first);
    setStyle(this.#spacer, "height", `${contentHeight(this.total) + 2 * PADDING_PX}px`);
    this.place.index = Math.max(0, Math.min(this.place.index, this.total - 1));
    this.draw();
  }

  /** The first line in sight stays where it is, whatever came before it. */
  #holdPlace(update: Update): void {
    const held = this.#pool.firstFrom(this.place.index);
    const now = held === undefined ? -1 : update.rows.findIndex((row) => row.id === held.id);
    if (held !== undefined && now !== -1) this.place.index += update.first + now - held.index;
    else if (this.#requestedAnchor !== null) this.place.index += update.shift - this.#appliedShift;
    this.#appliedShift = update.shift;
  }

  draw(): void {
    this.#placer.draw();
  }

  #jumped(): void {
    this.requestRows(true);
    this.draw();
    this.#scrollBar.sync();
  }

  /** The place is another: the row that was at the old one has nothing to do with it. */
  releaseAnchor(): void {
    this.#requestedAnchor = null;
  }

  /** Asks for rows when those in sight come near the end of what is here. */
  requestRows(force = false): void {
    const { index } = this.place;
    const { first, end } = this.#pool;
    const near = MARGIN_ROWS / 3;
    const enough = index - first >= Math.min(near, index) && end - index - this.capacity >= Math.min(near, this.total - index - this.capacity);
    if (!force && (this.follow || enough)) return;
    const look = this.viewport();
    const key = `${look.from} ${look.count} ${look.follow} ${look.anchor} ${look.anchorIndex}`;
    if (!force && key === this.#requested) return;
    this.#requested = key;
    this.#requestedAnchor = look.anchor;
    this.#appliedShift = 0;
    this.#actions.setViewport(look);
  }
}

class RowPlacer {
  readonly #rows: Rows;
  readonly #pool: RowPool;
  readonly #scrollBar: ScrollBar;
  /** It is told when the frame has been laid out. */
  readonly #measured: boolean;
  readonly #reachedOldest: () => void;

  constructor(
    rows: Rows,
    pool: RowPool,
    scrollBar: ScrollBar,
    measured: boolean,
    reachedOldest: () => void,
  ) {
    this.#rows = rows;
    this.#pool = pool;
    this.#scrollBar = scrollBar;
    this.#measured = measured;
    this.#reachedOldest = reachedOldest;
  }

  draw(): void {
    const { follow, newestFirst } = this.#rows;
    if (follow && newestFirst) this.#drawNewestFirst();
    else if (follow) this.#drawTail();
    else this.#drawPlace();
  }

  #drawTail(): void {
    const { end, rows: here } = this.#pool;
    const { capacity, height, total } = this.#rows;
    if (end < total) return;
    const count = Math.min(capacity, here.length);
    const from = end - count;
    this.#pool.draw(from, end);
    const heights = this.#heights(from, end);
    const room = height - 2 * PADDING_PX;
    const hidden = Math.max(0, heights.reduce((sum, one) => sum + one, 0) - room);
    this.#rows.place = { index: from, px: hidden };
    this.#skipHiddenRows(heights);
    this.#move(hidden);
    if (!this.#scrollBar.isAtEnd || !this.#measured) this.#scrollBar.sync();
  }

  #drawNewestFirst(): void {
    if (this.#pool.first > 0) return;
    this.#rows.place = { index: 0, px: 0 };
    this.#pool.draw(0, Math.min(this.#rows.capacity, this.#pool.end));
    this.#move(0);
    if (!this.#scrollBar.isAtEnd) this.#scrollBar.sync();
  }

  #drawPlace(): void {
    const { capacity, height, newestFirst, place, total } = this.#rows;
    const back = place.px < 0 ? Math.min(place.index, Math.ceil(-place.px / ROW_PX)) : 0;
    place.index -= back;
    const from = place.index;
    const end = Math.min(total, from + capacity + back + (this.#hasUnevenRows ? 0 : Math.ceil(Math.max(0, place.px) / ROW_PX)));
    if (from < this.#pool.first || Math.min(end, this.#pool.end) < Math.min(end, from + 1)) {
      // Not here yet; the rows asked for will draw it. The move is done with: it must not be made again each time.
      place.index = from;
      place.px += back * ROW_PX;
      this.#rows.requestRows();
      return;
    }
    this.#pool.draw(from, end);
    const here = Math.min(end, this.#pool.end);
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
    if (this.#scrollBar.isResting) this.#scrollBar.sync();
    this.#rows.requestRows();
    if (total > 1 && (newestFirst ? here === total : place.index === 0)) this.#reachedOldest();
  }

  get #hasUnevenRows(): boolean {
    return this.#rows.wrap || this.#pool.hasOpenRows || this.#rows.rowHeight !== ROW_PX;
  }

  #heights(from: number, end: number): number[] {
    if (!this.#hasUnevenRows) return Array.from({ length: Math.max(0, end - from) }, () => ROW_PX);
    return this.#pool.heights();
  }

  #skipHiddenRows(heights: number[]): void {
    const { place } = this.#rows;
    for (let i = 0; i < heights.length - 1 && place.px >= heights[i]; i++) {
      place.px -= heights[i];
      place.index++;
    }
  }

  #move(hidden: number): void {
    setStyle(this.#pool.element, "transform", `translateY(${Math.round(PADDING_PX - hidden)}px)`);
    const { index } = this.#rows.place;
    const { first, rows } = this.#pool;
    this.#rows.visibleRows = rows.slice(Math.max(0, index - first), index - first + this.#rows.capacity - 2).filter((row) => row.kind === "line");
  }
}

const SCROLL_REST_MS = 140;

class ScrollBar {
  #lastTop = 0;
  #setTop = 0;
  #grabbed = false;
  #resting: ReturnType<typeof setTimeout> | undefined;
  /** The bar stands at its end, or will when the frame is laid out. */
  isAtEnd = false;

  readonly #rows: Rows;

  constructor(rows: Rows) {
    this.#rows = rows;
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
    const rows = this.#rows;
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
    const { clientHeight, scrollHeight, scrollTop } = this.#rows.element;
    return Math.abs(scrollTop - this.#lastTop) >= 1.5 && scrollTop < scrollHeight - clientHeight - 2;
  }

  #scrolled(): void {
    const rows = this.#rows;
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
    return this.#rows.newestFirst ? delta > 0 : delta < 0;
  }

  /** Leaving is only possible where there is more than is in sight. */
  #leave(): void {
    const rows = this.#rows;
    if (rows.follow && rows.total * ROW_PX > rows.height) rows.setFollow(false);
  }
}

class RowPicker {
  readonly #rows: Rows;
  readonly #pool: RowPool;

  constructor(
    rows: Rows,
    pool: RowPool,
  ) {
    this.#rows = rows;
    this.#pool = pool;
  }

  /** Picks the row of an element, or all up to it. */
  pick(element: Element, upTo: boolean): void {
    const row = this.#pool.rowOf(element);
    if (row === undefined) return;
    if (upTo) this.#rows.selection.extend(row.id, row.index);
    else this.#rows.selection.set(row.id, row.index);
    this.#rows.draw();
  }

  /** Opens what is below or within the picked row, or folds it. */
  open(): void {
    const element = this.#rows.selection.head === null ? undefined : this.#pool.elementOf(this.#rows.selection.head.id);
    element?.querySelector<HTMLElement>("button.cl-tw, .cl-m")?.click();
  }

  /** Moves what is picked by a row; with Shift its end only. */
  move(by: 1 | -1, upTo: boolean): boolean {
    const { head } = this.#rows.selection;
    const index = head === null ? this.#rows.place.index : head.index + by;
    const row = this.#pool.row(index);
    if (row === undefined || row.id < 0) return false;
    if (upTo) this.#rows.selection.extend(row.id, index);
    else this.#rows.selection.set(row.id, index);
    const visible = this.#rows.capacity - 3;
    if (index < this.#rows.place.index || index > this.#rows.place.index + visible) {
      this.#rows.setFollow(false);
      this.#rows.place = { index: Math.max(0, index < this.#rows.place.index ? index : index - visible), px: 0 };
      this.#rows.requestRows();
    }
    this.#rows.draw();
    return true;
  }
}
