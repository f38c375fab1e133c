/** What changes of a store's rows, so that the views are told. */

import type { UnloadedSpan } from "./spans.ts";
import type { TaskStore } from "./store.ts";

/** What the views must be told. */
export interface StoreWatcher {
  changed(): void;
  /** Rows from `before` on are new. */
  rowsAdded(store: TaskStore, before: number): void;
  rowRemoved(store: TaskStore, row: number): void;
  /** Many rows are gone. */
  rowsEvicted(store: TaskStore): void;
  /** Rows have other numbers. */
  rowsRenumbered(store: TaskStore, rows: Int32Array): void;
  /** Keys of the rows at which readers of a store are. */
  readerKeys(store: TaskStore): number[];
  /** A page of older lines is here. */
  pageLoaded(store: TaskStore): void;
  /** These tasks begin anew, in new stores that `begin` makes. */
  tasksReset(tasks: string[], begin: () => void): void;
  /** The widest window of the views of a store, ms. */
  widestWindow(store: TaskStore): number;
}

/** For work that adds rows, or takes a span's away. */
export function rowEditor(store: TaskStore, watcher: StoreWatcher): RowEditor {
  return {
    add: (work) => {
      const before = store.rows;
      work();
      if (store.hasReplacedRows) watcher.rowsEvicted(store);
      store.hasReplacedRows = false;
      watcher.rowsAdded(store, before);
    },
    close: (span) => {
      store.closeSpan(span);
      watcher.rowRemoved(store, span.row);
    },
  };
}

/** How the pages change the rows of a store. */
export interface RowEditor {
  add(work: () => void): void;
  close(span: UnloadedSpan): void;
}
