/** The rows that are sent: of lines, and of what stands for lines that are not here. */

import type { Row } from "../../types/rows.ts";
import type { WantedRows } from "../holding/pages.ts";
import type { TaskStore } from "../holding/store.ts";
import type { ShownRows } from "./aim.ts";
import { blankRow } from "./fillers.ts";
import type { SourceGroups } from "./groups.ts";
import type { UnloadedBlock } from "./layout.ts";
import { renderRow } from "./present.ts";
import type { Selection } from "./selection.ts";

/** Rows that are looked at and not here. */
export type WantedSpanRows = WantedRows & { store: TaskStore };

export class Slice {
  readonly rows: Row[] = [];
  wanted: WantedSpanRows | null = null;

  constructor(
    private readonly selection: Selection,
    private readonly groups: SourceGroups,
    { start, layout, order }: ShownRows,
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
        this.rows.push(blankRow(bar));
        this.#request(place.block, place.offset);
      }
    }
  }

  #request({ store, span }: UnloadedBlock, offset: number): void {
    if (this.follow && span.onDemand) return;
    this.wanted ??= { store, span, first: offset, last: offset };
    if (this.wanted.span !== span) return;
    this.wanted.first = Math.min(this.wanted.first, offset);
    this.wanted.last = Math.max(this.wanted.last, offset);
  }

  #row(id: number): Row {
    const { selection, groups } = this;
    const slot = selection.slotOf(id);
    const row = selection.rowOf(id);
    const store = selection.stores[slot];
    const member = selection.memberOf(slot, row);
    const shown = renderRow(store, member, id, groups.groupOf(slot, member), this.#marker, selection.filter.pretty, selection.opened.has(id), selection.filter.fields);
    const twins = store.folds.heads.get(row)?.twins ?? [];
    if (twins.length > 0) shown.otherSources = [row, ...twins].filter((one) => one !== member).map((one) => groups.groupOf(slot, one));
    return shown;
  }

  /** What is sought is marked; else what is filtered by. */
  get #marker(): { find(text: string): number[] } {
    const { finder, matcher } = this.selection;
    return finder.isActive ? { find: (text) => finder.marks(text) } : matcher;
  }
}
