/** The rows that the worker has sent to a view, the elements of the drawn ones, and which rows are picked. */

import type { FullText } from "../protocol/messages.ts";
import type { Row, Update } from "../protocol/update.ts";
import { h, setAttr, setClass } from "./dom.ts";
import { makeRow, type RowActions } from "./row.ts";
import { ROW_PX } from "./scroll.ts";

interface End {
  id: number;
  index: number;
  /** Time of the row (ms); undefined until the row is sent. */
  time?: number;
}

export class RowSelection {
  #tail: End | null = null;
  head: End | null = null;

  /** Whether the user picked the rows. Otherwise a jump did. */
  isDeliberate = false;

  set(end: End, deliberate = true): void {
    this.#tail = this.head = { ...end };
    this.isDeliberate = deliberate;
  }

  extend(end: End): void {
    this.#tail ??= { ...end };
    this.head = { ...end };
    this.isDeliberate = true;
  }

  clear(): void {
    this.#tail = this.head = null;
  }

  /** Ids of the first and the last picked row; null for none. */
  get ends(): [first: number, last: number] | null {
    if (this.#tail === null || this.head === null) return null;
    return this.#tail.index <= this.head.index ? [this.#tail.id, this.head.id] : [this.head.id, this.#tail.id];
  }

  /** Time between the first and the last picked row (ms); null if one row is picked, or the time is not known. */
  get span(): number | null {
    const [from, to] = [this.#tail?.time, this.head?.time];
    return this.count < 2 || from === undefined || to === undefined ? null : Math.abs(to - from);
  }

  get count(): number {
    return this.#tail === null || this.head === null ? 0 : Math.abs(this.head.index - this.#tail.index) + 1;
  }

  has(index: number): boolean {
    if (this.#tail === null || this.head === null) return false;
    return index >= Math.min(this.#tail.index, this.head.index) && index <= Math.max(this.#tail.index, this.head.index);
  }

  /** Correct the indexes after rows came or went. An end of the range that is among the new rows shows how far all rows have moved. */
  reindex(rows: Row[], first: number): void {
    for (const end of new Set([this.#tail, this.head])) {
      if (end !== null) end.time ??= rows.find(({ id }) => id === end.id)?.time;
      const at = end === null ? -1 : rows.findIndex(({ id }) => id === end.id);
      if (end !== null && at !== -1) {
        const moved = first + at - end.index;
        for (const one of new Set([this.#tail, this.head])) if (one !== null) one.index += moved;
        return;
      }
    }
  }
}

/** Return which element of a row this is: a selector of its kind, and its position among those. */
function placeInRow(element: Element): [kind: string, nth: number] {
  const kind = element.classList.length > 0 ? `.${element.classList[0]}` : element.localName;
  return [kind, Array.from(element.closest(".cl-sheet > *")!.querySelectorAll(kind)).indexOf(element)];
}

export interface RowPoolActions extends RowActions {
  /** Set what a row's element shows beside its text: time, level and note. */
  decorate(element: HTMLElement, row: Row, before: Row | undefined): void;
  /** Return what stands between a row and the one above it, which is undefined for the first row of the log; null for nothing. */
  divider(row: Row, above: Row | undefined): Divider | null;
}

/** A line between two rows. */
export interface Divider {
  text: string;
  /** The lines below it, or above it with the newest on top, came while the user was away. */
  isNew: boolean;
}

/** Height of a divider (px). */
const DIVIDER_PX = 19;

export class RowPool {
  readonly element = h("div", { class: "cl-sheet" });
  /** Index of the first row that the worker has sent. */
  first = 0;
  rows: Row[] = [];
  /** Row 0 is the newest. */
  newestFirst = false;
  /** Index of the first row that is drawn. */
  #drawn = 0;
  #version = 0;
  #made = new Map<number, [version: number, key: string, element: HTMLElement]>();
  #open = new Map<number, FullText>();
  #hasDividers = false;

  readonly #actions: RowPoolActions;
  readonly #selection: RowSelection;

  constructor(
    actions: RowPoolActions,
    selection: RowSelection,
  ) {
    this.#actions = actions;
    this.#selection = selection;
  }

  /** Index after the last row that the worker has sent. */
  get end(): number {
    return this.first + this.rows.length;
  }

  /** Whether rows are open or have a divider above them, so that heights differ. */
  get hasUnevenRows(): boolean {
    return this.#open.size > 0 || this.#hasDividers;
  }

  row(index: number): Row | undefined {
    return this.rows[index - this.first];
  }

  /** Return the first row from an index on that can serve as an anchor. */
  firstFrom(index: number): { id: number; index: number } | undefined {
    const at = this.rows.findIndex((row, i) => row.id >= 0 && this.first + i >= index);
    return at === -1 ? undefined : { id: this.rows[at].id, index: this.first + at };
  }

  setRows({ first, rows, newestFirst }: Update): void {
    this.first = first;
    this.rows = rows;
    this.newestFirst = newestFirst;
  }

  /** Forget all rows and elements. */
  clear(): void {
    this.#made.clear();
    this.#open.clear();
    this.rows = [];
  }

  /** Forget all elements, so that they are made again. */
  restyle(): void {
    this.#version++;
  }

  /** Return the row of an element. */
  rowOf(element: Element): Required<End> | undefined {
    const child = element.closest(".cl-sheet > *");
    const i = child === null ? -1 : Array.from(this.element.children).indexOf(child);
    const row = i === -1 ? undefined : this.row(this.#drawn + i);
    return row === undefined || row.id < 0 ? undefined : { id: row.id, index: this.#drawn + i, time: row.time };
  }

  elementOf(id: number): HTMLElement | undefined {
    return this.#made.get(id)?.[2];
  }

  heights(): number[] {
    return Array.from(this.element.children, (child) => ((child as HTMLElement).offsetHeight || ROW_PX) + (child.classList.contains("cl-divided") ? DIVIDER_PX : 0));
  }

  /** Draw rows. The elements of rows that stay are reused, so that a user's text selection stays too. */
  draw(from: number, end: number): void {
    this.#drawn = from;
    const focused = this.element.contains(document.activeElement) ? document.activeElement : null;
    const rowWithFocus = focused === null ? undefined : this.rowOf(focused)?.id;
    const place = focused === null ? undefined : placeInRow(focused);
    const wanted: HTMLElement[] = [];
    this.#hasDividers = false;
    const reused = new Map<number, [number, string, HTMLElement]>();
    for (const [i, row] of this.rows.slice(from - this.first, end - this.first).entries()) {
      const key = `${row.seq} ${row.text} ${row.values} ${row.kind} ${row.level} ${row.marks.join(" ")} ${row.runs.length} ${this.#open.has(row.id)} ${row.fold} ${row.aside} ${row.otherSources} ${row.bar} ${row.repeats} ${row.isContext} ${row.isApart}`;
      let drawn = this.#made.get(row.id);
      if (drawn === undefined || drawn[0] !== this.#version || drawn[1] !== key) drawn = [this.#version, key, makeRow(row, this.#actions, this.#open)];
      setClass(drawn[2], "cl-picked", this.#selection.has(from + i));
      this.#actions.decorate(drawn[2], row, this.#before(from - this.first + i));
      this.#divide(drawn[2], row, from - this.first + i);
      reused.set(row.id, drawn);
      wanted.push(drawn[2]);
    }
    const stays = new Set(wanted);
    for (const child of Array.from(this.element.children)) if (!stays.has(child as HTMLElement)) child.remove();
    let next = this.element.firstChild;
    for (const element of wanted) {
      if (element === next) next = next.nextSibling;
      else this.element.insertBefore(element, next);
    }
    this.#made = reused;
    if (focused !== null && !focused.isConnected) this.#restoreFocus(rowWithFocus, place);
  }

  /** Focus the same element of a row that was rebuilt, or else the list, so that keys do not reach the notebook. */
  #restoreFocus(id: number | undefined, place: [kind: string, nth: number] | undefined): void {
    const row = id === undefined ? undefined : this.elementOf(id);
    const again = place === undefined ? undefined : row?.querySelectorAll<HTMLElement>(place[0])[place[1]];
    (again ?? this.element.closest<HTMLElement>("[role=log]"))?.focus({ preventScroll: true });
  }

  #divide(element: HTMLElement, row: Row, at: number): void {
    let above = at - 1;
    // Rows that are not loaded have no time.
    while (this.rows[above]?.kind === "blank") above--;
    const isBounded = this.rows[above] !== undefined && row.id >= 0;
    const divider = isBounded ? this.#actions.divider(row, this.rows[above].kind === "edge" ? undefined : this.rows[above]) : null;
    setClass(element, "cl-divided", divider !== null);
    if (divider === null) return;
    this.#hasDividers = true;
    setClass(element, "cl-new", divider.isNew);
    setAttr(element, "data-divider", divider.text);
  }

  /** Return the line before a row, by time. */
  #before(at: number): Row | undefined {
    const by = this.newestFirst ? 1 : -1;
    let before = at + by;
    while (this.rows[before] !== undefined && this.rows[before].kind !== "line") before += by;
    return this.rows[before];
  }
}
