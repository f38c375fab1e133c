/** The slice of rows that is sent to a view: where it begins, and its rows, with fillers for lines that are not loaded. */

import type { Viewport } from "../protocol/requests.ts";
import type { RemoteSearchState, Row, Update } from "../protocol/update.ts";
import type { ShownRows, UnloadedBlock } from "./layout.ts";
import type { WantedRows } from "./loader.ts";
import { renderRow } from "./rendering.ts";
import type { Selection } from "./selection.ts";
import type { SourceGroups } from "./sources.ts";
import type { TaskStore } from "./taskstore.ts";

export const EDGE_ID = -1;
/** Fillers for unloaded rows have this id minus their index on the scroll bar. */
const BLANK_ID = -10;
const EMPTY_ROW: Omit<Row, "id" | "kind" | "text"> = { seq: -1, time: 0, source: -1, level: 0, runs: [], marks: [], hiddenChars: 0, hasDetails: false };

/** Describe the state of a search. Its time is written as `{ms}`, so that the view can show it in the user's zone. */
function searchText({ state, to, message }: RemoteSearchState): string {
  if (state === "failed") return message;
  if (state === "done") return "Searched to here: there are no more matches before";
  return to === Infinity ? "Searching what is not loaded…" : `${state === "running" ? "Searching, back" : "Searched back"} to {${Math.floor(to)}}`;
}

function blankRow(bar: number): Row {
  return { ...EMPTY_ROW, id: BLANK_ID - bar, kind: "blank", text: "" };
}

/** Return the row above the oldest line, which says what is before it. `hidden` is the number of loaded rows before the window. */
export function edgeRow(stores: TaskStore[], loading: boolean, hidden: number, remote: RemoteSearchState | undefined): Row {
  if (remote !== undefined) return { ...EMPTY_ROW, id: EDGE_ID, kind: "edge", text: searchText(remote), aside: remote.state, remote };
  const older = hidden > 0 || stores.some((store) => store.older !== null && store.older !== undefined);
  const isKnown = stores.some((store) => store.rows > 0 || store.state !== "");
  const text = loading ? "Loading older lines…" : older ? "Older lines" : isKnown ? "Beginning of the log" : "";
  return { ...EMPTY_ROW, id: EDGE_ID, kind: "edge", text };
}

/** Stop seeking if no line from before the sought time has come for this long (ms): a recorder that starts on a busy machine takes a while. */
const SEEK_MS = 60_000;
/** Number of rows that are sent above the sought row. */
const MARGIN_ROWS = 24;

/** The first row to send, how far the anchor has moved, and the row that was sought or jumped to. */
export type SliceStart = { from: number; viewport: Viewport } & Pick<Update, "shift" | "seekRow" | "jump">;

/** Decides where the slice begins: at the end, at a sought time, at a jump's row, or so that the row being read stays in place. */
export class ScrollAnchor {
  /** Number of rows from before the sought time, and when it last changed. */
  #before = -1;
  #since = 0;
  /** The last jump's row, and whether it has been sent to the view. */
  jumpedTo: number | null = null;
  #landed = true;
  /** The time that was jumped to. */
  #time: number | null = null;

  readonly #selection: Selection;

  constructor(
    selection: Selection,
    /** The time that was at the top before the lines were reloaded. It is sought until a line of that time has arrived. */
    public seekTime: number | null,
  ) {
    this.#selection = selection;
  }

  jump(id: number | null, time: number | null): void {
    this.jumpedTo = id;
    this.#time = time;
    this.#landed = false;
    this.seekTime = null;
  }

  /** Return where the slice begins. The viewport changes when a sought time or the row of a jump is reached. */
  resolve(viewport: Viewport, shownRows: ShownRows): SliceStart {
    if (viewport.follow) return { from: viewport.newestFirst ? 0 : shownRows.order.total - viewport.count, shift: 0, viewport };
    if (this.seekTime !== null) return this.#seekTime(this.seekTime, viewport, shownRows);
    if (viewport.anchor !== null) return this.#holdRow(viewport.anchor, viewport, shownRows);
    return { from: viewport.from, shift: 0, viewport };
  }

