/** What changes of a store's rows, so that the views are told. */

import type { Span } from "./spans.ts";
import type { TaskStore } from "./store.ts";

/** What the views must be told. */
export interface Watcher {
  changed(): void;
  /** Rows from `before` on are new. */
  taken(store: TaskStore, before: number): void;
  dropped(store: TaskStore, row: number): void;
  /** Many rows are gone. */
  thinned(store: TaskStore): void;
  /** Rows have other numbers. */
  moved(store: TaskStore, rows: Int32Array): void;
  /** Keys of the rows at which readers of a store are. */
  placesIn(store: TaskStore): number[];
  /** A page of older lines is here. */
  paged(store: TaskStore): void;
  /** These tasks begin anew, in new stores that `begin` makes. */
  renewed(tasks: string[], begin: () => void): void;
  /** The widest window of the views of a store, ms. */
  windowOf(store: TaskStore): number;
}

/** For work that adds rows, or takes a span's away. */
export function rowsOf(store: TaskStore, watcher: Watcher): Rows {
  return {
    add: (work) => {
      const before = store.rows;
      work();
      if (store.replaced) watcher.thinned(store);
      store.replaced = false;
      watcher.taken(store, before);
    },
    close: (span) => {
      store.closeSpan(span);
      watcher.dropped(store, span.row);
    },
  };
}

/** How the pages change the rows of a store. */
export interface Rows {
  add(work: () => void): void;
  close(span: Span): void;
}
