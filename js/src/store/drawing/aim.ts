/** Where the rows that are sent begin: at the newest, about what is sought or jumped to, or where the row stands that is held. */

import type { Look } from "../../types/asked.ts";
import type { Update } from "../../types/update.ts";
import { BLANK_ID, EDGE_ID } from "./fillers.ts";
import type { Layout } from "./layout.ts";
import type { Order } from "./order.ts";
import type { Selection } from "./selection.ts";

/** So long after the last line from before it the place is given up. */
const SEEK = 5000;
/** Rows sent above the place that is sought. */
const MARGIN = 24;

/** What is shown is [start, start + count) of the selection's rows. */
export interface Shown {
  start: number;
  count: number;
  layout: Layout;
  order: Order;
}

/** The first row that is sent; how far the held one has moved; and where what was sought or jumped to stands. */
export type Aimed = { from: number; look: Look } & Pick<Update, "shift" | "seek" | "jump">;

export class Aim {
  /** Rows from before the place that is sought, and since when there are so many. */
  #before = -1;
  #since = 0;
  /** The row that was jumped to last, and whether that is still to be said. */
  jumped: number | null = null;
  #landed = true;
  /** The time that was jumped to. */
  #time: number | null = null;

  constructor(
    private readonly selection: Selection,
    /** The time at which the reader was when the lines were loaded anew, until there is something from then. */
    public seek: number | null,
  ) {}

  jump(id: number | null, time: number | null): void {
    this.jumped = id;
    this.#time = time;
    this.#landed = false;
    this.seek = null;
  }

  /** Takes aim; what is looked at is another when the aim has been reached. */
  at(look: Look, what: Shown): Aimed {
    if (look.follow) return { from: look.newestFirst ? 0 : what.order.total - look.count, shift: 0, look };
    if (this.seek !== null) return this.#sought(this.seek, look, what);
    if (look.anchor !== null) return this.#held(look.anchor, look, what);
    return { from: look.from, shift: 0, look };
  }

  #sought(time: number, look: Look, { start, count, layout, order }: Shown): Aimed {
    const { shown, stores } = this.selection;
    const sought = Math.max(0, shown.lowerBound((id) => this.selection.keyOf(id) < time) - start);
    const absent = layout.blankAt(time);
    const seek = order.shownAt(absent ?? Math.min(order.total - 1, layout.toBar(sought) + 1));
    const from = seek - MARGIN;
    // A recorder has to be started first, and has the newest lines first and older ones in parts: the row itself is waited for.
    const known = absent !== null || (sought < count && this.selection.keyOf(shown.at(sought + start)) === time);
    const begun = stores.some((store) => store.lines > 0);
    const before = begun ? sought : -1;
    if (before !== this.#before) [this.#before, this.#since] = [before, Date.now()];
    if (!known && (!begun || Date.now() - this.#since <= SEEK)) return { from, shift: 0, seek, look };
    this.seek = null;
    const anchor = absent !== null || sought >= count ? null : shown.at(sought + start);
    return { from, shift: 0, seek, look: { ...look, from: Math.max(0, from), anchor, anchorIndex: seek } };
  }

  #held(anchor: number, look: Look, { start, layout, order }: Shown): Aimed {
    const index = order.shownAt(anchor === EDGE_ID ? 0 : Math.min(order.total - 1, layout.toBar(Math.max(0, this.selection.shown.placeOf(anchor) - start)) + 1));
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
