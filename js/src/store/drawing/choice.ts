/** Whether a row is shown: by its source, its level, its stream and its text. */

import type { Filter } from "../../types/asked.ts";
import { compileFilter, type Matcher } from "../asking/filter.ts";
import { sourceTest, type RunId } from "../asking/sources.ts";
import { mayBeBar } from "../parsing/progress.ts";
import { GAP, HOLE, NO_SOURCE, NOTICE } from "../holding/flags.ts";
import type { TaskStore } from "../holding/store.ts";
import { DEFAULT_LEVEL } from "../parsing/level.ts";

/** A row's id in a view: the task's slot above, its row below. */
export const SLOT_SIZE = 2 ** 27;

export class RowFilter {
  filter: Filter;
  matcher: Matcher;
  #enabled: boolean[][] = [];
  /** Of each store, and how many sources it had then: what was newest may not be so any more. */
  #choosers: { wants: (one: RunId) => boolean; among: number }[] = [];
  #rank = 0;

  constructor(
    readonly stores: TaskStore[],
    filter: Filter,
  ) {
    this.filter = filter;
    this.matcher = compileFilter(filter);
  }

  protected setFilter(filter: Filter): void {
    this.filter = filter;
    this.matcher = compileFilter(filter);
    this.#rank = this.matcher.rank;
    this.#enabled = [];
    this.#choosers = [];
  }

  /** Runs that are counted from the newest are others when there is a newer one. */
  protected get isOutdated(): boolean {
    return this.filter.run.includes("-") && !this.#choosers.every(({ among }, slot) => among === this.stores[slot].sources.length);
  }

  /** Lines are looked for, not only sources chosen. */
  get isNarrowed(): boolean {
    return this.matcher.active || this.#rank > 0 || this.filter.stream !== "";
  }

  /** Only some of the sources are shown. */
  get hidesSources(): boolean {
    const { off, pod, container, run } = this.filter;
    return off.length > 0 || `${pod}${container}${run}` !== "";
  }

  keyOfSource(store: TaskStore, source: number): string {
    return store.sourceKey(store.sources[source]);
  }

  isSourceShown(slot: number, source: number): boolean {
    if (source === NO_SOURCE) return true;
    const row = (this.#enabled[slot] ??= []);
    return (row[source] ??= this.wantsRun(this.stores[slot], this.stores[slot].sources[source]));
  }

  /** Whether a run of a source is shown, also one of which nothing is here. */
  wantsRun(store: TaskStore, source: RunId): boolean {
    const { off } = this.filter;
    if (off.length > 0 && (off.includes(store.sourceKey(source)) || off.includes(store.runKey(source)))) return false;
    const slot = this.stores.indexOf(store);
    this.#choosers[slot] ??= { wants: sourceTest(this.filter, store.sources), among: store.sources.length };
    return this.#choosers[slot].wants(source);
  }

  /** Whether a row is shown; rows that belong together are shown or not together. */
  matches(id: number): boolean {
    const slot = Math.floor(id / SLOT_SIZE);
    const row = id % SLOT_SIZE;
    const { folds, texts } = this.stores[slot];
    // Nearly all rows stand alone.
    if (folds.back[row] === 0 && !folds.heads.has(row)) return this.testRow(slot, row, texts[row]);
    const root = folds.rootOf(row);
    const fold = folds.heads.get(root);
    if (fold === undefined) return this.testRow(slot, root, texts[root]);
    // Of equal lines each is looked at: their numbers may differ.
    if (fold.traceback === null && !mayBeBar(texts[root])) return [root, ...folds.membersOf(root)].some((one) => this.testRow(slot, one, texts[one]));
    return [root, ...fold.twins].some((one) => this.testRow(slot, one, folds.textOf(one)));
  }

  protected testRow(slot: number, row: number, text: string): boolean {
    const store = this.stores[slot];
    const flags = store.flags[row];
    if (!this.isSourceShown(slot, store.source[row])) return false;
    // A gap is never filtered away; other notices only where the reader looks for a text.
    if (flags & NOTICE) return flags & HOLE ? !this.isNarrowed : (flags & GAP) > 0 || !this.matcher.active;
    if (this.#rank > 0 && (store.levelOf(row) || DEFAULT_LEVEL) < this.#rank) return false;
    if (this.filter.stream !== "" && store.streamOf(row) !== this.filter.stream) return false;
    return !this.matcher.active || this.matcher.test(text);
  }
}
