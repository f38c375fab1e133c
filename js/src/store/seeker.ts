/** What readers look for and is not loaded: asked of the server, and led to. */

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

  /** What is looked for and not loaded is asked of the server. */
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

  /** Looks for the next in what is not loaded; whether there is something in the way to the next that is here. */
  startRemoteJump(view: View, jump: Jump): boolean {
    if (jump.to !== "match" && jump.to !== "error") return false;
    const step = view.toTimeOrder(jump);
    const where = spansBetween(step, view.selection, view.searchedTo);
    if (where.length === 0) return false;
    const { id } = view;
    // The view may have been made anew meanwhile.
    const now = (): View | undefined => this.#views.all.get(id);
    view.remoteJump = new RemoteJump(step, where, view, {
      linkOf: (task) => this.#tasks.linkOf(task),
      found: () => this.loadGoal(now()),
      none: () => {
        const asking = now();
        // The next is here: nothing to be said.
        if (asking && nextLoaded(step, asking.selection) !== null) asking.remoteJump = null;
        asking?.jump(jump);
      },
      changed: () => this.#views.refresh(now()),
    });
    return true;
  }

  /** A line that is not loaded is gone to by its time, and itself when it is there. */
  resolveUnloaded(view: View, jump: Jump): Jump {
    const store = jump.to === "seq" ? view.selection.stores.find(({ task }) => task === jump.task) : undefined;
    if (jump.to !== "seq" || jump.time === undefined || store === undefined || store.isLoaded(jump.seq)) return jump;
    view.goal = { store, seq: jump.seq, time: jump.time };
    this.loadGoal(view);
    return view.goal === null ? jump : { to: "time", time: jump.time };
  }

  /** Loads the lines around what was found in what is not loaded. */
  loadGoal(view: View | undefined): void {
    const goal = view && goalOf(view);
    const span = goal?.store.spans.find(({ low, high }) => goal.time >= Math.floor(low) && goal.time <= high + 1);
    if (!view || !goal) return;
    if (span === undefined) {
      // It has been loaded meanwhile, or is gone.
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

  /** What was found for another filter goes, where no other view looks for anything there. */
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

/** The line that is being loaded to be gone to. */
export function goalOf(view: View): JumpGoal | null | undefined {
  return view.goal ?? view.remoteJump?.goal;
}