  #seekTime(time: number, viewport: Viewport, { start, count, layout, order }: ShownRows): SliceStart {
    const { shown, stores } = this.#selection;
    const sought = Math.max(0, shown.lowerBound((id) => this.#selection.keyOf(id) < time) - start);
    const unloaded = layout.blankAt(time);
    const seekRow = order.shownAt(unloaded ?? Math.min(order.total - 1, layout.toBar(sought) + 1));
    const from = seekRow - MARGIN_ROWS;
    // Older lines come in parts, perhaps after a recorder was started. So wait for the row itself.
    const isKnown = unloaded !== null || (sought < count && this.#selection.keyOf(shown.at(sought + start)) === time);
    const hasLines = stores.some((store) => store.lines > 0);
    const before = hasLines ? sought : -1;
    if (before !== this.#before) [this.#before, this.#since] = [before, Date.now()];
    if (!isKnown && (!hasLines || Date.now() - this.#since <= SEEK_MS)) return { from, shift: 0, seekRow, viewport };
    this.seekTime = null;
    const anchor = unloaded !== null || sought >= count ? null : shown.at(sought + start);
    return { from, shift: 0, seekRow, viewport: { ...viewport, from: Math.max(0, from), anchor, anchorIndex: seekRow } };
  }

  #holdRow(anchor: number, viewport: Viewport, { start, layout, order }: ShownRows): SliceStart {
    const index = order.shownAt(anchor === EDGE_ID ? 0 : Math.min(order.total - 1, layout.toBar(Math.max(0, this.#selection.shown.indexFor(anchor) - start)) + 1));
    if (this.#landed) {
      const shift = index - viewport.anchorIndex;
      return { from: viewport.from + shift, shift, viewport };
    }
    this.#landed = true;
    const unloaded = layout.blankAt(this.#time);
    const jump = unloaded === null ? { row: index, id: anchor } : { row: order.shownAt(unloaded), id: BLANK_ID - unloaded };
    const from = jump.row - Math.floor(viewport.count / 2);
    return { from, shift: 0, jump, viewport: { ...viewport, from, anchor: unloaded === null ? anchor : null, anchorIndex: index } };
  }
}

/** Render a row of the selection. */
export function renderShown(selection: Selection, groups: SourceGroups, id: number, marker: { find(text: string): number[] }): Row {
  const slot = selection.slotOf(id);
  const row = selection.rowOf(id);
  const store = selection.stores[slot];
  const member = selection.memberOf(slot, row);
  const shown = renderRow(store, member, id, groups.groupOf(slot, member), marker, selection.filter.pretty, selection.opened.has(id), selection.filter.fields);
  const twins = store.folds.heads.get(row)?.twins ?? [];
  if (twins.length > 0) shown.otherSources = [row, ...twins].filter((one) => one !== member).map((one) => groups.groupOf(slot, one));
  return shown;
}

/** Visible rows that are not loaded. */
export type WantedSpanRows = WantedRows & { store: TaskStore };

/** The rows to send, with fillers for rows that are not loaded. */
export class Slice {
  readonly rows: Row[] = [];
  wanted: WantedSpanRows | null = null;

  readonly #selection: Selection;
  readonly #follow: boolean;

  constructor(
    selection: Selection,
    groups: SourceGroups,
    { start, layout, order }: ShownRows,
    from: number,
    count: number,
    follow: boolean,
    /** Returns the row above the oldest line. */
    edge: () => Row,
  ) {
    this.#selection = selection;
    this.#follow = follow;
    for (let at = from; at < Math.min(order.total, from + count); at++) {
      const bar = order.byTime(at);
      const place = bar === 0 ? null : layout.at(bar - 1);
      if (place === null) this.rows.push(edge());
      else if ("index" in place) {
        const id = selection.shown.at(start + place.index);
        const above = this.rows.at(-1);
        const apart = above !== undefined && above.id >= 0 && selection.areApart(above.id, id);
        this.rows.push({ ...renderShown(selection, groups, id, this.#marker), ...(selection.isContext(id) && { isContext: true }), ...(apart && { isApart: true }) });
      } else {
        this.rows.push(blankRow(bar));
        this.#request(place.block, place.offset);
      }
    }
  }

  #request({ store, span }: UnloadedBlock, offset: number): void {
    if (this.#follow && span.onDemand) return;
    this.wanted ??= { store, span, first: offset, last: offset };
    if (this.wanted.span !== span) return;
    this.wanted.first = Math.min(this.wanted.first, offset);
    this.wanted.last = Math.max(this.wanted.last, offset);
  }

  /** What marks matches in a row: find, or without it the filter. */
  get #marker(): { find(text: string): number[] } {
    const { finder, matcher } = this.#selection;
    return finder.isActive ? { find: (text) => finder.marks(text) } : matcher;
  }
}
