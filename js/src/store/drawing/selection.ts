/** One view's rows: which of its tasks' lines it shows, in which order; kept up to date by what arrives, searched in slices. */

import type { Filter } from "../../types/asked.ts";
import { Finder, SLICE_MS, SLOW_MS, STEP_ROWS } from "../asking/find.ts";
import { RowSequence } from "./sequence.ts";
import { GAP, HOLE } from "../holding/flags.ts";
import type { TaskStore } from "../holding/store.ts";
import { RowFilter, SLOT_SIZE } from "./choice.ts";

export class Selection extends RowFilter {
  /** Rows at the front of `all` that the running search has not reached yet. */
  unsearched = 0;
  slowRegex = "";
  readonly finder: Finder;
  all: RowSequence;
  shown: RowSequence;
  /** Heads of which the rows below are shown. */
  readonly opened = new Set<number>();

  constructor(stores: TaskStore[], filter: Filter) {
    super(stores, filter);
    this.all = this.shown = new RowSequence(this.compare);
    this.finder = new Finder(this);
    this.reload();
  }

  /** What belongs together has changed. */
  reload(): void {
    this.opened.clear();
    this.all = this.shown = new RowSequence(this.compare);
    for (const store of this.stores) this.addRows(store, 0, store.rows);
    this.refilter(this.filter);
  }

  idOf(slot: number, row: number): number {
    return slot * SLOT_SIZE + row;
  }

  slotOf(id: number): number {
    return Math.floor(id / SLOT_SIZE);
  }

  rowOf(id: number): number {
    return id % SLOT_SIZE;
  }

  keyOf(id: number): number {
    const { key, folds } = this.stores[this.slotOf(id)];
    return key[folds.rootOf(id % SLOT_SIZE)];
  }

  get filtered(): boolean {
    return this.all !== this.shown;
  }

  readonly compare = (a: number, b: number): number => {
    const one = this.stores[Math.floor(a / SLOT_SIZE)];
    const two = this.stores[Math.floor(b / SLOT_SIZE)];
    const [i, j] = [a % SLOT_SIZE, b % SLOT_SIZE];
    const [up, down] = [one.folds.rootOf(i), two.folds.rootOf(j)];
    const order = one.key[up] - two.key[down] || one.seq[up] - two.seq[down] || a - i + up - (b - j + down);
    return order || this.#compareWithin(one, up, i, j);
  };

