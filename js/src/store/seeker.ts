/** Searches and jumps in lines that are not loaded: starts the server's search and loads the lines around the result. */

import type { LogEvent } from "../protocol/events.ts";
import type { Jump } from "../protocol/requests.ts";
import { type JumpGoal, nextLoaded, RemoteJump, spansBetween } from "./jump.ts";
import type { Loader } from "./loader.ts";
import { RemoteSearch } from "./remotesearch.ts";
import { spanRows, spanRowsAfter } from "./spans.ts";
import type { StoreWatcher, Tasks } from "./tasks.ts";
import type { TaskStore } from "./taskstore.ts";
import type { View } from "./view.ts";
import type { Views } from "./views.ts";

export class Seeker {
  readonly #views: Views;
  readonly #tasks: Tasks;
  readonly #loader: Loader;
  readonly #watcher: StoreWatcher;

  constructor(
    views: Views,
    tasks: Tasks,
    loader: Loader,
    watcher: StoreWatcher,
  ) {
    this.#views = views;
    this.#tasks = tasks;
    this.#loader = loader;
    this.#watcher = watcher;
  }

  /** Start a search for each visible view whose filter covers unloaded lines. */
  startSearches(): void {
    for (const view of this.#views.all.values()) {
      const { matcher, isNarrowed, stores } = view.selection;
      if (!view.isVisible || view.search !== null || matcher.error !== "" || !isNarrowed) continue;
      const { now, live } = this.#views.contextOf(view);
      const low = view.window.start(now, live, view.viewport.follow);
      if (!stores.some(({ spans }) => spans.some(({ high }) => high > low))) continue;
      view.search = new RemoteSearch(stores, (store) => view.remoteQuery(store), low, {
        linkOf: (task) => this.#tasks.linkOf(task),
        found: (store, event) => this.#addHits(store, event),
        changed: () => this.#views.refresh(view),
      });
      this.#views.refresh(view);
    }
  }

  /** Start a remote jump. Return false if nothing unloaded is on the way to the next loaded match. */
  startRemoteJump(view: View, jump: Jump): boolean {
    if (jump.to !== "match" && jump.to !== "error") return false;
    const step = view.toTimeOrder(jump);
    const where = spansBetween(step, view.selection, view.searchedTo);
    if (where.length === 0) return false;
    const { id } = view;
    // The view may have been recreated meanwhile.
    const now = (): View | undefined => this.#views.all.get(id);
    view.remoteJump = new RemoteJump(step, where, view, {
      linkOf: (task) => this.#tasks.linkOf(task),
      found: () => this.loadGoal(now()),
      none: () => {
        const asking = now();
        // The next match is loaded: show no message.
        if (asking && nextLoaded(step, asking.selection) !== null) asking.remoteJump = null;
        asking?.jump(jump);
      },
      changed: () => this.#views.refresh(now()),
    });
    return true;
  }

  /** Return the jump to make now: for an unloaded line to its time, while the line itself is being loaded. */
  resolveUnloaded(view: View, jump: Jump): Jump {
    const store = jump.to === "seq" ? view.selection.stores.find(({ task }) => task === jump.task) : undefined;
    if (jump.to !== "seq" || jump.time === undefined || store === undefined || store.isLoaded(jump.seq)) return jump;
    view.goal = { store, seq: jump.seq, time: jump.time };
    this.loadGoal(view);
    return view.goal === null ? jump : { to: "time", time: jump.time };
  }

  /** Load the lines around the goal of a view. */
  loadGoal(view: View | undefined): void {
    const goal = view && goalOf(view);
    const span = goal?.store.spans.find(({ low, high }) => goal.time >= Math.floor(low) && goal.time <= high + 1);
    if (!view || !goal) return;
    if (span === undefined) {
      // It has been loaded meanwhile, or was removed.
      view.remoteJump = view.goal = null;
      view.jump({ to: "time", time: goal.time });
      this.#views.refresh(view);
      return;
    }
    const first = Math.max(0, spanRows(span) - spanRowsAfter(span, goal.time, goal.store.outline));
    void this.#loader.loadVisible(goal.store.task, { span, first, last: first, time: goal.time });
  }

  #addHits(store: TaskStore, event: LogEvent): void {
    const before = store.rows;
    store.addSearchHits(event);
    this.#watcher.rowsAdded(store, before);
  }

  /** Stop a view's search, and remove its hits unless another view searches there. */
  endSearch(view: View): void {
    view.search?.stop();
    view.search = null;
    for (const store of view.selection.stores) {
      if (store.searchHits.length === 0 || [...this.#views.all.values()].some(({ search }) => search?.stores.includes(store))) continue;
      store.forgetSearchHits();
      this.#watcher.rowsEvicted(store);
    }
  }
}

/** Return the line that is being loaded to jump to it. */
export function goalOf(view: View): JumpGoal | null | undefined {
  return view.goal ?? view.remoteJump?.goal;
}
