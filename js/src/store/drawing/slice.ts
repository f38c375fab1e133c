/** The rows that are sent: of lines, and of what stands for lines that are not here. */

import type { Row } from "../../types/rows.ts";
import type { Wish } from "../holding/pages.ts";
import type { TaskStore } from "../holding/store.ts";
import type { Shown } from "./aim.ts";
import { blank } from "./fillers.ts";
import type { Groups } from "./groups.ts";
import type { Block } from "./layout.ts";
import { present } from "./present.ts";
import type { Selection } from "./selection.ts";

/** Rows that are looked at and not here. */
export type Wanted = Wish & { store: TaskStore };

export class Slice {
  readonly rows: Row[] = [];
  wish: Wanted | null = null;

  constructor(
    private readonly selection: Selection,
    private readonly groups: Groups,
    { start, layout, order }: Shown,
    from: number,
    count: number,
    private readonly follow: boolean,
    /** Gives the row above the first line. */
    edge: () => Row,
  ) {
    for (let at = from; at < Math.min(order.total, from + count); at++) {
      const bar = order.byTime(at);
      const place = bar === 0 ? null : layout.at(bar - 1);
      if (place === null) this.rows.push(edge());
      else if ("index" in place) this.rows.push(this.#row(selection.shown.at(start + place.index)));
      else {
        this.rows.push(blank(bar));
        this.#want(place.block, place.offset);
      }
    }
  }

  #want({ store, span }: Block, offset: number): void {
    if (this.follow && span.onDemand) return;
    this.wish ??= { store, span, first: offset, last: offset };
    if (this.wish.span !== span) return;
    this.wish.first = Math.min(this.wish.first, offset);
    this.wish.last = Math.max(this.wish.last, offset);
  }

  #row(id: number): Row {
    const { selection, groups } = this;
    const slot = selection.slotOf(id);
    const row = selection.rowOf(id);
    const store = selection.stores[slot];
    const member = selection.memberOf(slot, row);
    const shown = present(store, member, id, groups.of(slot, member), this.#marker, selection.filter.pretty, selection.opened.has(id), selection.filter.fields);
    const twins = store.folds.heads.get(row)?.twins ?? [];
    if (twins.length > 0) shown.also = [row, ...twins].filter((one) => one !== member).map((one) => groups.of(slot, one));
    return shown;
  }

  /** What is sought is marked; else what is filtered by. */
  get #marker(): { find(text: string): number[] } {
    const { finder, matcher } = this.selection;
    return finder.active ? { find: (text) => finder.marks(text) } : matcher;
  }
}