  /** Two rows of one root: its own lines, then those of each of its twins. */
  #compareWithin({ folds, seq }: TaskStore, root: number, i: number, j: number): number {
    const [over, under] = [folds.headOf(i), folds.headOf(j)];
    if (over !== under) return over === root ? -1 : under === root ? 1 : seq[over] - seq[under] || over - under;
    return i === over ? (j === over ? 0 : -1) : j === over ? 1 : seq[i] - seq[j] || i - j;
  }

  /** Of one traceback in several pods the one to show: the first whose source is on. */
  memberOf(slot: number, row: number): number {
    const store = this.stores[slot];
    return [row, ...(store.folds.heads.get(row)?.twins ?? [])].find((one) => this.isSourceShown(slot, store.source[one])) ?? row;
  }

  /** Whether all that a row belongs to is open. */
  #isOpen(slot: number, row: number): boolean {
    const { back } = this.stores[slot].folds;
    for (let at = row; back[at] !== 0; ) {
      at -= back[at];
      if (!this.opened.has(slot * SLOT_SIZE + at)) return false;
    }
    return true;
  }

  /** Opens what belongs to a row, or folds it. */
  toggleFold(id: number): void {
    const slot = this.slotOf(id);
    if (this.opened.delete(id)) this.#removeAll(this.#membersOf(slot, id % SLOT_SIZE));
    else {
      this.opened.add(id);
      this.#insert(this.#membersOf(slot, id % SLOT_SIZE).filter((row) => this.#isOpen(slot, row % SLOT_SIZE)));
    }
  }

  /** A line that is folded away comes to be seen. */
  reveal(task: string, seq: number): void {
    for (const [slot, store] of this.stores.entries()) {
      if (task !== "" && store.task !== task) continue;
      const row = store.seq.subarray(0, store.rows).indexOf(seq);
      for (let at = row; at > 0 && store.folds.back[at] !== 0; ) {
        at -= store.folds.back[at];
        if (!this.opened.has(slot * SLOT_SIZE + at)) this.toggleFold(slot * SLOT_SIZE + at);
      }
    }
  }

  /** What was found below the row of a traceback comes to be seen; what that row says itself is. */
  revealMatch(id: number): void {
    const { folds } = this.stores[this.slotOf(id)];
    const fold = folds.heads.get(id % SLOT_SIZE);
    if (fold?.traceback && !this.opened.has(id) && this.finder.marks(folds.titleOf(id % SLOT_SIZE)).length === 0) this.toggleFold(id);
  }

  #membersOf(slot: number, head: number): number[] {
    const { folds } = this.stores[slot];
    return folds.membersOf(head).flatMap((row) => [slot * SLOT_SIZE + row, ...(folds.heads.has(row) ? this.#membersOf(slot, row) : [])]);
  }

  #insert(ids: number[]): void {
    this.#merge(ids.toSorted(this.compare));
  }

  #removeAll(ids: number[]): void {
    const gone = new Set(ids);
    this.all.removeAll(gone);
    if (!this.filtered) {
      this.finder.restart();
      return;
    }
    this.shown.removeAll(gone);
    if (this.unsearched > 0) this.refilter(this.filter);
    this.finder.restart();
  }

  /** Rows are about to belong to others: they leave their places while these can be found. */
  removeJoining(store: TaskStore): void {
    const slot = this.stores.indexOf(store);
    const { joining } = store.folds;
    if (slot === -1 || joining.size === 0) return;
    const leaving = [...joining.keys()].flatMap((row) => [slot * SLOT_SIZE + row, ...this.#membersOf(slot, row)]);
    for (const id of leaving) this.opened.delete(id);
    this.#removeAll(leaving);
  }

  /** What has joined a head that is open is shown, and a head that now says what is looked for. */
  #showJoined(slot: number, { folds }: TaskStore, from: number): void {
    for (const head of folds.changedHeads) {
      const id = slot * SLOT_SIZE + folds.rootOf(head);
      if (this.opened.has(slot * SLOT_SIZE + head)) {
        const late = folds.membersOf(head).map((row) => slot * SLOT_SIZE + row).filter((row) => row % SLOT_SIZE < from && this.#isOpen(slot, row % SLOT_SIZE) && !this.all.has(row));
        if (late.length > 0) this.#insert(late);
      }
      if (this.filtered && this.all.indexFor(id) >= this.unsearched && !this.shown.has(id) && this.#nowMatches(slot, head)) this.shown.merge([id]);
    }
  }

  /** Whether a head is wanted by what has joined it: of equal lines only the last is new. */
  #nowMatches(slot: number, head: number): boolean {
    const { folds, texts } = this.stores[slot];
    const { traceback, last } = folds.heads.get(head)!;
    return traceback === null ? this.testRow(slot, last, texts[last]) : this.matches(slot * SLOT_SIZE + head);
  }

  /** Rows [from, to) of a store are new. */
  addRows(store: TaskStore, from: number, to: number): void {
    const slot = this.stores.indexOf(store);
    if (slot === -1) return;
    if (this.isOutdated) this.refilter(this.filter);
    const ids: number[] = [];
    let sorted = true;
    const found: number[] = [];
    for (let row = from; row < to; row++) {
      if (store.isSearchHit(row)) {
        found.push(slot * SLOT_SIZE + row);
        continue;
      }
      // A hole that has been filled.
      if ((store.flags[row] & (GAP | HOLE)) === (GAP | HOLE) || (store.folds.back[row] !== 0 && !this.#isOpen(slot, row))) continue;
      const i = ids.push(slot * SLOT_SIZE + row) - 1;
      if (i > 0 && sorted && this.compare(ids[i - 1], ids[i]) > 0) sorted = false;
    }
    if (!sorted) ids.sort(this.compare);
    if (ids.length > 0) this.#merge(ids);
    this.#addHits(found);
    this.#showJoined(slot, store, from);
  }

  /** Lines that were found alone are shown where lines are looked for: elsewhere they would stand among what is not here. */
  #addHits(ids: number[]): void {
    if (!this.isNarrowed || ids.length === 0) return;
    const shown = ids.filter((id) => this.matches(id)).toSorted(this.compare);
    this.finder.addRows(shown, this.shown.merge(shown));
  }

  #merge(ids: number[]): void {
    const lowest = this.all.merge(ids);
    if (!this.filtered) this.finder.addRows(ids, lowest);
    else if (lowest < this.unsearched) this.refilter(this.filter);
    else {
      const shown = ids.filter((id) => this.matches(id));
      this.finder.addRows(shown, this.shown.merge(shown));
    }
  }

  /** A row is no longer shown. */
  removeRow(store: TaskStore, row: number): void {
    const slot = this.stores.indexOf(store);
    if (slot === -1) return;
    const id = slot * SLOT_SIZE + row;
    if (this.unsearched > 0) this.unsearched = Math.min(this.unsearched, Math.max(0, this.all.length - 1));
    this.all.remove(id);
    if (this.filtered) this.shown.remove(id);
    this.finder.removeRow(id);
  }

  /** Rows of a store are gone. */
  removeEvicted(): void {
    const here = (id: number): boolean => !this.stores[Math.floor(id / SLOT_SIZE)].isRemoved(id % SLOT_SIZE);
    this.all.retain(here);
    if (this.filtered && this.unsearched > 0) {
      this.refilter(this.filter);
      return;
    }
    if (this.filtered) this.shown.retain(here);
    this.finder.restart();
  }

  refilter(filter: Filter): void {
    this.setFilter(filter);
    this.slowRegex = "";
    const everything = !this.isNarrowed && !this.hidesSources;
    this.shown = everything ? this.all : new RowSequence(this.compare);
    this.unsearched = everything ? 0 : this.all.length;
    this.finder.restart();
    for (const [slot, store] of this.stores.entries()) this.#addHits(store.searchHits.map((row) => slot * SLOT_SIZE + row));
  }

  /** One slice of the search, newest lines first; true while there is more to do. */
  search(guarded: boolean): boolean {
    // What is sought is sought among what is shown: after the filter.
    if (this.unsearched === 0) return this.finder.search(guarded);
    const started = Date.now();
    do {
      const from = Math.max(0, this.unsearched - STEP_ROWS);
      const found: number[] = [];
      for (let index = from; index < this.unsearched; index++) {
        const id = this.all.at(index);
        if (this.matches(id)) found.push(id);
        if (!guarded && (index & 255) === 0 && Date.now() - started > SLOW_MS) {
          this.slowRegex = this.matcher.regex || this.filter.grep;
          this.unsearched = 0;
          return false;
        }
      }
      this.unsearched = from;
      this.finder.addRows(found, this.shown.merge(found));
    } while (this.unsearched > 0 && Date.now() - started < SLICE_MS);
    return this.unsearched > 0 || this.finder.unsearched > 0;
  }
}
