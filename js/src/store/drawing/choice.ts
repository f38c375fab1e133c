/** Whether a row is shown: by its source, its level, its stream and its text. */

import type { Filter } from "../../types/asked.ts";
import { compile, type Matcher } from "../asking/filter.ts";
import { chooser, type RunOf } from "../asking/sources.ts";
import { isBar } from "../parsing/progress.ts";
import { GAP, HOLE, NO_SOURCE, NOTICE } from "../holding/flags.ts";
import type { TaskStore } from "../holding/store.ts";
import { UNKNOWN_AS } from "../parsing/level.ts";

/** A row's id in a view: the task's slot above, its row below. */
export const SLOT = 2 ** 27;

export class Choice {
  filter: Filter;
  matcher: Matcher;
  #enabled: boolean[][] = [];
  /** Of each store, and how many sources it had then: what was newest may not be so any more. */
  #choosers: { wants: (one: RunOf) => boolean; among: number }[] = [];
  #rank = 0;

  constructor(
    readonly stores: TaskStore[],
    filter: Filter,
  ) {
    this.filter = filter;
    this.matcher = compile(filter);
  }

  protected choose(filter: Filter): void {
    this.filter = filter;
    this.matcher = compile(filter);
    this.#rank = this.matcher.rank;
    this.#enabled = [];
    this.#choosers = [];
  }

  /** Runs that are counted from the newest are others when there is a newer one. */
  protected get isOutdated(): boolean {
    return this.filter.run.includes("-") && !this.#choosers.every(({ among }, slot) => among === this.stores[slot].sources.length);
  }

  /** Lines are looked for, not only sources chosen. */
  get narrowed(): boolean {
    return this.matcher.active || this.#rank > 0 || this.filter.stream !== "";
  }

  /** Only some of the sources are shown. */
  get someSources(): boolean {
    const { off, pod, container, run } = this.filter;
    return off.length > 0 || `${pod}${container}${run}` !== "";
  }

  keyOfSource(store: TaskStore, source: number): string {
    return store.keyOf(store.sources[source]);
  }

  isOn(slot: number, source: number): boolean {
    if (source === NO_SOURCE) return true;
    const row = (this.#enabled[slot] ??= []);
    return (row[source] ??= this.wants(this.stores[slot], this.stores[slot].sources[source]));
  }

  /** Whether a run of a source is shown, also one of which nothing is here. */
  wants(store: TaskStore, source: RunOf): boolean {
    const { off } = this.filter;
    if (off.length > 0 && (off.includes(store.keyOf(source)) || off.includes(store.runKeyOf(source)))) return false;
    const slot = this.stores.indexOf(store);
    this.#choosers[slot] ??= { wants: chooser(this.filter, store.sources), among: store.sources.length };
    return this.#choosers[slot].wants(source);
  }

  /** Whether a row is shown; rows that belong together are shown or not together. */
  matches(id: number): boolean {
    const slot = Math.floor(id / SLOT);
    const row = id % SLOT;
    const { folds, texts } = this.stores[slot];
    // Nearly all rows stand alone.
    if (folds.back[row] === 0 && !folds.heads.has(row)) return this.test(slot, row, texts[row]);
    const root = folds.rootOf(row);
    const fold = folds.heads.get(root);
    if (fold === undefined) return this.test(slot, root, texts[root]);
    // Of equal lines each is looked at: their numbers may differ.
    if (fold.said === null && !isBar(texts[root])) return [root, ...folds.below(root)].some((one) => this.test(slot, one, texts[one]));
    return [root, ...fold.twins].some((one) => this.test(slot, one, folds.textOf(one)));
  }

  protected test(slot: number, row: number, text: string): boolean {
    const store = this.stores[slot];
    const flags = store.flags[row];
    if (!this.isOn(slot, store.source[row])) return false;
    // A gap is never filtered away; other notices only where the reader looks for a text.
    if (flags & NOTICE) return flags & HOLE ? !this.narrowed : (flags & GAP) > 0 || !this.matcher.active;
    if (this.#rank > 0 && (store.levelOf(row) || UNKNOWN_AS) < this.#rank) return false;
    if (this.filter.stream !== "" && store.streamOf(row) !== this.filter.stream) return false;
    return !this.matcher.active || this.matcher.test(text);
  }
}
