/**
 * The lines: only the few dozen rows in the viewport are elements, and the scroll bar is computed for all rows. Following starts
 * and ends only when the user wants it. While new rows arrive, the row that is being read does not move.
 */

import type { Viewport } from "../protocol/requests.ts";
import { type Row, type Ticks, TICKS, type Update } from "../protocol/update.ts";
import { h, listen, setAttr, setClass, setStyle, svg } from "./dom.ts";
import { RowPool, type RowPoolActions, RowSelection } from "./rowpool.ts";
import { contentHeight, fromScrollTop, isSmallMove, PADDING_PX, type Place, ROW_PX, toScrollTop } from "./scroll.ts";

const MARGIN_ROWS = 24;

export interface RowsActions extends RowPoolActions {
  setViewport(look: Viewport): void;
  followChanged(follow: boolean): void;
  /** Called when the oldest row is visible. */
  reachedOldest(): void;
}

export class Rows {
  readonly element: HTMLElement;
  follow = true;
  /** Following is interrupted for as long as text in the rows is selected. */
  isHeld = false;
  wrap = false;
  /** Whether the user has scrolled since the lines were loaded. Then the row from before a reload is no longer sought. */
  hasMoved = false;
  #wantsNewestFirst = false;
  total = 1;
  place: Place = { index: 0, px: 0 };
  /** Visible lines, for the status bar and the kernel. */
  visibleRows: Row[] = [];
  readonly selection = new RowSelection();
  readonly picker: RowPicker;
  readonly tickBar = new TickBar();
  #pool: RowPool;
  readonly #placer: RowPlacer;
  readonly #scrollBar: ScrollBar;
  #spacer = h("div", { class: "cl-spacer" });
  /** Has the columns of a row, and is as high as the viewport. */
  #ruler = h("div", { class: "cl-ruler" });
  #requested = "";
  #requestedAnchor: number | null = null;
  #appliedShift = 0;
  /** Height of a row that is not wrapped (px). */
  rowHeight = ROW_PX;
  #generation = 0;
  readonly #resizeObserver = typeof ResizeObserver === "function" ? new ResizeObserver(() => this.follow && this.#scrollBar.sync()) : undefined;
  /** Height of the viewport (px). It is measured when it changes, because measuring while drawing would force a layout. */
  height = 330;

  readonly #actions: RowsActions;

