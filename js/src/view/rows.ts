/**
 * The lines: a few dozen rows in a sheet that stays in the viewport while the scroll bar stands for all of them. Following is
 * a state that only the reader changes; whatever arrives, the row being read keeps its place.
 */

import type { Viewport } from "../types/asked.ts";
import type { Update } from "../types/update.ts";
import type { Row } from "../types/rows.ts";
import { h, setClass, setStyle } from "./dom.ts";
import { RowSelection } from "./picked.ts";
import { RowPicker } from "./picking.ts";
import { RowPlacer } from "./placing.ts";
import { contentHeight, PADDING_PX, type Place, ROW_PX } from "./scroll.ts";
import { ScrollBar } from "./scrolling.ts";
import { RowPool, type RowPoolActions } from "./sheet.ts";

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

  constructor(private readonly actions: RowsActions) {
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
    this.actions.followChanged(follow);
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
    if (was) this.actions.followChanged(false);
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
    this.actions.setViewport(look);
  }
}
