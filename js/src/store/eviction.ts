/** Limits the memory of a page: drops lines that are far from what users look at. They are loaded again when a user scrolls to them. */

import { HOLE, NOTICE } from "./lines.ts";
import { lowerBound } from "./sequence.ts";
import { spanLines, type UnloadedSpan } from "./spans.ts";
import type { StoreWatcher } from "./tasks.ts";
import type { TaskStore } from "./taskstore.ts";

/** Rows are renumbered after this many were dropped. About as many stay, so renumbering takes no longer than recreating the views. */
const COMPACT_ROWS = 250_000;
/** Maximum number of lines of a page that are kept, of all its tasks together. */
const KEEP_LINES = 300_000;
/** Maximum number of characters in the kept lines of a page. */
const KEEP_CHARS = 64 * 2 ** 20;
/** Above a limit, lines are dropped down to this share of it: few at a time, so that dropping them delays no animation frame. */
const KEPT_SHARE = 0.9;

/** The memory of a page's lines. An engine adds its tasks. */
export class LineMemory {
  readonly #owners = new Map<{ readonly stores: TaskStore[] }, StoreWatcher>();

  add(tasks: { readonly stores: TaskStore[] }, watcher: StoreWatcher): void {
    this.#owners.set(tasks, watcher);
  }

  remove(tasks: { readonly stores: TaskStore[] }): void {
    this.#owners.delete(tasks);
  }

  /** Drop lines of the largest tasks if all tasks together take too much memory. */
  limit(): void {
    const tasks = [...this.#owners].flatMap(([{ stores }, watcher]) => stores.map((store) => ({ store, watcher, share: shareOf(store) })));
    const most = largestShare(tasks.map(({ share }) => share));
    for (const { store, watcher, share } of tasks) if (share > most) drop(store, watcher, most);
  }
}

/** Return a task's part of the page's limits. */
function shareOf({ lines, characters }: TaskStore): number {
  return Math.max(lines / KEEP_LINES, characters / KEEP_CHARS);
}

/** Return the share that a task may have at most, so that all of them together stay within the limit. Small tasks keep what they have. */
function largestShare(shares: number[]): number {
  let rest = 1;
  for (const [i, share] of shares.toSorted((a, b) => a - b).entries()) {
    const equal = rest / (shares.length - i);
    if (share > equal) return equal;
    rest -= share;
  }
  return Infinity;
}

/** Drop lines of a task until it takes less than a share of the page's limits. */
function drop(store: TaskStore, watcher: StoreWatcher, share: number): void {
  const before = store.rows;
  if (!evict(store, watcher.readerKeys(store), share * KEEP_LINES, share * KEEP_CHARS)) return;
  watcher.rowsEvicted(store);
  watcher.rowsAdded(store, before);
  if (store.removedRows > COMPACT_ROWS) watcher.rowsRenumbered(store, store.compact());
}

/**
 * Drop lines. Return whether any were dropped.
 *
 * `places` holds the sort keys of the rows that users look at. The lines nearest to them and to the end stay.
 */
export function evict(store: TaskStore, places: number[], lines: number, text = Infinity): boolean {
  const order = sortedRows(store);
  const count = order.length;
  const stays = KEPT_SHARE * count * Math.min(lines / Math.max(1, store.lines), text / Math.max(1, store.characters), 1);
  const centres = [...places.map((key) => lowerBound(order.length, (index) => store.displayKey(order[index]) < key)), count].toSorted((a, b) => a - b);
  // Find the largest radius around each place that keeps few enough lines.
  let [low, high] = [0, count];
  while (low < high) {
    const middle = (low + high + 1) >>> 1;
    if (coveredRows(centres, middle, count) <= stays) low = middle;
    else high = middle - 1;
  }
  const holes = rangesOutside(centres, low, count);
  // Begin with the last range, so that the indexes of the earlier ranges stay valid.
  for (const [from, to] of holes.toReversed()) replaceWithSpan(store, order, from, to);
  return holes.length > 0;
}

/** Return the loaded rows in display order, with the members of each fold together. */
function sortedRows(store: TaskStore): Uint32Array {
  const { folds, key, seq } = store;
  const compare = (a: number, b: number): number => {
    const up = folds.rootOf(a);
    const down = folds.rootOf(b);
    return key[up] - key[down] || seq[up] - seq[down] || up - down || a - b;
  };
  const order = new Uint32Array(store.rows);
  // Nearly all rows are in order. Sort the few that are not, and merge them in.
  const late: number[] = [];
  let count = 0;
  let before = -Infinity;
  for (let row = 0; row < store.rows; row++) {
    if (store.isRemoved(row) || store.isSearchHit(row)) continue;
    const alone = folds.back[row] === 0;
    if ((alone && key[row] > before) || count === 0 || compare(order[count - 1], row) <= 0) {
      order[count++] = row;
      before = alone ? key[row] : Infinity;
    } else late.push(row);
  }
  late.sort(compare);
  let place = count + late.length - 1;
  for (let next = late.length - 1, last = count - 1; next >= 0; place--) order[place] = last >= 0 && compare(order[last], late[next]) > 0 ? order[last--] : late[next--];
  return order.subarray(0, count + late.length);
}

function rangesOutside(centres: number[], radius: number, count: number): [number, number][] {
  const result: [number, number][] = [];
  let at = 0;
  for (const centre of centres) {
    if (centre - radius > at) result.push([at, centre - radius]);
    at = Math.max(at, centre + radius);
  }
  if (at < count) result.push([at, count]);
  return result;
}

function coveredRows(centres: number[], radius: number, count: number): number {
  return count - rangesOutside(centres, radius, count).reduce((sum, [from, to]) => sum + to - from, 0);
}

/** Replace rows [from, to) of the order with one unloaded span. It takes in the spans within the range and next to it. */
function replaceWithSpan(store: TaskStore, order: Uint32Array, from: number, to: number): void {
  const rootAt = (place: number): number => store.folds.rootOf(order[place]);
  // Keep or drop a fold as a whole.
  while (from > 0 && from < to && rootAt(from) === rootAt(from - 1)) from++;
  while (to > from && to < order.length && rootAt(to) === rootAt(to - 1)) to++;
  const isSpan = (place: number): boolean => (store.flags[order[place]] & (NOTICE | HOLE)) === (NOTICE | HOLE);
  if (from > 0 && isSpan(from - 1)) from--;
  if (to < order.length && isSpan(to)) to++;
  let [low, high, lines] = [Infinity, -Infinity, 0];
  const dropped: number[] = [];
  for (let place = from; place < to; place++) {
    const row = order[place];
    if (isSpan(place)) {
      const span = store.spans.find((one) => one.row === row);
      if (span === undefined) continue;
      [low, high, lines] = [Math.min(low, span.low), Math.max(high, span.high), lines + spanLines(span)];
      store.closeSpan(span);
    } else if (!(store.flags[row] & NOTICE)) {
      const time = store.timeOf(row);
      [low, high, lines] = [Math.min(low, time), Math.max(high, time), lines + 1];
      dropped.push(row);
    }
  }
  if (lines === 0) return;
  store.dropRows(dropped);
  const first = from === 0;
  const span: Omit<UnloadedSpan, "row"> = {
    from: first ? -Infinity : store.displayKey(order[from - 1]),
    to: to < order.length ? store.displayKey(order[to]) : high,
    low, high, lines, until: Infinity, onDemand: false,
  };
  store.addSpan(span);
}
