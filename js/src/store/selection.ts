/** The rows that a view shows, in display order. New rows are tested as they arrive. A new filter or find tests all rows, for a few milliseconds at a time. */

import type { Filter } from "../protocol/requests.ts";
import { plainText } from "../text/ansi.ts";
import { ALL_LEVELS, DEFAULT_LEVEL } from "../text/level.ts";
import { mayBeBar } from "../text/progress.ts";
import { checkedLength, compileFilter, isRegex, type Matcher, regexError, termRegex, termTest } from "../text/query.ts";
import { type RunId, sourceChoice, sourceTest } from "../text/sources.ts";
import { FAILED, GAP, HOLE, NO_SOURCE, NOTICE } from "./lines.ts";
import { RowSequence } from "./sequence.ts";
import type { TaskStore } from "./taskstore.ts";

/**
 * The id of a row in a view is the index of its task (its slot) times this, plus its row number. Ids have 32 bits. A task has at
 * most some 100,000 rows (eviction.ts), and removed ones until they are renumbered.
 */
const SLOT_SIZE = 2 ** 24;
/** Maximum number of tasks in a view. */
export const MAX_TASKS = 2 ** 32 / SLOT_SIZE;

/** Whether a watchdog can stop regular expressions, and how it learns which one runs. */
export interface RegexGuard {
  readonly isWatched: boolean;
  /** Called before a regular expression of the filter, or of find, runs. */
  announce(find: boolean): void;
}

const UNANNOUNCED: RegexGuard = { isWatched: true, announce() {} };

class RowFilter {
  filter: Filter;
  matcher: Matcher;
  #enabled: boolean[][] = [];
  /** For each task the test of its sources, and the number of sources when the test was made: a newer run changes which run is the newest. */
  #choosers: { wants: (one: RunId) => boolean; among: number }[] = [];
  #levels = ALL_LEVELS;

  constructor(
    readonly stores: TaskStore[],
    filter: Filter,
    readonly regexGuard: RegexGuard = UNANNOUNCED,
  ) {
    this.filter = filter;
    this.matcher = this.#compile(filter);
  }

