/** Find without filtering: which of the shown rows hold a text, searched in slices as the filter is. */

import { isRegex, termRegex, termTest } from "./terms.ts";
import { stripEscapes } from "../parsing/controls.ts";
import type { Selection } from "../drawing/selection.ts";
import { RowSequence } from "../drawing/sequence.ts";
import { NOTICE } from "../holding/flags.ts";

/** A slice of a search: rows are looked at in steps until so much time is over, ms. What is found is shown after each. */
export const STEP_ROWS = 4000;
export const SLICE_MS = 8;
/** Where nothing can stop a regex, a slice this slow ends the search. */
export const SLOW_MS = 250;

export class Finder {
  term = "";
  error = "";
  /** Rows at the front of what is shown that have not been looked at. */
  unsearched = 0;
  matches: RowSequence;
  #test: ((line: string) => boolean) | undefined;
  #marker: RegExp | undefined;

  constructor(private readonly selection: Selection) {
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
      if (term !== "") [this.#test, this.#marker] = [termTest(term), termRegex(term, "g")];
    } catch (reason) {
      this.error = String(reason instanceof Error ? reason.message : reason).replace(/^Invalid regular expression: /, "");
    }
    this.restart();
  }

  /** What is shown is another selection. */
  restart(): void {
    this.matches = new RowSequence(this.selection.compare);
    this.unsearched = this.isActive ? this.selection.shown.length : 0;
  }

  /** Rows have come to what is shown, the lowest of them at this place. */
  addRows(ids: number[], lowest: number): void {
    if (!this.isActive) return;
    if (lowest < this.unsearched) this.restart();
    else this.matches.merge(ids.filter((id) => this.#matches(id)));
  }

  removeRow(id: number): void {
    if (!this.isActive) return;
    this.unsearched = Math.min(this.unsearched, this.selection.shown.length);
    this.matches.remove(id);
  }

  marks(text: string): number[] {
    const marks: number[] = [];
    if (this.#marker === undefined) return marks;
    this.#marker.lastIndex = 0;
    for (let found = this.#marker.exec(text); found !== null && marks.length < 200; found = this.#marker.exec(text)) {
      if (found[0] === "") this.#marker.lastIndex++;
      else marks.push(found.index, found.index + found[0].length);
    }
    return marks;
  }

  /** One slice, newest first; true while there is more to do. */
  search(guarded: boolean): boolean {
    if (this.unsearched === 0) return false;
    const started = Date.now();
    const { shown } = this.selection;
    do {
      const from = Math.max(0, this.unsearched - STEP_ROWS);
      const ids: number[] = [];
      for (let index = from; index < this.unsearched; index++) {
        const id = shown.at(index);
        if (this.#matches(id)) ids.push(id);
        if (!guarded && isRegex(this.term) && (index & 255) === 0 && Date.now() - started > SLOW_MS) {
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

  #matches(id: number): boolean {
    const { stores, slotOf, rowOf } = this.selection;
    const store = stores[slotOf(id)];
    const row = rowOf(id);
    if (store.flags[row] & NOTICE) return false;
    const text = store.folds.heads.has(row) ? store.folds.textOf(row) : store.texts[row];
    return this.#test!(text.includes("\u001b") ? stripEscapes(text) : text);
  }
}
