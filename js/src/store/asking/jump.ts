/** Where a jump leads, among the rows that are shown. */

import type { Jump } from "../../types/asked.ts";
import type { Finder } from "./find.ts";
import { ERROR } from "../parsing/level.ts";
import type { Selection } from "../drawing/selection.ts";
import type { RowSequence } from "../drawing/sequence.ts";
import { NO_SOURCE, NOTICE } from "../holding/flags.ts";

/** The row to go to; null where there is none. */
export function findDestination(to: Jump, selection: Selection, finder: Finder, low: number): number | null {
  const { shown } = selection;
  if (shown.length === 0) return null;
  switch (to.to) {
    case "time":
      return shown.at(Math.min(shown.length - 1, shown.lowerBound((id) => selection.keyOf(id) < to.time)));
    case "row":
      return to.id;
    case "seq":
      return nearestSeq(selection, to.task, to.seq);
    case "match":
      return nextMatch(to.from, to.by, finder.matches, finder.matches.lowerBound((id) => selection.keyOf(id) < low));
    case "error":
      return nextError(selection, to.from, to.by);
    case "death":
      return lastBeforeFailure(selection);
  }
}

/** Round the end, as in editors; what lies before the window is left out. */
function nextMatch(from: number | null, by: 1 | -1, found: RowSequence, first: number): number | null {
  const length = found.length - first;
  if (length === 0) return null;
  if (from === null) return found.at(by > 0 ? first : found.length - 1);
  const place = Math.max(0, found.indexFor(from) - first);
  const here = place < length && found.at(first + place) === from;
  const next = by > 0 ? place + (here ? 1 : 0) : place - 1;
  return found.at(first + ((next + length) % length));
}

function isError(selection: Selection, id: number): boolean {
  return selection.stores[selection.slotOf(id)].levelOf(selection.rowOf(id)) >= ERROR;
}

/** Errors that follow each other are one place: a traceback is not walked line by line. */
function nextError(selection: Selection, from: number | null, by: 1 | -1): number | null {
  const { shown } = selection;
  let index = from === null ? (by > 0 ? 0 : shown.length - 1) : Math.min(shown.length - 1, shown.indexFor(from));
  if (from !== null) {
    while (index >= 0 && index < shown.length && isError(selection, shown.at(index))) index += by;
  }
  while (index >= 0 && index < shown.length && !isError(selection, shown.at(index))) index += by;
  if (index < 0 || index >= shown.length) return null;
  // Going back, the first line of the block is what one wants to read.
  if (by < 0) while (index > 0 && isError(selection, shown.at(index - 1))) index--;
  return shown.at(index);
}

function nearestSeq(selection: Selection, task: string, seq: number): number | null {
  const { shown, stores } = selection;
  let best: number | null = null;
  let distance = Infinity;
  for (let index = 0; index < shown.length && distance > 0; index++) {
    const id = shown.at(index);
    const store = stores[selection.slotOf(id)];
    const away = Math.abs(store.seq[selection.rowOf(id)] - seq);
    if ((task === "" || store.task === task) && away < distance) [best, distance] = [id, away];
  }
  return best;
}

/** The last line of what ended badly last, else the last line of all. */
function lastBeforeFailure(selection: Selection): number | null {
  const { shown, stores } = selection;
  const ends = stores.flatMap((store) => store.marks).filter(({ kind, level }) => kind === "ended" && level >= ERROR);
  const last = ends.toSorted((a, b) => a.time - b.time).at(-1);
  let newest: number | null = null;
  for (let index = shown.length - 1; index >= 0; index--) {
    const id = shown.at(index);
    const store = stores[selection.slotOf(id)];
    const row = selection.rowOf(id);
    if (store.flags[row] & NOTICE || store.source[row] === NO_SOURCE) continue;
    newest ??= id;
    if (last === undefined || (selection.keyOfSource(store, store.source[row]) === last.source && store.key[row] <= last.time)) return id;
  }
  return newest;
}
