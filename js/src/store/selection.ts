/** One view's rows: which of its tasks' lines it shows, in which order; kept up to date by what arrives, searched in slices. */

import type { Filter } from "../types.ts";
import { compile, type Matcher } from "./filter.ts";
import { rankOf, UNKNOWN_AS } from "./level.ts";
import { Sequence } from "./sequence.ts";
import { GAP, HOLE, LEVEL_BITS, NO_SOURCE, NOTICE, type TaskStore } from "./store.ts";

/** A row's id in a view: the task's slot above, its row below. */
const SLOT = 2 ** 27;
const SLICE = 50_000;
/** Where nothing can stop a regex, a slice this slow ends the search. */
const SLOW = 250;

function named(name: string, wanted: string): boolean {
  return wanted === "" || wanted.split(",").some((part) => part !== "" && name.includes(part.trim()));
}

export class Selection {
  filter: Filter;
  matcher: Matcher;
  /** Rows at the front of `all` that the running search has not reached yet. */
  unsearched = 0;
  tooSlow = "";
  all: Sequence;
  shown: Sequence;
  #enabled: boolean[][] = [];
  #rank = 0;

  constructor(
    readonly stores: TaskStore[],
    filter: Filter,
  ) {
    this.filter = filter;
    this.matcher = compile(filter);
    this.all = this.shown = new Sequence(this.#compare);
    for (const store of stores) this.take(store, 0, store.rows);
    this.refilter(filter);
  }

  slotOf(id: number): number {
    return Math.floor(id / SLOT);
  }

  rowOf(id: number): number {
    return id % SLOT;
  }

  keyOf(id: number): number {
    return this.stores[this.slotOf(id)].key[id % SLOT];
  }

  get filtered(): boolean {
    return this.all !== this.shown;
  }

  readonly #compare = (a: number, b: number): number => {
    const one = this.stores[Math.floor(a / SLOT)];
    const two = this.stores[Math.floor(b / SLOT)];
    const [i, j] = [a % SLOT, b % SLOT];
    return one.key[i] - two.key[j] || one.seq[i] - two.seq[j] || a - b;
  };

  keyOfSource(store: TaskStore, source: number): string {
    return store.keyOf(store.sources[source]);
  }

  isOn(slot: number, source: number): boolean {
    if (source === NO_SOURCE) return true;
    const row = (this.#enabled[slot] ??= []);
    if (row[source] === undefined) {
      const store = this.stores[slot];
      const { pod, container } = store.sources[source];
      row[source] = !this.filter.off.includes(this.keyOfSource(store, source)) && named(pod, this.filter.pod) && named(container, this.filter.container);
    }
    return row[source];
  }

  matches(id: number): boolean {
    const slot = this.slotOf(id);
    const store = this.stores[slot];
    const row = id % SLOT;
    const flags = store.flags[row];
    if (!this.isOn(slot, store.source[row])) return false;
    // A gap is never filtered away; other notices only where the reader looks for a text.
    if (flags & NOTICE) return (flags & (GAP | HOLE)) > 0 || !this.matcher.active;
    if (this.#rank > 0 && ((flags & LEVEL_BITS) || UNKNOWN_AS) < this.#rank) return false;
    if (this.filter.stream !== "" && store.streamOf(row) !== this.filter.stream) return false;
    return !this.matcher.active || this.matcher.test(store.texts[row]);
  }

  /** Rows [from, to) of a store are new. */
  take(store: TaskStore, from: number, to: number): void {
    const slot = this.stores.indexOf(store);
    if (slot === -1 || from >= to) return;
    const ids: number[] = [];
    let sorted = true;
    for (let row = from; row < to; row++) {
      // A hole that has been filled.
      if ((store.flags[row] & (GAP | HOLE)) === (GAP | HOLE)) continue;
      const i = ids.push(slot * SLOT + row) - 1;
      if (i > 0 && sorted && this.#compare(ids[i - 1], ids[i]) > 0) sorted = false;
    }
    if (!sorted) ids.sort(this.#compare);
    const lowest = this.all.merge(ids);
    if (!this.filtered) return;
    if (lowest < this.unsearched) this.refilter(this.filter);
    else this.shown.merge(ids.filter((id) => this.matches(id)));
  }

  /** A row is no longer shown. */
  drop(store: TaskStore, row: number): void {
    const slot = this.stores.indexOf(store);
    if (slot === -1) return;
    const id = slot * SLOT + row;
    if (this.unsearched > 0) this.unsearched = Math.min(this.unsearched, Math.max(0, this.all.length - 1));
    this.all.remove(id);
    if (this.filtered) this.shown.remove(id);
  }

  refilter(filter: Filter): void {
    this.filter = filter;
    this.matcher = compile(filter);
    this.tooSlow = "";
    this.#rank = rankOf(filter.level);
    this.#enabled = [];
    const everything = !this.matcher.active && this.#rank === 0 && filter.stream === "" && filter.off.length === 0 && filter.pod === "" && filter.container === "";
    this.shown = everything ? this.all : new Sequence(this.#compare);
    this.unsearched = everything ? 0 : this.all.length;
  }

  /** One slice of the search, newest lines first; true while there is more to do. */
  search(guarded: boolean): boolean {
    if (this.unsearched === 0) return false;
    const started = Date.now();
    const from = Math.max(0, this.unsearched - SLICE);
    const found: number[] = [];
    for (let index = from; index < this.unsearched; index++) {
      const id = this.all.at(index);
      if (this.matches(id)) found.push(id);
      if (!guarded && (index & 255) === 0 && Date.now() - started > SLOW) {
        this.tooSlow = this.matcher.regex || this.filter.grep;
        this.unsearched = 0;
        return false;
      }
    }
    this.unsearched = from;
    this.shown.merge(found);
    return from > 0;
  }
}