  constructor(actions: RowsActions) {
    this.#actions = actions;
    this.#pool = new RowPool(actions, this.selection);
    const pin = h("div", { class: "cl-pin" }, this.#pool.element, this.#ruler);
    this.element = h("div", { class: "cl-rows", role: "log", "aria-live": "off", "aria-label": "Log lines", tabindex: "0" }, pin, this.#spacer);
    this.#scrollBar = new ScrollBar(this);
    this.picker = new RowPicker(this, this.#pool);
    this.#placer = new RowPlacer(this, this.#pool, this.#scrollBar, this.#resizeObserver !== undefined, () => actions.reachedOldest());
    listen(this.#pool.element, "toggle", () => this.draw(), { capture: true });
    // While following, move the scroll bar after the layout. Doing it sooner would force another layout.
    this.#resizeObserver?.observe(this.#spacer);
    document.addEventListener("selectionchange", this.#textSelected);
  }

  close(): void {
    document.removeEventListener("selectionchange", this.#textSelected);
    this.#resizeObserver?.disconnect();
  }

  /** Whether row 0 of the rows that were sent is the newest. */
  get newestFirst(): boolean {
    return this.#pool.newestFirst;
  }

  /** Add the grip of the column of sources. */
  addGrip(grip: HTMLElement): void {
    this.#ruler.append(h("div", {}, grip));
  }

  measure(): void {
    this.height = this.element.clientHeight || this.height;
    setStyle(this.#ruler, "height", `${this.height}px`);
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

  /** Do not move the rows while a user selects text in them. When nothing is selected any more, follow again. */
  readonly #textSelected = (): void => {
    const selection = getSelection();
    const isSelected = selection !== null && !selection.isCollapsed && this.#pool.element.contains(selection.anchorNode);
    if (isSelected ? !this.follow : !this.isHeld) return;
    this.isHeld = isSelected;
    this.setFollow(!isSelected);
  };

  setFollow(follow: boolean): void {
    if (this.follow === follow) return;
    this.follow = follow;
    this.isHeld &&= !follow;
    this.#scrollBar.isAtEnd = false;
    this.#actions.followChanged(follow);
    this.requestRows(true);
    this.draw();
  }

  /** The user has moved: do not follow again when no text is selected any more. */
  stay(): void {
    if (!this.isHeld) return;
    this.isHeld = false;
    this.#actions.followChanged(false);
  }

  /** Set the order. The row being read stays visible. */
  setOrder(newestFirst: boolean): void {
    if (newestFirst === this.#wantsNewestFirst) return;
    this.#wantsNewestFirst = newestFirst;
    this.requestRows(true);
  }

  toOldest(): void {
    this.setFollow(false);
    this.stay();
    this.place = { index: this.newestFirst ? this.total - 1 : 0, px: 0 };
    this.#jumped();
  }

  /** The row that the user is at: the picked one, or else the first visible line. */
  get current(): Row | undefined {
    const { head } = this.selection;
    const picked = head === null ? undefined : this.visibleRows.find(({ id }) => id === head.id);
    return picked ?? this.visibleRows[0];
  }

  /** Pick a row, and scroll so that it is at a third of the viewport's height. */
  #landOn({ row, id }: { row: number; id: number }): void {
    const was = this.follow || this.isHeld;
    this.follow = this.isHeld = false;
    this.place = { index: Math.max(0, row - Math.floor(this.capacity / 3)), px: 0 };
    this.selection.set({ id, index: row }, false);
    this.releaseAnchor();
    if (was) this.#actions.followChanged(false);
  }

  /** Draw all rows again, after names, columns or styles have changed. */
  restyle(): void {
    this.#pool.restyle();
    this.draw();
  }

  /** Set wrapping and the height of a row (px). */
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
    if (update.ticks) this.tickBar.draw(update.ticks, this.total * this.rowHeight > this.height);
    setStyle(this.#spacer, "height", `${contentHeight(this.total) + 2 * PADDING_PX}px`);
    this.place.index = Math.max(0, Math.min(this.place.index, this.total - 1));
    this.draw();
  }

  /** Keep the first visible line where it is, although rows may have come before it. */
  #holdPlace(update: Update): void {
    const anchor = this.#pool.firstFrom(this.place.index);
    const now = anchor === undefined ? -1 : update.rows.findIndex((row) => row.id === anchor.id);
    if (anchor !== undefined && now !== -1) this.place.index += update.first + now - anchor.index;
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

  /** Forget the anchor after a jump. */
  releaseAnchor(): void {
    this.#requestedAnchor = null;
  }

  /** Request rows if the visible ones are near an end of the received ones. */
  requestRows(force = false): void {
    const { index } = this.place;
    const { first, end } = this.#pool;
    const near = MARGIN_ROWS / 3;
    const enough = index - first >= Math.min(near, index) && end - index - this.capacity >= Math.min(near, this.total - index - this.capacity);
    if (!force && (this.follow || enough)) return;
    const viewport = this.viewport();
    const key = `${viewport.from} ${viewport.count} ${viewport.follow} ${viewport.anchor} ${viewport.anchorIndex}`;
    if (!force && key === this.#requested) return;
    this.#requested = key;
    this.#requestedAnchor = viewport.anchor;
    this.#appliedShift = 0;
    this.#actions.setViewport(viewport);
  }
}

/** Ticks over the scroll bar: where errors are, and what find has found. */
class TickBar {
  readonly element = svg("svg", { class: "cl-tickbar", viewBox: `0 0 1 ${TICKS}`, preserveAspectRatio: "none", "aria-hidden": "true" });
  readonly #paths = ["found", "errors"].map((kind) => svg("path", { class: `cl-tick-${kind}`, "vector-effect": "non-scaling-stroke" }));

  constructor() {
    this.element.append(...this.#paths);
  }

  /** Draw the ticks, unless all rows are in sight. */
  draw({ errors, found }: Ticks, isScrollable: boolean): void {
    for (const [i, places] of [found, errors].entries()) setAttr(this.#paths[i], "d", isScrollable ? places.map((at) => `M0 ${at + 0.5}h1`).join("") : "");
  }
}

class RowPlacer {
  readonly #rows: Rows;
  readonly #pool: RowPool;
  readonly #scrollBar: ScrollBar;
  /** Whether a ResizeObserver reports when the layout is done. */
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
    const { end, rows: available } = this.#pool;
    const { capacity, height, total } = this.#rows;
    if (end < total) return;
    const count = Math.min(capacity, available.length);
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
      // The rows were not sent yet; they are drawn when they come. Undo the change of `px`, so that the move is not counted twice.
      place.index = from;
      place.px += back * ROW_PX;
      this.#rows.requestRows();
      return;
    }
    this.#pool.draw(from, end);
    const available = Math.min(end, this.#pool.end);
    const heights = this.#heights(from, available);
    for (let i = 0; i < back; i++) place.px += heights[i];
    if (place.px < 0) place.px = 0;
    const below = heights.reduce((sum, one) => sum + one, 0) - place.px;
    const missing = height - 2 * PADDING_PX - below;
    if (missing > 0 && available === total && (from > 0 || place.px > 0)) {
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
    if (total > 1 && (newestFirst ? available === total : place.index === 0)) this.#reachedOldest();
  }

  get #hasUnevenRows(): boolean {
    return this.#rows.wrap || this.#pool.hasUnevenRows || this.#rows.rowHeight !== ROW_PX;
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
  /** Whether the scroll bar is at its end, or will be after the layout. */
  isAtEnd = false;

  readonly #rows: Rows;

  constructor(rows: Rows) {
    this.#rows = rows;
    const { element } = rows;
    listen(element, "scroll", () => this.#scrolled(), { passive: true });
    listen(element, "wheel", (event) => this.#leadsAway(event.deltaY) && this.#leave(), { passive: true });
    listen(element, "touchmove", () => this.#leave(), { passive: true });
    listen(element, "pointerdown", (event) => (this.#grabbed = event.target === element));
    listen(element, "pointerup", () => (this.#grabbed = false));
    listen(element, "keydown", (event) => (rows.newestFirst ? ["PageDown", "ArrowDown"] : ["PageUp", "ArrowUp"]).includes(event.key) && this.#leave());
  }

  get isResting(): boolean {
    return this.#resting === undefined;
  }

  /** Move the scroll bar to the current place. */
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

  /** Return whether the user has moved the bar, but its event has not come yet. Then drawing must not move the bar back. */
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
    rows.stay();
    if (isSmallMove(delta, rows.height)) rows.place.px += delta;
    else {
      rows.place = fromScrollTop(top, rows.total, rows.height - 2 * PADDING_PX);
      rows.releaseAnchor();
    }
    clearTimeout(this.#resting);
    this.#resting = setTimeout(() => {
      this.#resting = undefined;
      this.sync();
      // Report the exact row, in case the lines are reloaded.
      if (!rows.follow) rows.requestRows(true);
    }, SCROLL_REST_MS);
    rows.draw();
  }

  /** Return whether a move leads away from the newest line. */
  #leadsAway(delta: number): boolean {
    return this.#rows.newestFirst ? delta > 0 : delta < 0;
  }

  /** Stop following, unless all rows fit into the viewport. */
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

  /** Pick the row of an element, or with `upTo` all rows up to it. */
  pick(element: Element, upTo: boolean): void {
    const row = this.#pool.rowOf(element);
    if (row === undefined) return;
    if (upTo) this.#rows.selection.extend(row);
    else this.#rows.selection.set(row);
    this.#rows.draw();
  }

  /** Open or close the picked row. */
  open(): void {
    const element = this.#rows.selection.head === null ? undefined : this.#pool.elementOf(this.#rows.selection.head.id);
    element?.querySelector<HTMLElement>("button.cl-tw, .cl-m")?.click();
  }

  /** Move the picked row by one; with `upTo` only the end of the picked range. Return the row, if there is one. A user who has gone far from it begins at the first visible row. */
  move(by: 1 | -1, upTo: boolean): Row | undefined {
    const { head } = this.#rows.selection;
    const isNear = head !== null && this.#pool.row(head.index) !== undefined;
    const index = isNear ? head.index + by : (this.#pool.firstFrom(this.#rows.place.index)?.index ?? 0);
    const row = this.#pool.row(index);
    if (row === undefined || row.id < 0) return undefined;
    if (upTo && isNear) this.#rows.selection.extend({ id: row.id, index, time: row.time });
    else this.#rows.selection.set({ id: row.id, index, time: row.time });
    const visible = this.#rows.capacity - 3;
    if (index < this.#rows.place.index || index > this.#rows.place.index + visible) {
      this.#rows.setFollow(false);
      this.#rows.stay();
      this.#rows.place = { index: Math.max(0, index < this.#rows.place.index ? index : index - visible), px: 0 };
      this.#rows.requestRows();
    }
    this.#rows.draw();
    return row;
  }
}
