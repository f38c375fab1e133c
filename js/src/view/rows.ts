/**
 * The lines: a few dozen rows in a sheet that stays in the viewport while the scroll bar stands for all of them. Following is
 * a state that only the reader changes; whatever arrives, the row being read keeps its place.
 */

import type { Look } from "../types/asked.ts";
import type { Update } from "../types/update.ts";
import type { Row } from "../types/rows.ts";
import { h, setFlag, style } from "./dom.ts";
import { Picked } from "./picked.ts";
import { Picking } from "./picking.ts";
import { Placing } from "./placing.ts";
import { contentHeight, PADDING, type Place, ROW } from "./scroll.ts";
import { Scrolling } from "./scrolling.ts";
import { Sheet, type SheetActions } from "./sheet.ts";

const OVER = 24;

export interface RowsActions extends SheetActions {
  look(look: Look): void;
  followed(follow: boolean): void;
  /** The oldest row is in sight. */
  reachedOldest(): void;
}

export class Rows {
  readonly element: HTMLElement;
  follow = true;
  wrap = false;
  /** The reader has moved since the lines were loaded: where they read before is not sought any more. */
  moved = false;
  #wanted = false;
  total = 1;
  place: Place = { index: 0, px: 0 };
  /** Rows in sight, for the status bar and the kernel. */
  inSight: Row[] = [];
  readonly picked = new Picked();
  readonly picking: Picking;
  #sheet: Sheet;
  readonly #placing: Placing;
  readonly #scrolling: Scrolling;
  #spacer = h("div", { class: "cl-spacer" });
  #asked = "";
  #anchorAsked: number | null = null;
  #shifted = 0;
  /** How high a row is that is not wrapped, px. */
  high = ROW;
  #generation = 0;
  readonly #grown = typeof ResizeObserver === "function" ? new ResizeObserver(() => this.follow && this.#scrolling.sync()) : undefined;
  /** Measured when it changes, not each time: asking the DOM would lay it out in the middle of drawing. */
  height = 330;

  constructor(private readonly actions: RowsActions) {
    this.#sheet = new Sheet(actions, this.picked);
    const pin = h("div", { class: "cl-pin" }, this.#sheet.element);
    this.element = h("div", { class: "cl-rows", role: "log", "aria-live": "off", "aria-label": "Log lines", tabindex: "0" }, pin, this.#spacer);
    this.#scrolling = new Scrolling(this);
    this.picking = new Picking(this, this.#sheet);
    this.#placing = new Placing(this, this.#sheet, this.#scrolling, this.#grown !== undefined, () => actions.reachedOldest());
    this.#sheet.element.addEventListener("toggle", () => this.draw(), { capture: true });
    // While following the bar is moved when the frame has been laid out: to ask sooner would lay it out twice.
    this.#grown?.observe(this.#spacer);
  }

  close(): void {
    this.#grown?.disconnect();
  }

  /** The newest row is row 0, of the rows that are here. */
  get newestFirst(): boolean {
    return this.#sheet.newestFirst;
  }

  measure(): void {
    this.height = this.element.clientHeight || this.height;
    this.ask(true);
    this.draw();
  }

  get capacity(): number {
    return Math.ceil(this.height / Math.min(ROW, this.high)) + 2;
  }

  look(): Look {
    const { index } = this.place;
    const anchor = this.follow ? undefined : this.#sheet.firstFrom(index);
    return { from: Math.max(0, index - OVER), count: this.capacity + 2 * OVER, follow: this.follow, newestFirst: this.#wanted, anchor: anchor?.id ?? null, anchorIndex: anchor?.index ?? 0, ...(this.moved && { seek: null }) };
  }

  setFollow(follow: boolean): void {
    if (this.follow === follow) return;
    this.follow = follow;
    this.#scrolling.atEnd = false;
    this.actions.followed(follow);
    this.ask(true);
    this.draw();
  }

  /** Which row is on top; the row being read stays in sight. */
  setOrder(newestFirst: boolean): void {
    if (newestFirst === this.#wanted) return;
    this.#wanted = newestFirst;
    this.ask(true);
  }

  toOldest(): void {
    this.setFollow(false);
    this.place = { index: this.newestFirst ? this.total - 1 : 0, px: 0 };
    this.#jumped();
  }

  /** The row that the reader is at: picked, else the first line in sight. */
  get at(): Row | undefined {
    const { head } = this.picked;
    const seen = head === null ? undefined : this.inSight.find(({ id }) => id === head.id);
    return seen ?? this.inSight[0];
  }

  /** Puts a row a third down the rows and picks it. */
  #land({ row, id }: { row: number; id: number }): void {
    const was = this.follow;
    this.follow = false;
    this.place = { index: Math.max(0, row - Math.floor(this.capacity / 3)), px: 0 };
    this.picked.set(id, row, false);
    this.letGo();
    if (was) this.actions.followed(false);
  }

  /** Everything is drawn anew: names, columns or styles have changed. */
  restyle(): void {
    this.#sheet.restyle();
    this.draw();
  }

  /** How lines look: wrapped or not, and how high one is, px. */
  setLooks(wrap: boolean, high: number): void {
    if (wrap === this.wrap && high === this.high) return;
    this.wrap = wrap;
    this.high = high;
    setFlag(this.element, "cl-wrap", wrap);
    this.ask(true);
    this.restyle();
  }

  update(update: Update): void {
    if (update.generation !== this.#generation) {
      this.#generation = update.generation;
      this.moved = false;
      this.#sheet.clear();
      this.letGo();
      this.picked.clear();
    }
    if (update.jump !== undefined) this.#land(update.jump);
    else if (!this.follow && update.seek !== undefined && !this.moved) this.place = { index: update.seek, px: 0 };
    else if (!this.follow && update.rows.length > 0) this.#hold(update);
    if (update.newestFirst !== this.newestFirst) this.#scrolling.atEnd = false;
    this.total = update.total;
    this.#sheet.take(update);
    this.picked.reindex(update.rows, update.first);
    style(this.#spacer, "height", `${contentHeight(this.total) + 2 * PADDING}px`);
    this.place.index = Math.max(0, Math.min(this.place.index, this.total - 1));
    this.draw();
  }

  /** The first line in sight stays where it is, whatever came before it. */
  #hold(update: Update): void {
    const held = this.#sheet.firstFrom(this.place.index);
    const now = held === undefined ? -1 : update.rows.findIndex((row) => row.id === held.id);
    if (held !== undefined && now !== -1) this.place.index += update.first + now - held.index;
    else if (this.#anchorAsked !== null) this.place.index += update.shift - this.#shifted;
    this.#shifted = update.shift;
  }

  draw(): void {
    this.#placing.draw();
  }

  #jumped(): void {
    this.ask(true);
    this.draw();
    this.#scrolling.sync();
  }

  /** The place is another: the row that was at the old one has nothing to do with it. */
  letGo(): void {
    this.#anchorAsked = null;
  }

  /** Asks for rows when those in sight come near the end of what is here. */
  ask(force = false): void {
    const { index } = this.place;
    const { first, end } = this.#sheet;
    const near = OVER / 3;
    const enough = index - first >= Math.min(near, index) && end - index - this.capacity >= Math.min(near, this.total - index - this.capacity);
    if (!force && (this.follow || enough)) return;
    const look = this.look();
    const key = `${look.from} ${look.count} ${look.follow} ${look.anchor} ${look.anchorIndex}`;
    if (!force && key === this.#asked) return;
    this.#asked = key;
    this.#anchorAsked = look.anchor;
    this.#shifted = 0;
    this.actions.look(look);
  }
}
