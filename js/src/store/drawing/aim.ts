/** Where the rows that are sent begin: at the newest, about what is sought or jumped to, or where the row stands that is held. */

import type { Viewport } from "../../types/asked.ts";
import type { Update } from "../../types/update.ts";
import { BLANK_ID, EDGE_ID } from "./fillers.ts";
import type { Layout } from "./layout.ts";
import type { DisplayOrder } from "./order.ts";
import type { Selection } from "./selection.ts";

/** So long after the last line from before it the place is given up. */
const SEEK_MS = 5000;
/** Rows sent above the place that is sought. */
const MARGIN_ROWS = 24;

/** What is shown is [start, start + count) of the selection's rows. */
export interface ShownRows {
  start: number;
  count: number;
  layout: Layout;
  order: DisplayOrder;
}

/** The first row that is sent; how far the held one has moved; and where what was sought or jumped to stands. */
export type SliceStart = { from: number; look: Viewport } & Pick<Update, "shift" | "seekRow" | "jump">;

export class ScrollAnchor {
  /** Rows from before the place that is sought, and since when there are so many. */
  #before = -1;
  #since = 0;
  /** The row that was jumped to last, and whether that is still to be said. */
  jumpedTo: number | null = null;
  #landed = true;
  /** The time that was jumped to. */
  #time: number | null = null;

  constructor(
    private readonly selection: Selection,
    /** The time at which the reader was when the lines were loaded anew, until there is something from then. */
    public seekTime: number | null,
  ) {}

  jump(id: number | null, time: number | null): void {
    this.jumpedTo = id;
    this.#time = time;
    this.#landed = false;
    this.seekTime = null;
  }

  /** Takes aim; what is looked at is another when the aim has been reached. */
  resolve(look: Viewport, what: ShownRows): SliceStart {
    if (look.follow) return { from: look.newestFirst ? 0 : what.order.total - look.count, shift: 0, look };
    if (this.seekTime !== null) return this.#seekTime(this.seekTime, look, what);
    if (look.anchor !== null) return this.#holdRow(look.anchor, look, what);
    return { from: look.from, shift: 0, look };
  }

  #seekTime(time: number, look: Viewport, { start, count, layout, order }: ShownRows): SliceStart {
    const { shown, stores } = this.selection;
    const sought = Math.max(0, shown.lowerBound((id) => this.selection.keyOf(id) < time) - start);
    const absent = layout.blankAt(time);
    const seekRow = order.shownAt(absent ?? Math.min(order.total - 1, layout.toBar(sought) + 1));
    const from = seekRow - MARGIN_ROWS;
    // A recorder has to be started first, and has the newest lines first and older ones in parts: the row itself is waited for.
    const known = absent !== null || (sought < count && this.selection.keyOf(shown.at(sought + start)) === time);
    const begun = stores.some((store) => store.lines > 0);
    const before = begun ? sought : -1;
    if (before !== this.#before) [this.#before, this.#since] = [before, Date.now()];
    if (!known && (!begun || Date.now() - this.#since <= SEEK_MS)) return { from, shift: 0, seekRow, look };
    this.seekTime = null;
    const anchor = absent !== null || sought >= count ? null : shown.at(sought + start);
    return { from, shift: 0, seekRow, look: { ...look, from: Math.max(0, from), anchor, anchorIndex: seekRow } };
  }

  #holdRow(anchor: number, look: Viewport, { start, layout, order }: ShownRows): SliceStart {
    const index = order.shownAt(anchor === EDGE_ID ? 0 : Math.min(order.total - 1, layout.toBar(Math.max(0, this.selection.shown.indexFor(anchor) - start)) + 1));
    if (this.#landed) {
      const shift = index - look.anchorIndex;
      return { from: look.from + shift, shift, look };
    }
    this.#landed = true;
    const absent = layout.blankAt(this.#time);
    const jump = absent === null ? { row: index, id: anchor } : { row: order.shownAt(absent), id: BLANK_ID - absent };
    const from = jump.row - Math.floor(look.count / 2);
    return { from, shift: 0, jump, look: { ...look, from, anchor: absent === null ? anchor : null, anchorIndex: index } };
  }
}