  #compile(filter: Filter): Matcher {
    const matcher = compileFilter(filter, this.regexGuard.isWatched);
    const announced = <T>(work: (text: string) => T) => (text: string): T => {
      this.regexGuard.announce(false);
      return work(text);
    };
    return matcher.regex === "" ? matcher : { ...matcher, test: announced(matcher.test), find: announced(matcher.find) };
  }

  protected setFilter(filter: Filter): void {
    this.filter = filter;
    this.matcher = this.#compile(filter);
    this.#levels = this.matcher.levels;
    this.#enabled = [];
    this.#choosers = [];
  }

  /** Whether a source has come since that changes which runs or attempts are the newest, and the filter depends on that. */
  protected get isOutdated(): boolean {
    return /-/.test(this.filter.run + this.filter.attempt) && !this.#choosers.every(({ among }, slot) => among === this.stores[slot].sources.length);
  }

  /** Whether the filter tests lines, and not only sources. */
  get isNarrowed(): boolean {
    return this.matcher.active || this.#levels !== ALL_LEVELS || this.filter.stream !== "";
  }

  /** Whether some sources are hidden. */
  get hidesSources(): boolean {
    return this.filter.off.length > 0 || Object.values(sourceChoice(this.filter)).some(Boolean);
  }

  containerKeyOf(store: TaskStore, source: number): string {
    return store.containerKey(store.sources[source]);
  }

  isSourceShown(slot: number, source: number): boolean {
    if (source === NO_SOURCE) return true;
    const row = (this.#enabled[slot] ??= []);
    return (row[source] ??= this.wantsRun(this.stores[slot], this.stores[slot].sources[source]));
  }

  /** Return whether the lines of a run are shown. The run need not have loaded lines. */
  wantsRun(store: TaskStore, source: RunId): boolean {
    const { off } = this.filter;
    if (off.length > 0 && (off.includes(store.containerKey(source)) || off.includes(store.runKey(source)))) return false;
    const slot = this.stores.indexOf(store);
    this.#choosers[slot] ??= { wants: sourceTest(this.filter, store.sources), among: store.sources.length };
    return this.#choosers[slot].wants(source);
  }

  /** Return whether a row is shown. Rows that belong together are shown or hidden together. */
  matches(id: number): boolean {
    const slot = Math.floor(id / SLOT_SIZE);
    const row = id % SLOT_SIZE;
    const { folds, texts } = this.stores[slot];
    // Nearly all rows stand alone.
    if (folds.back[row] === 0 && !folds.heads.has(row)) return this.testRow(slot, row, texts[row]);
    const root = folds.rootOf(row);
    const fold = folds.heads.get(root);
    if (fold === undefined) return this.testRow(slot, root, texts[root]);
    // Folded lines may differ in their numbers, so test each.
    if (fold.traceback === null && !mayBeBar(texts[root])) return [root, ...folds.membersOf(root)].some((one) => this.testRow(slot, one, texts[one]));
    return [root, ...fold.twins].some((one) => this.testRow(slot, one, folds.textOf(one)));
  }

  protected testRow(slot: number, row: number, text: string): boolean {
    const store = this.stores[slot];
    const flags = store.flags[row];
    if (!this.isSourceShown(slot, store.source[row])) return false;
    // Always show gaps. Hide other notices if the filter has a text, and those whose level it does not want.
    if (flags & NOTICE) return flags & HOLE ? !this.isNarrowed : (flags & GAP) > 0 || (!this.matcher.active && (this.#wantsLevel(DEFAULT_LEVEL) || (flags & FAILED) > 0 || this.#wantsLevel(store.levelOf(row))));
    if (!this.#wantsLevel(store.levelOf(row) || DEFAULT_LEVEL)) return false;
    if (this.filter.stream !== "" && store.streamOf(row) !== this.filter.stream) return false;
    return !this.matcher.active || this.matcher.test(text);
  }

  #wantsLevel(rank: number): boolean {
    return ((this.#levels >> rank) & 1) > 0;
  }
}

/** Number of rows that are searched between two checks of the time. */
const STEP_ROWS = 4000;
/** A slice of a search ends after this time (ms). The view shows the matches after each slice. */
const SLICE_MS = 8;
/** Maximum number of rows of hidden sources that are skipped where a line of a shown one is sought. */
const MAX_SKIPPED = 1000;
/** Without a watchdog, a slice that takes this long (ms) ends the search. */
const SLOW_MS = 250;

/** The rows that match the text of find, among the shown rows. */
export class Finder {
  term = "";
  error = "";
  /** Number of rows at the beginning of the shown rows that are not searched yet: the search goes from the newest to the oldest. */
  unsearched = 0;
  matches: RowSequence;
  #test: ((line: string) => boolean) | undefined;
  /** A longer line is not searched. */
  #maxLength = Infinity;
  #marker: RegExp | undefined;

  readonly #selection: Selection;

  constructor(selection: Selection) {
    this.#selection = selection;
    this.matches = new RowSequence(selection.compare);
  }

  get isActive(): boolean {
    return this.#test !== undefined;
  }

  set(term: string): void {
    this.term = term;
    this.error = "";
    this.#test = this.#marker = undefined;
    try {
      this.#maxLength = this.#selection.regexGuard.isWatched ? Infinity : checkedLength(term);
      if (term !== "") [this.#test, this.#marker] = [termTest(term), termRegex(term, "g")];
    } catch (reason) {
      this.error = regexError(reason);
    }
    this.restart();
  }

  /** Start again, because the shown rows have changed. */
  restart(): void {
    this.matches = new RowSequence(this.#selection.compare);
    this.unsearched = this.isActive ? this.#selection.shown.length : 0;
  }

  /** Search rows that were added to the shown rows. `lowest` is the lowest of their indexes. */
  addRows(ids: number[], lowest: number): void {
    if (!this.isActive) return;
    if (lowest < this.unsearched) this.restart();
    else this.matches.merge(ids.filter((id) => this.#matches(id)));
  }

  removeRow(id: number): void {
    if (!this.isActive) return;
    this.unsearched = Math.min(this.unsearched, this.#selection.shown.length);
    this.matches.remove(id);
  }

  marks(text: string): number[] {
    const marks: number[] = [];
    if (this.#marker === undefined) return marks;
    this.#announce();
    this.#marker.lastIndex = 0;
    for (let match = this.#marker.exec(text); match !== null && marks.length < 200; match = this.#marker.exec(text)) {
      if (match[0] === "") this.#marker.lastIndex++;
      else marks.push(match.index, match.index + match[0].length);
    }
    return marks;
  }

  /** Search one slice of rows, newest first. Return whether more rows are left. */
  search(guarded: boolean): boolean {
    if (this.unsearched === 0) return false;
    const started = Date.now();
    const { shown } = this.#selection;
    do {
      const from = Math.max(0, this.unsearched - STEP_ROWS);
      const ids: number[] = [];
      for (let index = from; index < this.unsearched; index++) {
        const id = shown.at(index);
        if (this.#matches(id)) ids.push(id);
        if (!guarded && isRegex(this.term) && Date.now() - started > SLOW_MS) {
          this.error = `stopped, too slow: ${this.term}`;
          this.unsearched = 0;
          return false;
        }
      }
      this.unsearched = from;
      this.matches.merge(ids);
    } while (this.unsearched > 0 && Date.now() - started < SLICE_MS);
    return this.unsearched > 0;
  }

  #announce(): void {
    if (isRegex(this.term)) this.#selection.regexGuard.announce(true);
  }

  #matches(id: number): boolean {
    const { stores, slotOf, rowOf } = this.#selection;
    const store = stores[slotOf(id)];
    const row = rowOf(id);
    if (store.flags[row] & NOTICE) return false;
    const text = store.folds.heads.has(row) ? store.folds.textOf(row) : store.texts[row];
    this.#announce();
    return text.length <= this.#maxLength && this.#test!(plainText(text));
  }
}

export class Selection extends RowFilter {
  /** Number of rows at the beginning of `all` that the filter has not tested yet. */
  unsearched = 0;
  slowRegex = "";
  readonly finder: Finder;
  all: RowSequence;
  shown: RowSequence;
  /** The shown rows that match the filter. With context lines there are fewer than shown rows, otherwise it is the same sequence. */
  matched: RowSequence;
  /** The notices among them. They stand among the matches, but are none. */
  notices: RowSequence;
  /** Ids of the open folds: rows whose members are shown. */
  readonly opened = new Set<number>();

  constructor(stores: TaskStore[], filter: Filter, regexGuard?: RegexGuard) {
    super(stores, filter, regexGuard);
    this.all = this.shown = this.matched = new RowSequence(this.compare);
    this.notices = new RowSequence(this.compare);
    this.finder = new Finder(this);
    this.reload();
  }

  /** Rebuild everything, after the folds have changed. */
  reload(): void {
    this.opened.clear();
    this.all = this.shown = this.matched = new RowSequence(this.compare);
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

  /** Return the key of the last row of the fold that an id belongs to. */
  lastKeyOf(id: number): number {
    const { key, folds } = this.stores[this.slotOf(id)];
    const root = folds.rootOf(id % SLOT_SIZE);
    return key[folds.heads.get(root)?.last ?? root];
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

  /** Compare two rows of one root. The lines of its own fold come first, then the lines of each twin (the same traceback in another pod). */
  #compareWithin({ folds, seq }: TaskStore, root: number, i: number, j: number): number {
    const [over, under] = [folds.headOf(i), folds.headOf(j)];
    if (over !== under) return over === root ? -1 : under === root ? 1 : seq[over] - seq[under] || over - under;
    return i === over ? (j === over ? 0 : -1) : j === over ? 1 : seq[i] - seq[j] || i - j;
  }

  /** Whether an id is that of a row here. The page may still send ids of rows from before it got a new worker or other tasks. */
  hasId(id: number): boolean {
    return id % SLOT_SIZE < (this.stores[Math.floor(id / SLOT_SIZE)]?.rows ?? 0);
  }

  /** Return which row stands for a traceback that several pods wrote: the first whose source is shown. */
  memberOf(slot: number, row: number): number {
    const store = this.stores[slot];
    return [row, ...(store.folds.heads.get(row)?.twins ?? [])].find((one) => this.isSourceShown(slot, store.source[one])) ?? row;
  }

  /** Return whether all folds that a row belongs to are open. */
  #isOpen(slot: number, row: number): boolean {
    const { back } = this.stores[slot].folds;
    for (let at = row; back[at] > 0; ) {
      at -= back[at];
      if (!this.opened.has(slot * SLOT_SIZE + at)) return false;
    }
    return true;
  }

  /** Open or close a fold. */
  toggleFold(id: number): void {
    const slot = this.slotOf(id);
    if (this.opened.delete(id)) this.#removeAll(this.#membersOf(slot, id % SLOT_SIZE));
    else {
      this.opened.add(id);
      this.#insert(this.#membersOf(slot, id % SLOT_SIZE).filter((row) => this.#isOpen(slot, row % SLOT_SIZE)));
    }
  }

  /** Open the folds around a line. */
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

  /** Open a traceback if the match is in its lines and not in its title. */
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
    const removed = new Set(ids);
    this.all.removeAll(removed);
    if (!this.filtered) {
      this.finder.restart();
      return;
    }
    for (const rows of this.#filtered) rows.removeAll(removed);
    if (this.unsearched > 0) this.refilter(this.filter);
    this.finder.restart();
  }

  get #filtered(): Set<RowSequence> {
    return new Set([this.shown, this.matched, this.notices]);
  }

  /** Show rows that match, with their context. `added` are the rows that came, whether they match or not. */
  #show(matches: number[], added = matches): void {
    const lowest = this.matched.merge(matches);
    this.notices.merge(matches.filter((id) => this.isNotice(id)));
    if (this.shown === this.matched) {
      this.finder.addRows(matches, lowest);
      return;
    }
    if (added.length === 0) return;
    const rows = new Set(matches);
    if (this.all.length > 0) this.#addContextAround(added, rows);
    const ids = [...rows].filter((id) => !this.shown.has(id)).toSorted(this.compare);
    this.finder.addRows(ids, this.shown.merge(ids));
  }

  /** Add the context of the matches among rows that came, and of those near them. */
  #addContextAround(added: number[], rows: Set<number>): void {
    const first = this.#linesBeside(this.all.indexFor(added[0]), -1).at(-1) ?? added[0];
    const last = this.#linesBeside(this.all.indexFor(added.at(-1)!), 1).at(-1) ?? added.at(-1)!;
    for (let index = this.matched.indexFor(first); index < this.matched.length; index++) {
      const id = this.matched.at(index);
      if (this.compare(id, last) > 0) break;
      this.#addContext(id, rows);
    }
  }

  /** Add a row and the lines around it. Notices have none, nor have matches that the server found: the lines around them are not loaded. */
  #addContext(id: number, rows: Set<number>): void {
    rows.add(id);
    const at = this.all.indexFor(id);
    if (this.all.at(at) !== id || this.isNotice(id)) return;
    for (const by of [-1, 1]) for (const other of this.#linesBeside(at, by)) rows.add(other);
  }

  /** Return the lines that are context on one side of a row. Lines that are not loaded end them, and many rows of hidden sources. */
  #linesBeside(at: number, by: number): number[] {
    const lines: number[] = [];
    let skipped = 0;
    for (let index = at + by; lines.length < this.filter.around && skipped < MAX_SKIPPED && index >= 0 && index < this.all.length; index += by) {
      const id = this.all.at(index);
      if (this.#flagsOf(id) & HOLE) break;
      if (this.#canBeContext(id)) lines.push(id);
      else skipped++;
    }
    return lines;
  }

  #flagsOf(id: number): number {
    return this.stores[this.slotOf(id)].flags[this.rowOf(id)];
  }

  isNotice(id: number): boolean {
    return (this.#flagsOf(id) & NOTICE) > 0;
  }

  /** Return whether a row is a line of a source that is shown. */
  #canBeContext(id: number): boolean {
    const [slot, row] = [this.slotOf(id), this.rowOf(id)];
    return !this.isNotice(id) && this.isSourceShown(slot, this.stores[slot].source[row]);
  }

  /** Return whether a shown row is only the context of a match. */
  isContext(id: number): boolean {
    return this.shown !== this.matched && !this.matched.has(id) && !this.isNotice(id);
  }

  /** Return whether lines are left out between two rows that are displayed one after the other. Returns true where finding out takes long. */
  areApart(above: number, below: number): boolean {
    if (this.shown === this.matched) return false;
    const [first, last] = [above, below].toSorted(this.compare);
    const [from, to] = [this.all.indexFor(first), this.all.indexFor(last)];
    // The lines around a match that the server found are not loaded, unless they match, too.
    if (this.all.at(from) !== first || this.all.at(to) !== last) return this.#seqOf(last) - this.#seqOf(first) !== 1;
    // With the newest on top, the lines of an open fold are between it and the row above.
    let next = this.shown.indexFor(first) + 1;
    for (let index = from + 1, skipped = 0; index < to; index++) {
      const id = this.all.at(index);
      if (id === this.shown.at(next)) next++;
      else if (++skipped > MAX_SKIPPED || this.#flagsOf(id) & HOLE || this.#canBeContext(id)) return true;
    }
    return false;
  }

  #seqOf(id: number): number {
    return this.stores[this.slotOf(id)].seq[this.rowOf(id)];
  }

  /** Remove rows that are about to join another row. Afterwards they could not be found, because their sort order changes. */
  removeJoining(store: TaskStore): void {
    const slot = this.stores.indexOf(store);
    const { joining } = store.folds;
    if (slot === -1 || joining.size === 0) return;
    const joiningIds = [...joining.keys()].flatMap((row) => [slot * SLOT_SIZE + row, ...this.#membersOf(slot, row)]);
    for (const id of joiningIds) this.opened.delete(id);
    this.#removeAll(joiningIds);
  }

  /** Show rows that joined an open fold, and folds that match the filter since rows joined them. */
  #showJoined(slot: number, { folds }: TaskStore, from: number): void {
    for (const head of folds.changedHeads) {
      const id = slot * SLOT_SIZE + folds.rootOf(head);
      if (this.opened.has(slot * SLOT_SIZE + head)) {
        const late = folds.membersOf(head).map((row) => slot * SLOT_SIZE + row).filter((row) => row % SLOT_SIZE < from && this.#isOpen(slot, row % SLOT_SIZE) && !this.all.has(row));
        if (late.length > 0) this.#insert(late);
      }
      if (this.filtered && this.all.indexFor(id) >= this.unsearched && !this.matched.has(id) && this.#nowMatches(slot, head)) this.#show([id]);
    }
  }

  /** Return whether a fold matches with its new members. Of equal lines only the last is new. */
  #nowMatches(slot: number, head: number): boolean {
    const { folds, texts } = this.stores[slot];
    const { traceback, last } = folds.heads.get(head)!;
    return traceback === null ? this.testRow(slot, last, texts[last]) : this.matches(slot * SLOT_SIZE + head);
  }

  /** Add rows [from, to) of a task. */
  addRows(store: TaskStore, from: number, to: number): void {
    const slot = this.stores.indexOf(store);
    if (slot === -1) return;
    if (this.isOutdated) this.refilter(this.filter);
    const ids: number[] = [];
    let sorted = true;
    const result: number[] = [];
    for (let row = from; row < to; row++) {
      if (store.isSearchHit(row)) {
        result.push(slot * SLOT_SIZE + row);
        continue;
      }
      // Skip the row of a span that has been loaded, and rows in a closed fold.
      if ((store.flags[row] & (GAP | HOLE)) === (GAP | HOLE) || (store.folds.back[row] !== 0 && !this.#isOpen(slot, row))) continue;
      const i = ids.push(slot * SLOT_SIZE + row) - 1;
      if (i > 0 && sorted && this.compare(ids[i - 1], ids[i]) > 0) sorted = false;
    }
    if (!sorted) ids.sort(this.compare);
    if (ids.length > 0) this.#merge(ids);
    this.#addHits(result);
    this.#showJoined(slot, store, from);
  }

  /** Show search hits if the filter tests lines. Without such a filter they would be single rows among unloaded lines. */
  #addHits(ids: number[]): void {
    if (!this.isNarrowed || ids.length === 0) return;
    this.#show(ids.filter((id) => this.matches(id)).toSorted(this.compare));
  }

  #merge(ids: number[]): void {
    const lowest = this.all.merge(ids);
    if (!this.filtered) this.finder.addRows(ids, lowest);
    else if (lowest < this.unsearched) this.refilter(this.filter);
    else this.#show(ids.filter((id) => this.matches(id)), ids);
  }

  /** Remove a row. */
  removeRow(store: TaskStore, row: number): void {
    const slot = this.stores.indexOf(store);
    if (slot === -1) return;
    const id = slot * SLOT_SIZE + row;
    if (this.unsearched > 0) this.unsearched = Math.min(this.unsearched, Math.max(0, this.all.length - 1));
    this.all.remove(id);
    if (this.filtered) for (const rows of this.#filtered) rows.remove(id);
    this.finder.removeRow(id);
  }

  /** Remove rows that were evicted. */
  removeEvicted(): void {
    const here = (id: number): boolean => !this.stores[Math.floor(id / SLOT_SIZE)].isRemoved(id % SLOT_SIZE);
    this.all.retain(here);
    if (this.filtered && this.unsearched > 0) {
      this.refilter(this.filter);
      return;
    }
    if (this.filtered) for (const rows of this.#filtered) rows.retain(here);
    this.finder.restart();
  }

  refilter(filter: Filter): void {
    this.setFilter(filter);
    this.slowRegex = "";
    const everything = !this.isNarrowed && !this.hidesSources;
    this.matched = everything ? this.all : new RowSequence(this.compare);
    this.shown = this.isNarrowed && filter.around > 0 ? new RowSequence(this.compare) : this.matched;
    this.notices = new RowSequence(this.compare);
    this.unsearched = everything ? 0 : this.all.length;
    this.finder.restart();
    for (const [slot, store] of this.stores.entries()) this.#addHits(store.searchHits.map((row) => slot * SLOT_SIZE + row));
  }

  /** Test one slice of rows, newest first. Return whether more rows are left. */
  search(guarded: boolean): boolean {
    // Find searches the rows that the filter shows, so it comes second.
    if (this.unsearched === 0) return this.finder.search(guarded);
    const started = Date.now();
    do {
      const from = Math.max(0, this.unsearched - STEP_ROWS);
      const result: number[] = [];
      for (let index = from; index < this.unsearched; index++) {
        const id = this.all.at(index);
        if (this.matches(id)) result.push(id);
        if (!guarded && this.matcher.regex !== "" && Date.now() - started > SLOW_MS) {
          this.slowRegex = this.matcher.regex;
          this.unsearched = 0;
          return false;
        }
      }
      this.unsearched = from;
      this.#show(result);
    } while (this.unsearched > 0 && Date.now() - started < SLICE_MS);
    return this.unsearched > 0 || this.finder.unsearched > 0;
  }
}
