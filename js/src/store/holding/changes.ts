/** x */

import { isFull, evict } from "./memory.ts";
import type { TaskStore } from "./store.ts";
import type { StoreWatcher } from "./watcher.ts";

/** Row numbers are given anew when so many rows are gone: as many as stay, so that it takes no longer than making the views of them anew. */
const COMPACT_ROWS = 250_000;

/** Memory is bounded: what is far from every reader goes. */
export function limitMemory(store: TaskStore, watcher: StoreWatcher): void {
  if (!isFull(store)) return;
  const before = store.rows;
  if (!evict(store, watcher.readerKeys(store))) return;
  watcher.rowsEvicted(store);
  watcher.rowsAdded(store, before);
  if (store.removedRows > COMPACT_ROWS) watcher.rowsRenumbered(store, store.compact());
}
