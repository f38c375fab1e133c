/** Searches and jumps in lines that are not loaded: asks the server to search, and loads the lines around what it finds. */

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

export class UnloadedSearch {
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

  /** Search unloaded lines for the next match or error. Return false if none lie between here and the next loaded one. */
  startRemoteJump(view: View, jump: Jump): boolean {
    if (jump.to !== "match" && jump.to !== "error") return false;
    const timeJump = view.toTimeOrder(jump);
    const unloadedSpans = spansBetween(timeJump, view.selection, view.searchedTo);
    if (unloadedSpans.length === 0) return false;
    const { id } = view;
    // The view may have been recreated meanwhile.
    const currentView = (): View | undefined => this.#views.all.get(id);
    view.remoteJump = new RemoteJump(timeJump, unloadedSpans, view, {
      linkOf: (task) => this.#tasks.linkOf(task),
      found: () => this.loadGoal(currentView()),
      none: () => {
        const current = currentView();
        // The next match is a loaded line, so show no message that nothing was found.
        if (current && nextLoaded(timeJump, current.selection) !== null) current.remoteJump = null;
        current?.jump(jump);
      },
      changed: () => this.#views.refresh(currentView()),
    });
    return true;
  }

  /** Return the jump to make now. If its line is not loaded, start to load the line, and jump to its time meanwhile. */
  resolveUnloaded(view: View, jump: Jump): Jump {
    const store = jump.to === "seq" ? view.selection.stores.find(({ task }) => task === jump.task) : undefined;
    if (jump.to !== "seq" || jump.time === undefined || store === undefined || store.isLoaded(jump.seq)) return jump;
    view.goal = { store, seq: jump.seq, time: jump.time };
    this.loadGoal(view);
    return view.goal === null ? jump : { to: "time", time: jump.time };
  }

  /** Load the lines around the line that a jump of the view waits for. */
  loadGoal(view: View | undefined): void {
    const goal = view && goalOf(view);
    const span = goal?.store.spans.find(({ low, high }) => goal.time >= Math.floor(low) && goal.time <= high + 1);
    if (!view || !goal) return;
    if (span === undefined) {
      // The span was loaded or removed meanwhile.
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

  /** Stop a view's search. Remove the search hits of its tasks, unless another view searches them too. */
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

/** Return the line that a jump of the view waits for. */
export function goalOf(view: View): JumpGoal | null | undefined {
  return view.goal ?? view.remoteJump?.goal;
}
