/** x */

import { isFull, thin } from "./memory.ts";
import type { TaskStore } from "./store.ts";
import type { Watcher } from "./watcher.ts";

/** Row numbers are given anew when so many rows are gone: as many as stay, so that it takes no longer than making the views of them anew. */
const COMPACT = 250_000;

/** Memory is bounded: what is far from every reader goes. */
export function bound(store: TaskStore, watcher: Watcher): void {
  if (!isFull(store)) return;
  const before = store.rows;
  if (!thin(store, watcher.placesIn(store))) return;
  watcher.thinned(store);
  watcher.taken(store, before);
  if (store.dropped > COMPACT) watcher.moved(store, store.compact());
}
